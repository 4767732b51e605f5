//! "ECDSA".

use std::ffi::c_int;

use super::args::{Out, array, bytes};
use super::call::{Device, exports};
use crate::device::PublicSlot;
use crate::error::{Error, Result};

/// The outputs of a signing call.
struct SignatureOut {
    signature: Out<*mut u8>,
    size: Out<c_int>,
    recovery_id: Option<Out<u8>>,
}

fn sign(device: &Device<'_>, slot: c_int, digest: &[u8; 32], out: &SignatureOut) -> Result<c_int> {
    let (signature, recovery_id) = device.state().sign(slot, digest)?;
    let signature = device.reply_signature(signature);
    out_bytes(device, &signature, out.signature, out.size)?;
    if let Some(out) = out.recovery_id {
        out.set(recovery_id);
    }
    Ok(0)
}

/// Answers bytes and how many there are.
pub(super) fn out_bytes(device: &Device<'_>, bytes: &[u8], data: Out<*mut u8>, size: Out<c_int>) -> Result<()> {
    let Some(bytes) = device.reply(bytes) else {
        data.set(std::ptr::null_mut());
        size.set(c_int::try_from(bytes.len()).unwrap_or(c_int::MAX));
        return Ok(());
    };
    size.set(c_int::try_from(bytes.len()).map_err(|_| Error::Argument("too large"))?);
    data.set_bytes(bytes)
}

fn verify(device: &Device<'_>, which: PublicSlot, digest: &[u8; 32], signature: &[u8]) -> Result<c_int> {
    let signature = signature.try_into().map_err(|_| Error::Argument("sig_sz"))?;
    device.state().verify(which, digest, signature).map(c_int::from)
}

exports! {
    /// Signs a digest of 32 bytes; r‖s, 64 bytes.
    fn zkGenECDSASigFromDigest(ctx, digest: *const u8, slot: c_int, sig: *mut *mut u8, sig_sz: *mut c_int) |device| {
        // SAFETY: the caller promises 32 bytes and two pointers that can be written.
        let (digest, out) = unsafe {
            let out = SignatureOut { signature: Out::new(sig)?, size: Out::new(sig_sz)?, recovery_id: None };
            (array(digest)?, out)
        };
        sign(device, slot, digest, &out)
    }

    /// Signs a digest of 32 bytes, and tells which of the points with that r was used.
    fn zkGenECDSASigFromDigestWithRecID(
        ctx,
        digest: *const u8,
        slot: c_int,
        sig: *mut *mut u8,
        sig_sz: *mut c_int,
        recovery_id: *mut u8,
    ) |device| {
        // SAFETY: the caller promises 32 bytes and three pointers that can be written.
        let (digest, out) = unsafe {
            let recovery_id = Some(Out::new(recovery_id)?);
            (array(digest)?, SignatureOut { signature: Out::new(sig)?, size: Out::new(sig_sz)?, recovery_id })
        };
        sign(device, slot, digest, &out)
    }

    /// Verifies with a key of the key store: 1 valid, 0 not.
    fn zkVerifyECDSASigFromDigest(ctx, digest: *const u8, pubkey_slot: c_int, sig: *const u8, sig_sz: c_int) |device| {
        // SAFETY: the caller promises 32 bytes, and `sig_sz` bytes.
        let (digest, signature) = unsafe { (array(digest)?, bytes(sig, sig_sz)?) };
        verify(device, PublicSlot::Own(pubkey_slot), digest, signature)
    }

    /// Verifies with a foreign public key: 1 valid, 0 not.
    fn zkVerifyECDSASigFromDigestWithForeignKeySlot(
        ctx,
        digest: *const u8,
        pubkey_slot: c_int,
        sig: *const u8,
        sig_sz: c_int,
    ) |device| {
        // SAFETY: the caller promises 32 bytes, and `sig_sz` bytes.
        let (digest, signature) = unsafe { (array(digest)?, bytes(sig, sig_sz)?) };
        verify(device, PublicSlot::Foreign(pubkey_slot), digest, signature)
    }
}
