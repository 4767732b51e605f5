//! Hostile mechanisms and parameters, with good and bad data, on a mapped pair.
#![no_main]

use std::ptr::null_mut;

use cryptoki_sys::*;
use holdfast_fuzz::bench::Bench;
use holdfast_fuzz::call;
use holdfast_fuzz::call::{Guarded, Template};
use holdfast_fuzz::input::{self, SIGNING, pick};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = one_operation(&mut Unstructured::new(data));
});

fn one_operation(u: &mut Unstructured<'_>) -> Result<()> {
    let bench = &*Bench::get();
    match u.int_in_range(0..=4)? {
        0 => sign(bench, u),
        1 => verify(bench, u),
        2 => info(bench, u),
        _ => derive(bench, u),
    }
}

/// What is signed in parts and what is signed at once verifies, with an implementation that is not ours.
fn sign(bench: &Bench, u: &mut Unstructured<'_>) -> Result<()> {
    let mut mechanism = input::signing_mechanism(u)?;
    let kind = mechanism.kind;
    let rv = call!(bench.module, C_SignInit(bench.session, &mut mechanism.raw(), bench.private));
    assert_eq!(rv == CKR_OK, SIGNING.contains(&kind) && mechanism.is_plain(), "{kind:#x}: {rv:#x}");
    if rv != CKR_OK {
        return Ok(());
    }
    let (mut data, mut signature, mut length) = (Vec::new(), Guarded::new(64), 64);
    let rv = if u.ratio(1, 2)? {
        for _ in 0..u.int_in_range(1..=4)? {
            let mut part = input::bytes(u, 200)?;
            let rv = call!(bench.module, C_SignUpdate(bench.session, part.as_mut_ptr(), part.len() as CK_ULONG));
            assert_eq!(rv == CKR_OK, kind != CKM_ECDSA);
            if rv != CKR_OK {
                return Ok(());
            }
            data.append(&mut part);
        }
        call!(bench.module, C_SignFinal(bench.session, signature.pointer(), &mut length))
    } else {
        data = input::bytes(u, 200)?;
        let count = data.len() as CK_ULONG;
        call!(bench.module, C_Sign(bench.session, data.as_mut_ptr(), count, signature.pointer(), &mut length))
    };
    assert_eq!(rv == CKR_OK, kind != CKM_ECDSA || !data.is_empty(), "{rv:#x}");
    if rv == CKR_OK {
        assert!(bench.key.verifies(kind, &data, signature.written(64)));
    }
    Ok(())
}

/// A signature is valid for us exactly if it is for an implementation that is not ours.
fn verify(bench: &Bench, u: &mut Unstructured<'_>) -> Result<()> {
    let kind = pick(u, SIGNING)?;
    let mut data = input::bytes(u, 100)?;
    let mut mechanism = CK_MECHANISM { mechanism: kind, pParameter: null_mut(), ulParameterLen: 0 };
    let mut signature = if u.ratio(1, 2)? {
        u.bytes(64.min(u.len()))?.to_vec()
    } else {
        // A good one, and perhaps one byte of it changed.
        let mut signature = Guarded::new(64);
        let mut length = 64;
        assert_eq!(call!(bench.module, C_SignInit(bench.session, &mut mechanism, bench.private)), CKR_OK);
        let count = data.len() as CK_ULONG;
        let rv = call!(bench.module, C_Sign(bench.session, data.as_mut_ptr(), count, signature.pointer(), &mut length));
        if rv != CKR_OK {
            return Ok(());
        }
        let mut signature = signature.written(64).to_vec();
        if u.ratio(1, 2)? {
            let place = u.choose_index(64)?;
            signature[place] ^= u.arbitrary::<u8>()?;
        }
        signature
    };
    assert_eq!(call!(bench.module, C_VerifyInit(bench.session, &mut mechanism, bench.public)), CKR_OK);
    let (count, length) = (data.len() as CK_ULONG, signature.len() as CK_ULONG);
    let rv = call!(bench.module, C_Verify(bench.session, data.as_mut_ptr(), count, signature.as_mut_ptr(), length));
    let good =
        (kind != CKM_ECDSA || !data.is_empty()) && signature.len() == 64 && bench.key.verifies(kind, &data, &signature);
    assert_eq!(rv == CKR_OK, good, "{rv:#x}");
    Ok(())
}

/// A point that is none reaches nothing; one that is leads to the secret that the other side has.
fn derive(bench: &Bench, u: &mut Unstructured<'_>) -> Result<()> {
    let (mut mechanism, peer) = input::ecdh_mechanism(u, &bench.key)?;
    let length = u.int_in_range(1..=80)?;
    let mut template = Template::default()
        .number(CKA_CLASS, CKO_SECRET_KEY)
        .number(CKA_KEY_TYPE, CKK_GENERIC_SECRET)
        .number(CKA_VALUE_LEN, length as CK_ULONG)
        .flag(CKA_SENSITIVE, false)
        .flag(CKA_EXTRACTABLE, true);
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
    if let Some(scalar) = peer.scalar {
        let known =
            (CKD_NULL..=CKD_SHA1_KDF).contains(&peer.kdf) || (CKD_SHA224_KDF..=CKD_SHA512_KDF).contains(&peer.kdf);
        let fits = peer.kdf != CKD_NULL || (length <= 32 && !peer.shared_data);
        assert_eq!(rv == CKR_OK, known && fits, "{rv:#x} with {:#x}, {length} bytes", peer.kdf);
        if rv == CKR_OK && peer.kdf == CKD_NULL {
            let value = bench.attribute(secret, CKA_VALUE).expect("it is extractable");
            assert!(value.len() == length && bench.key.shared_with(scalar).ends_with(&value), "a wrong secret");
        }
    }
    if rv == CKR_OK {
        assert_eq!(bench.attribute(secret, CKA_VALUE).map(|value| value.len()), Ok(length));
        assert_eq!(bench.destroy(secret), CKR_OK);
    }
    Ok(())
}

/// Lists and facts of mechanisms, with room or without.
fn info(bench: &Bench, u: &mut Unstructured<'_>) -> Result<()> {
    let mut session = CK_SESSION_INFO { slotID: 0, state: 0, flags: 0, ulDeviceError: 0 };
    assert_eq!(call!(bench.module, C_GetSessionInfo(bench.session, &mut session)), CKR_OK);
    let slot = session.slotID;
    let mut count = 0;
    assert_eq!(call!(bench.module, C_GetMechanismList(slot, null_mut(), &mut count)), CKR_OK);
    let room = u.int_in_range(0..=count + 3)?;
    let mut list = vec![0xa5a5; room as usize + 1];
    let mut length = room;
    let rv = call!(bench.module, C_GetMechanismList(slot, list.as_mut_ptr(), &mut length));
    assert_eq!((rv, length), if room < count { (CKR_BUFFER_TOO_SMALL, count) } else { (CKR_OK, count) });
    assert_eq!(list[room as usize], 0xa5a5, "written behind the list");
    let kind =
        if u.ratio(1, 2)? && rv == CKR_OK { pick(u, &list[..count as usize])? } else { u.arbitrary::<u16>()?.into() };
    let mut info = CK_MECHANISM_INFO { ulMinKeySize: 0, ulMaxKeySize: 0, flags: 0 };
    let answer = call!(bench.module, C_GetMechanismInfo(slot, kind, &mut info));
    if rv == CKR_OK {
        let listed = list[..count as usize].contains(&kind);
        assert_eq!(answer == CKR_OK, listed, "{kind:#x}: {answer:#x}, listed: {listed}");
    }
    Ok(())
}
