//! What the module keeps for a session of the backend: its token, and the mapped operations in progress.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use cryptoki_sys::{
    CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CK_SLOT_ID, CKF_RW_SESSION, CKF_TOKEN_INITIALIZED, CKR_GENERAL_ERROR,
    CKR_TOKEN_NOT_RECOGNIZED, CKS_RO_USER_FUNCTIONS, CKS_RW_USER_FUNCTIONS,
};
use holdfast_keystore::KeyId;

use super::sign::{SignOperation, VerifyOperation};
use crate::abi::calls::Calls;
use crate::error::Error;

/// A token as the store knows it.
#[derive(Debug, PartialEq, Eq)]
pub struct Token {
    /// `CK_TOKEN_INFO.serialNumber` without its padding.
    pub serial: String,
    /// `CK_TOKEN_INFO.label` without its padding.
    pub label: String,
}

impl Token {
    /// The token in a slot; `None` when there is none that is initialised.
    pub fn of_slot(calls: &Calls<'_>, slot: CK_SLOT_ID) -> Result<Option<Self>, Error> {
        let info = calls.token_info(slot)?;
        if info.flags & CKF_TOKEN_INITIALIZED == 0 {
            return Ok(None);
        }
        let text = |padded: &[u8]| String::from_utf8_lossy(padded).trim_end_matches([' ', '\0']).to_owned();
        Ok(Some(Self { serial: text(&info.serialNumber), label: text(&info.label) }))
    }

    /// The token of a slot with a session, which has one. While another process logs in to it and writes its file anew,
    /// SoftHSM2 2.6.1 takes it for none, or cannot read it.
    fn of_session(calls: &Calls<'_>, slot: CK_SLOT_ID) -> Result<Self, Error> {
        const ATTEMPTS: u32 = 20;
        const PAUSE: Duration = Duration::from_millis(10);
        let mut last = Error::BackendReply("a session without a token");
        for _ in 0..ATTEMPTS {
            match Self::of_slot(calls, slot) {
                Ok(Some(token)) => return Ok(token),
                Ok(None) => {}
                Err(error @ Error::Backend(CKR_TOKEN_NOT_RECOGNIZED | CKR_GENERAL_ERROR)) => last = error,
                Err(error) => return Err(error),
            }
            thread::sleep(PAUSE);
        }
        Err(last)
    }
}

/// A session as the backend says it is now.
pub struct Session {
    /// Its handle.
    pub handle: CK_SESSION_HANDLE,
    /// Its slot.
    pub slot: CK_SLOT_ID,
    /// Its token.
    pub token: Arc<Token>,
    /// Whether it may change token objects.
    pub read_write: bool,
    /// Whether the user is logged in, so that private objects are visible.
    pub user: bool,
}

/// What is in progress in one session.
#[derive(Default)]
pub struct Operations {
    /// A signature with a mapped key, or one that we digest for.
    pub sign: Option<SignOperation>,
    /// A verification likewise.
    pub verify: Option<VerifyOperation>,
    /// Mapped objects that a search has still to give out, the next one last.
    pub found: Vec<Found>,
    /// Session keys that end with the session.
    pub keys: Vec<KeyId>,
}

/// What was kept for a session.
pub struct Taken {
    session: CK_SESSION_HANDLE,
    operations: Operations,
    token: Option<(CK_SLOT_ID, Arc<Token>)>,
}

impl Taken {
    /// The session keys that end with the session.
    pub fn into_keys(self) -> Vec<KeyId> {
        self.operations.keys
    }
}

/// A mapped object that a search has found.
pub struct Found {
    /// Its handle.
    pub handle: CK_OBJECT_HANDLE,
    /// Whether a logout makes it invisible.
    pub private: bool,
}

impl Operations {
    fn is_empty(&self) -> bool {
        self.sign.is_none() && self.verify.is_none() && self.found.is_empty() && self.keys.is_empty()
    }
}

/// Sessions with mapped operations, of one initialisation.
pub struct SessionTable {
    /// How many sessions with operations there are, by hash of their handles: 0 says without a lock that a session has
    /// none, which is so for every forwarded call.
    busy: [AtomicU32; BUCKETS],
    inner: Mutex<Inner>,
}

const BUCKETS: usize = 64;

#[derive(Default)]
struct Inner {
    operations: HashMap<CK_SESSION_HANDLE, Operations>,
    tokens: HashMap<CK_SESSION_HANDLE, (CK_SLOT_ID, Arc<Token>)>,
}

impl Default for SessionTable {
    fn default() -> Self {
        Self { busy: [const { AtomicU32::new(0) }; BUCKETS], inner: Mutex::default() }
    }
}

impl SessionTable {
    /// Whether a session may have mapped operations. Costs one load.
    #[inline(always)]
    pub fn is_busy(&self, session: CK_SESSION_HANDLE) -> bool {
        self.bucket(session).is_none_or(|count| count.load(Ordering::Acquire) != 0)
    }

    #[inline(always)]
    fn bucket(&self, session: CK_SESSION_HANDLE) -> Option<&AtomicU32> {
        // Handles are small numbers, or addresses whose low bits are alike.
        let hash = session ^ (session >> 6) ^ (session >> 12);
        self.busy.get(hash as usize % BUCKETS)
    }

    /// Looks at or changes what is in progress in a session.
    pub fn with<T>(&self, session: CK_SESSION_HANDLE, work: impl FnOnce(&mut Operations) -> T) -> T {
        let mut inner = self.lock();
        let known = inner.operations.contains_key(&session);
        let operations = inner.operations.entry(session).or_default();
        let answer = work(operations);
        let busy = !operations.is_empty();
        if !busy {
            inner.operations.remove(&session);
        }
        if let Some(count) = self.bucket(session) {
            match (known, busy) {
                (false, true) => _ = count.fetch_add(1, Ordering::Release),
                (true, false) => _ = count.fetch_sub(1, Ordering::Release),
                _ => {}
            }
        }
        answer
    }

    /// The session as the backend says it is now; the token in it is asked for once.
    pub fn session(&self, calls: &Calls<'_>, handle: CK_SESSION_HANDLE) -> Result<Session, Error> {
        let info = calls.session_info(handle)?;
        let (slot, state, flags) = (info.slotID, info.state, info.flags);
        let known = self.lock().tokens.get(&handle).filter(|(of, _)| *of == slot).map(|(_, token)| Arc::clone(token));
        let token = match known {
            Some(token) => token,
            None => {
                let token = Arc::new(Token::of_session(calls, slot)?);
                self.lock().tokens.insert(handle, (slot, Arc::clone(&token)));
                token
            }
        };
        Ok(Session {
            handle,
            slot,
            token,
            read_write: flags & CKF_RW_SESSION != 0,
            user: state == CKS_RO_USER_FUNCTIONS || state == CKS_RW_USER_FUNCTIONS,
        })
    }

    /// Forgets a session and gives what was kept for it: before the backend closes it, as the next one that is opened,
    /// by another thread perhaps, may get the same handle.
    pub fn take(&self, session: CK_SESSION_HANDLE) -> Taken {
        let operations = self.with(session, std::mem::take);
        Taken { session, operations, token: self.lock().tokens.remove(&session) }
    }

    /// Keeps again what was taken: the backend did not close the session.
    pub fn put_back(&self, taken: Taken) {
        self.with(taken.session, |operations| *operations = taken.operations);
        if let Some(token) = taken.token {
            self.lock().tokens.insert(taken.session, token);
        }
    }

    /// The sessions of a slot that we have met.
    pub fn of_slot(&self, slot: CK_SLOT_ID) -> Vec<CK_SESSION_HANDLE> {
        let inner = self.lock();
        inner.tokens.iter().filter(|(_, (of, _))| *of == slot).map(|(session, _)| *session).collect()
    }

    /// All sessions that we have met.
    pub fn all(&self) -> Vec<CK_SESSION_HANDLE> {
        let inner = self.lock();
        let met = inner.tokens.keys().chain(inner.operations.keys());
        met.copied().collect::<HashSet<_>>().into_iter().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic inside leaves at worst an operation that its session ends.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
