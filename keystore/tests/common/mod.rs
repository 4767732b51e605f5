//! A device in memory that counts what it is told and can be told to misbehave, and a host around it whose processes
//! can be ended at any step.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use holdfast_config::{AutoCreateWallet, Policy, Strategy};
use holdfast_device::{AllocatedSlots, DeviceError, Identity, KeySlot, NodeAddress, WalletDevice};
use holdfast_keystore::{
    Finding, GenerateRequest, GeneratedPair, KeyState, Keystore, Location, NewObject, ObjectFilter, Settings,
    StepObserver,
};
use holdfast_wallet::{ChildNumber, Curve, DerivationPath, PublicKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub const TOKEN: &str = "1234567890abcdef";

#[derive(Clone)]
pub struct Node {
    pub wallet: String,
    pub path: DerivationPath,
    pub curve: Curve,
    pub secret: [u8; 32],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers without doing anything.
    Refuse,
    /// Says nothing and does nothing.
    LoseBefore,
    /// Does it, and says nothing.
    LoseAfter,
    /// The calling process ends before the device acts.
    DieBefore,
    /// The calling process ends after the device has acted.
    DieAfter,
    /// A reply that cannot be.
    Nonsense,
}

#[derive(Default)]
pub struct State {
    pub serial: String,
    pub firmware: String,
    pub capacity: usize,
    pub slots: BTreeMap<i32, Node>,
    pub fault: Option<(usize, Fault)>,
    pub calls: usize,
    pub unreachable: bool,
    /// Nodes ever derived: seed and address. A second derivation breaks I3 unless the node is still there.
    pub derived: HashSet<([u8; 32], String)>,
    pub violations: Vec<String>,
    /// Nodes that only an operator may remove are removed on purpose now.
    pub operator: bool,
    pub single_key_seeds: bool,
    pub sign_wrong: bool,
    pub no_export: bool,
    /// The next derivation makes a key with this secret.
    pub next_secret: Option<[u8; 32]>,
    /// The next derivation answers this slot, which takes on the address asked for.
    pub next_slot: Option<i32>,
    /// Derivations take this long, during which the device answers nobody.
    pub slow: std::time::Duration,
    pub log: Vec<&'static str>,
}

/// The device, shared by all "processes" of a test.
#[derive(Clone)]
pub struct Sim(pub Arc<Mutex<State>>);

pub struct Died;

impl Sim {
    pub fn new(capacity: usize) -> Self {
        let mut state =
            State { serial: "SIM0001".into(), firmware: "01.02.02release".into(), capacity, ..State::default() };
        // Factory keys.
        for slot in 0..2 {
            let secret = [slot as u8 + 1; 32];
            state.slots.insert(
                slot,
                Node { wallet: String::new(), path: DerivationPath::master(), curve: Curve::P256, secret },
            );
        }
        Self(Arc::new(Mutex::new(state)))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn call<T>(
        &self,
        call: &'static str,
        act: impl FnOnce(&mut State) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let mut state = self.state();
        state.calls += 1;
        state.log.push(call);
        if state.unreachable {
            return Err(DeviceError::Unreachable { reason: "switched off".into(), maybe_done: false });
        }
        let fault = match state.fault {
            Some((at, fault)) if at == state.calls => Some(fault),
            _ => None,
        };
        match fault {
            Some(Fault::Refuse) => return Err(DeviceError::Refused { call }),
            Some(Fault::LoseBefore) => {
                return Err(DeviceError::Unreachable { reason: "lost".into(), maybe_done: true });
            }
            Some(Fault::DieBefore) => std::panic::panic_any(Died),
            Some(Fault::Nonsense) => return Err(DeviceError::InvalidReply { call, reason: "nonsense".into() }),
            _ => {}
        }
        let outcome = act(&mut state);
        match fault {
            Some(Fault::DieAfter) => std::panic::panic_any(Died),
            Some(Fault::LoseAfter) => Err(DeviceError::Unreachable { reason: "lost".into(), maybe_done: true }),
            _ => outcome,
        }
    }
}

pub fn public_key(curve: Curve, secret: &[u8; 32]) -> PublicKey {
    match curve {
        Curve::P256 => {
            let key = p256::SecretKey::from_slice(secret).unwrap();
            PublicKey::from_sec1(curve, &key.public_key().to_sec1_bytes()).unwrap()
        }
        Curve::Secp256k1 => {
            let key = k256::SecretKey::from_slice(secret).unwrap();
            let point = k256::elliptic_curve::sec1::ToSec1Point::to_sec1_point(&key.public_key(), false);
            PublicKey::from_sec1(curve, point.as_bytes()).unwrap()
        }
    }
}

impl State {
    fn free_slot(&self, call: &'static str) -> Result<i32, DeviceError> {
        if self.slots.len() >= self.capacity {
            return Err(DeviceError::Refused { call });
        }
        Ok((16..).find(|slot| !self.slots.contains_key(slot)).unwrap())
    }

    fn node(&self, slot: KeySlot, call: &'static str) -> Result<&Node, DeviceError> {
        self.slots.get(&slot.number()).ok_or(DeviceError::Refused { call })
    }

    pub fn find(&self, wallet: &str, path: &DerivationPath) -> Option<i32> {
        self.slots
            .iter()
            .find(|(_, n)| !n.wallet.is_empty() && n.wallet == wallet && n.path == *path)
            .map(|(slot, _)| *slot)
    }

    /// The nodes there are, as [`State::derived`] names them.
    pub fn nodes(&self) -> HashSet<([u8; 32], String)> {
        let seed = |wallet: &str| self.find(wallet, &DerivationPath::master()).map(|slot| self.slots[&slot].secret);
        self.slots
            .values()
            .filter(|node| !node.wallet.is_empty())
            .filter_map(|node| Some((seed(&node.wallet)?, node.path.to_string())))
            .collect()
    }

    pub fn make_seed(&mut self, curve: Curve, name: &str) -> Result<KeySlot, DeviceError> {
        let call = "zkGenWalletMasterSeedWithBIP39";
        if self.find(name, &DerivationPath::master()).is_some() {
            return Err(DeviceError::Refused { call });
        }
        let slot = self.free_slot(call)?;
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).unwrap();
        secret[0] &= 0x7f;
        let node = Node { wallet: name.into(), path: DerivationPath::master(), curve, secret };
        self.slots.insert(slot, node);
        Ok(KeySlot::new(slot).unwrap())
    }
}

impl WalletDevice for Sim {
    fn identity(&self) -> Result<Identity, DeviceError> {
        self.call("zkGetSerialNumberString", |state| {
            Ok(Identity { model: "SCM".into(), firmware: state.firmware.clone(), serial: state.serial.clone() })
        })
    }

    fn sign_digest(&self, slot: KeySlot, digest: &[u8; 32]) -> Result<[u8; 64], DeviceError> {
        self.call("zkGenECDSASigFromDigest", |state| {
            let node = state.node(slot, "zkGenECDSASigFromDigest")?;
            let mut signature: [u8; 64] = match node.curve {
                Curve::P256 => {
                    use p256::ecdsa::signature::hazmat::PrehashSigner;
                    let key = p256::ecdsa::SigningKey::from_slice(&node.secret).unwrap();
                    let signature: p256::ecdsa::Signature = key.sign_prehash(digest).unwrap();
                    signature.to_bytes().as_slice().try_into().unwrap()
                }
                Curve::Secp256k1 => {
                    use k256::ecdsa::signature::hazmat::PrehashSigner;
                    let key = k256::ecdsa::SigningKey::from_slice(&node.secret).unwrap();
                    let signature: k256::ecdsa::Signature = key.sign_prehash(digest).unwrap();
                    signature.to_bytes().as_slice().try_into().unwrap()
                }
            };
            if state.sign_wrong {
                signature[40] ^= 1;
            }
            Ok(signature)
        })
    }

    fn raw_ecdh(&self, slot: KeySlot, peer: &PublicKey) -> Result<Zeroizing<[u8; 32]>, DeviceError> {
        self.call("zkDoRawECDH", |state| {
            let node = state.node(slot, "zkDoRawECDH")?;
            assert_eq!(node.curve, Curve::P256);
            let peer = p256::PublicKey::from_sec1_bytes(&peer.to_sec1()).unwrap();
            let key = p256::SecretKey::from_slice(&node.secret).unwrap();
            let shared = p256::ProjectivePoint::from(*peer.as_affine()) * *key.to_nonzero_scalar();
            let x = p256::elliptic_curve::point::AffineCoordinates::x(&shared.to_affine());
            Ok(Zeroizing::new(x.as_slice().try_into().unwrap()))
        })
    }

    fn export_public_key(&self, slot: KeySlot, curve: Curve) -> Result<PublicKey, DeviceError> {
        let call = "zkExportPubKey";
        self.call(call, |state| {
            let no_export = state.no_export;
            let node = state.node(slot, call)?;
            if no_export || (node.path.is_master() && !node.wallet.is_empty()) {
                return Err(DeviceError::Refused { call });
            }
            if node.curve != curve {
                return Err(DeviceError::InvalidReply { call, reason: "not on the curve".into() });
            }
            Ok(public_key(node.curve, &node.secret))
        })
    }

    fn allocated_slots(&self) -> Result<AllocatedSlots, DeviceError> {
        self.call("zkGetAllocSlotsList", |state| {
            let slots = state.slots.keys().map(|slot| KeySlot::new(*slot).unwrap()).collect();
            Ok(AllocatedSlots { capacity: state.capacity, slots })
        })
    }

    fn create_wallet(&self, curve: Curve, name: &str) -> Result<KeySlot, DeviceError> {
        self.call("zkGenWalletMasterSeedWithBIP39", |state| state.make_seed(curve, name))
    }

    fn create_wallet_bip39(
        &self,
        curve: Curve,
        name: &str,
        _passphrase: &str,
    ) -> Result<(KeySlot, Zeroizing<String>), DeviceError> {
        self.call("zkGenWalletMasterSeedWithBIP39", |state| {
            let slot = state.make_seed(curve, name)?;
            Ok((slot, Zeroizing::new("abandon ".repeat(23) + "art")))
        })
    }

    fn generate_child(&self, parent: KeySlot, child: ChildNumber) -> Result<KeySlot, DeviceError> {
        let call = "zkGenWalletChildKey";
        self.call(call, |state| {
            let parent = state.node(parent, call)?.clone();
            if parent.wallet.is_empty() {
                return Err(DeviceError::Refused { call });
            }
            let path = parent.path.child(child);
            if let Some(existing) = state.find(&parent.wallet, &path) {
                return Ok(KeySlot::new(existing).unwrap());
            }
            std::thread::sleep(state.slow);
            if let Some(slot) = state.next_slot.take() {
                let node = state.slots.get_mut(&slot).unwrap();
                (node.wallet, node.path) = (parent.wallet, path);
                return Ok(KeySlot::new(slot).unwrap());
            }
            let slot = state.free_slot(call)?;
            if !state.derived.insert((parent.secret, path.to_string())) {
                state.violations.push(format!("I3: {} {path} was derived twice", parent.wallet));
            }
            let mut secret: [u8; 32] =
                Sha256::new().chain_update(parent.secret).chain_update(path.to_string()).finalize().into();
            secret[0] &= 0x7f;
            secret = state.next_secret.take().unwrap_or(secret);
            state.slots.insert(slot, Node { wallet: parent.wallet, path, curve: parent.curve, secret });
            Ok(KeySlot::new(slot).unwrap())
        })
    }

    fn node_of_slot(&self, slot: KeySlot) -> Result<NodeAddress, DeviceError> {
        let call = "zkGetWalletNodeAddrFromKeySlot";
        self.call(call, |state| {
            let node = state.node(slot, call)?;
            if node.wallet.is_empty() {
                return Err(DeviceError::Refused { call });
            }
            let master = state.find(&node.wallet, &DerivationPath::master()).unwrap();
            Ok(NodeAddress {
                path: node.path.clone(),
                wallet_name: node.wallet.clone(),
                master_slot: KeySlot::new(master).unwrap(),
            })
        })
    }

    fn slot_of_node(&self, path: &DerivationPath, wallet_name: &str) -> Result<KeySlot, DeviceError> {
        let call = "zkGetWalletKeySlotFromNodeAddr";
        self.call(call, |state| {
            state.find(wallet_name, path).and_then(KeySlot::new).ok_or(DeviceError::Refused { call })
        })
    }

    fn remove_key(&self, slot: KeySlot) -> Result<(), DeviceError> {
        let call = "zkRemoveKey";
        self.call(call, |state| {
            let node = state.node(slot, call)?.clone();
            let below: Vec<i32> = state
                .slots
                .iter()
                .filter(|(_, other)| {
                    !node.wallet.is_empty() && other.wallet == node.wallet && node.path.is_ancestor_of(&other.path)
                })
                .map(|(slot, _)| *slot)
                .collect();
            if !state.operator {
                if node.wallet.is_empty() {
                    state.violations.push(format!("I7: slot {slot} was removed, which we did not derive"));
                } else if !below.is_empty() {
                    state.violations.push(format!("I5: {} {} was removed with its children", node.wallet, node.path));
                } else if node.path.is_master() && !state.single_key_seeds {
                    state.violations.push(format!("I5: the seed of {} was removed", node.wallet));
                }
            }
            for slot in below {
                state.slots.remove(&slot);
            }
            state.slots.remove(&slot.number());
            Ok(())
        })
    }
}

/// Ends the process at the `at`-th step.
pub struct Reaper {
    pub at: usize,
    pub count: AtomicUsize,
    pub names: Mutex<Vec<&'static str>>,
}

impl Reaper {
    pub fn new(at: usize) -> Arc<Self> {
        Arc::new(Self { at, count: AtomicUsize::new(0), names: Mutex::default() })
    }
}

impl StepObserver for Reaper {
    fn step(&self, name: &'static str) {
        self.names.lock().unwrap_or_else(|p| p.into_inner()).push(name);
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 == self.at {
            std::panic::panic_any(Died);
        }
    }
}

pub fn settings() -> Settings {
    Settings {
        policy: Policy::Auto,
        strategy: Strategy::WalletPerToken,
        hardened: true,
        wallet_capacity: None,
        auto_create_wallet: AutoCreateWallet::NoRecovery,
    }
}

/// A host: a directory, a device, and "processes" on it.
pub struct Host {
    pub directory: tempfile::TempDir,
    pub sim: Sim,
    pub settings: Settings,
}

impl Host {
    pub fn new() -> Self {
        Self::with_capacity(64)
    }

    pub fn with_capacity(capacity: usize) -> Self {
        quiet();
        // In memory where that can be had: durability is not what these tests are about.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self { directory, sim: Sim::new(capacity), settings: settings() }
    }

    pub fn location(&self) -> Location {
        Location { database: self.database(), group: None, mode: 0o660 }
    }

    pub fn database(&self) -> PathBuf {
        self.directory.path().join("store/mapping.db")
    }

    pub fn process(&self) -> Keystore {
        Keystore::new(self.location(), self.settings.clone(), Arc::new(self.sim.clone()))
    }

    /// Runs `work` in a process that ends at its `at`-th step; `None` when it did, else what `work` answered and the
    /// steps there are.
    pub fn run_until<T>(&self, at: usize, work: impl FnOnce(&Keystore) -> T) -> (Option<T>, Vec<&'static str>) {
        let reaper = Reaper::new(at);
        let keystore = self.process().with_observer(reaper.clone());
        let outcome = survive(|| work(&keystore));
        drop(keystore);
        let names = reaper.names.lock().unwrap_or_else(|p| p.into_inner()).clone();
        (outcome, names)
    }

    /// Runs `work` in a process whose `at`-th device call goes wrong; `None` when that ended the process.
    pub fn run_with_fault<T>(&self, at: usize, fault: Fault, work: impl FnOnce(&Keystore) -> T) -> Option<T> {
        let keystore = self.process();
        {
            let mut state = self.sim.state();
            state.calls = 0;
            state.fault = Some((at, fault));
        }
        let outcome = survive(|| work(&keystore));
        self.sim.state().fault = None;
        drop(keystore);
        outcome
    }

    /// I1, I2, I4, I5, I7 and the ghost rows, as a fresh process sees the host after a repair. `expected`: the public
    /// keys that clients were told exist, with their objects' number.
    pub fn check(&self, expected: &HashMap<PublicKey, usize>, context: &str) {
        self.check_after(expected, false, context);
    }

    /// As [`Host::check`]. An older store was put back: it may know of keys that have been destroyed since, which then
    /// are findings.
    pub fn check_after(&self, expected: &HashMap<PublicKey, usize>, restored: bool, context: &str) {
        let keystore = self.process();
        keystore.repair().unwrap_or_else(|error| panic!("{context}: {error}"));
        let objects = keystore.find(TOKEN, &ObjectFilter::default()).unwrap();
        for (public_key, count) in expected {
            let own: Vec<_> = objects.iter().filter(|object| object.key.public_key == *public_key).collect();
            assert_eq!(own.len(), *count, "I1, {context}: objects of an answered key");
            if *count == 2 {
                let signature = keystore.sign(&own[0].key, &[7; 32]).unwrap_or_else(|e| panic!("I1, {context}: {e}"));
                assert!(public_key.verify_prehash(&[7; 32], &signature), "I4, {context}");
            }
        }
        let findings = keystore.findings().unwrap();
        let keys = keystore.keys().unwrap();
        let wallets = keystore.wallets().unwrap();
        let state = self.sim.state();
        assert!(state.violations.is_empty(), "{context}: {:?}", state.violations);
        for (slot, node) in state.slots.iter().filter(|(_, node)| !node.wallet.is_empty()) {
            let address = format!("{} {}", node.wallet, node.path);
            let is_key = keys.iter().any(|key| key.key.node() == address && key.state != KeyState::PublicOnly);
            let is_wallet = node.path.is_master() && wallets.iter().any(|wallet| wallet.name == node.wallet);
            let is_finding = findings.iter().any(|finding| match finding {
                Finding::Leftover(left) => format!("{} {}", left.wallet_name, left.path) == address,
                Finding::UnrecordedNode { wallet, path, .. } => format!("{wallet} {path}") == address,
                _ => false,
            });
            assert_eq!(
                usize::from(is_key) + usize::from(is_wallet) + usize::from(is_finding),
                1,
                "I2, {context}: slot {slot} with {address} (key {is_key}, wallet {is_wallet}, finding {is_finding})"
            );
        }
        for key in &keys {
            assert!(!key.objects.is_empty(), "I2, {context}: {} has no objects", key.key.node());
        }
        for key in keys.iter().filter(|key| key.state != KeyState::PublicOnly) {
            let there = state.slots.values().any(|node| format!("{} {}", node.wallet, node.path) == key.key.node());
            let reported = restored
                && findings.iter().any(|f| matches!(f, Finding::KeyMissing { node, .. } if *node == key.key.node()));
            assert!(there || reported, "I2, {context}: {} is a ghost row", key.key.node());
        }
        for finding in &findings {
            assert!(!matches!(finding, Finding::Interrupted { .. }), "{context}: {finding} after repair");
        }
    }
}

/// `None` when `work` ended its process.
pub fn survive<T>(work: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => Some(value),
        Err(payload) if payload.is::<Died>() => None,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

/// Deaths on purpose print nothing.
fn quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<Died>() {
                usual(info);
            }
        }));
    });
}

pub fn request(label: &str) -> GenerateRequest {
    GenerateRequest {
        token_serial: TOKEN.into(),
        token_label: "token".into(),
        curve: Curve::P256,
        session: false,
        public: NewObject { label: Some(label.as_bytes().to_vec()), ..NewObject::public() },
        private: NewObject { label: Some(label.as_bytes().to_vec()), ..NewObject::private() },
    }
}

pub fn generate(keystore: &Keystore, label: &str) -> GeneratedPair {
    keystore.generate(&request(label)).unwrap()
}
