//! A device that misbehaves on request, for tests of what stands on top of one.
//!
//! Behaviour of a healthy device is the emulator's job; this only puts faults between a caller and a device.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_wallet::{ChildNumber, Curve, DerivationPath, PublicKey};
use zeroize::Zeroizing;

use crate::{AllocatedSlots, DeviceError, Identity, KeySlot, NodeAddress, WalletDevice};

/// A method of [`WalletDevice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Any of them.
    Any,
    /// [`WalletDevice::identity`]
    Identity,
    /// [`WalletDevice::sign_digest`]
    SignDigest,
    /// [`WalletDevice::raw_ecdh`]
    RawEcdh,
    /// [`WalletDevice::export_public_key`]
    ExportPublicKey,
    /// [`WalletDevice::allocated_slots`]
    AllocatedSlots,
    /// [`WalletDevice::create_wallet`]
    CreateWallet,
    /// [`WalletDevice::create_wallet_bip39`]
    CreateWalletBip39,
    /// [`WalletDevice::generate_child`]
    GenerateChild,
    /// [`WalletDevice::node_of_slot`]
    NodeOfSlot,
    /// [`WalletDevice::slot_of_node`]
    SlotOfNode,
    /// [`WalletDevice::remove_key`]
    RemoveKey,
}

/// What happens to a call.
#[derive(Clone)]
pub enum Fault {
    /// It fails with this error, and the device is not asked.
    Before(DeviceError),
    /// The device does it, and it fails with this error.
    After(DeviceError),
    /// It panics, and the device is not asked.
    PanicBefore,
    /// The device does it, and then it panics.
    PanicAfter,
    /// This runs first, then the device does it.
    Run(Arc<dyn Fn() + Send + Sync>),
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before(error) => f.debug_tuple("Before").field(error).finish(),
            Self::After(error) => f.debug_tuple("After").field(error).finish(),
            Self::PanicBefore => f.write_str("PanicBefore"),
            Self::PanicAfter => f.write_str("PanicAfter"),
            Self::Run(_) => f.write_str("Run"),
        }
    }
}

struct Planned {
    call: Call,
    /// How many calls to go until it happens; 1 is the next.
    after: usize,
    fault: Fault,
}

#[derive(Default)]
struct Plan {
    faults: Vec<Planned>,
    made: Vec<Call>,
}

/// A device in front of another one, which makes chosen calls fail and remembers which were made.
pub struct FaultyDevice {
    inner: Arc<dyn WalletDevice>,
    plan: Mutex<Plan>,
}

impl FaultyDevice {
    /// In front of `inner`, without faults.
    pub fn new(inner: Arc<dyn WalletDevice>) -> Self {
        Self { inner, plan: Mutex::default() }
    }

    /// Makes the `after`-th next call of `call` (1 is the next one) fail once.
    pub fn fault(&self, call: Call, after: usize, fault: Fault) {
        self.plan(|plan| plan.faults.push(Planned { call, after: after.max(1), fault }));
    }

    /// Forgets the faults that have not happened.
    pub fn clear(&self) {
        self.plan(|plan| plan.faults.clear());
    }

    /// The calls made so far, those that failed included.
    pub fn calls(&self) -> Vec<Call> {
        self.plan(|plan| plan.made.clone())
    }

    /// How often `call` was made.
    pub fn count(&self, call: Call) -> usize {
        self.calls().into_iter().filter(|&made| call == Call::Any || made == call).count()
    }

    fn plan<T>(&self, act: impl FnOnce(&mut Plan) -> T) -> T {
        act(&mut self.plan.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[allow(clippy::panic, reason = "asked for")]
    fn through<T>(&self, call: Call, act: impl FnOnce() -> Result<T, DeviceError>) -> Result<T, DeviceError> {
        let fault = self.plan(|plan| {
            plan.made.push(call);
            let mut due = None;
            plan.faults.retain_mut(|planned| {
                if (planned.call != Call::Any && planned.call != call) || due.is_some() {
                    return true;
                }
                planned.after -= 1;
                if planned.after == 0 {
                    due = Some(planned.fault.clone());
                }
                planned.after > 0
            });
            due
        });
        match fault {
            None => act(),
            Some(Fault::Before(error)) => Err(error),
            Some(Fault::After(error)) => act().and(Err(error)),
            Some(Fault::PanicBefore) => panic!("injected before {call:?}"),
            Some(Fault::PanicAfter) => {
                let _ = act();
                panic!("injected after {call:?}")
            }
            Some(Fault::Run(run)) => {
                run();
                act()
            }
        }
    }
}

impl WalletDevice for FaultyDevice {
    fn identity(&self) -> Result<Identity, DeviceError> {
        self.through(Call::Identity, || self.inner.identity())
    }

    fn sign_digest(&self, slot: KeySlot, digest: &[u8; 32]) -> Result<[u8; 64], DeviceError> {
        self.through(Call::SignDigest, || self.inner.sign_digest(slot, digest))
    }

    fn raw_ecdh(&self, slot: KeySlot, peer: &PublicKey) -> Result<Zeroizing<[u8; 32]>, DeviceError> {
        self.through(Call::RawEcdh, || self.inner.raw_ecdh(slot, peer))
    }

    fn export_public_key(&self, slot: KeySlot, curve: Curve) -> Result<PublicKey, DeviceError> {
        self.through(Call::ExportPublicKey, || self.inner.export_public_key(slot, curve))
    }

    fn allocated_slots(&self) -> Result<AllocatedSlots, DeviceError> {
        self.through(Call::AllocatedSlots, || self.inner.allocated_slots())
    }

    fn create_wallet(&self, curve: Curve, name: &str) -> Result<KeySlot, DeviceError> {
        self.through(Call::CreateWallet, || self.inner.create_wallet(curve, name))
    }

    fn create_wallet_bip39(
        &self,
        curve: Curve,
        name: &str,
        passphrase: &str,
    ) -> Result<(KeySlot, Zeroizing<String>), DeviceError> {
        self.through(Call::CreateWalletBip39, || self.inner.create_wallet_bip39(curve, name, passphrase))
    }

    fn generate_child(&self, parent: KeySlot, child: ChildNumber) -> Result<KeySlot, DeviceError> {
        self.through(Call::GenerateChild, || self.inner.generate_child(parent, child))
    }

    fn node_of_slot(&self, slot: KeySlot) -> Result<NodeAddress, DeviceError> {
        self.through(Call::NodeOfSlot, || self.inner.node_of_slot(slot))
    }

    fn slot_of_node(&self, path: &DerivationPath, wallet_name: &str) -> Result<KeySlot, DeviceError> {
        self.through(Call::SlotOfNode, || self.inner.slot_of_node(path, wallet_name))
    }

    fn remove_key(&self, slot: KeySlot) -> Result<(), DeviceError> {
        self.through(Call::RemoveKey, || self.inner.remove_key(slot))
    }

    fn forget_after_fork(&self) {
        self.inner.forget_after_fork();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, DeviceConfig};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    const REFUSED: DeviceError = DeviceError::Refused { call: "test" };

    /// In front of a device whose library does not exist: reaching it shows as [`DeviceError::Library`].
    fn faulty() -> FaultyDevice {
        let config = DeviceConfig {
            library: "/nonexistent/libzk_app_utils.so".into(),
            open_timeout: Duration::ZERO,
            retry_interval: Duration::from_millis(1),
        };
        FaultyDevice::new(Arc::new(Device::new(config)))
    }

    fn reached(result: Result<Identity, DeviceError>) -> bool {
        matches!(result, Err(DeviceError::Library { .. }))
    }

    #[test]
    fn the_nth_call_fails_once() {
        let device = faulty();
        device.fault(Call::Identity, 2, Fault::Before(REFUSED));
        device.fault(Call::AllocatedSlots, 1, Fault::Before(REFUSED));
        assert!(reached(device.identity()));
        assert_eq!(device.identity(), Err(REFUSED));
        assert!(reached(device.identity()));
        assert_eq!(device.allocated_slots(), Err(REFUSED));
        assert_eq!(device.calls(), [Call::Identity, Call::Identity, Call::Identity, Call::AllocatedSlots]);
        assert_eq!((device.count(Call::Identity), device.count(Call::Any)), (3, 4));
    }

    #[test]
    fn panics_come_when_asked_for_and_leave_it_usable() {
        let device = faulty();
        for fault in [Fault::PanicBefore, Fault::PanicAfter] {
            device.fault(Call::Any, 1, fault);
            assert!(catch_unwind(AssertUnwindSafe(|| device.identity())).is_err());
            assert!(reached(device.identity()));
        }
    }

    #[test]
    fn something_can_be_run_before_a_call_and_faults_can_be_cleared() {
        let device = faulty();
        let ran = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&ran);
        let run = move || {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        device.fault(Call::Any, 1, Fault::Run(Arc::new(run)));
        assert!(reached(device.identity()));
        assert_eq!(ran.load(Ordering::Relaxed), 1);
        device.fault(Call::Any, 1, Fault::After(REFUSED));
        device.clear();
        assert!(reached(device.identity()));
    }
}
