//! C_GetMechanismList and C_GetMechanismInfo: the backend's answers, and what mapped keys add.

use std::ptr;

use cryptoki_sys::{
    CK_MECHANISM_INFO, CK_MECHANISM_TYPE, CK_RV, CK_SLOT_ID, CK_ULONG, CKF_DERIVE, CKF_HW, CKF_SIGN, CKF_VERIFY,
    CKM_ECDH1_COFACTOR_DERIVE, CKM_ECDH1_DERIVE, CKM_ECDSA, CKM_ECDSA_SHA1, CKM_ECDSA_SHA224, CKM_ECDSA_SHA256,
    CKM_ECDSA_SHA384, CKM_ECDSA_SHA512, CKR_ARGUMENTS_BAD, CKR_BUFFER_TOO_SMALL, CKR_CRYPTOKI_NOT_INITIALIZED,
    CKR_MECHANISM_INVALID, CKR_OK, CKR_SLOT_ID_INVALID,
};

use crate::fixture::{Pkcs11, SOFTHSM, World, ck, scenario};

/// What SoftHSM2 2.6.1 lacks. Later releases have some of it.
const DIGESTING: [CK_MECHANISM_TYPE; 5] =
    [CKM_ECDSA_SHA1, CKM_ECDSA_SHA224, CKM_ECDSA_SHA256, CKM_ECDSA_SHA384, CKM_ECDSA_SHA512];

fn list(module: &Pkcs11, slot: CK_SLOT_ID) -> Vec<CK_MECHANISM_TYPE> {
    let mut count = 0;
    assert_eq!(ck!(module, C_GetMechanismList(slot, ptr::null_mut(), &mut count)), CKR_OK);
    let mut list = vec![0; count as usize];
    assert_eq!(ck!(module, C_GetMechanismList(slot, list.as_mut_ptr(), &mut count)), CKR_OK);
    assert_eq!(count as usize, list.len());
    list
}

fn info(module: &Pkcs11, slot: CK_SLOT_ID, mechanism: CK_MECHANISM_TYPE) -> Result<[CK_ULONG; 3], CK_RV> {
    let mut info = CK_MECHANISM_INFO { ulMinKeySize: 77, ulMaxKeySize: 77, flags: 77 };
    match ck!(module, C_GetMechanismInfo(slot, mechanism, &mut info)) {
        CKR_OK => Ok([info.ulMinKeySize, info.ulMaxKeySize, info.flags]),
        rv => Err(rv),
    }
}

/// All slots, without tokens and with tokens that are not initialised too.
fn slots(module: &Pkcs11) -> Vec<CK_SLOT_ID> {
    let mut slots = [0; 16];
    let mut count = slots.len() as CK_ULONG;
    assert_eq!(ck!(module, C_GetSlotList(0, slots.as_mut_ptr(), &mut count)), CKR_OK);
    slots[..count as usize].to_vec()
}

/// Our module and the backend itself, both initialised: we adopt what was there before us.
fn both() -> (Pkcs11, Pkcs11) {
    let bare = Pkcs11::load(SOFTHSM.as_ref());
    assert_eq!(bare.initialize(), CKR_OK);
    let module = Pkcs11::holdfast();
    assert_eq!(module.initialize(), CKR_OK);
    (module, bare)
}

#[test]
fn mechanisms_are_the_backends_and_then_ours() {
    scenario("mechanisms::mechanisms_are_the_backends_and_then_ours", World::softhsm, || {
        let (module, bare) = both();
        let slots = slots(&module);
        assert!(slots.len() > 1, "one with the token, one that is not initialised");
        for slot in slots {
            let (ours, theirs) = (list(&module, slot), list(&bare, slot));
            let (first, added) = ours.split_at(theirs.len());
            assert_eq!(first, theirs);
            let lacking: Vec<_> = DIGESTING.into_iter().filter(|kind| !theirs.contains(kind)).collect();
            assert_eq!(added, lacking);
            assert!(ours.contains(&CKM_ECDSA) && ours.contains(&CKM_ECDH1_DERIVE));
        }
    });
}

#[test]
fn b3_the_list_in_two_calls() {
    scenario("mechanisms::b3_the_list_in_two_calls", World::softhsm, || {
        let (module, bare) = both();
        let slot = module.slot();
        let all = list(&module, slot);
        let theirs = list(&bare, slot).len();
        // Room for the backend's mechanisms only is not room enough.
        for room in [0, 1, theirs, all.len() - 1] {
            let mut array = vec![CK_MECHANISM_TYPE::MAX; all.len()];
            let mut count = room as CK_ULONG;
            let rv = ck!(module, C_GetMechanismList(slot, array.as_mut_ptr(), &mut count));
            assert_eq!((rv, count as usize), (CKR_BUFFER_TOO_SMALL, all.len()), "{room}");
            assert!(array.iter().all(|kind| *kind == CK_MECHANISM_TYPE::MAX), "nothing is written");
        }
        let mut array = vec![CK_MECHANISM_TYPE::MAX; all.len() + 3];
        let mut count = array.len() as CK_ULONG;
        assert_eq!(ck!(module, C_GetMechanismList(slot, array.as_mut_ptr(), &mut count)), CKR_OK);
        assert_eq!(array[..count as usize], all);
        assert_eq!(array[all.len()..], [CK_MECHANISM_TYPE::MAX; 3]);
    });
}

#[test]
fn what_the_backend_refuses_is_refused_with_its_code() {
    scenario("mechanisms::what_the_backend_refuses_is_refused_with_its_code", World::softhsm, || {
        let (module, bare) = both();
        let slot = module.slot();
        let wrong = CK_SLOT_ID::MAX - 1;
        for (module, slot, expected) in
            [(&module, slot, CKR_ARGUMENTS_BAD), (&bare, slot, CKR_ARGUMENTS_BAD), (&module, wrong, CKR_ARGUMENTS_BAD)]
        {
            assert_eq!(ck!(module, C_GetMechanismList(slot, ptr::null_mut(), ptr::null_mut())), expected);
            for kind in [CKM_ECDSA, CKM_ECDSA_SHA256] {
                assert_eq!(ck!(module, C_GetMechanismInfo(slot, kind, ptr::null_mut())), expected);
            }
        }
        let mut count = 0;
        for module in [&module, &bare] {
            assert_eq!(ck!(module, C_GetMechanismList(wrong, ptr::null_mut(), &mut count)), CKR_SLOT_ID_INVALID);
            assert_eq!(info(module, wrong, CKM_ECDSA), Err(CKR_SLOT_ID_INVALID));
            assert_eq!(info(module, wrong, CKM_ECDSA_SHA256), Err(CKR_SLOT_ID_INVALID));
        }
        assert_eq!(module.finalize(), CKR_OK);
        assert_eq!(info(&module, slot, CKM_ECDSA_SHA256), Err(CKR_CRYPTOKI_NOT_INITIALIZED));
        let rv = ck!(module, C_GetMechanismList(slot, ptr::null_mut(), &mut count));
        assert_eq!(rv, CKR_CRYPTOKI_NOT_INITIALIZED);
    });
}

#[test]
fn every_listed_mechanism_has_its_info() {
    scenario("mechanisms::every_listed_mechanism_has_its_info", World::softhsm, || {
        let (module, bare) = both();
        let slot = module.slot();
        let theirs = list(&bare, slot);
        for kind in &theirs {
            assert_eq!(info(&module, slot, *kind), info(&bare, slot, *kind), "{kind:#x}");
        }
        let [smallest, largest, _] = info(&bare, slot, CKM_ECDSA).unwrap();
        for kind in DIGESTING.into_iter().filter(|kind| !theirs.contains(kind)) {
            assert_eq!(info(&bare, slot, kind), Err(CKR_MECHANISM_INVALID));
            let [from, to, flags] = info(&module, slot, kind).unwrap();
            // A key of the backend is signed with as well, at its own size.
            assert_eq!((from, to), (smallest, largest));
            assert_eq!(
                flags & (CKF_HW | CKF_SIGN | CKF_VERIFY | CKF_DERIVE),
                CKF_HW | CKF_SIGN | CKF_VERIFY,
                "{kind:#x}"
            );
        }
        for kind in [CKM_ECDH1_COFACTOR_DERIVE, 0x8000_0001, CK_MECHANISM_TYPE::MAX] {
            assert_eq!(info(&module, slot, kind), info(&bare, slot, kind));
            assert_eq!(info(&module, slot, kind), Err(CKR_MECHANISM_INVALID));
        }
    });
}
