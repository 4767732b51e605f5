//! Wallets: master seeds, their descendants, oversight wallets, and the way between slots and node addresses.

use hmac::{Hmac, KeyInit as _, Mac as _};
use holdfast_wallet::bip39::Mnemonic;
use holdfast_wallet::{ChildNumber, DerivationPath};
use sha2::Sha512;
use zeroize::Zeroizing;

use crate::derive::{self, ExtendedKey};
use crate::error::{Error, Result};
use crate::hex::HexBytes;
use crate::keys::{KeyPair, KeyType, random};
use crate::state::{ExistingNode, Node, Origin, Slot, State, Wallet};

/// The longest wallet name.
pub const MAX_WALLET_NAME: usize = 128;

/// What every call that begins a wallet with a seed has in common.
#[derive(Clone, Copy, Debug)]
pub struct NewWallet<'a> {
    /// The type of its keys.
    pub key_type: KeyType,
    /// Empty, or `cardano` for Ed25519.
    pub variant: &'a str,
    /// Its name, unique on the device.
    pub name: &'a str,
    /// The master generator key; may be empty.
    pub master_generator_key: &'a [u8],
}

impl NewWallet<'_> {
    /// Whether the wallet derives as Cardano does.
    ///
    /// # Errors
    /// [`Error::Argument`] for a variant that the key type does not have, [`Error::KeyType`] for X25519.
    pub fn cardano(&self) -> Result<bool> {
        match (self.key_type, self.variant) {
            (KeyType::X25519, _) => Err(Error::KeyType(self.key_type, "form wallets")),
            (_, "") => Ok(false),
            (KeyType::Ed25519, "cardano") => Ok(true),
            _ => Err(Error::Argument("variant")),
        }
    }
}

impl State {
    /// Refuses what may not be generated while a SLIP39 session is open.
    pub(crate) fn no_open_session(&self) -> Result<()> {
        if self.slip39.is_some() { Err(Error::SessionOpen) } else { Ok(()) }
    }

    /// Refuses a wallet that could not be made now: its name, its type, no free slot, an open session.
    pub(crate) fn check_new_wallet(&self, new: &NewWallet<'_>) -> Result<()> {
        self.no_open_session()?;
        new.cardano()?;
        check_name(new.name)?;
        if self.wallets.contains_key(new.name) {
            return Err(Error::WalletExists(new.name.into()));
        }
        self.free_slot().map(|_| ())
    }

    /// `zkGenWalletMasterSeedWithBIP39` without a mnemonic: a seed that nothing brings back.
    ///
    /// # Errors
    /// [`Error::SessionOpen`], [`Error::WalletName`], [`Error::WalletExists`], [`Error::Full`], [`Error::Argument`].
    pub fn create_wallet(&mut self, new: &NewWallet<'_>) -> Result<i32> {
        self.check_new_wallet(new)?;
        self.add_master(new, random::<64>().as_slice(), "")
    }

    /// `zkGenWalletMasterSeedWithBIP39` with a mnemonic: 24 words bring the seed back. Answers them too.
    ///
    /// # Errors
    /// As [`State::create_wallet`].
    pub fn create_wallet_bip39(&mut self, new: &NewWallet<'_>, passphrase: &str) -> Result<(i32, Zeroizing<String>)> {
        self.check_new_wallet(new)?;
        let entropy = random::<32>();
        let mnemonic = Mnemonic::from_entropy(entropy.as_slice()).map_err(|e| Error::Words(e.to_string()))?;
        let slot = self.add_bip39_master(new, &mnemonic, passphrase)?;
        Ok((slot, mnemonic.phrase()))
    }

    /// `zkRestoreWalletMasterSeedFromBIP39Mnemonic`: the master seed, and nothing below it. Other words or another
    /// passphrase give another seed, as BIP39 means it.
    ///
    /// # Errors
    /// As [`State::create_wallet`], and [`Error::Words`].
    pub fn restore_wallet_bip39(&mut self, new: &NewWallet<'_>, passphrase: &str, words: &str) -> Result<i32> {
        self.check_new_wallet(new)?;
        let mnemonic = Mnemonic::parse(words).map_err(|e| Error::Words(e.to_string()))?;
        self.add_bip39_master(new, &mnemonic, passphrase)
    }

    fn add_bip39_master(&mut self, new: &NewWallet<'_>, mnemonic: &Mnemonic, passphrase: &str) -> Result<i32> {
        if new.cardano()? {
            return self.add_master(new, &mnemonic.entropy(), passphrase);
        }
        self.add_master(new, mnemonic.seed(passphrase).as_slice(), "")
    }

    /// Puts the master node of a seed into the lowest free slot. Only Cardano's derivation takes a passphrase here.
    pub(crate) fn add_master(&mut self, new: &NewWallet<'_>, seed: &[u8], passphrase: &str) -> Result<i32> {
        let cardano = new.cardano()?;
        let master = derive::master(new.key_type, cardano, &mix(seed, new.master_generator_key), passphrase)?;
        let wallet = Wallet { key_type: new.key_type, cardano, root: DerivationPath::master() };
        self.add_root(new.name, wallet, master, Origin::Wallet)
    }

    /// `zkGenOversightWallet`: a wallet that begins at a hardened node and has public keys only.
    ///
    /// # Errors
    /// As [`State::create_wallet`], [`Error::PublicKey`], and [`Error::Derivation`] for a node that is not hardened.
    pub fn create_oversight(
        &mut self,
        new: &NewWallet<'_>,
        public: &[u8],
        chain_code: &[u8],
        node: &str,
    ) -> Result<i32> {
        self.check_new_wallet(new)?;
        let root: DerivationPath = node.parse().map_err(|_| Error::NoNode(node.into()))?;
        if !root.last().is_some_and(ChildNumber::is_hardened) {
            return Err(Error::Derivation(format!("{root} is not hardened")));
        }
        let key = KeyPair { key_type: new.key_type, public: new.key_type.parse_public(public)?, private: None };
        let root_key = ExtendedKey { key, chain_code: chain_code.to_vec().into() };
        let wallet = Wallet { key_type: new.key_type, cardano: new.cardano()?, root };
        self.add_root(new.name, wallet, root_key, Origin::Oversight)
    }

    fn add_root(&mut self, name: &str, wallet: Wallet, root: ExtendedKey, origin: Origin) -> Result<i32> {
        let node = Node { wallet: name.into(), path: wallet.root.clone(), chain_code: root.chain_code };
        let number = self.add_slot(Slot { key: root.key, origin, export_disabled: false, node: Some(node) })?;
        self.wallets.insert(name.into(), wallet);
        Ok(number)
    }

    /// `zkGenWalletChildKey`: derives the child of a node. Answers its slot and its chain code.
    ///
    /// # Errors
    /// [`Error::SessionOpen`], [`Error::EmptySlot`], [`Error::NoWallet`] for a parent in no wallet,
    /// [`Error::NodeExists`], [`Error::Full`], and [`Error::Derivation`] where the standard defines no such child.
    pub fn create_child(&mut self, parent: i32, child: ChildNumber) -> Result<(i32, HexBytes)> {
        self.no_open_session()?;
        let slot = self.slots.get(&parent).ok_or(Error::EmptySlot(parent))?;
        let parent_node = slot.node.as_ref().ok_or(Error::NoWallet)?;
        let wallet = self.wallets.get(&parent_node.wallet).ok_or(Error::NoWallet)?;
        let path = parent_node.path.child(child);
        if let Some(existing) = self.node_slot(&parent_node.wallet, &path) {
            let node = self.slots.get(&existing).and_then(|slot| slot.node.as_ref()).ok_or(Error::NoWallet)?;
            return match self.existing_node {
                ExistingNode::Refuse => Err(Error::NodeExists(path.to_string())),
                ExistingNode::Answer => Ok((existing, node.chain_code.clone())),
            };
        }
        let parent_key = ExtendedKey { key: slot.key.clone(), chain_code: parent_node.chain_code.clone() };
        let derived = parent_key.child(child, wallet.cardano)?;
        let node = Node { wallet: parent_node.wallet.clone(), path, chain_code: derived.chain_code.clone() };
        let new = Slot { key: derived.key, origin: slot.origin, export_disabled: false, node: Some(node) };
        Ok((self.add_slot(new)?, derived.chain_code))
    }

    /// `zkGetWalletNodeAddrFromKeySlot`: the node in a slot and the slot of its wallet's first node.
    ///
    /// # Errors
    /// [`Error::EmptySlot`], [`Error::NoWallet`].
    pub fn node_of_slot(&self, number: i32) -> Result<(&Node, i32)> {
        let slot = self.slots.get(&number).ok_or(Error::EmptySlot(number))?;
        let node = slot.node.as_ref().ok_or(Error::NoWallet)?;
        Ok((node, self.master_slot(&node.wallet).ok_or(Error::NoWallet)?))
    }

    /// `zkGetWalletKeySlotFromNodeAddr`: the slot of a node, its wallet given by name or by its first node's slot.
    ///
    /// # Errors
    /// [`Error::NoWallet`], [`Error::NoNode`].
    pub fn slot_of_node(&self, address: &str, wallet: Option<&str>, master_slot: i32) -> Result<i32> {
        let wallet = match wallet {
            Some(name) => name,
            None => {
                let (node, master) = self.node_of_slot(master_slot)?;
                if master != master_slot {
                    return Err(Error::NoWallet);
                }
                &node.wallet
            }
        };
        if !self.wallets.contains_key(wallet) {
            return Err(Error::NoWallet);
        }
        let no_node = || Error::NoNode(address.into());
        let path: DerivationPath = address.parse().map_err(|_| no_node())?;
        self.node_slot(wallet, &path).ok_or_else(no_node)
    }
}

/// The seed that enters the derivation: the given one, or HMAC-SHA-512 of it under the master generator key when
/// there is one.
fn mix(seed: &[u8], master_generator_key: &[u8]) -> Zeroizing<Vec<u8>> {
    if master_generator_key.is_empty() {
        return Zeroizing::new(seed.to_vec());
    }
    let mut mac = Hmac::<Sha512>::new_from_slice(master_generator_key).expect("HMAC takes keys of any length");
    mac.update(seed);
    Zeroizing::new(mac.finalize().into_bytes().to_vec())
}

fn check_name(name: &str) -> Result<()> {
    let printable = name.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if name.is_empty() || name.len() > MAX_WALLET_NAME || !printable { Err(Error::WalletName) } else { Ok(()) }
}
