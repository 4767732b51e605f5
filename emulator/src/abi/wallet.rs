//! "Digital Wallet (BIP32/39/44)".

use std::ffi::{c_char, c_int};
use std::ptr;

use holdfast_wallet::ChildNumber;
use zeroize::Zeroizing;

use super::args::{CBool, Out, array, bytes, optional_text, text};
use super::call::exports;
use super::module_info::out_text;
use crate::error::{Error, Result};
use crate::keys::KeyType;
use crate::passphrase;
use crate::slip39_session::Groups;
use crate::wallets::NewWallet;

/// What calls of a SLIP39 session answer until it is complete. It is not an error.
const INCOMPLETE: c_int = -1;

/// # Safety
/// The strings are NULL or terminated; `key` points to `key_sz` bytes.
unsafe fn new_wallet<'a>(
    key_type: c_int,
    variant: *const c_char,
    name: *const c_char,
    key: *const u8,
    key_sz: c_int,
) -> Result<NewWallet<'a>> {
    // SAFETY: the caller's promise is passed on.
    unsafe {
        Ok(NewWallet {
            key_type: KeyType::from_number(key_type)?,
            variant: optional_text(variant)?.unwrap_or(""),
            name: text(name)?,
            master_generator_key: bytes(key, key_sz)?,
        })
    }
}

/// The passphrase of a seed, which the caller gives in base64.
///
/// # Safety
/// As [`optional_text`].
unsafe fn seed_passphrase(given: *const c_char) -> Result<Zeroizing<String>> {
    // SAFETY: the caller's promise is passed on.
    Ok(passphrase::decode(unsafe { optional_text(given) }?.unwrap_or("")))
}

exports! {
    /// Makes a wallet: with a mnemonic of 24 words when there is somewhere to put it, else without recovery.
    fn zkGenWalletMasterSeedWithBIP39(
        ctx,
        key_type: c_int,
        variant: *const c_char,
        wallet_name: *const c_char,
        master_generator_key: *const u8,
        master_generator_key_size: c_int,
        passphrase: *const c_char,
        mnemonic: *mut *mut c_char,
    ) |device| {
        // SAFETY: the caller promises strings, as many bytes as said, and a pointer that is NULL or can be written.
        let (new, passphrase, out) = unsafe {
            let new =
                new_wallet(key_type, variant, wallet_name, master_generator_key, master_generator_key_size)?;
            (new, seed_passphrase(passphrase)?, Out::optional(mnemonic)?)
        };
        let Some(out) = out else {
            return device.change(|state| state.create_wallet(&new)).map(|slot| device.reply_slot(slot));
        };
        let (slot, words) = device.change(|state| state.create_wallet_bip39(&new, &passphrase))?;
        out_text(device, &words, out)?;
        Ok(device.reply_slot(slot))
    }

    /// Brings a master seed back from its words, and nothing below it.
    fn zkRestoreWalletMasterSeedFromBIP39Mnemonic(
        ctx,
        key_type: c_int,
        variant: *const c_char,
        wallet_name: *const c_char,
        master_generator_key: *const u8,
        master_generator_key_size: c_int,
        passphrase: *const c_char,
        mnemonic: *const c_char,
    ) |device| {
        // SAFETY: the caller promises strings, and as many bytes as said.
        let (new, passphrase, words) = unsafe {
            let new =
                new_wallet(key_type, variant, wallet_name, master_generator_key, master_generator_key_size)?;
            (new, seed_passphrase(passphrase)?, text(mnemonic)?)
        };
        let slot = device.change(|state| state.restore_wallet_bip39(&new, &passphrase, words))?;
        Ok(device.reply_slot(slot))
    }

    /// Opens a session for a new master seed that shares bring back: 0.
    fn zkGenWalletMasterSeedWithSLIP39(
        ctx,
        key_type: c_int,
        variant: *const c_char,
        wallet_name: *const c_char,
        master_generator_key: *const u8,
        master_generator_key_size: c_int,
        group_count: c_int,
        group_threshold: c_int,
        group_iteration_exponent: c_int,
        master_passphrase: *const c_char,
    ) |device| {
        // SAFETY: the caller promises strings, and as many bytes as said.
        let (new, passphrase) = unsafe {
            let new =
                new_wallet(key_type, variant, wallet_name, master_generator_key, master_generator_key_size)?;
            (new, seed_passphrase(master_passphrase)?)
        };
        let groups = Groups {
            count: group_count,
            threshold: group_threshold,
            iteration_exponent: group_iteration_exponent,
            passphrase: &passphrase,
        };
        device.change(|state| state.open_generation(&new, &groups)).map(|()| 0)
    }

    /// Says who the members of a group are.
    fn zkSetSLIP39GroupInfo(ctx, group_index: c_int, member_count: c_int, member_threshold: c_int) |device| {
        device.change(|state| state.set_group(group_index, member_count, member_threshold)).map(|()| 0)
    }

    /// The words of the next member: -1 with them, or with the last member's the slot of the new seed.
    fn zkAddSLIP39MemberPassword(ctx, passphrase: *const c_char, mnemonic_sentence: *mut *mut c_char) |device| {
        // SAFETY: the caller promises a string, and a pointer that can be written.
        let (password, out) = unsafe { (optional_text(passphrase)?.unwrap_or(""), Out::new(mnemonic_sentence)?) };
        let (words, slot) = device.change(|state| state.next_member(password))?;
        out_text(device, &words, out)?;
        Ok(slot.map_or(INCOMPLETE, |slot| device.reply_slot(slot)))
    }

    /// Ends a session of either kind.
    fn zkCancelSLIP39Session(ctx) |device| {
        device.change(|state| state.cancel_session()).map(|()| 0)
    }

    /// Opens a session that takes shares: -1, which is no error.
    fn zkRestoreWalletMasterSeedFromSLIP39(
        ctx,
        key_type: c_int,
        variant: *const c_char,
        wallet_name: *const c_char,
        master_generator_key: *const u8,
        master_generator_key_size: c_int,
        passphrase: *const c_char,
    ) |device| {
        // SAFETY: the caller promises strings, and as many bytes as said.
        let (new, passphrase) = unsafe {
            let new =
                new_wallet(key_type, variant, wallet_name, master_generator_key, master_generator_key_size)?;
            (new, seed_passphrase(passphrase)?)
        };
        device.change(|state| state.open_restoration(&new, &passphrase))?;
        Ok(INCOMPLETE)
    }

    /// Takes a share: the slot of the seed once there are enough, -1 before that and for a share that does not fit.
    fn zkAddRestoreSLIP39Mnemonic(ctx, passphrase: *const c_char, mnemonic_sentence: *const c_char) |device| {
        // SAFETY: the caller promises two strings.
        let (password, words) = unsafe { (optional_text(passphrase)?.unwrap_or(""), text(mnemonic_sentence)?) };
        let slot = device.change(|state| state.add_share(password, words))?;
        Ok(slot.map_or(INCOMPLETE, |slot| device.reply_slot(slot)))
    }

    /// Makes an oversight wallet out of a hardened node's public key and chain code.
    fn zkGenOversightWallet(
        ctx,
        key_type: c_int,
        variant: *const c_char,
        pub_key: *const u8,
        chain_code: *const u8,
        node_addr: *const c_char,
        wallet_name: *const c_char,
    ) |device| {
        let public_len = c_int::try_from(KeyType::from_number(key_type)?.public_len()).map_err(|_| Error::Argument("type"))?;
        // SAFETY: the caller promises strings, a public key of the type's length and 32 bytes of chain code.
        let (new, public, chain_code, node) = unsafe {
            let new = new_wallet(key_type, variant, wallet_name, ptr::null(), 0)?;
            (new, bytes(pub_key, public_len)?, array::<32>(chain_code)?, text(node_addr)?)
        };
        device.change(|state| state.create_oversight(&new, public, chain_code, node)).map(|slot| device.reply_slot(slot))
    }

    /// Derives a child of a node. Answers its slot; the chain code only of hardened children.
    fn zkGenWalletChildKey(
        ctx,
        parent_key_slot: c_int,
        index: u32,
        is_hardened: CBool,
        return_chain_code: CBool,
        chain_code: *mut *mut u8,
    ) |device| {
        let child = ChildNumber::new(index, is_hardened != 0).ok_or(Error::Argument("index"))?;
        let out = if return_chain_code == 0 {
            None
        } else if child.is_hardened() {
            // SAFETY: the caller promises a pointer that can be written.
            Some(unsafe { Out::new(chain_code) }?)
        } else {
            return Err(Error::Argument("return_chain_code"));
        };
        let (slot, code) = device.change(|state| state.create_child(parent_key_slot, child))?;
        if let Some(out) = out {
            match device.reply(code.as_slice()) {
                Some(bytes) => out.set_bytes(bytes)?,
                None => out.set(ptr::null_mut()),
            }
        }
        Ok(device.reply_slot(slot))
    }

    /// The address of the node in a slot, its wallet, and the slot of the wallet's first node.
    fn zkGetWalletNodeAddrFromKeySlot(
        ctx,
        slot: c_int,
        node_addr: *mut *mut c_char,
        wallet_name: *mut *mut c_char,
        master_seed_slot: *mut c_int,
    ) |device| {
        // SAFETY: the caller promises pointers that can be written, the last two also NULL.
        let (address, name, master) = unsafe {
            (Out::new(node_addr)?, Out::optional(wallet_name)?, Out::optional(master_seed_slot)?)
        };
        let (node, master_slot) = device.state().node_of_slot(slot)?;
        out_text(device, &node.path.to_string(), address)?;
        if let Some(out) = name {
            out_text(device, &node.wallet, out)?;
        }
        if let Some(out) = master {
            out.set(device.reply_slot(master_slot));
        }
        Ok(0)
    }

    /// The slot of a node, its wallet given by name or by the slot of its first node.
    fn zkGetWalletKeySlotFromNodeAddr(
        ctx,
        node_addr: *const c_char,
        wallet_name: *const c_char,
        master_seed_slot: c_int,
        slot: *mut c_int,
    ) |device| {
        // SAFETY: the caller promises strings, the second also NULL, and a pointer that can be written.
        let (address, name, out) = unsafe { (text(node_addr)?, optional_text(wallet_name)?, Out::new(slot)?) };
        let found = device.state().slot_of_node(address, name, master_seed_slot)?;
        out.set(device.reply_slot(found));
        Ok(0)
    }
}
