use std::collections::{HashMap, HashSet};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard};

use holdfast_config::{AutoCreateWallet, Config, Policy, Strategy};
use holdfast_device::{Device, DeviceConfig, Identity, KeySlot, Verdict, WalletDevice};
use holdfast_mapping_db::{
    IntentKind, KeyId, KeyRecord, Location, ObjectClass, ObjectFilter, ObjectId, ObjectRecord, Rows, Store,
    WalletRecord, WriteTx,
};

use crate::{Error, KeyState, KeyWithState, Object};

/// The part of the configuration that decides where keys are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether keys are mapped.
    pub policy: Policy,
    /// How keys are spread over wallets.
    pub strategy: Strategy,
    /// Whether keys are made at hardened indices.
    pub hardened: bool,
    /// Keys per wallet before another is begun; `None`: no limit.
    pub wallet_capacity: Option<NonZeroU32>,
    /// What a generation does when the token has no wallet yet.
    pub auto_create_wallet: AutoCreateWallet,
}

/// Where a generation's key goes, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Whether the key becomes a node of a wallet; otherwise the backend makes it.
    pub maps: bool,
    /// What the firmware table says; `None` when policy decides without asking the device.
    pub verdict: Option<Verdict>,
    /// The policy in force.
    pub policy: Policy,
    /// The device's own firmware string, when it was asked.
    pub firmware: Option<String>,
    /// The reason in words, for the log.
    pub reason: String,
}

/// Told before and after every step of a change, so that a test can stop there.
pub trait StepObserver: Send + Sync {
    /// The step `name` has been reached.
    fn step(&self, name: &'static str);
}

/// Keys of the device, as the store records them. Nothing is opened before it is needed.
pub struct Keystore {
    pub(crate) location: Location,
    pub(crate) settings: Settings,
    pub(crate) device: Arc<dyn WalletDevice>,
    observer: Option<Arc<dyn StepObserver>>,
    /// The one mutex around SQLite; never held across a device call.
    slot: Mutex<StoreSlot>,
    /// What this process has learnt from the device; never held across a device call either.
    known: Mutex<Known>,
}

/// The open store and what was read from it.
#[derive(Default)]
pub(crate) struct StoreSlot {
    pub store: Option<Store>,
    /// Keys as last read, so that all objects of a key share one record.
    keys: HashMap<KeyId, Arc<KeyRecord>>,
    /// Whether the file was replaced since somebody looked: what was learnt under the old one may not hold.
    replaced: bool,
}

/// What this process has learnt from the device.
#[derive(Default)]
pub(crate) struct Known {
    pub serial: Option<String>,
    /// Slots whose node address and public key were checked.
    pub checked: HashMap<KeyId, KeySlot>,
    /// Allocated slots found to be no node of our wallets.
    pub foreign: HashSet<KeySlot>,
}

impl fmt::Debug for Keystore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keystore").field("location", &self.location).finish_non_exhaustive()
    }
}

impl Keystore {
    /// The keystore that a configuration describes. Opens neither device nor store.
    pub fn configured(config: &Config) -> Self {
        let mapping = &config.mapping;
        let location =
            Location { database: mapping.database.clone(), group: mapping.group.clone(), mode: mapping.mode };
        let settings = Settings {
            policy: mapping.policy,
            strategy: mapping.strategy,
            hardened: mapping.hardened,
            wallet_capacity: mapping.wallet_capacity,
            auto_create_wallet: mapping.auto_create_wallet,
        };
        Self::new(location, settings, Arc::new(Device::new(DeviceConfig::from(&config.device))))
    }

    /// A keystore over the store at `location` and `device`. Opens neither.
    pub fn new(location: Location, settings: Settings, device: Arc<dyn WalletDevice>) -> Self {
        let (slot, known) = (Mutex::default(), Mutex::default());
        Self { location, settings, device, observer: None, slot, known }
    }

    /// The same, telling `observer` of every step.
    pub fn with_observer(self, observer: Arc<dyn StepObserver>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// The part of the configuration that decides where keys are made.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Closes the store, which the next use opens again. Session keys of this process are given up with it.
    pub fn close(&self) {
        *self.lock_store() = StoreSlot::default();
    }

    /// The device.
    pub fn device(&self) -> &Arc<dyn WalletDevice> {
        &self.device
    }

    /// Why this process may not write the store, in words; `None` when it may, or when there is no store yet.
    pub fn write_obstacle(&self) -> Result<Option<String>, Error> {
        self.with_store(|store| Ok(store.write_obstacle().map(str::to_owned))).map(Option::flatten)
    }

    /// Whether a generation maps its key, by policy and firmware. Asks the device only under the policy `auto`.
    pub fn placement(&self) -> Result<Placement, Error> {
        let policy = self.settings.policy;
        let by_policy = |maps: bool, reason: &str| Placement {
            maps,
            verdict: None,
            policy,
            firmware: None,
            reason: reason.to_owned(),
        };
        match policy {
            Policy::Always => Ok(by_policy(true, "policy always maps every key")),
            Policy::Never => Ok(by_policy(false, "policy never maps no key")),
            Policy::Auto => {
                let identity = self.identify()?;
                let (verdict, reason) = holdfast_device::verdict(&identity);
                let reason = format!("{} with firmware {}: {reason}", identity.model, identity.firmware);
                let maps = verdict != Verdict::NotAffected;
                Ok(Placement { maps, verdict: Some(verdict), policy, firmware: Some(identity.firmware), reason })
            }
        }
    }

    /// The objects of a token that `filter` lets through: token objects, and session objects of this process. Keys
    /// being destroyed are not among them.
    pub fn find(&self, token_serial: &str, filter: &ObjectFilter) -> Result<Vec<Object>, Error> {
        let found = self.read(|rows, owner| Ok(rows.find(token_serial, owner, filter)?))?.unwrap_or_default();
        let mut slot = self.lock_store();
        Ok(found.into_iter().map(|(record, key)| Object { record, key: slot.share(key) }).collect())
    }

    /// One object, when it (still) exists and is not hidden.
    pub fn object(&self, id: ObjectId) -> Result<Option<Object>, Error> {
        let found = self.read(|rows, owner| Ok(rows.visible_object(id, owner)?))?.flatten();
        Ok(found.map(|(record, key)| Object { record, key: self.lock_store().share(key) }))
    }

    /// One key, hidden or not.
    pub fn key(&self, id: KeyId) -> Result<Option<Arc<KeyRecord>>, Error> {
        let found = self.read(|rows, _| Ok(rows.key(id)?))?.flatten();
        Ok(found.map(|key| self.lock_store().share(key)))
    }

    /// Every key with its objects and its state, hidden ones too.
    pub fn keys(&self) -> Result<Vec<KeyWithState>, Error> {
        let found = self.read(|rows, _| {
            let intents = rows.intents()?;
            let destroying =
                |key| intents.iter().any(|i| matches!(i.kind, IntentKind::Destroy { key: k, .. } if k == key));
            let initialising = |token: &str| {
                intents
                    .iter()
                    .any(|i| matches!(&i.kind, IntentKind::InitToken { token_serial, .. } if token_serial == token))
            };
            let mut all = Vec::new();
            for key in rows.keys()? {
                let objects = rows.objects_of_key(key.id)?;
                let state = if destroying(key.id) {
                    KeyState::Destroying
                } else if initialising(&key.token_serial) {
                    KeyState::InitialisingToken
                } else if !has_private(&objects) {
                    KeyState::PublicOnly
                } else if key.session {
                    KeyState::Session
                } else {
                    KeyState::Ready
                };
                all.push((key, objects, state));
            }
            Ok(all)
        })?;
        let mut slot = self.lock_store();
        let share = |(key, objects, state)| KeyWithState { key: slot.share(key), objects, state };
        Ok(found.unwrap_or_default().into_iter().map(share).collect())
    }

    /// Every wallet.
    pub fn wallets(&self) -> Result<Vec<WalletRecord>, Error> {
        Ok(self.read(|rows, _| Ok(rows.wallets()?))?.unwrap_or_default())
    }

    pub(crate) fn step(&self, name: &'static str) {
        if let Some(observer) = &self.observer {
            observer.step(name);
        }
    }

    /// The device's identity, asked afresh.
    pub(crate) fn identify(&self) -> Result<Identity, Error> {
        let identity = self.device.identity()?;
        let mut known = self.lock_known();
        if known.serial.as_ref() != Some(&identity.serial) {
            known.serial = Some(identity.serial.clone());
            known.checked.clear();
            known.foreign.clear();
        }
        Ok(identity)
    }

    /// The device's serial number, asked once.
    pub(crate) fn device_serial(&self) -> Result<String, Error> {
        let known = self.lock_known().serial.clone();
        match known {
            Some(serial) => Ok(serial),
            None => Ok(self.identify()?.serial),
        }
    }

    pub(crate) fn lock_known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(|poisoned| {
            self.known.clear_poison();
            poisoned.into_inner()
        })
    }

    pub(crate) fn lock_store(&self) -> MutexGuard<'_, StoreSlot> {
        self.slot.lock().unwrap_or_else(|poisoned| {
            self.slot.clear_poison();
            let mut slot = poisoned.into_inner();
            // A panic may have left a transaction open: closing the connection ends it.
            *slot = StoreSlot::default();
            slot
        })
    }

    /// Answers questions from the store; `None` when there is no store yet.
    pub(crate) fn read<T>(
        &self,
        questions: impl FnOnce(&Rows<'_>, Option<holdfast_mapping_db::OwnerId>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        self.with_store(|store| {
            let owner = store.known_owner();
            store.read(|rows| questions(rows, owner))
        })
    }

    /// Changes the store, which must be there.
    pub(crate) fn write<T>(&self, changes: impl FnOnce(&WriteTx<'_>) -> Result<T, Error>) -> Result<Option<T>, Error> {
        self.with_store(|store| store.write(changes))
    }

    /// Works with the store; `None` when there is none yet.
    pub(crate) fn with_store<T>(&self, work: impl FnOnce(&mut Store) -> Result<T, Error>) -> Result<Option<T>, Error> {
        let mut slot = self.refreshed()?;
        if slot.store.is_none() {
            slot.store = Store::open(&self.location)?;
        }
        slot.store.as_mut().map(work).transpose()
    }

    /// The store, which is the file with the store's name when it is open.
    fn refreshed(&self) -> Result<MutexGuard<'_, StoreSlot>, Error> {
        let mut slot = self.lock_store();
        slot.refresh()?;
        if std::mem::take(&mut slot.replaced) {
            let mut known = self.lock_known();
            known.checked.clear();
            known.foreign.clear();
        }
        Ok(slot)
    }

    /// Works with the store, which is made first where there is none.
    pub(crate) fn with_new_store<T>(&self, work: impl FnOnce(&mut Store) -> Result<T, Error>) -> Result<T, Error> {
        let mut slot = self.refreshed()?;
        if slot.store.is_none() {
            slot.store = Some(Store::open_or_create(&self.location)?);
        }
        match slot.store.as_mut() {
            Some(store) => work(store),
            // Just set: not reached.
            None => Err(Error::Conflict { what: "opening the store".to_owned() }),
        }
    }
}

impl StoreSlot {
    /// Makes sure that an open store is the one with the store's name.
    fn refresh(&mut self) -> Result<(), Error> {
        let Some(store) = &mut self.store else { return Ok(()) };
        if store.is_current()? {
            return Ok(());
        }
        tracing::info!(store = %store.path().display(), "the store was replaced and is opened again");
        self.keys.clear();
        self.replaced = true;
        if !store.reopen()? {
            self.store = None;
        }
        Ok(())
    }

    fn share(&mut self, key: KeyRecord) -> Arc<KeyRecord> {
        match self.keys.get(&key.id) {
            Some(shared) if **shared == key => Arc::clone(shared),
            _ => {
                let shared = Arc::new(key);
                self.keys.insert(shared.id, Arc::clone(&shared));
                shared
            }
        }
    }

    pub(crate) fn forget(&mut self, key: KeyId) {
        self.keys.remove(&key);
    }
}

pub(crate) fn has_private(objects: &[ObjectRecord]) -> bool {
    objects.iter().any(|object| object.class == ObjectClass::PrivateKey)
}
