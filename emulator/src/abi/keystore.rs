//! "Key Management".

use std::ffi::{c_char, c_int};

use super::args::{CBool, Out, bytes, text};
use super::call::{Device, exports};
use super::ecdsa::out_bytes;
use crate::device::PublicSlot;
use crate::error::{Error, Result};
use crate::keys::{KeyPair, KeyType};
use crate::state::EPHEMERAL_SLOT;

fn export(device: &Device<'_>, which: PublicSlot, pk: Out<*mut u8>, pk_sz: Out<c_int>) -> Result<c_int> {
    let (key_type, public) = device.state().export(which)?;
    let public = device.reply_public(key_type, public);
    out_bytes(device, public.as_slice(), pk, pk_sz)?;
    Ok(0)
}

fn export_to_file(device: &Device<'_>, which: PublicSlot, filename: &str) -> Result<c_int> {
    let (key_type, public) = device.state().export(which)?;
    let pem = key_type.public_pem(public.as_slice());
    std::fs::write(filename, pem).map_err(|source| Error::File { path: filename.into(), source })?;
    Ok(0)
}

exports! {
    /// Deprecated by the vendor: as [`zkExportPubKey2File`] for the key store.
    fn zkSaveECDSAPubKey2File(ctx, filename: *const c_char, slot: c_int) |device| {
        // SAFETY: the caller promises a string.
        let filename = unsafe { text(filename) }?;
        export_to_file(device, PublicSlot::Own(slot), filename)
    }

    /// Writes a public key into a file, in PEM.
    fn zkExportPubKey2File(ctx, filename: *const c_char, pubkey_slot: c_int, slot_is_foreign: CBool) |device| {
        // SAFETY: the caller promises a string.
        let filename = unsafe { text(filename) }?;
        export_to_file(device, PublicSlot::new(pubkey_slot, slot_is_foreign != 0), filename)
    }

    /// Deprecated by the vendor: as [`zkExportPubKey`] for the key store.
    fn zkGetECDSAPubKey(ctx, pk: *mut *mut u8, pk_sz: *mut c_int, slot: c_int) |device| {
        // SAFETY: the caller promises two pointers that can be written.
        let (pk, pk_sz) = unsafe { (Out::new(pk)?, Out::new(pk_sz)?) };
        export(device, PublicSlot::Own(slot), pk, pk_sz)
    }

    /// A public key: X‖Y, 64 bytes, or the 32 bytes of the Edwards and Montgomery curves.
    fn zkExportPubKey(ctx, pk: *mut *mut u8, pk_sz: *mut c_int, pubkey_slot: c_int, slot_is_foreign: CBool) |device| {
        // SAFETY: the caller promises two pointers that can be written.
        let (pk, pk_sz) = unsafe { (Out::new(pk)?, Out::new(pk_sz)?) };
        export(device, PublicSlot::new(pubkey_slot, slot_is_foreign != 0), pk, pk_sz)
    }

    /// The slots that hold a key, and how many keys fit in all.
    fn zkGetAllocSlotsList(
        ctx,
        is_foreign: CBool,
        max_num_keys: *mut c_int,
        alloc_key_list: *mut *mut c_int,
        alloc_key_list_sz: *mut c_int,
    ) |device| {
        // SAFETY: the caller promises three pointers that can be written.
        let (max, list, size) = unsafe { (Out::new(max_num_keys)?, Out::new(alloc_key_list)?, Out::new(alloc_key_list_sz)?) };
        let (capacity, mut slots) = device.state().allocated(is_foreign != 0);
        if let Some(last) = slots.last_mut() {
            *last = device.reply_slot(*last);
        }
        max.set(capacity);
        match device.reply_numbers(&slots) {
            Some(slots) => {
                size.set(c_int::try_from(slots.len()).map_err(|_| Error::Argument("too large"))?);
                list.set_numbers(slots)?;
            }
            None => {
                size.set(c_int::try_from(slots.len()).map_err(|_| Error::Argument("too large"))?);
                list.set(std::ptr::null_mut());
            }
        }
        Ok(0)
    }

    /// Keeps somebody else's public key. Answers its slot in the foreign store.
    fn zkStoreForeignPubKey(ctx, pk_type: c_int, pk: *mut u8, pk_sz: c_int) |device| {
        // SAFETY: the caller promises `pk_sz` bytes.
        let public = unsafe { bytes(pk, pk_sz) }?;
        let key_type = KeyType::from_number(pk_type)?;
        device.change(|state| state.store_foreign(key_type, public)).map(|slot| device.reply_slot(slot))
    }

    /// Forbids the export of a public key, for good.
    fn zkDisablePubKeyExport(ctx, pubkey_slot: c_int, slot_is_foreign: CBool) |device| {
        device.change(|state| state.disable_export(PublicSlot::new(pubkey_slot, slot_is_foreign != 0)))?;
        Ok(0)
    }

    /// A new key pair. Answers its slot. On affected firmware it is gone after the next power cycle.
    fn zkGenKeyPair(ctx, key_type: c_int) |device| {
        let key_type = KeyType::from_number(key_type)?;
        device.change(|state| state.generate(key_type)).map(|slot| device.reply_slot(slot))
    }

    /// A new ephemeral key pair in place of the one before.
    fn zkGenEphemeralKeyPair(ctx, key_type: c_int) |device| {
        let key_type = KeyType::from_number(key_type)?;
        device.change(|state| {
            state.ephemeral = Some(KeyPair::generate(key_type));
            Ok(0)
        })
    }

    /// Removes a key and all that were derived from it.
    fn zkRemoveKey(ctx, slot: c_int, slot_is_foreign: CBool) |device| {
        device.change(|state| state.remove(PublicSlot::new(slot, slot_is_foreign != 0)))?;
        Ok(0)
    }

    /// Forgets the ephemeral key pair.
    fn zkInvalidateEphemeralKey(ctx) |device| {
        device.change(|state| state.ephemeral.take().map(|_| 0).ok_or(Error::EmptySlot(EPHEMERAL_SLOT)))
    }
}
