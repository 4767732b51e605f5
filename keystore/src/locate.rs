//! Where a key is, and its use: never a signature that the recorded public key does not verify.

use holdfast_device::{DeviceError, KeySlot};
use holdfast_mapping_db::{KeyRecord, Origin};
use holdfast_wallet::{DerivationPath, PublicKey};
use zeroize::Zeroizing;

use crate::{Error, Keystore};

/// How often a key may move while it signs. Slots change by an operator's hand; a device that names another one each
/// time is broken.
const MOST_MOVES: usize = 3;

impl Keystore {
    /// The device's signature of `digest`, r‖s, verified in software against the recorded public key.
    ///
    /// At a key's first use in the process its slot is checked: node address and public key. A key that has moved is
    /// found again by its node address, also when it moves while the process runs.
    pub fn sign(&self, key: &KeyRecord, digest: &[u8; 32]) -> Result<[u8; 64], Error> {
        let mut slot = self.locate(key)?;
        let mut moves = 0;
        loop {
            let failure = match self.device.sign_digest(slot, digest) {
                Ok(signature) if key.public_key.verify_prehash(digest, &signature) => return Ok(signature),
                Ok(mut signature) => {
                    zeroize::Zeroize::zeroize(&mut signature);
                    Error::WrongSignature { node: key.node(), slot: slot.number() }
                }
                Err(error) if is_refusal(&error) => error.into(),
                Err(error) => return Err(error.into()),
            };
            tracing::warn!(node = key.node(), slot = slot.number(), %failure, "a signature failed: looking where the key is");
            self.forget_slot(key);
            let found = self.locate(key)?;
            moves += 1;
            if found == slot || moves > MOST_MOVES {
                tracing::error!(node = key.node(), slot = slot.number(), %failure, "no signature");
                return Err(failure);
            }
            slot = found;
        }
    }

    /// The raw shared secret of ECDH with `peer`: the x-coordinate of the shared point.
    ///
    /// Unlike a signature the secret cannot be checked in software, so the slot's public key is compared every time.
    pub fn ecdh(&self, key: &KeyRecord, peer: &PublicKey) -> Result<Zeroizing<[u8; 32]>, Error> {
        if peer.curve() != key.public_key.curve() {
            return Err(Error::Unsupported("the other party's public key is on another curve than the private key"));
        }
        let known = self.lock_known().checked.get(&key.id).copied();
        let slot = match known {
            Some(slot) if self.has_public_key(slot, key)? => slot,
            _ => {
                self.forget_slot(key);
                self.locate(key)?
            }
        };
        Ok(self.device.raw_ecdh(slot, peer)?)
    }

    /// The slot of a node, `None` when the device has no such node. A refusal is not believed without a second look:
    /// at the slot in which the node was last found, or, when there is none, at every slot in use.
    pub(crate) fn slot_of(
        &self,
        path: &DerivationPath,
        wallet_name: &str,
        cached: Option<i32>,
    ) -> Result<Option<KeySlot>, DeviceError> {
        match self.device.slot_of_node(path, wallet_name) {
            Ok(slot) => return Ok(Some(slot)),
            Err(error) if is_refusal(&error) => {}
            Err(error) => return Err(error),
        }
        let candidates = match cached {
            Some(slot) => KeySlot::new(slot).into_iter().collect(),
            None => self.device.allocated_slots()?.slots,
        };
        for slot in candidates {
            match self.device.node_of_slot(slot) {
                Ok(node) if node.path == *path && node.wallet_name == wallet_name => return Ok(Some(slot)),
                Ok(_) => {}
                Err(error) if is_refusal(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The slot of a key, checked once in the process.
    pub(crate) fn locate(&self, key: &KeyRecord) -> Result<KeySlot, Error> {
        let known = self.lock_known().checked.get(&key.id).copied();
        if let Some(slot) = known {
            return Ok(slot);
        }
        self.require_device(key)?;
        let slot = self.search(key)?;
        self.lock_known().checked.insert(key.id, slot);
        if slot.number() != key.slot {
            tracing::info!(node = key.node(), from = key.slot, to = slot.number(), "the key has moved to another slot");
            // Only a cache: whoever may not write finds it again the same way.
            let _ = self.write(|tx| Ok(tx.set_slot(key.id, slot.number())?));
        }
        Ok(slot)
    }

    pub(crate) fn forget_slot(&self, key: &KeyRecord) {
        self.lock_known().checked.remove(&key.id);
    }

    /// That the attached device is the one that holds the key.
    pub(crate) fn require_device(&self, key: &KeyRecord) -> Result<(), Error> {
        if self.device_serial()? == key.device_serial {
            return Ok(());
        }
        let attached = self.identify()?.serial;
        if attached == key.device_serial {
            return Ok(());
        }
        Err(Error::OtherDevice { node: key.node(), recorded: key.device_serial.clone(), attached })
    }

    fn search(&self, key: &KeyRecord) -> Result<KeySlot, Error> {
        if let Some(cached) = KeySlot::new(key.slot)
            && self.is_node_of(cached, key)?
            && self.has_public_key(cached, key)?
        {
            return Ok(cached);
        }
        let (node, slot) = (key.node(), key.slot);
        match &key.origin {
            Origin::Derived { wallet_name, path, .. } => match self.slot_of(path, wallet_name, Some(slot))? {
                Some(found) if self.has_public_key(found, key)? => Ok(found),
                Some(found) => {
                    tracing::error!(node, slot = found.number(), "the node has another public key than was recorded");
                    Err(Error::SlotSwapped { node, slot: found.number() })
                }
                None => {
                    tracing::error!(node, slot, "the key is not on the device");
                    Err(Error::KeyLost { node, slot })
                }
            },
            Origin::Adopted => {
                let allocated = self.device.allocated_slots()?.slots.iter().any(|known| known.number() == slot);
                tracing::error!(node, slot, allocated, "the adopted slot does not hold the recorded key");
                Err(if allocated { Error::SlotSwapped { node, slot } } else { Error::KeyLost { node, slot } })
            }
        }
    }

    /// Whether a slot is the key's node; an adopted slot has no address to compare.
    pub(crate) fn is_node_of(&self, slot: KeySlot, key: &KeyRecord) -> Result<bool, Error> {
        match &key.origin {
            Origin::Adopted => Ok(true),
            Origin::Derived { wallet_name, path, .. } => match self.device.node_of_slot(slot) {
                Ok(node) => Ok(node.path == *path && node.wallet_name == *wallet_name),
                Err(error) if is_refusal(&error) => Ok(false),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// Whether a slot has the key's public key. Where the device does not export it (that can be disabled for each
    /// slot), the slot signs something random instead.
    pub(crate) fn has_public_key(&self, slot: KeySlot, key: &KeyRecord) -> Result<bool, Error> {
        match self.device.export_public_key(slot, key.public_key.curve()) {
            Ok(public_key) => Ok(public_key == key.public_key),
            // Not a point of the curve: a key of another curve.
            Err(DeviceError::InvalidReply { .. }) => Ok(false),
            Err(error) if is_refusal(&error) => {
                let mut digest = [0; 32];
                random(&mut digest)?;
                match self.device.sign_digest(slot, &digest) {
                    Ok(signature) => Ok(key.public_key.verify_prehash(&digest, &signature)),
                    Err(error) if is_refusal(&error) => Ok(false),
                    Err(error) => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether the device, or what checks its arguments, says that there is no such slot, node or key. A cached slot may lie
/// beyond what the attached device has.
pub(crate) fn is_refusal(error: &DeviceError) -> bool {
    matches!(error, DeviceError::Refused { .. } | DeviceError::InvalidArgument { .. })
}

pub(crate) fn random(buffer: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(buffer).map_err(|_| Error::Unsupported("the operating system gives no random bytes"))
}
