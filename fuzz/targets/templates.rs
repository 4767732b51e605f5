//! Hostile templates: for searches, reading, changes, copies, generations and derivations with a mapped pair.
//!
//! What succeeds is read back; what fails has changed nothing.
#![no_main]

use std::ptr::null_mut;

use cryptoki_sys::*;
use holdfast_fuzz::bench::Bench;
use holdfast_fuzz::call;
use holdfast_fuzz::call::{Guarded, Mechanism, Template};
use holdfast_fuzz::input::{self, ATTRIBUTES, pick};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = one_call(&mut Unstructured::new(data));
});

fn one_call(u: &mut Unstructured<'_>) -> Result<()> {
    let bench = &*Bench::get();
    let object = pick(u, &[bench.public, bench.private])?;
    match u.int_in_range(0..=6)? {
        0 => find(bench, input::template(u)?),
        1 => read(bench, object, u)?,
        2 => change(bench, object, input::template(u)?),
        3 => copy(bench, object, input::template(u)?),
        4 => {
            let (public, private) = input::pair_templates(u)?;
            generate(bench, public, private);
        }
        5 => derive(bench, input::template(u)?),
        _ => create(bench, input::template(u)?),
    }
    Ok(())
}

/// A mapped object is found exactly if every attribute of the template is, byte for byte, what it says of itself.
fn find(bench: &Bench, template: Template) {
    let Some(found) = bench.find(template.clone()) else { return };
    for object in [bench.public, bench.private] {
        let matches = template.0.iter().all(|(kind, value)| bench.attribute(object, *kind).as_ref() == Ok(value));
        assert_eq!(found.contains(&object), matches, "{template:x?}");
    }
}

/// Every entry is answered, whatever becomes of the others, and nothing is written beyond its room.
fn read(bench: &Bench, object: CK_OBJECT_HANDLE, u: &mut Unstructured<'_>) -> Result<()> {
    let (mut buffers, mut entries) = (Vec::new(), Vec::new());
    for _ in 0..u.int_in_range(0..=6)? {
        let (kind, room) = (pick(u, ATTRIBUTES)?, pick(u, &[0, 1, 2, 8, 66, 67, 300])?);
        let mut buffer = Guarded::new(room);
        let value = if u.ratio(1, 4)? { null_mut() } else { buffer.pointer().cast() };
        entries.push(CK_ATTRIBUTE { type_: kind, pValue: value, ulValueLen: room as CK_ULONG });
        buffers.push(buffer);
    }
    let before: Vec<_> = entries.iter().map(|entry| (entry.pValue.is_null(), entry.ulValueLen)).collect();
    let rv = call!(
        bench.module,
        C_GetAttributeValue(bench.session, object, entries.as_mut_ptr(), entries.len() as CK_ULONG)
    );
    let mut codes = Vec::new();
    for ((entry, buffer), (queried, room)) in entries.iter().zip(&buffers).zip(before) {
        buffer.check();
        let length = entry.ulValueLen;
        match bench.attribute(object, entry.type_) {
            Ok(value) if queried => assert_eq!(length as usize, value.len()),
            Ok(value) if value.len() as CK_ULONG <= room => assert_eq!(buffer.written(length as usize), value),
            Ok(_) => {
                assert_eq!(length, CK_UNAVAILABLE_INFORMATION);
                codes.push(CKR_BUFFER_TOO_SMALL);
            }
            Err((code, _)) => {
                assert_eq!(length, CK_UNAVAILABLE_INFORMATION);
                codes.push(code);
            }
        }
    }
    assert!(if codes.is_empty() { rv == CKR_OK } else { codes.contains(&rv) }, "{rv:#x}, not of {codes:x?}");
    Ok(())
}

fn change(bench: &Bench, object: CK_OBJECT_HANDLE, mut template: Template) {
    let before = bench.snapshot(object);
    let mut raw = template.raw();
    let rv = call!(bench.module, C_SetAttributeValue(bench.session, object, raw.as_mut_ptr(), raw.len() as CK_ULONG));
    if rv == CKR_OK {
        reads_back(bench, object, &template);
        let mut uses = Template::default().flag(CKA_DERIVE, true);
        uses = if object == bench.private { uses.flag(CKA_SIGN, true) } else { uses.flag(CKA_VERIFY, true) };
        let mut raw = uses.raw();
        let rv =
            call!(bench.module, C_SetAttributeValue(bench.session, object, raw.as_mut_ptr(), raw.len() as CK_ULONG));
        assert_eq!(rv, CKR_OK);
    } else {
        assert_eq!(bench.snapshot(object), before, "a change that was refused: {template:x?}");
    }
}

/// Every attribute of a template is there as it was given; flags as true or false.
fn reads_back(bench: &Bench, object: CK_OBJECT_HANDLE, template: &Template) {
    for (kind, value) in &template.0 {
        let read = bench.attribute(object, *kind);
        match (&read, value.as_slice()) {
            (Ok(read), [given]) if read.len() == 1 && matches!(read[0], 0 | 1) => {
                let (is, wanted) = (read[0] == 1, *given != 0);
                // A use that hardware does not serve for is recorded as false.
                assert!(is == wanted || !is, "{kind:#x}: {given} became {is}");
            }
            (Ok(read), given) if *kind == CKA_EC_PARAMS => assert!(given.len() >= 7 && read.len() >= 7),
            (Ok(read), given) => assert_eq!(read, given, "{kind:#x}"),
            (Err((rv, _)), _) => assert_eq!(*rv, CKR_ATTRIBUTE_SENSITIVE, "{kind:#x} was accepted"),
        }
    }
}

/// A mapped token key is never copied.
fn copy(bench: &Bench, object: CK_OBJECT_HANDLE, mut template: Template) {
    let (mut raw, mut copy) = (template.raw(), 0);
    let rv =
        call!(bench.module, C_CopyObject(bench.session, object, raw.as_mut_ptr(), raw.len() as CK_ULONG, &mut copy));
    assert_eq!(rv, CKR_ACTION_PROHIBITED);
}

fn generate(bench: &Bench, public: Template, private: Template) {
    let everything = all_mapped(bench);
    let (rv, first, second) = bench.generate(public.clone(), private.clone());
    if rv == CKR_OK {
        if first & !0x3fff_ffff == 0x4000_0000 {
            reads_back(bench, first, &public);
            reads_back(bench, second, &private);
            assert_eq!(bench.attribute(second, CKA_SENSITIVE), Ok(vec![1]));
            assert_eq!(bench.attribute(second, CKA_EXTRACTABLE), Ok(vec![0]));
        }
        for object in [second, first] {
            if bench.destroy(object) == CKR_ACTION_PROHIBITED {
                assert_eq!(bench.attribute(object, CKA_DESTROYABLE), Ok(vec![0]));
            }
        }
    } else {
        assert_eq!(all_mapped(bench), everything, "a generation that was refused left something");
    }
}

/// All mapped objects. SoftHSM2 itself leaves half a pair behind now and then.
fn all_mapped(bench: &Bench) -> Vec<CK_OBJECT_HANDLE> {
    let all = bench.find(Template::default()).expect("a search for everything");
    all.into_iter().filter(|handle| handle & !0x3fff_ffff == 0x4000_0000).collect()
}

fn derive(bench: &Bench, mut template: Template) {
    let mut mechanism = Mechanism::ecdh(CKM_ECDH1_DERIVE, CKD_NULL, Vec::new(), bench.key.peer(9, false));
    let (mut raw, mut secret) = (template.raw(), 0);
    let rv = call!(
        bench.module,
        C_DeriveKey(
            bench.session,
            &mut mechanism.raw(),
            bench.private,
            raw.as_mut_ptr(),
            raw.len() as CK_ULONG,
            &mut secret
        )
    );
    if rv == CKR_OK {
        assert_eq!(bench.attribute(secret, CKA_CLASS), Ok(CKO_SECRET_KEY.to_ne_bytes().to_vec()));
        if let Ok(value) = bench.attribute(secret, CKA_VALUE) {
            assert!(bench.key.shared_with(9).ends_with(&value), "a wrong shared secret");
        }
        bench.destroy(secret);
    }
}

fn create(bench: &Bench, mut template: Template) {
    let (mut raw, mut object) = (template.raw(), 0);
    let rv = call!(bench.module, C_CreateObject(bench.session, raw.as_mut_ptr(), raw.len() as CK_ULONG, &mut object));
    if rv == CKR_OK {
        bench.destroy(object);
    }
}
