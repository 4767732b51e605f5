//! Uninitialised, ready, finalising - and whose the backend is.
//!
//! Everything that lives from `C_Initialize` to `C_Finalize` is one [`Instance`] behind the gate. A forked child finds
//! the gate closed; what it inherited is given up, not freed, as its locks may be held by threads that do not exist
//! there.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use cryptoki_sys::{
    CK_FUNCTION_LIST_3_2, CK_OBJECT_HANDLE, CKR_CRYPTOKI_ALREADY_INITIALIZED, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_OK,
};

use crate::abi::args::InitializeArgs;
use crate::abi::calls::Calls;
use crate::abi::gate::{Closed, Entered, Gate};
use crate::abi::{exit, fork};
use crate::alias::AliasTable;
use crate::backend::{self, Module};
use crate::error::Error;
use crate::log;
use crate::mapped::{self, Mapped};
use crate::route::{self, MappedHandle, Target};

/// How long `C_Initialize` and `C_Finalize` wait for each other.
const TRANSITION_PATIENCE: Duration = Duration::from_secs(30);

/// How long `C_Finalize` waits for calls of other threads. After that the backend stays initialised: a leak is better
/// than pulling it from under a running call.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);

/// How long `exit` waits for calls of other threads, before it goes on under them.
const EXIT_PATIENCE: Duration = Duration::from_secs(1);

static GATE: Gate<Instance> = Gate::new();

/// What we have to do with the backend's own initialisation, in this process image: a forked child inherits the value.
static HOLD: AtomicU8 = AtomicU8::new(Hold::None as u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Hold {
    /// Nothing: not initialised by us, or finalised again.
    None = 0,
    /// We initialised it.
    Ours = 1,
    /// Another library had initialised it before us; it is adopted.
    Adopted = 2,
}

impl Hold {
    fn get() -> Self {
        match HOLD.load(Ordering::Relaxed) {
            1 => Self::Ours,
            2 => Self::Adopted,
            _ => Self::None,
        }
    }

    fn set(self) {
        HOLD.store(self as u8, Ordering::Relaxed);
    }
}

/// Everything from one `C_Initialize` to its `C_Finalize`.
pub struct Instance {
    /// The backend's functions, here for the shortest way to them.
    pub functions: CK_FUNCTION_LIST_3_2,
    /// The backend module and the configuration.
    pub module: &'static Module,
    /// Backend object handles that look like ours.
    pub aliases: AliasTable,
    /// The mapped keys' side.
    pub mapped: Mapped,
}

/// A call in progress; see [`enter`].
pub type Call = Entered<Instance>;

/// What a client's object handle denotes in an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// Hand the call to the backend, with this handle.
    Backend(CK_OBJECT_HANDLE),
    /// A mapped object, or one that was.
    Mapped(MappedHandle),
}

impl Instance {
    /// The backend, for calls of our own.
    pub fn calls(&self) -> Calls<'_> {
        Calls(&self.functions)
    }

    /// Where the object handle of a client leads. A handle that was never given out leads to the backend as it is, which
    /// then says what it says of unknown handles.
    #[inline(always)]
    pub fn object(&self, handle: CK_OBJECT_HANDLE) -> Object {
        match route::target(handle) {
            Target::Backend(handle) => Object::Backend(handle.0),
            Target::Alias(number) => Object::Backend(self.aliases.to_backend(number).map_or(handle, |known| known.0)),
            Target::Mapped(mapped) if self.mapped.gave_out(mapped) => Object::Mapped(mapped),
            Target::Mapped(_) => Object::Backend(handle),
        }
    }
}

/// Begins a call: the instance, which stays until the result is dropped.
///
/// Fails with [`Error::NotInitialized`] outside `C_Initialize` and `C_Finalize`, and in a forked child.
#[inline(always)]
pub fn enter() -> Result<Call, Error> {
    GATE.enter().ok_or(Error::NotInitialized)
}

/// General-purpose functions, `C_Initialize` (v3.2).
///
/// The backend gets the client's own argument. One that another library had already initialised is adopted: we never
/// finalise it, nor initialise it a second time. A forked child, in which a backend that was ours still believes to be
/// initialised, finalises and initialises it there.
pub fn initialize(args: &InitializeArgs) -> Result<(), Error> {
    let transition = GATE.begin(TRANSITION_PATIENCE).ok_or(Error::TransitionBusy)?;
    if transition.is_open() {
        return Err(Error::AlreadyInitialized);
    }
    args.check()?;
    if !fork::register_handlers() {
        return Err(Error::ForkHandlers);
    }
    let module = module_in_transition()?;
    exit::register_handler(exit::Library::Backend);
    let hold = take_hold(module, args, transition.forked())?;
    hold.set();
    let mapped = Mapped::new(&module.config, transition.forked());
    transition.open(Box::new(Instance {
        functions: module.backend.functions,
        module,
        aliases: AliasTable::default(),
        mapped,
    }));
    log::debug(format_args!("initialised in front of {} ({hold:?})", module.backend.path.display()));
    Ok(())
}

/// Initialises the backend, unless somebody did.
fn take_hold(module: &Module, args: &InitializeArgs, forked: bool) -> Result<Hold, Error> {
    let before = Hold::get();
    match (module.backend.initialize(args), before) {
        // In a child, too, what the other library had in the parent stays the other library's.
        (CKR_OK, Hold::Adopted) if forked => Ok(Hold::Adopted),
        (CKR_OK, _) => Ok(Hold::Ours),
        (CKR_CRYPTOKI_ALREADY_INITIALIZED, Hold::Ours) if forked => {
            // Its state is a copy of the parent's. Its own word on finalising does not matter, the next one does.
            module.backend.finalize();
            match module.backend.initialize(args) {
                CKR_OK => Ok(Hold::Ours),
                rv => {
                    log::warn(format_args!(
                        "the backend cannot be initialised again in this forked child ({rv:#x}); call C_Initialize in \
                         the parent after the fork, or start the child with exec"
                    ));
                    Err(Error::Backend(rv))
                }
            }
        }
        // Left initialised by a C_Finalize that could not wait for all calls.
        (CKR_CRYPTOKI_ALREADY_INITIALIZED, Hold::Ours) => Ok(Hold::Ours),
        (CKR_CRYPTOKI_ALREADY_INITIALIZED, Hold::Adopted | Hold::None) => Ok(Hold::Adopted),
        (rv, _) => Err(Error::Backend(rv)),
    }
}

/// General-purpose functions, `C_Finalize` (v3.2).
///
/// Calls of other threads are let to their end, new ones are refused, then the backend is finalised, if it is ours.
/// `reserved_is_null` is what the specification requires of the argument.
pub fn finalize(reserved_is_null: bool) -> Result<(), Error> {
    let transition = GATE.begin(TRANSITION_PATIENCE).ok_or(Error::TransitionBusy)?;
    if !transition.is_open() {
        return Err(Error::NotInitialized);
    }
    if !reserved_is_null {
        return Err(Error::ArgumentsBad("pReserved is not null"));
    }
    let instance = match transition.close(DRAIN_PATIENCE) {
        None => return Err(Error::NotInitialized),
        Some(Closed::Busy) => {
            log::warn(format_args!(
                "C_Finalize: a call of another thread does not end; the backend is left initialised"
            ));
            return Ok(());
        }
        Some(Closed::Drained(instance)) => instance,
    };
    instance.mapped.finalize();
    match Hold::get() {
        Hold::Ours => match instance.module.backend.finalize() {
            // Somebody else finalised what was ours: it is as finalised as it should be.
            CKR_OK | CKR_CRYPTOKI_NOT_INITIALIZED => {
                Hold::None.set();
                Ok(())
            }
            rv => Err(Error::Backend(rv)),
        },
        Hold::Adopted | Hold::None => {
            Hold::None.set();
            Ok(())
        }
    }
}

/// At `exit`, while the backend is still whole. Hosts have handlers that run after its destructors, OpenSSL's among them,
/// and call us from there; SoftHSM2 2.6.1 crashes then. They are told that nothing is initialised.
///
/// The backend is not finalised: nobody asked for that.
pub fn exiting() {
    let Some(transition) = GATE.begin(Duration::ZERO) else { return };
    if let Some(Closed::Drained(instance)) = transition.close(EXIT_PATIENCE) {
        instance.mapped.finalize();
    }
}

/// The configuration and the backend module, loaded at the first use. Works before `C_Initialize`: the interface list
/// depends on the backend.
///
/// They are kept to the end of the process: a changed configuration is read by new processes. After a failure the
/// next call tries again.
pub fn module() -> Result<&'static Module, Error> {
    if let Some(module) = backend::loaded() {
        return Ok(module);
    }
    let _transition = GATE.begin(TRANSITION_PATIENCE).ok_or(Error::TransitionBusy)?;
    module_in_transition()
}

fn module_in_transition() -> Result<&'static Module, Error> {
    match backend::loaded() {
        Some(module) => Ok(module),
        None => backend::load(),
    }
}

/// Before `fork`, in the forking thread.
pub fn fork_prepare() {
    mapped::fork_prepare();
}

/// After `fork`, in the parent.
pub fn fork_parent() {
    mapped::fork_parent();
}

/// After `fork`, in the child, which never uses the instance again that it inherits.
pub fn fork_child() {
    mapped::fork_child();
    GATE.close_after_fork();
}
