//! Mapped objects: attributes, searches, changes, copies, destruction.

use std::ptr;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_ULONG, CK_UNAVAILABLE_INFORMATION, CKA_ALLOWED_MECHANISMS, CKA_ALWAYS_AUTHENTICATE,
    CKA_ALWAYS_SENSITIVE, CKA_CLASS, CKA_COPYABLE, CKA_DECRYPT, CKA_DESTROYABLE, CKA_EC_PARAMS, CKA_EC_POINT,
    CKA_EXTRACTABLE, CKA_ID, CKA_KEY_GEN_MECHANISM, CKA_KEY_TYPE, CKA_LABEL, CKA_LOCAL, CKA_MODIFIABLE, CKA_MODULUS,
    CKA_NEVER_EXTRACTABLE, CKA_PRIVATE, CKA_PUBLIC_KEY_INFO, CKA_SENSITIVE, CKA_SIGN, CKA_TOKEN, CKA_UNIQUE_ID,
    CKA_VALUE, CKA_VERIFY, CKK_EC, CKM_EC_KEY_PAIR_GEN, CKM_ECDSA, CKO_DATA, CKO_PRIVATE_KEY, CKR_ACTION_PROHIBITED,
    CKR_ATTRIBUTE_READ_ONLY, CKR_ATTRIBUTE_SENSITIVE, CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_VALUE_INVALID,
    CKR_BUFFER_TOO_SMALL, CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID, CKR_OK, CKR_OPERATION_NOT_INITIALIZED,
    CKR_TEMPLATE_INCONSISTENT, CKR_USER_NOT_LOGGED_IN,
};

use super::{P256, Template, logged_in, private, public, verifies};
use crate::fixture::{World, ck, scenario};

fn affected() -> World {
    World::mapped("")
}

#[test]
fn c1_c2_c3_a_pair_as_clients_expect_it() {
    scenario("mapped::objects::c1_c2_c3_a_pair_as_clients_expect_it", affected, || {
        let (_, session) = logged_in();
        let (public_key, private_key) = session.pair(&[1]);
        for key in [public_key, private_key] {
            let point = session.attribute(key, CKA_EC_POINT).unwrap();
            assert_eq!((point.len(), &point[..3]), (67, &[0x04, 0x41, 0x04][..]));
            assert_eq!(session.attribute(key, CKA_EC_PARAMS).unwrap(), P256);
            assert_eq!(session.attribute(key, CKA_LABEL).unwrap(), b"a label");
            assert_eq!(session.attribute(key, CKA_ID).unwrap(), [1]);
            assert_eq!(session.attribute(key, CKA_KEY_TYPE).unwrap(), CKK_EC.to_ne_bytes());
            assert_eq!(session.attribute(key, CKA_KEY_GEN_MECHANISM).unwrap(), CKM_EC_KEY_PAIR_GEN.to_ne_bytes());
            assert_eq!(session.attribute(key, CKA_LOCAL).unwrap(), [1]);
            assert_eq!(session.attribute(key, CKA_COPYABLE).unwrap(), [0]);
            let info = session.attribute(key, CKA_PUBLIC_KEY_INFO).unwrap();
            let parsed = openssl::pkey::PKey::public_key_from_der(&info).unwrap();
            assert!(parsed.public_eq(&openssl::pkey::PKey::from_ec_key(session.openssl_key(key)).unwrap()));
        }
        for (kind, value) in [
            (CKA_SENSITIVE, 1),
            (CKA_ALWAYS_SENSITIVE, 1),
            (CKA_NEVER_EXTRACTABLE, 1),
            (CKA_EXTRACTABLE, 0),
            (CKA_SIGN, 1),
            (CKA_DECRYPT, 0),
            (CKA_PRIVATE, 1),
            (CKA_TOKEN, 1),
            // Servers cannot ask again.
            (CKA_ALWAYS_AUTHENTICATE, 0),
        ] {
            assert_eq!(session.attribute(private_key, kind).unwrap(), [value], "{kind:#x}");
        }
        assert_eq!(session.attribute(public_key, CKA_PRIVATE).unwrap(), [0]);
        // Absent rather than empty.
        assert_eq!(session.attribute(private_key, CKA_ALLOWED_MECHANISMS), Err(CKR_ATTRIBUTE_TYPE_INVALID));
        assert_eq!(session.attribute(private_key, CKA_VERIFY), Err(CKR_ATTRIBUTE_TYPE_INVALID));
    });
}

#[test]
fn c7_k3_every_entry_of_a_template_is_answered() {
    scenario("mapped::objects::c7_k3_every_entry_of_a_template_is_answered", affected, || {
        let (module, session) = logged_in();
        let (_, key) = session.pair(&[1, 2, 3]);
        let (mut id, mut short, mut value) = ([0u8; 3], [0u8; 2], [0u8; 64]);
        let entry = |type_, buffer: &mut [u8]| CK_ATTRIBUTE {
            type_,
            pValue: buffer.as_mut_ptr().cast(),
            ulValueLen: buffer.len() as CK_ULONG,
        };
        let mut template = [
            entry(CKA_VALUE, &mut value),
            entry(CKA_LABEL, &mut short),
            CK_ATTRIBUTE { type_: CKA_EC_POINT, pValue: ptr::null_mut(), ulValueLen: 0 },
            CK_ATTRIBUTE { type_: CKA_MODULUS, pValue: ptr::null_mut(), ulValueLen: 0 },
            entry(CKA_ID, &mut id),
        ];
        let rv = ck!(module, C_GetAttributeValue(session.handle, key, template.as_mut_ptr(), 5));
        assert_eq!(rv, CKR_ATTRIBUTE_SENSITIVE);
        let lengths = template.map(|entry| entry.ulValueLen);
        let none = CK_UNAVAILABLE_INFORMATION;
        assert_eq!(lengths, [none, none, 67, none, 3]);
        assert_eq!((id, short, value), ([1, 2, 3], [0; 2], [0; 64]));
        let too_small = ck!(module, C_GetAttributeValue(session.handle, key, &mut entry(CKA_LABEL, &mut short), 1));
        assert_eq!(too_small, CKR_BUFFER_TOO_SMALL);
    });
}

#[test]
fn searches_find_by_every_attribute_in_batches_of_any_size() {
    scenario("mapped::objects::searches_find_by_every_attribute_in_batches_of_any_size", affected, || {
        let (module, session) = logged_in();
        let mapped: Vec<_> = (1..=5).flat_map(|id| <[_; 2]>::from(session.pair(&[id]))).collect();
        let mut backend = Vec::new();
        for number in 0..6u8 {
            let mut data = Template::default()
                .number(CKA_CLASS, CKO_DATA)
                .flag(CKA_TOKEN, true)
                .bytes(CKA_LABEL, &[b'd', number])
                .bytes(CKA_VALUE, b"data");
            let (mut raw, mut handle) = (data.raw(), 0);
            assert_eq!(ck!(module, C_CreateObject(session.handle, raw.as_mut_ptr(), 4, &mut handle)), CKR_OK);
            backend.push(handle);
        }
        let mut all = [mapped.clone(), backend].concat();
        all.sort_unstable();
        for batch in [1, 2, 7, 1000] {
            assert_eq!(session.find_by(&Template::default(), batch), all, "batches of {batch}");
        }
        let (public_key, private_key) = (mapped[4], mapped[5]);
        for kind in [CKA_ID, CKA_EC_POINT, CKA_PUBLIC_KEY_INFO] {
            let template = Template::default().bytes(kind, &session.attribute(private_key, kind).unwrap());
            assert_eq!(session.find(&template), [public_key, private_key]);
        }
        let unique = session.attribute(private_key, CKA_UNIQUE_ID).unwrap();
        assert_eq!(session.find(&Template::default().bytes(CKA_UNIQUE_ID, &unique)), [private_key]);
        // What ssh-keygen looks for.
        let signers = Template::default().number(CKA_CLASS, CKO_PRIVATE_KEY).bytes(CKA_ID, &[3]).flag(CKA_SIGN, true);
        assert_eq!(session.find(&signers), [private_key]);
        assert!(session.find(&signers.clone().flag(CKA_DECRYPT, true)).is_empty());
        // Byte for byte: no prefix, nothing longer, no sensitive value.
        assert!(session.find(&Template::default().bytes(CKA_LABEL, b"a labe")).is_empty());
        assert!(session.find(&Template::default().bytes(CKA_LABEL, b"a label\0")).is_empty());
        assert!(session.find(&signers.bytes(CKA_VALUE, &[])).is_empty());
        // A search can be left in the middle.
        assert_eq!(ck!(module, C_FindObjectsInit(session.handle, ptr::null_mut(), 0)), CKR_OK);
        let (mut found, mut count) = ([0; 3], 0);
        assert_eq!(ck!(module, C_FindObjects(session.handle, found.as_mut_ptr(), 3, &mut count)), CKR_OK);
        assert_eq!(count, 3);
        assert_eq!(ck!(module, C_FindObjectsFinal(session.handle)), CKR_OK);
        assert_eq!(
            ck!(module, C_FindObjects(session.handle, found.as_mut_ptr(), 3, &mut count)),
            CKR_OPERATION_NOT_INITIALIZED
        );
        assert_eq!(session.find(&Template::default()), all);
    });
}

#[test]
fn c5_names_are_changed_on_each_half() {
    scenario("mapped::objects::c5_names_are_changed_on_each_half", affected, || {
        let (_, session) = logged_in();
        let (public_key, private_key) = session.pair(&[1]);
        let id: Vec<u8> = (0..=255).collect();
        assert_eq!(session.set(private_key, &Template::default().bytes(CKA_ID, &id)), CKR_OK);
        assert_eq!(session.attribute(private_key, CKA_ID).unwrap(), id);
        assert_eq!(session.attribute(public_key, CKA_ID).unwrap(), [1]);
        assert_eq!(session.set(public_key, &Template::default().bytes(CKA_ID, &id)), CKR_OK);
        assert_eq!(session.find(&Template::default().bytes(CKA_ID, &id)), [public_key, private_key]);
        let refused = [
            (Template::default().flag(CKA_EXTRACTABLE, true), CKR_ATTRIBUTE_READ_ONLY),
            (Template::default().flag(CKA_SENSITIVE, false), CKR_ATTRIBUTE_READ_ONLY),
            (Template::default().number(CKA_CLASS, CKO_DATA), CKR_ATTRIBUTE_READ_ONLY),
            (Template::default().flag(CKA_TOKEN, false), CKR_ATTRIBUTE_READ_ONLY),
            (Template::default().bytes(CKA_MODULUS, &[1]), CKR_ATTRIBUTE_TYPE_INVALID),
            (Template::default().bytes(CKA_SIGN, &[]), CKR_ATTRIBUTE_VALUE_INVALID),
        ];
        for (template, code) in refused {
            // All or nothing.
            let with_label = template.clone().bytes(CKA_LABEL, b"changed");
            assert_eq!(session.set(private_key, &with_label), code);
            assert_eq!(session.attribute(private_key, CKA_LABEL).unwrap(), b"a label");
        }
        let unmodifiable = private(&[2]).flag(CKA_MODIFIABLE, false).flag(CKA_DESTROYABLE, false);
        let (_, fixed) = session.generate(&public(P256), &unmodifiable).unwrap();
        assert_eq!(session.set(fixed, &Template::default().bytes(CKA_LABEL, b"x")), CKR_ACTION_PROHIBITED);
        assert_eq!(ck!(session.module, C_DestroyObject(session.handle, fixed)), CKR_ACTION_PROHIBITED);
    });
}

#[test]
fn destroying_one_half_leaves_the_other() {
    scenario("mapped::objects::destroying_one_half_leaves_the_other", affected, || {
        let (module, session) = logged_in();
        let (public_key, private_key) = session.pair(&[1]);
        let signature = session.sign(CKM_ECDSA, private_key, &[5; 32]).unwrap();
        assert_eq!(ck!(module, C_DestroyObject(session.handle, private_key)), CKR_OK);
        assert_eq!(session.find(&Template::default()), [public_key]);
        assert_eq!(session.verify_init(CKM_ECDSA, public_key), CKR_OK);
        assert_eq!(session.verify(&[5; 32], &signature), CKR_OK);
        // What is gone stays gone.
        assert_eq!(session.sign_init(CKM_ECDSA, private_key), CKR_KEY_HANDLE_INVALID);
        assert_eq!(session.attribute(private_key, CKA_ID), Err(CKR_OBJECT_HANDLE_INVALID));
        assert_eq!(ck!(module, C_DestroyObject(session.handle, private_key)), CKR_OBJECT_HANDLE_INVALID);
        let (second, _) = session.pair(&[2]);
        assert!(![public_key, private_key].contains(&second), "a handle was used again");
        assert_eq!(ck!(module, C_DestroyObject(session.handle, public_key)), CKR_OK);
        let wallet = |slot: &zk_app_utils::admin::SlotInfo| slot.wallet.is_some();
        let slots = crate::fixture::device().slots().unwrap().slots;
        assert_eq!(slots.iter().filter(|slot| wallet(slot)).count(), 2, "the seed and the second key");
    });
}

#[test]
fn b9_copies_are_refused_but_for_a_session_key_to_the_token() {
    scenario(
        "mapped::objects::b9_copies_are_refused_but_for_a_session_key_to_the_token",
        || World::mapped("session-keys = \"wallet\""),
        || {
            let (module, session) = logged_in();
            let copy = |object, template: &Template| {
                let mut template = template.clone();
                let (mut raw, mut handle) = (template.raw(), 0);
                let count = raw.len() as CK_ULONG;
                match ck!(module, C_CopyObject(session.handle, object, raw.as_mut_ptr(), count, &mut handle)) {
                    CKR_OK => Ok(handle),
                    rv => Err(rv),
                }
            };
            let (_, token_key) = session.pair(&[1]);
            let into_session = Template::default().flag(CKA_TOKEN, false);
            assert_eq!(copy(token_key, &into_session), Err(CKR_ACTION_PROHIBITED));
            // As keytool does it: an empty private template, a copy with an ID, the copy's handle forgotten.
            let pair = session.generate(&Template::default().bytes(CKA_EC_PARAMS, P256), &Template::default());
            let (session_public, session_private) = pair.unwrap();
            assert_eq!(session.attribute(session_private, CKA_TOKEN).unwrap(), [0]);
            assert_eq!(copy(session_private, &into_session), Err(CKR_ACTION_PROHIBITED));
            copy(session_private, &Template::default().flag(CKA_TOKEN, true).bytes(CKA_ID, b"kept")).unwrap();
            let point = session.openssl_key(session_public);
            assert_eq!(ck!(module, C_CloseSession(session.handle)), CKR_OK);

            let session = super::Session { module, handle: module.open() };
            assert_eq!(module.login(session.handle), CKR_OK);
            let by_id = Template::default().bytes(CKA_ID, b"kept").number(CKA_CLASS, CKO_PRIVATE_KEY);
            let found = session.find(&by_id);
            assert_eq!(found.len(), 1);
            assert_eq!(session.attribute(found[0], CKA_TOKEN).unwrap(), [1]);
            let signature = session.sign(CKM_ECDSA, found[0], &[6; 32]).unwrap();
            assert!(verifies(&point, &[6; 32], &signature));
            assert_eq!(session.attribute(session_private, CKA_ID), Err(CKR_OBJECT_HANDLE_INVALID));
        },
    );
}

#[test]
fn copies_keep_what_the_specification_lets_nobody_change() {
    scenario(
        "mapped::objects::copies_keep_what_the_specification_lets_nobody_change",
        || World::mapped("session-keys = \"wallet\""),
        || {
            let (module, session) = logged_in();
            let copy = |object, template: &Template| {
                let (mut template, mut handle) = (template.clone().flag(CKA_TOKEN, true), 0);
                let mut raw = template.raw();
                let count = raw.len() as CK_ULONG;
                match ck!(module, C_CopyObject(session.handle, object, raw.as_mut_ptr(), count, &mut handle)) {
                    CKR_OK => Ok(handle),
                    rv => Err(rv),
                }
            };
            let named = Template::default().bytes(CKA_EC_PARAMS, P256);
            let (_, uncopyable) = session.generate(&named, &Template::default().flag(CKA_COPYABLE, false)).unwrap();
            assert_eq!(session.attribute(uncopyable, CKA_COPYABLE).unwrap(), [0]);
            assert_eq!(copy(uncopyable, &Template::default()), Err(CKR_ACTION_PROHIBITED));

            let (public_key, private_key) = session.generate(&named, &Template::default()).unwrap();
            let as_private = |private| Template::default().flag(CKA_PRIVATE, private);
            assert_eq!(copy(private_key, &as_private(false)), Err(CKR_TEMPLATE_INCONSISTENT));
            let on_token = copy(private_key, &as_private(true)).unwrap();
            for (key, copyable) in [(private_key, 1), (on_token, 0)] {
                assert_eq!(session.attribute(key, CKA_COPYABLE).unwrap(), [copyable]);
            }
            assert_eq!(ck!(module, C_Logout(session.handle)), CKR_OK);
            assert_eq!(copy(public_key, &as_private(true)), Err(CKR_USER_NOT_LOGGED_IN));
            copy(public_key, &as_private(false)).unwrap();
        },
    );
}

#[test]
fn a_handle_that_was_never_given_out_is_the_backends_to_refuse() {
    scenario("mapped::objects::a_handle_that_was_never_given_out_is_the_backends_to_refuse", affected, || {
        let (module, session) = logged_in();
        let unknown = 0x4000_0001;
        assert_eq!(session.attribute(unknown, CKA_ID), Err(CKR_OBJECT_HANDLE_INVALID));
        assert_eq!(session.sign_init(CKM_ECDSA, unknown), CKR_OBJECT_HANDLE_INVALID);
        let (public_key, _) = session.pair(&[1]);
        assert_eq!(public_key, unknown, "the first one given out");
        let mut size = 0;
        assert_eq!(ck!(module, C_GetObjectSize(session.handle, public_key, &mut size)), CKR_OK);
        assert!(size > 64);
    });
}
