//! The mapped keys' side of an instance: objects whose private keys are nodes of wallets on the device.
//!
//! Everything here is asked for with the session's state as the backend says it is at that moment - login is never
//! remembered - and with the store as it is. No table's lock is held across a call to the backend or the keystore.

pub mod attributes;
pub mod derive;
pub mod find;
pub mod handles;
pub mod keygen;
pub mod mechanism;
pub mod object;
pub mod session;
pub mod sign;
pub mod template;

use cryptoki_sys::{CK_SESSION_HANDLE, CK_SLOT_ID};
use holdfast_config::{Config, SessionKeys};
use holdfast_keystore::{KeyId, Keystore, Object};

use self::handles::HandleTable;
use self::session::{Session, SessionTable, Token};
use crate::abi::kept::Kept;
use crate::error::Error;
use crate::lifecycle::Instance;
use crate::log;
use crate::route::MappedHandle;

/// One for the life of the process, as fork handlers need it to outlive every initialisation. A forked child makes its
/// own: threads that do not exist there may have held the locks of the one it inherits.
static KEYSTORE: Kept<Keystore> = Kept::new();

/// What mapped keys need from one `C_Initialize` to its `C_Finalize`.
pub struct Mapped {
    /// Device and store. Neither is open before a mapped key is asked for.
    pub keystore: &'static Keystore,
    /// Where EC session key pairs are made.
    pub session_keys: SessionKeys,
    /// Handles of mapped objects.
    pub handles: HandleTable,
    /// Sessions with mapped operations.
    pub sessions: SessionTable,
}

impl Mapped {
    /// At `C_Initialize`, of which there is one at a time; `forked` in a child that has not initialised before. Opens and
    /// enumerates nothing.
    pub fn new(config: &'static Config, forked: bool) -> Self {
        let inherited = KEYSTORE.get().filter(|_| !forked);
        Self {
            keystore: inherited.unwrap_or_else(|| KEYSTORE.set(Keystore::configured(config))),
            session_keys: config.mapping.session_keys,
            handles: HandleTable::default(),
            sessions: SessionTable::default(),
        }
    }

    /// Whether this handle was given out since `C_Initialize`, even if its object is gone by now.
    #[inline(always)]
    pub fn gave_out(&self, handle: MappedHandle) -> bool {
        self.handles.was_issued(handle)
    }

    /// At `C_Finalize`, when no call is in progress any more: session keys end, the store is closed.
    pub fn finalize(&self) {
        for session in self.sessions.all() {
            self.end_session_keys(self.sessions.take(session).into_keys());
        }
        self.keystore.close();
    }

    /// The object of a handle, when the session sees it: it exists, is of the session's token, and is not private while
    /// the user is not logged in.
    pub fn visible(&self, session: &Session, handle: MappedHandle) -> Result<Option<Object>, Error> {
        let Some(id) = self.handles.object(handle) else { return Ok(None) };
        let object = self.keystore.object(id)?;
        Ok(object.filter(|object| {
            self.handles.is_of(handle, object)
                && (session.user || !object.record.private)
                && object.key.token_serial == session.token.serial
        }))
    }

    /// After the backend opened a session: whatever is kept under its handle belongs to one that is no more.
    pub fn session_opened(&self, session: CK_SESSION_HANDLE) {
        self.end_session_keys(self.sessions.take(session).into_keys());
    }

    /// Closes sessions by way of the backend, and ends their session keys when it has closed them.
    pub fn closing(
        &self,
        sessions: &[CK_SESSION_HANDLE],
        backend: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let taken: Vec<_> = sessions.iter().map(|session| self.sessions.take(*session)).collect();
        let outcome = backend();
        for taken in taken {
            match outcome {
                Ok(()) => self.end_session_keys(taken.into_keys()),
                Err(_) => self.sessions.put_back(taken),
            }
        }
        outcome
    }

    fn end_session_keys(&self, keys: Vec<KeyId>) {
        for key in keys {
            self.handles.forget_session_objects(key);
            warn_if_kept(self.keystore.drop_session_key(key));
        }
    }
}

fn warn_if_kept(outcome: Result<(), holdfast_keystore::Error>) {
    if let Err(error) = outcome {
        log::warn(format_args!("a session key stays on the device until `holdfast repair`: {error}"));
    }
}

/// Before `fork`, in the forking thread: takes what a child must not inherit half changed. After `C_Finalize` too: it does
/// not wait for ever for calls of other threads.
pub fn fork_prepare() {
    if let Some(keystore) = KEYSTORE.get() {
        keystore.fork_prepare();
    }
}

/// After `fork`, in the parent.
pub fn fork_parent() {
    if let Some(keystore) = KEYSTORE.get() {
        keystore.fork_parent();
    }
}

/// After `fork`, in the child.
pub fn fork_child() {
    if let Some(keystore) = KEYSTORE.get() {
        keystore.fork_child();
    }
}

/// After the user logged out, from all sessions with the token of this one: operations with its keys are at an end,
/// private handles are no longer valid, and private session objects are destroyed.
pub fn logged_out(instance: &Instance, session: CK_SESSION_HANDLE) {
    let mapped = &instance.mapped;
    let Ok(session) = mapped.sessions.session(&instance.calls(), session) else { return };
    for other in mapped.sessions.of_slot(session.slot) {
        let keys = mapped.sessions.with(other, |operations| {
            // One with a key of the backend goes on or ends with the backend's own part of it.
            operations.sign.take_if(|sign| sign.is_mapped());
            operations.verify.take_if(|verify| verify.is_mapped());
            operations.found.retain(|found| !found.private);
            operations.keys.clone()
        });
        for key in keys {
            warn_if_kept(mapped.keystore.drop_private_session_objects(key));
        }
    }
    mapped.handles.forget_token(&session.token.serial, true);
}

/// `C_InitToken`: the token's mapped keys are hidden while the backend is asked, and removed only after its `CKR_OK`.
pub fn init_token(
    instance: &Instance,
    slot: CK_SLOT_ID,
    backend: impl FnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    let calls = instance.calls();
    let keystore = instance.mapped.keystore;
    let (token, pending) = match Token::of_slot(&calls, slot) {
        Ok(Some(token)) => {
            let pending = keystore.begin_init_token(&token.serial)?;
            if let Err(refusal) = backend() {
                pending.withdraw()?;
                return Err(refusal);
            }
            (token, pending)
        }
        // A slot that the backend does not know, or with a token that is none yet, has no keys of ours - or it was none for
        // a moment only, see `Token::of_session`.
        _ => {
            backend()?;
            let Ok(Some(token)) = Token::of_slot(&calls, slot) else { return Ok(()) };
            let Ok(pending) = keystore.begin_init_token(&token.serial).inspect_err(|error| {
                log::error(format_args!(
                    "C_InitToken: mapped keys of token {:?} could not be hidden: {error}",
                    token.label
                ));
            }) else {
                return Ok(());
            };
            (token, pending)
        }
    };
    instance.mapped.handles.forget_token(&token.serial, false);
    // What the backend does not say now does not take back its CKR_OK.
    let now = Token::of_slot(&calls, slot).ok().flatten().map(|token| token.serial);
    if let Err(error) = pending.complete(now.as_deref()) {
        // The token is initialised, which is what was asked; the keys are hidden and reported.
        log::error(format_args!("C_InitToken: mapped keys of token {:?} could not be removed: {error}", token.label));
    }
    Ok(())
}
