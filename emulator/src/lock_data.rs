//! Locking data to the device: AES-256-GCM under a key that never leaves it.
//!
//! A locked object is `HFEL`, a format byte, a byte that says which key, 12 bytes of nonce, then ciphertext and tag;
//! the first six bytes are authenticated too.

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::hex::HexBytes;
use crate::keys::random;
use crate::state::State;

const MAGIC: &[u8; 5] = b"HFEL\x01";
const HEADER_LEN: usize = 6;
const NONCE_LEN: usize = 12;

impl State {
    /// `zkLockData...`: the locked object.
    ///
    /// # Errors
    /// [`Error::Argument`] for data that is too large for AES-GCM.
    pub fn lock_data(&self, plain: &[u8], use_shared_key: bool) -> Result<Vec<u8>> {
        let mut object = [MAGIC.as_slice(), &[u8::from(use_shared_key)]].concat();
        let nonce = random::<NONCE_LEN>();
        let sealed = self
            .data_key(use_shared_key)?
            .encrypt(&Nonce::from(*nonce), Payload { msg: plain, aad: &object })
            .map_err(|_| Error::Argument("src_pt_sz"))?;
        object.extend_from_slice(nonce.as_slice());
        object.extend_from_slice(&sealed);
        Ok(object)
    }

    /// `zkUnlockData...`: what was locked.
    ///
    /// # Errors
    /// [`Error::LockedData`] when it was locked by another device, with the other key, or has been changed since.
    pub fn unlock_data(&self, object: &[u8], use_shared_key: bool) -> Result<Zeroizing<Vec<u8>>> {
        let (header, rest) = object.split_at_checked(HEADER_LEN).ok_or(Error::LockedData)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or(Error::LockedData)?;
        if header != [MAGIC.as_slice(), &[u8::from(use_shared_key)]].concat() {
            return Err(Error::LockedData);
        }
        let nonce = Nonce::try_from(nonce).map_err(|_| Error::LockedData)?;
        let plain = self.data_key(use_shared_key)?.decrypt(&nonce, Payload { msg: sealed, aad: header });
        plain.map(Zeroizing::new).map_err(|_| Error::LockedData)
    }

    fn data_key(&self, use_shared_key: bool) -> Result<Aes256Gcm> {
        let key: &HexBytes = if use_shared_key { &self.shared_key } else { &self.one_way_key };
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(key.to_array().ok_or(Error::LockedData)?);
        Ok(Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::NewDevice;

    #[test]
    fn only_the_device_unlocks() {
        let device = State::new(&NewDevice::default());
        let other = State::new(&NewDevice::default());
        for shared in [false, true] {
            for plain in [b"".as_slice(), b"a", &[7; 100_000]] {
                let locked = device.lock_data(plain, shared).unwrap();
                assert_eq!(device.unlock_data(&locked, shared).unwrap().as_slice(), plain);
                assert!(device.unlock_data(&locked, !shared).is_err());
                assert!(other.unlock_data(&locked, shared).is_err());
            }
        }
    }

    #[test]
    fn any_changed_or_missing_byte_is_noticed() {
        let device = State::new(&NewDevice::default());
        let locked = device.lock_data(b"attack at dawn", false).unwrap();
        for at in 0..locked.len() {
            let mut changed = locked.clone();
            changed[at] ^= 1;
            assert!(device.unlock_data(&changed, false).is_err(), "byte {at}");
            assert!(device.unlock_data(&locked[..at], false).is_err(), "length {at}");
        }
    }
}
