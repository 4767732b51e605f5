//! What surrounds every call: the device's lock, the context, faults and latencies, panics.

use std::ffi::c_int;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::contexts::{self, ZkCtx};
use crate::behaviour::FaultKind;
use crate::error::{Error, Result};
use crate::hex::HexBytes;
use crate::keys::{KeyPair, KeyType};
use crate::state::State;
use crate::store::Directory;

/// Writes the exported functions of a part of the header, and the list of their names.
macro_rules! exports {
    ($($(#[$doc:meta])* fn $name:ident($ctx:ident $(, $argument:ident: $type:ty)* $(,)?) |$device:ident| $body:block)*) => {
        /// The names of the calls in this part.
        pub(super) const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            $(#[$doc])*
            ///
            /// # Safety
            /// Pointers that are not NULL are as zk_app_utils.h says.
            #[unsafe(no_mangle)]
            #[allow(non_snake_case)]
            pub unsafe extern "C" fn $name(
                $ctx: $crate::abi::contexts::ZkCtx,
                $($argument: $type),*
            ) -> std::ffi::c_int {
                $crate::abi::call::with_context($ctx, stringify!($name), |$device| $body)
            }
        )*
    };
}
pub(super) use exports;

/// The device during one call, with its lock held.
pub struct Device<'a> {
    directory: &'a Directory,
    state: Arc<State>,
    fault: Option<FaultKind>,
}

impl Device<'_> {
    /// What the device remembers.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Where the device's files are.
    pub fn directory(&self) -> &Directory {
        self.directory
    }

    /// Changes what the device remembers. When this answers, the change is durable; when it fails, there is none.
    pub fn change<T>(&mut self, change: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = State::clone(&self.state);
        let answer = change(&mut state)?;
        state.generation += 1;
        self.directory.save_state(&state)?;
        self.state = Arc::new(state);
        Ok(answer)
    }

    /// A slot number as it goes to the caller.
    pub fn reply_slot(&self, slot: c_int) -> c_int {
        if self.fault == Some(FaultKind::WrongSlot) { c_int::MAX } else { slot }
    }

    /// Bytes as they go to the caller; `None` for the NULL pointer of a faulty reply, and for a call that is to fail
    /// after all: nobody would free what it answered.
    pub fn reply<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        match self.fault {
            Some(FaultKind::NullReply | FaultKind::ErrorAfter) => None,
            Some(FaultKind::ShortReply) => bytes.get(..bytes.len() / 2),
            _ => Some(bytes),
        }
    }

    /// Slots as they go to the caller.
    pub fn reply_numbers<'b>(&self, numbers: &'b [c_int]) -> Option<&'b [c_int]> {
        match self.fault {
            Some(FaultKind::NullReply | FaultKind::ErrorAfter) => None,
            Some(FaultKind::ShortReply) => numbers.get(..numbers.len() / 2),
            _ => Some(numbers),
        }
    }

    /// A string as it goes to the caller.
    pub fn reply_text<'b>(&self, text: &'b str) -> Option<&'b str> {
        match self.fault {
            Some(FaultKind::NullReply | FaultKind::ErrorAfter) => None,
            Some(FaultKind::ShortReply) => text.get(..text.len() / 2),
            _ => Some(text),
        }
    }

    /// A public key as it goes to the caller.
    pub fn reply_public(&self, key_type: KeyType, public: &HexBytes) -> HexBytes {
        match self.fault {
            Some(FaultKind::OtherKey) => KeyPair::generate(key_type).public.clone(),
            Some(FaultKind::BadPoint) => {
                let mut bytes = public.as_slice().to_vec();
                if let Some(last) = bytes.last_mut() {
                    *last ^= 1;
                }
                bytes.into()
            }
            _ => public.clone(),
        }
    }

    /// A signature as it goes to the caller.
    pub fn reply_signature(&self, mut signature: [u8; 64]) -> [u8; 64] {
        if self.fault == Some(FaultKind::WrongSignature) {
            signature[63] ^= 1;
        }
        signature
    }
}

/// Runs a call of an open context.
pub fn with_context(ctx: ZkCtx, name: &'static str, act: impl FnOnce(&mut Device<'_>) -> Result<c_int>) -> c_int {
    guarded(|| {
        let context = contexts::find(ctx)?;
        with_device(context.directory, name, |device| {
            let state = device.state();
            if (state.boots, state.connections) != (context.boots, context.connections) {
                return Err(Error::Context);
            }
            act(device)
        })
    })
}

/// Runs a call that needs no context yet: `zkOpen`.
pub fn without_context(
    directory: &Directory,
    name: &'static str,
    act: impl FnOnce(&mut Device<'_>) -> Result<c_int>,
) -> Result<c_int> {
    with_device(directory, name, act)
}

/// Turns refusals and panics into -1.
pub fn guarded(act: impl FnOnce() -> Result<c_int>) -> c_int {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => -1,
    }
}

/// Says once in a process that there is no hardware here.
pub fn announce(directory: &Directory) {
    static ANNOUNCED: AtomicBool = AtomicBool::new(false);
    if !ANNOUNCED.swap(true, Ordering::Relaxed) {
        let place = directory.path().display();
        let line = format!("libzk_app_utils: this is an EMULATED Zymbit device without hardware, in {place}\n");
        // In one write, so that two processes do not mix their lines. There is nobody to tell if it fails.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

fn with_device(
    directory: &Directory,
    name: &'static str,
    act: impl FnOnce(&mut Device<'_>) -> Result<c_int>,
) -> Result<c_int> {
    let _lock = directory.lock()?;
    let state = directory.load_state()?;
    let mut device = Device { directory, state, fault: None };
    let Some(behaviour) = directory.load_behaviour()? else { return act(&mut device) };
    if behaviour.counts(name) {
        let mut counted = (*behaviour).clone();
        device.fault = counted.count(name);
        directory.save_behaviour(&counted)?;
    }
    match behaviour.latency(name) {
        0 => {}
        ms => thread::sleep(Duration::from_millis(ms)),
    }
    let answer = act_with_fault(&mut device, act);
    if behaviour.trace {
        let outcome = answer.as_ref().map_or_else(ToString::to_string, ToString::to_string);
        directory.append_trace(&format!("{} {name} {outcome}", std::process::id()))?;
    }
    if device.fault == Some(FaultKind::AbortAfter) {
        die();
    }
    answer
}

fn act_with_fault(device: &mut Device<'_>, act: impl FnOnce(&mut Device<'_>) -> Result<c_int>) -> Result<c_int> {
    match device.fault {
        Some(FaultKind::Error) => return Err(Error::Injected),
        Some(FaultKind::AbortBefore) => die(),
        Some(FaultKind::Hang(ms)) => thread::sleep(Duration::from_millis(ms)),
        Some(FaultKind::Disconnect) => {
            device.change(|state| {
                state.connections += 1;
                Ok(())
            })?;
            return Err(Error::Injected);
        }
        _ => {}
    }
    let answer = act(device)?;
    if device.fault == Some(FaultKind::ErrorAfter) { Err(Error::Injected) } else { Ok(answer) }
}

/// Ends the process as a power cut would: nothing runs any more, no handler, no destructor.
fn die() -> ! {
    // SAFETY: neither call has a precondition.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    // Reached only if the signal has not been delivered yet.
    std::process::abort()
}
