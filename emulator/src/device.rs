//! The key store: what each call does to the state, without the C types and without files.

use std::collections::BTreeMap;

use holdfast_wallet::DerivationPath;

use crate::error::{Error, Result};
use crate::hex::HexBytes;
use crate::keys::{self, Kdf, KeyPair, KeyType, SignatureAndRecovery, random};
use crate::peripherals::Peripherals;
use crate::state::{
    AFFECTED_FIRMWARE, Allocation, EPHEMERAL_SLOT, ExistingNode, FIRST_GENERATED_SLOT, FOREIGN_SLOTS, FORMAT,
    ForeignKey, Origin, Slot, State, is_scm,
};

/// What a new device is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDevice {
    /// What `zkGetModelNumberString` answers.
    pub model: String,
    /// What `zkGetFirmwareVersionString` answers.
    pub firmware: String,
    /// What `zkGetSerialNumberString` answers; random without one.
    pub serial: Option<String>,
    /// How many slots there are after the factory keys.
    pub slots: i32,
    /// Which free slot is taken next.
    pub allocation: Allocation,
    /// What deriving a node that exists answers.
    pub existing_node: ExistingNode,
}

impl Default for NewDevice {
    /// An SCM with the affected firmware and all of its 512 slots.
    fn default() -> Self {
        Self {
            model: "SCM".into(),
            firmware: AFFECTED_FIRMWARE.into(),
            serial: None,
            slots: 512,
            allocation: Allocation::default(),
            existing_node: ExistingNode::default(),
        }
    }
}

/// Whose public key a call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicSlot {
    /// A slot of the key store, or [`EPHEMERAL_SLOT`].
    Own(i32),
    /// A slot of the foreign store.
    Foreign(i32),
}

impl PublicSlot {
    /// From a slot number and the C ABI's flag.
    pub fn new(slot: i32, foreign: bool) -> Self {
        if foreign { Self::Foreign(slot) } else { Self::Own(slot) }
    }
}

impl State {
    /// A device fresh from the factory, with new factory keys.
    pub fn new(new: &NewDevice) -> Self {
        let serial =
            new.serial.clone().unwrap_or_else(|| HexBytes::from(random::<8>().to_vec()).to_string().to_uppercase());
        let factory_slots = if is_scm(&new.model) { 16 } else { 12 };
        let factory = |number| {
            let key = KeyPair::generate(KeyType::P256);
            (number, Slot { key, origin: Origin::Factory, export_disabled: false, node: None })
        };
        Self {
            format: FORMAT,
            generation: 0,
            model: new.model.clone(),
            firmware: new.firmware.clone(),
            serial,
            generated_slots: new.slots,
            factory_slots,
            boots: 1,
            allocation: new.allocation,
            last_slot: FIRST_GENERATED_SLOT - 1,
            existing_node: new.existing_node,
            connections: 1,
            one_way_key: random::<32>().to_vec().into(),
            shared_key: random::<32>().to_vec().into(),
            slots: (0..factory_slots).map(factory).collect(),
            foreign: BTreeMap::new(),
            ephemeral: None,
            wallets: BTreeMap::new(),
            slip39: None,
            peripherals: Peripherals::default(),
        }
    }

    /// A reboot: generated key pairs vanish on affected firmware; the ephemeral key and an open SLIP39 session always.
    /// Answers how many key pairs vanished.
    pub fn power_cycle(&mut self) -> usize {
        let before = self.slots.len();
        if self.is_affected() {
            self.slots.retain(|_, slot| slot.origin != Origin::Generated);
        }
        self.ephemeral = None;
        self.slip39 = None;
        self.peripherals.power_cycle();
        self.boots += 1;
        before - self.slots.len()
    }

    /// A tamper event: every key is gone, the factory's and those of locked data too.
    pub fn wipe(&mut self) {
        self.slots.clear();
        self.foreign.clear();
        self.wallets.clear();
        self.ephemeral = None;
        self.slip39 = None;
        self.one_way_key = random::<32>().to_vec().into();
        self.shared_key = random::<32>().to_vec().into();
    }

    /// How many keys the whole key store holds when full, factory keys included.
    pub fn capacity(&self) -> i32 {
        self.factory_slots + self.generated_slots
    }

    /// The slot that the next key goes to.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn free_slot(&self) -> Result<i32> {
        let end = FIRST_GENERATED_SLOT.saturating_add(self.generated_slots);
        let begin = match self.allocation {
            Allocation::Lowest => FIRST_GENERATED_SLOT,
            Allocation::Rotating => (self.last_slot + 1).clamp(FIRST_GENERATED_SLOT, end),
        };
        let mut numbers = (begin..end).chain(FIRST_GENERATED_SLOT..begin);
        numbers.find(|number| !self.slots.contains_key(number)).ok_or(Error::Full)
    }

    /// Puts a key into the slot whose turn it is.
    pub(crate) fn add_slot(&mut self, slot: Slot) -> Result<i32> {
        let number = self.free_slot()?;
        self.last_slot = number;
        self.slots.insert(number, slot);
        Ok(number)
    }

    /// `zkGenKeyPair`.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn generate(&mut self, key_type: KeyType) -> Result<i32> {
        self.free_slot()?;
        let key = KeyPair::generate(key_type);
        self.add_slot(Slot { key, origin: Origin::Generated, export_disabled: false, node: None })
    }

    /// `zkRemoveKey`: the key, and every key derived from it; with a wallet's first node the wallet.
    ///
    /// # Errors
    /// [`Error::EmptySlot`], [`Error::FactoryKey`].
    pub fn remove(&mut self, which: PublicSlot) -> Result<()> {
        let number = match which {
            PublicSlot::Foreign(number) => {
                return self.foreign.remove(&number).map(|_| ()).ok_or(Error::EmptySlot(number));
            }
            PublicSlot::Own(number) => number,
        };
        let slot = self.slots.get(&number).ok_or(Error::EmptySlot(number))?;
        if slot.origin == Origin::Factory {
            return Err(Error::FactoryKey(number));
        }
        let Some(node) = slot.node.clone() else {
            self.slots.remove(&number);
            return Ok(());
        };
        self.slots.remove(&number);
        self.slots.retain(|_, other| {
            !other.node.as_ref().is_some_and(|n| n.wallet == node.wallet && node.path.is_ancestor_of(&n.path))
        });
        if self.wallets.get(&node.wallet).is_some_and(|wallet| wallet.root == node.path) {
            self.wallets.remove(&node.wallet);
        }
        Ok(())
    }

    /// The key in a slot or the ephemeral key, for private operations.
    ///
    /// # Errors
    /// [`Error::EmptySlot`], [`Error::MasterSeed`], [`Error::NoPrivateKey`].
    pub fn private_key(&self, number: i32) -> Result<&KeyPair> {
        if number == EPHEMERAL_SLOT {
            return self.ephemeral.as_ref().ok_or(Error::EmptySlot(number));
        }
        let slot = self.slots.get(&number).ok_or(Error::EmptySlot(number))?;
        if is_master_seed(slot) {
            return Err(Error::MasterSeed(number));
        }
        if slot.key.private.is_none() {
            return Err(Error::NoPrivateKey(number));
        }
        Ok(&slot.key)
    }

    /// A public key for verification and ECDH, whether or not it may be exported.
    ///
    /// # Errors
    /// [`Error::EmptySlot`], [`Error::MasterSeed`].
    pub fn public_key(&self, which: PublicSlot) -> Result<(KeyType, &HexBytes)> {
        match which {
            PublicSlot::Own(EPHEMERAL_SLOT) => {
                let key = self.ephemeral.as_ref().ok_or(Error::EmptySlot(EPHEMERAL_SLOT))?;
                Ok((key.key_type, &key.public))
            }
            PublicSlot::Own(number) => {
                let slot = self.slots.get(&number).ok_or(Error::EmptySlot(number))?;
                if is_master_seed(slot) {
                    return Err(Error::MasterSeed(number));
                }
                Ok((slot.key.key_type, &slot.key.public))
            }
            PublicSlot::Foreign(number) => {
                let key = self.foreign.get(&number).ok_or(Error::EmptySlot(number))?;
                Ok((key.key_type, &key.public))
            }
        }
    }

    /// `zkExportPubKey`.
    ///
    /// # Errors
    /// As [`State::public_key`], and [`Error::ExportDisabled`].
    pub fn export(&self, which: PublicSlot) -> Result<(KeyType, &HexBytes)> {
        let disabled = match which {
            PublicSlot::Own(number) => self.slots.get(&number).is_some_and(|slot| slot.export_disabled),
            PublicSlot::Foreign(number) => self.foreign.get(&number).is_some_and(|key| key.export_disabled),
        };
        match which {
            PublicSlot::Own(number) | PublicSlot::Foreign(number) if disabled => Err(Error::ExportDisabled(number)),
            _ => self.public_key(which),
        }
    }

    /// `zkDisablePubKeyExport`.
    ///
    /// # Errors
    /// [`Error::EmptySlot`].
    pub fn disable_export(&mut self, which: PublicSlot) -> Result<()> {
        match which {
            PublicSlot::Own(n) => self.slots.get_mut(&n).ok_or(Error::EmptySlot(n))?.export_disabled = true,
            PublicSlot::Foreign(n) => self.foreign.get_mut(&n).ok_or(Error::EmptySlot(n))?.export_disabled = true,
        }
        Ok(())
    }

    /// `zkStoreForeignPubKey`.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::PublicKey`].
    pub fn store_foreign(&mut self, key_type: KeyType, public: &[u8]) -> Result<i32> {
        let public = key_type.parse_public(public)?;
        let number = (0..FOREIGN_SLOTS).find(|number| !self.foreign.contains_key(number)).ok_or(Error::Full)?;
        self.foreign.insert(number, ForeignKey { key_type, public, export_disabled: false });
        Ok(number)
    }

    /// `zkGetAllocSlotsList`: how many keys fit in all, and the slots that hold one, in ascending order.
    pub fn allocated(&self, foreign: bool) -> (i32, Vec<i32>) {
        if foreign {
            (FOREIGN_SLOTS, self.foreign.keys().copied().collect())
        } else {
            (self.capacity(), self.slots.keys().copied().collect())
        }
    }

    /// `zkGenECDSASigFromDigest`.
    ///
    /// # Errors
    /// As [`State::private_key`], and [`Error::KeyType`].
    pub fn sign(&self, number: i32, digest: &[u8; 32]) -> Result<SignatureAndRecovery> {
        self.private_key(number)?.sign(digest)
    }

    /// `zkVerifyECDSASigFromDigest`.
    ///
    /// # Errors
    /// As [`State::public_key`], and [`Error::KeyType`].
    pub fn verify(&self, which: PublicSlot, digest: &[u8; 32], signature: &[u8; 64]) -> Result<bool> {
        let (key_type, public) = self.public_key(which)?;
        keys::verify(key_type, public, digest, signature)
    }

    /// `zkDoRawECDH` and, with a function and its length, `zkDoECDHAndKDF`.
    ///
    /// # Errors
    /// As [`State::private_key`], [`Error::PublicKey`], [`Error::KeyType`], [`Error::Argument`].
    pub fn ecdh(&self, number: i32, peer: &[u8], kdf: Option<&KdfRequest<'_>>) -> Result<zeroize::Zeroizing<Vec<u8>>> {
        let secret = self.private_key(number)?.ecdh(peer)?;
        match kdf {
            None => Ok(zeroize::Zeroizing::new(secret.to_vec())),
            Some(kdf) => kdf.function.derive(secret.as_slice(), kdf.salt, kdf.info, kdf.iterations, kdf.len),
        }
    }

    /// For tests: exchanges what two slots hold, or moves a key when one of them is empty.
    ///
    /// # Errors
    /// [`Error::EmptySlot`], [`Error::Argument`] for a slot that the device does not have.
    pub fn swap_slots(&mut self, a: i32, b: i32) -> Result<()> {
        let end = FIRST_GENERATED_SLOT.saturating_add(self.generated_slots);
        if [a, b].iter().any(|number| !(0..end).contains(number)) {
            return Err(Error::Argument("slot"));
        }
        let (from_a, from_b) = (self.slots.remove(&a), self.slots.remove(&b));
        if from_a.is_none() && from_b.is_none() {
            return Err(Error::EmptySlot(a));
        }
        self.slots.extend(from_a.map(|slot| (b, slot)));
        self.slots.extend(from_b.map(|slot| (a, slot)));
        Ok(())
    }

    /// For tests: puts a new random key into a slot, which keeps its place in its wallet.
    ///
    /// # Errors
    /// [`Error::EmptySlot`].
    pub fn replace_key(&mut self, number: i32) -> Result<()> {
        let slot = self.slots.get_mut(&number).ok_or(Error::EmptySlot(number))?;
        slot.key = KeyPair::generate(slot.key.key_type);
        Ok(())
    }
}

/// What `zkDoECDHAndKDF` asks for.
#[derive(Clone, Copy, Debug)]
pub struct KdfRequest<'a> {
    /// The function.
    pub function: Kdf,
    /// Its salt.
    pub salt: &'a [u8],
    /// HKDF's info.
    pub info: &'a [u8],
    /// PBKDF2's iterations.
    pub iterations: i32,
    /// How many bytes to derive.
    pub len: usize,
}

/// Whether the slot holds the first node of a wallet with private keys.
pub fn is_master_seed(slot: &Slot) -> bool {
    slot.origin == Origin::Wallet && slot.node.as_ref().is_some_and(|node| node.path == DerivationPath::master())
}
