//! The real device: one connection, opened when it is needed, opened again when it is lost.

use std::ffi::CString;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use holdfast_wallet::{ChildNumber, Curve, DerivationPath, PublicKey};
use zeroize::Zeroizing;

use crate::base64;
use crate::ffi::{CallError, Context, Functions, Loaded, PerProcess};
use crate::gate::{Gate, Held};
use crate::{AllocatedSlots, DeviceError, Identity, KeySlot, NodeAddress, WalletDevice};

/// How long a call may keep the device before those who wait for it give up, beside the time to connect. Making a
/// wallet is the slowest thing a device does; nothing that takes longer is still working.
pub const STALLED_AFTER: Duration = Duration::from_secs(30);

/// No device takes a longer name of a wallet, in bytes; how long a name it does take is its own to say.
const MAX_WALLET_NAME: usize = 255;

/// Where a device is and how patiently it is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Absolute path of the vendor's C library.
    pub library: PathBuf,
    /// How long a call goes on trying to connect. Once that has failed, the calls that follow try once each, until
    /// one succeeds.
    pub open_timeout: Duration,
    /// The least time between two attempts to connect.
    pub retry_interval: Duration,
}

impl From<&holdfast_config::Device> for DeviceConfig {
    fn from(device: &holdfast_config::Device) -> Self {
        Self {
            library: device.library.clone(),
            open_timeout: device.open_timeout,
            retry_interval: device.retry_interval,
        }
    }
}

/// The device behind the vendor's C library.
///
/// It costs nothing until it is used. Any number of threads may use it; calls go to the device one at a time.
pub struct Device {
    config: DeviceConfig,
    stalled_after: Duration,
    library: Loaded,
    state: PerProcess<Gate<State>>,
}

/// What this process knows of the device.
#[derive(Default)]
struct State {
    connection: Option<Context>,
    /// The highest slot number that the connected device can mean anything by, when it was asked.
    highest_slot: Option<i32>,
    last_attempt: Option<Instant>,
    /// The last attempt to connect, if it failed.
    failure: Option<Failure>,
}

struct Failure {
    at: Instant,
    reason: String,
}

/// Whether a call may be made twice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// It only asks.
    Allowed,
    /// It changes the device, which may have done so although its answer was lost.
    Never,
}

/// Why a call on a connection gave nothing.
enum Outcome {
    /// The connection is gone, and what was asked may have been done.
    Lost,
    Failed(DeviceError),
}

impl Device {
    /// A device that is connected to at the first call.
    pub const fn new(config: DeviceConfig) -> Self {
        Self { config, stalled_after: STALLED_AFTER, library: Loaded::new(), state: PerProcess::new() }
    }

    /// Makes one call: connects if need be, checks the slot, and tries once more on a fresh connection if this one
    /// turns out to be lost and `repeat` allows.
    fn call<T>(
        &self,
        call: &'static str,
        repeat: Repeat,
        slot: Option<KeySlot>,
        act: impl Fn(&Context) -> Result<T, CallError>,
    ) -> Result<T, DeviceError> {
        let started = Instant::now();
        let mut state = self.enter(call)?;
        self.connect(&mut state, started)?;
        if let Some(slot) = slot {
            self.check_slot(&mut state, call, slot)?;
        }
        self.repeated(&mut state, call, repeat, act)
    }

    fn enter(&self, call: &'static str) -> Result<Held<'_, State>, DeviceError> {
        let patience = self.config.open_timeout.saturating_mul(2).saturating_add(self.stalled_after);
        self.state.get().enter(call, patience).map_err(|holder| {
            let seconds = holder.since.elapsed().as_secs();
            tracing::error!(call, stalled = holder.call, seconds, "the device does not return from a call");
            let reason = format!("it has not returned from {} for {seconds} seconds", holder.call);
            DeviceError::Unreachable { reason, maybe_done: false }
        })
    }

    fn repeated<T>(
        &self,
        state: &mut State,
        call: &'static str,
        repeat: Repeat,
        act: impl Fn(&Context) -> Result<T, CallError>,
    ) -> Result<T, DeviceError> {
        let lost = |maybe_done| {
            let reason = format!("the connection was lost during {call}");
            DeviceError::Unreachable { reason, maybe_done }
        };
        // A call that only asks has not done anything, however often it was sent.
        let maybe_done = repeat == Repeat::Never;
        match attempt(state, call, &act) {
            Ok(answer) => Ok(answer),
            Err(Outcome::Failed(error)) => Err(error),
            Err(Outcome::Lost) if repeat == Repeat::Never => Err(lost(maybe_done)),
            Err(Outcome::Lost) => {
                self.connect(state, Instant::now())?;
                attempt(state, call, &act).map_err(|outcome| match outcome {
                    Outcome::Failed(error) => error,
                    Outcome::Lost => lost(maybe_done),
                })
            }
        }
    }

    /// Connects, unless there is a connection. `started` is when the caller began to wait.
    fn connect(&self, state: &mut State, started: Instant) -> Result<(), DeviceError> {
        if state.connection.is_some() {
            return Ok(());
        }
        let functions = self.functions()?;
        // After a failure each call tries once, so that a dead device does not hold up every call for the full time.
        let (once, mut reason) = match &state.failure {
            Some(failure) if failure.at >= started => return Err(unreachable(&failure.reason)),
            Some(failure) => (true, failure.reason.clone()),
            None => (false, "the connection was lost a moment ago".to_owned()),
        };
        let mut tried = false;
        loop {
            let since_last = state.last_attempt.map_or(Duration::MAX, |last| last.elapsed());
            let wait = self.config.retry_interval.saturating_sub(since_last);
            if (tried && once) || wait > self.config.open_timeout.saturating_sub(started.elapsed()) {
                break;
            }
            thread::sleep(wait);
            state.last_attempt = Some(Instant::now());
            tried = true;
            match Context::open(functions) {
                Ok(connection) => {
                    tracing::debug!(library = %self.config.library.display(), "connected to the device");
                    if state.failure.take().is_some() {
                        tracing::warn!("the device can be reached again");
                    }
                    state.connection = Some(connection);
                    state.highest_slot = None;
                    return Ok(());
                }
                Err(CallError::Failed) => reason = "zkOpen failed".to_owned(),
                Err(CallError::Invalid(what)) => reason = format!("zkOpen answered {what}"),
            }
        }
        let error = unreachable(&reason);
        // Once, not at every call that fails meanwhile.
        if state.failure.is_none() {
            tracing::error!("{error}");
        }
        state.failure = Some(Failure { at: Instant::now(), reason });
        Err(error)
    }

    fn functions(&self) -> Result<Functions, DeviceError> {
        if let Some(functions) = self.library.get() {
            return Ok(functions);
        }
        let path = &self.config.library;
        // The only place where the vendor's library is loaded, hence the only one where it is checked.
        let functions = holdfast_config::check_trusted_file(path)
            .map_err(|error| error.to_string())
            .and_then(|()| Functions::load(path))
            .map_err(|reason| DeviceError::Library { path: path.clone(), reason })
            .inspect_err(|error| tracing::error!("{error}"))?;
        self.library.set(functions);
        Ok(functions)
    }

    /// Refuses slots beyond the device's: its daemon was seen to crash on large ones. A slot that is not known to be
    /// in range costs one question to the device per connection.
    fn check_slot(&self, state: &mut State, call: &'static str, slot: KeySlot) -> Result<(), DeviceError> {
        let within = |state: &State| state.highest_slot.is_some_and(|highest| slot.number() <= highest);
        if within(state) {
            return Ok(());
        }
        self.list(state)?;
        if within(state) {
            return Ok(());
        }
        tracing::warn!(call, %slot, "the device has no such slot; it was not asked");
        Err(DeviceError::Refused { call })
    }

    fn list(&self, state: &mut State) -> Result<AllocatedSlots, DeviceError> {
        let list = self.repeated(state, "zkGetAllocSlotsList", Repeat::Allowed, Context::allocated_slots)?;
        // Whether slots are numbered from 0 or from 16 is not ours to know: both bounds count.
        let capacity = i32::try_from(list.capacity).unwrap_or(i32::MAX);
        let highest = list.slots.last().map_or(capacity, |slot| capacity.max(slot.number()));
        state.highest_slot = state.highest_slot.max(Some(highest));
        Ok(list)
    }
}

impl WalletDevice for Device {
    /// Everything is asked twice: half a string is a string too, and what is made now is found under it for years.
    fn identity(&self) -> Result<Identity, DeviceError> {
        let ask = |call, act: fn(&Context) -> Result<String, CallError>| {
            let answer = self.call(call, Repeat::Allowed, None, act)?;
            if self.call(call, Repeat::Allowed, None, act)? == answer {
                Ok(answer)
            } else {
                Err(DeviceError::InvalidReply { call, reason: "it differs from the one just before".to_owned() })
            }
        };
        Ok(Identity {
            model: ask("zkGetModelNumberString", Context::model)?,
            firmware: ask("zkGetFirmwareVersionString", Context::firmware)?,
            serial: ask("zkGetSerialNumberString", Context::serial)?,
        })
    }

    fn sign_digest(&self, slot: KeySlot, digest: &[u8; 32]) -> Result<[u8; 64], DeviceError> {
        self.call("zkGenECDSASigFromDigest", Repeat::Allowed, Some(slot), |context| context.sign(slot, digest))
    }

    fn raw_ecdh(&self, slot: KeySlot, peer: &PublicKey) -> Result<Zeroizing<[u8; 32]>, DeviceError> {
        self.call("zkDoRawECDH", Repeat::Allowed, Some(slot), |context| context.ecdh(slot, peer))
    }

    fn export_public_key(&self, slot: KeySlot, curve: Curve) -> Result<PublicKey, DeviceError> {
        self.call("zkExportPubKey", Repeat::Allowed, Some(slot), |context| context.public_key(slot, curve))
    }

    fn allocated_slots(&self) -> Result<AllocatedSlots, DeviceError> {
        let started = Instant::now();
        let mut state = self.enter("zkGetAllocSlotsList")?;
        self.connect(&mut state, started)?;
        self.list(&mut state)
    }

    fn create_wallet(&self, curve: Curve, name: &str) -> Result<KeySlot, DeviceError> {
        const CALL: &str = "zkGenWalletMasterSeedWithBIP39";
        let name = wallet_name(CALL, name)?;
        self.call(CALL, Repeat::Never, None, |context| context.create_wallet(curve, &name))
    }

    fn create_wallet_bip39(
        &self,
        curve: Curve,
        name: &str,
        passphrase: &str,
    ) -> Result<(KeySlot, Zeroizing<String>), DeviceError> {
        const CALL: &str = "zkGenWalletMasterSeedWithBIP39";
        let name = wallet_name(CALL, name)?;
        // The vendor asks for the passphrase in base64.
        let passphrase = Zeroizing::new(base64::encode(passphrase.as_bytes()));
        self.call(CALL, Repeat::Never, None, |context| context.create_wallet_bip39(curve, &name, &passphrase))
    }

    fn generate_child(&self, parent: KeySlot, child: ChildNumber) -> Result<KeySlot, DeviceError> {
        let act = |context: &Context| context.generate_child(parent, child);
        self.call("zkGenWalletChildKey", Repeat::Never, Some(parent), act)
    }

    fn node_of_slot(&self, slot: KeySlot) -> Result<NodeAddress, DeviceError> {
        let act = |context: &Context| context.node_of_slot(slot);
        self.call("zkGetWalletNodeAddrFromKeySlot", Repeat::Allowed, Some(slot), act)
    }

    fn slot_of_node(&self, path: &DerivationPath, name: &str) -> Result<KeySlot, DeviceError> {
        const CALL: &str = "zkGetWalletKeySlotFromNodeAddr";
        let name = wallet_name(CALL, name)?;
        let path = c_string(CALL, &path.to_string())?;
        self.call(CALL, Repeat::Allowed, None, |context| context.slot_of_node(&path, &name))
    }

    fn remove_key(&self, slot: KeySlot) -> Result<(), DeviceError> {
        self.call("zkRemoveKey", Repeat::Never, Some(slot), |context| context.remove_key(slot))
    }

    fn forget_after_fork(&self) {
        self.state.forget();
    }
}

/// Makes a call on the connection there is. A call that fails is followed by a harmless one: if the device answers
/// that, the failure was its own answer; if not, the connection is gone, and is closed.
fn attempt<T>(
    state: &mut State,
    call: &'static str,
    act: impl Fn(&Context) -> Result<T, CallError>,
) -> Result<T, Outcome> {
    let Some(connection) = &state.connection else { return Err(Outcome::Lost) };
    match act(connection) {
        Ok(answer) => Ok(answer),
        Err(CallError::Invalid(reason)) => {
            tracing::error!(call, reason, "the device's answer is not valid");
            Err(Outcome::Failed(DeviceError::InvalidReply { call, reason }))
        }
        Err(CallError::Failed) => match connection.serial() {
            // Nonsense is an answer too; it is for whoever asks for the serial number to say so.
            Ok(_) | Err(CallError::Invalid(_)) => {
                tracing::debug!(call, "refused by the device");
                Err(Outcome::Failed(DeviceError::Refused { call }))
            }
            Err(CallError::Failed) => {
                tracing::warn!(call, "the connection to the device was lost");
                state.connection = None;
                Err(Outcome::Lost)
            }
        },
    }
}

fn unreachable(reason: &str) -> DeviceError {
    DeviceError::Unreachable { reason: reason.to_owned(), maybe_done: false }
}

/// A wallet's name that can be handed over: which names a device takes is for it to say.
fn wallet_name(call: &'static str, name: &str) -> Result<CString, DeviceError> {
    let refuse = |reason| Err(DeviceError::InvalidArgument { call, reason });
    if name.is_empty() {
        return refuse("the wallet's name is empty");
    }
    if name.len() > MAX_WALLET_NAME {
        return refuse("the wallet's name is longer than 255 bytes");
    }
    if name.chars().any(char::is_control) {
        return refuse("the wallet's name has control characters");
    }
    c_string(call, name)
}

fn c_string(call: &'static str, text: &str) -> Result<CString, DeviceError> {
    CString::new(text).map_err(|_| DeviceError::InvalidArgument { call, reason: "a string with a zero byte in it" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i7_calls_behind_one_that_never_returns_give_up_and_name_it() {
        let config = DeviceConfig {
            library: "/nonexistent".into(),
            open_timeout: Duration::ZERO,
            retry_interval: Duration::from_millis(1),
        };
        let mut device = Device::new(config);
        device.stalled_after = Duration::from_millis(50);
        let stalled = device.enter("zkRemoveKey").unwrap();
        let error = device.identity().unwrap_err();
        assert!(matches!(error, DeviceError::Unreachable { maybe_done: false, .. }), "{error}");
        assert!(error.to_string().contains("has not returned from zkRemoveKey"), "{error}");
        drop(stalled);
        // Its turn again: now it is the library that is missing.
        assert!(matches!(device.identity(), Err(DeviceError::Library { .. })));
    }
}
