//! What is well with the keys, and what is not.

use std::collections::BTreeSet;
use std::sync::Arc;

use holdfast_device::{DeviceError, KeySlot, NodeAddress};
use holdfast_mapping_db::{
    Intent, IntentKind, KeyRecord, Leftover, ObjectRecord, Origin, Recovery, Store, WalletRecord,
};
use holdfast_wallet::DerivationPath;

use crate::keystore::has_private;
use crate::locate::{is_refusal, random};
use crate::{Error, Keystore};

/// What is going on with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// Found by clients, ready to sign.
    Ready,
    /// A session key pair, seen by one process only.
    Session,
    /// Its private half was destroyed, and the device's key with it; the public object was kept.
    PublicOnly,
    /// Hidden: its destruction was begun.
    Destroying,
    /// Hidden: its token is being, or was only half, initialised again.
    InitialisingToken,
}

/// A key, its objects and its state, hidden or not.
#[derive(Clone, Debug)]
pub struct KeyWithState {
    /// The key.
    pub key: Arc<KeyRecord>,
    /// Its objects.
    pub objects: Vec<ObjectRecord>,
    /// What is going on with it.
    pub state: KeyState,
}

/// What [`Keystore::verify`](crate::Keystore::verify) shall do.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Only this many keys, chosen at random; `None`: all.
    pub sample: Option<usize>,
}

/// The outcome for one key: on the device, matching its public key, signing - or why not.
#[derive(Debug)]
pub struct KeyHealth {
    /// The key.
    pub key: Arc<KeyRecord>,
    /// The slot in which it was found, and signs; or what is wrong.
    pub outcome: Result<i32, Error>,
}

/// Something that the operator should know. `Display` says what it is and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// Something of ours is on the device that is no key.
    #[error("{} {} on the device is no key ({}): it takes a slot, and is kept until `holdfast repair` is told to remove it", .0.wallet_name, .0.path, .0.reason.name())]
    Leftover(Leftover),
    /// The device could not be asked, so that only the store was looked at.
    #[error("the device could not be asked ({0}): what is on it is not known")]
    DeviceUnreachable(String),
    /// A wallet that belongs to another device than the one attached.
    #[error(
        "wallet {name} is on device {recorded}, but device {attached} is attached: its keys cannot sign here; attach the right one"
    )]
    OtherDevice {
        /// The wallet's name.
        name: String,
        /// Serial number of the device that holds the wallet.
        recorded: String,
        /// Serial number of the device that answered.
        attached: String,
    },
    /// A node of one of our wallets that the store does not know.
    #[error(
        "{wallet} {path} (slot {slot}) is on the device but not in the store, which may be an older copy: nothing is done to it"
    )]
    UnrecordedNode {
        /// The wallet's name.
        wallet: String,
        /// The node's address.
        path: String,
        /// Its slot.
        slot: i32,
    },
    /// A recorded wallet whose seed is not on the device.
    #[error(
        "the seed of wallet {name} is not on the device: its keys cannot sign; keep its recovery words, if it has any, and make new keys"
    )]
    WalletMissing {
        /// The wallet's name.
        name: String,
    },
    /// A recorded key that is not on the device.
    #[error("{node} (label {label:?}) is not on the device")]
    KeyMissing {
        /// The key's node.
        node: String,
        /// Its label.
        label: String,
    },
    /// An initialisation of a token that was interrupted: its keys are hidden until the operator decides.
    #[error(
        "the initialisation of token {token_serial} was interrupted; its keys are hidden until `holdfast repair` is told whether it happened"
    )]
    InterruptedInitToken {
        /// The token's serial number.
        token_serial: String,
        /// Whether the backend is known to have initialised it.
        accepted: bool,
    },
    /// Work whose process has ended and that nobody has finished or undone yet.
    #[error("an interrupted {kind} waits to be finished or undone: run `holdfast repair`")]
    Interrupted {
        /// What was being done.
        kind: &'static str,
    },
    /// A wallet whose keys die with the device.
    #[error("wallet {} has no recovery: its keys die with the device. Replace them by keys of a wallet made with `holdfast wallet create --recovery bip39`", .0.name)]
    NoRecovery(Box<WalletRecord>),
    /// A wallet whose words were never confirmed.
    #[error("wallet {} takes no keys: its recovery words were never confirmed", .0.name)]
    Unconfirmed(Box<WalletRecord>),
    /// A wallet in which no further keys are made.
    #[error("wallet {} gets no further keys, because the store may be older than the device; its keys work, new ones go to a new wallet", .0.name)]
    Retired(Box<WalletRecord>),
}

impl Keystore {
    /// Checks keys: on the device, matching the recorded public key, signing something random. Hidden keys and public
    /// objects without a key are left out. Fails only when the store or the device cannot be reached.
    pub fn verify(&self, options: &VerifyOptions) -> Result<Vec<KeyHealth>, Error> {
        let serving = |state| matches!(state, KeyState::Ready);
        let mut keys: Vec<_> = self.keys()?.into_iter().filter(|key| serving(key.state)).collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.identify()?;
        if let Some(sample) = options.sample {
            while keys.len() > sample {
                let mut bytes = [0; 8];
                random(&mut bytes)?;
                let chosen = (u64::from_le_bytes(bytes) % keys.len() as u64) as usize;
                keys.swap_remove(chosen);
            }
            keys.sort_by_key(|key| key.key.id);
        }
        let mut health = Vec::with_capacity(keys.len());
        for KeyWithState { key, .. } in keys {
            let outcome = self.check_key(&key);
            if let Err(Error::Device(error @ (DeviceError::Unreachable { .. } | DeviceError::Library { .. }))) = outcome
            {
                return Err(error.into());
            }
            health.push(KeyHealth { key, outcome });
        }
        Ok(health)
    }

    fn check_key(&self, key: &KeyRecord) -> Result<i32, Error> {
        self.forget_slot(key);
        let mut digest = [0; 32];
        random(&mut digest)?;
        self.sign(key, &digest)?;
        Ok(self.locate(key)?.number())
    }

    /// What the operator should know: from the store, and from the device where it can be reached. Cheap: the device
    /// is asked for its slots, and about those that the store cannot account for. [`Keystore::verify`] is thorough.
    pub fn findings(&self) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        let Some(known) = self.with_store(Recorded::read)? else { return Ok(findings) };
        known.report(&mut findings);
        match self.look_at_device(&known) {
            Ok(found) => findings.extend(found),
            Err(Error::Device(error)) => findings.push(Finding::DeviceUnreachable(error.to_string())),
            Err(error) => return Err(error),
        }
        Ok(findings)
    }

    fn look_at_device(&self, known: &Recorded) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        let serial = self.identify()?.serial;
        let allocated: BTreeSet<i32> =
            self.device.allocated_slots()?.slots.into_iter().map(|slot| slot.number()).collect();
        let mut accounted = BTreeSet::new();
        for wallet in &known.wallets {
            if wallet.device_serial != serial {
                findings.push(Finding::OtherDevice {
                    name: wallet.name.clone(),
                    recorded: wallet.device_serial.clone(),
                    attached: serial.clone(),
                });
                continue;
            }
            match self.slot_now(&allocated, wallet.master_slot, &wallet.name, &DerivationPath::master())? {
                Some(slot) => drop(accounted.insert(slot)),
                None => findings.push(Finding::WalletMissing { name: wallet.name.clone() }),
            }
        }
        for (key, objects) in known.keys.iter().filter(|(key, _)| key.device_serial == serial) {
            if !has_private(objects) {
                continue;
            }
            let found = match &key.origin {
                Origin::Adopted => allocated.contains(&key.slot).then_some(key.slot),
                Origin::Derived { wallet_name, path, .. } => self.slot_now(&allocated, key.slot, wallet_name, path)?,
            };
            match found {
                Some(slot) => drop(accounted.insert(slot)),
                None => {
                    let label = objects.first().map(|object| String::from_utf8_lossy(&object.label).into_owned());
                    findings.push(Finding::KeyMissing { node: key.node(), label: label.unwrap_or_default() });
                }
            }
        }
        for slot in allocated.difference(&accounted).filter_map(|slot| KeySlot::new(*slot)) {
            let node = match self.device.node_of_slot(slot) {
                Ok(node) => node,
                Err(error) if is_refusal(&error) => continue,
                Err(error) => return Err(error.into()),
            };
            let ours = known.wallets.iter().any(|w| w.device_serial == serial && w.name == node.wallet_name)
                || node.wallet_name.starts_with("holdfast-");
            if ours && !known.explains(&serial, &node) {
                findings.push(Finding::UnrecordedNode {
                    wallet: node.wallet_name,
                    path: node.path.to_string(),
                    slot: slot.number(),
                });
            }
        }
        Ok(findings)
    }

    /// The slot of a node: the cached one when it is that node, else the one that the device names.
    fn slot_now(
        &self,
        allocated: &BTreeSet<i32>,
        cached: i32,
        wallet_name: &str,
        path: &DerivationPath,
    ) -> Result<Option<i32>, Error> {
        if let Some(slot) = KeySlot::new(cached).filter(|_| allocated.contains(&cached)) {
            match self.device.node_of_slot(slot) {
                Ok(node) if node.path == *path && node.wallet_name == wallet_name => return Ok(Some(cached)),
                Ok(_) => {}
                Err(error) if is_refusal(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.slot_of(path, wallet_name, Some(cached))?.map(KeySlot::number))
    }
}

/// The store's side of the findings.
struct Recorded {
    wallets: Vec<WalletRecord>,
    keys: Vec<(KeyRecord, Vec<ObjectRecord>)>,
    leftovers: Vec<Leftover>,
    /// With whether their owner lives.
    intents: Vec<(Intent, bool)>,
}

impl Recorded {
    fn read(store: &mut Store) -> Result<Self, Error> {
        let own = store.known_owner();
        let (wallets, keys, leftovers, intents) = store.read(|rows| {
            let mut keys = Vec::new();
            for key in rows.keys()? {
                let objects = rows.objects_of_key(key.id)?;
                keys.push((key, objects));
            }
            Ok::<_, Error>((rows.wallets()?, keys, rows.leftovers()?, rows.intents()?))
        })?;
        let mut judged = Vec::new();
        for intent in intents {
            let alive = own == Some(intent.owner) || store.owner_alive(intent.owner)?;
            judged.push((intent, alive));
        }
        Ok(Self { wallets, keys, leftovers, intents: judged })
    }

    fn report(&self, findings: &mut Vec<Finding>) {
        findings.extend(self.leftovers.iter().cloned().map(Finding::Leftover));
        for (intent, _) in self.intents.iter().filter(|(_, alive)| !alive) {
            findings.push(match &intent.kind {
                IntentKind::InitToken { token_serial, accepted } => {
                    Finding::InterruptedInitToken { token_serial: token_serial.clone(), accepted: *accepted }
                }
                kind => Finding::Interrupted { kind: kind.name() },
            });
        }
        for wallet in &self.wallets {
            let record = || Box::new(wallet.clone());
            if wallet.retired {
                findings.push(Finding::Retired(record()));
            }
            if !wallet.confirmed {
                findings.push(Finding::Unconfirmed(record()));
            }
            if wallet.recovery == Recovery::None {
                findings.push(Finding::NoRecovery(record()));
            }
        }
    }

    /// Whether a node is a leftover or being worked on.
    fn explains(&self, serial: &str, node: &NodeAddress) -> bool {
        let left = |l: &Leftover| l.device_serial == serial && l.wallet_name == node.wallet_name && l.path == node.path;
        let working = |intent: &Intent| match &intent.kind {
            IntentKind::Generate { wallet, child } => {
                let name = self.wallets.iter().find(|w| w.id == *wallet).map(|w| &w.name);
                name == Some(&node.wallet_name) && DerivationPath::master().child(*child) == node.path
            }
            IntentKind::CreateWallet { name, .. } => *name == node.wallet_name,
            IntentKind::Destroy { .. } | IntentKind::InitToken { .. } => false,
        };
        self.leftovers.iter().any(left) || self.intents.iter().any(|(intent, _)| working(intent))
    }
}
