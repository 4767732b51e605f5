//! "ECDH and KDF".

use std::ffi::c_int;

use super::args::{CBool, Out, bytes};
use super::call::{Device, exports};
use crate::device::{KdfRequest, PublicSlot};
use crate::error::{Error, Result};
use crate::keys::Kdf;

/// The longest salt and info.
const MAX_KDF_INPUT: usize = 128;

fn ecdh(
    device: &Device<'_>,
    slot: c_int,
    peer: &[u8],
    kdf: Option<&KdfRequest<'_>>,
    out: Out<*mut u8>,
) -> Result<c_int> {
    let secret = device.state().ecdh(slot, peer, kdf)?;
    match device.reply(&secret) {
        Some(bytes) => out.set_bytes(bytes)?,
        None => out.set(std::ptr::null_mut()),
    }
    Ok(0)
}

/// The peer's key out of a slot of the device. It must be of the local key's type.
fn internal_peer(device: &Device<'_>, slot: c_int, peer_slot: c_int, foreign: CBool) -> Result<Vec<u8>> {
    let (key_type, public) = device.state().public_key(PublicSlot::new(peer_slot, foreign != 0))?;
    if device.state().private_key(slot)?.key_type != key_type {
        return Err(Error::PublicKey(key_type));
    }
    Ok(public.as_slice().to_vec())
}

/// # Safety
/// `salt` and `info` point to as many bytes as said.
unsafe fn kdf_request<'a>(
    kdf_type: c_int,
    (salt, salt_sz): (*const u8, c_int),
    (info, info_sz): (*const u8, c_int),
    iterations: c_int,
    derived_key_sz: c_int,
) -> Result<KdfRequest<'a>> {
    // SAFETY: the caller's promise is passed on.
    let (salt, info) = unsafe { (bytes(salt, salt_sz)?, bytes(info, info_sz)?) };
    if salt.len() > MAX_KDF_INPUT || info.len() > MAX_KDF_INPUT {
        return Err(Error::Argument("salt_sz or info_sz"));
    }
    let len = usize::try_from(derived_key_sz).ok().filter(|len| (1..=16320).contains(len));
    Ok(KdfRequest {
        function: Kdf::from_number(kdf_type)?,
        salt,
        info,
        iterations,
        len: len.ok_or(Error::Argument("derived_key_sz"))?,
    })
}

exports! {
    /// The shared secret with a peer, 32 bytes.
    fn zkDoRawECDH(
        ctx,
        slot: c_int,
        peer_pubkey: *const u8,
        peer_pubkey_sz: c_int,
        pre_master_secret: *mut *mut u8,
    ) |device| {
        // SAFETY: the caller promises `peer_pubkey_sz` bytes and a pointer that can be written.
        let (peer, out) = unsafe { (bytes(peer_pubkey, peer_pubkey_sz)?, Out::new(pre_master_secret)?) };
        ecdh(device, slot, peer, None, out)
    }

    /// The shared secret with a key of the device, 32 bytes.
    fn zkDoRawECDHWithIntPeerPubkey(
        ctx,
        slot: c_int,
        peer_pubkey_slot: c_int,
        peer_pubkey_slot_is_foreign: CBool,
        pre_master_secret: *mut *mut u8,
    ) |device| {
        // SAFETY: the caller promises a pointer that can be written.
        let out = unsafe { Out::new(pre_master_secret) }?;
        let peer = internal_peer(device, slot, peer_pubkey_slot, peer_pubkey_slot_is_foreign)?;
        ecdh(device, slot, &peer, None, out)
    }

    /// A key derived from the shared secret with a peer.
    fn zkDoECDHAndKDF(
        ctx,
        kdf_type: c_int,
        slot: c_int,
        peer_pubkey: *const u8,
        peer_pubkey_sz: c_int,
        salt: *const u8,
        salt_sz: c_int,
        info: *const u8,
        info_sz: c_int,
        num_iterations: c_int,
        derived_key_sz: c_int,
        derived_key: *mut *mut u8,
    ) |device| {
        // SAFETY: the caller promises as many bytes as said and a pointer that can be written.
        let (peer, kdf, out) = unsafe {
            let kdf = kdf_request(kdf_type, (salt, salt_sz), (info, info_sz), num_iterations, derived_key_sz)?;
            (bytes(peer_pubkey, peer_pubkey_sz)?, kdf, Out::new(derived_key)?)
        };
        ecdh(device, slot, peer, Some(&kdf), out)
    }

    /// A key derived from the shared secret with a key of the device.
    fn zkDoECDHAndKDFWithIntPeerPubkey(
        ctx,
        kdf_type: c_int,
        slot: c_int,
        peer_pubkey_slot: c_int,
        peer_pubkey_slot_is_foreign: CBool,
        salt: *const u8,
        salt_sz: c_int,
        info: *const u8,
        info_sz: c_int,
        num_iterations: c_int,
        derived_key_sz: c_int,
        derived_key: *mut *mut u8,
    ) |device| {
        // SAFETY: the caller promises as many bytes as said and a pointer that can be written.
        let (kdf, out) = unsafe {
            let kdf = kdf_request(kdf_type, (salt, salt_sz), (info, info_sz), num_iterations, derived_key_sz)?;
            (kdf, Out::new(derived_key)?)
        };
        let peer = internal_peer(device, slot, peer_pubkey_slot, peer_pubkey_slot_is_foreign)?;
        ecdh(device, slot, &peer, Some(&kdf), out)
    }
}
