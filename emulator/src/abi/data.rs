//! "Lock Data" and "Unlock Data", between buffers (B) and files (F).
//!
//! The header says 0 for success everywhere. The vendor's Python client wants 1 when a buffer was unlocked into a
//! buffer, and 0 there means that the data did not verify; so unlocking answers 1, and what did not verify is 0 into a
//! buffer, where that client looks for it, and -1 from or into a file.

use std::ffi::{c_char, c_int};
use std::fs;

use zeroize::Zeroizing;

use super::args::{CBool, Out, bytes, text};
use super::call::{Device, exports};
use super::ecdsa::out_bytes;
use crate::error::{Error, Result};

const VERIFIED: c_int = 1;

fn read(path: &str) -> Result<Zeroizing<Vec<u8>>> {
    fs::read(path).map(Zeroizing::new).map_err(|source| Error::File { path: path.into(), source })
}

fn write(path: &str, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|source| Error::File { path: path.into(), source })
}

fn lock(device: &Device<'_>, plain: &[u8], use_shared_key: CBool) -> Result<Vec<u8>> {
    device.state().lock_data(plain, use_shared_key != 0)
}

fn unlock(device: &Device<'_>, object: &[u8], use_shared_key: CBool) -> Result<Zeroizing<Vec<u8>>> {
    device.state().unlock_data(object, use_shared_key != 0)
}

exports! {
    /// Locks a file into a file.
    fn zkLockDataF2F(ctx, src: *const c_char, dst: *const c_char, use_shared_key: CBool) |device| {
        // SAFETY: the caller promises two strings.
        let (src, dst) = unsafe { (text(src)?, text(dst)?) };
        write(dst, &lock(device, &read(src)?, use_shared_key)?)?;
        Ok(0)
    }

    /// Locks a buffer into a file.
    fn zkLockDataB2F(ctx, src: *const u8, src_sz: c_int, dst: *const c_char, use_shared_key: CBool) |device| {
        // SAFETY: the caller promises `src_sz` bytes and a string.
        let (src, dst) = unsafe { (bytes(src, src_sz)?, text(dst)?) };
        write(dst, &lock(device, src, use_shared_key)?)?;
        Ok(0)
    }

    /// Locks a file into a buffer.
    fn zkLockDataF2B(ctx, src: *const c_char, dst: *mut *mut u8, dst_sz: *mut c_int, use_shared_key: CBool) |device| {
        // SAFETY: the caller promises a string and two pointers that can be written.
        let (src, dst, dst_sz) = unsafe { (text(src)?, Out::new(dst)?, Out::new(dst_sz)?) };
        out_bytes(device, &lock(device, &read(src)?, use_shared_key)?, dst, dst_sz)?;
        Ok(0)
    }

    /// Locks a buffer into a buffer.
    fn zkLockDataB2B(
        ctx,
        src: *const u8,
        src_sz: c_int,
        dst: *mut *mut u8,
        dst_sz: *mut c_int,
        use_shared_key: CBool,
    ) |device| {
        // SAFETY: the caller promises `src_sz` bytes and two pointers that can be written.
        let (src, dst, dst_sz) = unsafe { (bytes(src, src_sz)?, Out::new(dst)?, Out::new(dst_sz)?) };
        out_bytes(device, &lock(device, src, use_shared_key)?, dst, dst_sz)?;
        Ok(0)
    }

    /// Unlocks a file into a file.
    fn zkUnlockDataF2F(ctx, src: *const c_char, dst: *const c_char, use_shared_key: CBool) |device| {
        // SAFETY: the caller promises two strings.
        let (src, dst) = unsafe { (text(src)?, text(dst)?) };
        write(dst, &unlock(device, &read(src)?, use_shared_key)?)?;
        Ok(VERIFIED)
    }

    /// Unlocks a buffer into a file.
    fn zkUnlockDataB2F(ctx, src: *const u8, src_sz: c_int, dst: *const c_char, use_shared_key: CBool) |device| {
        // SAFETY: the caller promises `src_sz` bytes and a string.
        let (src, dst) = unsafe { (bytes(src, src_sz)?, text(dst)?) };
        write(dst, &unlock(device, src, use_shared_key)?)?;
        Ok(VERIFIED)
    }

    /// Unlocks a file into a buffer.
    fn zkUnlockDataF2B(ctx, src: *const c_char, dst: *mut *mut u8, dst_sz: *mut c_int, use_shared_key: CBool) |device| {
        // SAFETY: the caller promises a string and two pointers that can be written.
        let (src, dst, dst_sz) = unsafe { (text(src)?, Out::new(dst)?, Out::new(dst_sz)?) };
        out_bytes(device, &unlock(device, &read(src)?, use_shared_key)?, dst, dst_sz)?;
        Ok(VERIFIED)
    }

    /// Unlocks a buffer into a buffer: 1, or 0 for data that does not verify.
    fn zkUnlockDataB2B(
        ctx,
        src: *const u8,
        src_sz: c_int,
        dst: *mut *mut u8,
        dst_sz: *mut c_int,
        use_shared_key: CBool,
    ) |device| {
        // SAFETY: the caller promises `src_sz` bytes and two pointers that can be written.
        let (src, dst, dst_sz) = unsafe { (bytes(src, src_sz)?, Out::new(dst)?, Out::new(dst_sz)?) };
        match unlock(device, src, use_shared_key) {
            Ok(plain) => {
                out_bytes(device, &plain, dst, dst_sz)?;
                Ok(VERIFIED)
            }
            Err(Error::LockedData) => Ok(0),
            Err(error) => Err(error),
        }
    }
}
