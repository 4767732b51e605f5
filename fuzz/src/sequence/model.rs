//! What the token, its sessions and its mapped pairs are like, as far as a client can know.

use cryptoki_sys::*;

use crate::key::Key;

#[derive(Default)]
pub(super) struct Model {
    pub(super) initialized: bool,
    pub(super) sessions: Vec<Session>,
    pub(super) login: Login,
    pub(super) pairs: Vec<Pair>,
    /// Whether the device may fail the next calls.
    pub(super) trouble: bool,
    /// Handles that were of mapped objects once.
    pub(super) dead: Vec<CK_OBJECT_HANDLE>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Login {
    #[default]
    Nobody,
    User,
    SecurityOfficer,
}

pub(super) struct Session {
    pub(super) handle: CK_SESSION_HANDLE,
    pub(super) read_write: bool,
    pub(super) searching: bool,
    pub(super) sign: Option<Operation>,
    pub(super) verify: Option<Operation>,
}

/// A signature or a verification with a mapped key.
pub(super) struct Operation {
    /// Of the pair in the model.
    pub(super) pair: usize,
    pub(super) mechanism: CK_MECHANISM_TYPE,
    pub(super) data: Vec<u8>,
    pub(super) continued: bool,
}

/// A mapped pair. It stays in the model when it is gone.
pub(super) struct Pair {
    pub(super) key: Key,
    pub(super) id: Vec<u8>,
    pub(super) public: Option<CK_OBJECT_HANDLE>,
    pub(super) private: Option<CK_OBJECT_HANDLE>,
    /// The halves that exist, whether or not a handle is known.
    pub(super) has_public: bool,
    pub(super) has_private: bool,
    /// The session whose end is the pair's, for a session pair.
    pub(super) session: Option<CK_SESSION_HANDLE>,
}

/// Which half of a pair.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    Public,
    Private,
}

impl Model {
    pub(super) fn session(&mut self, handle: CK_SESSION_HANDLE) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.handle == handle)
    }

    /// The codes for a session handle that is none.
    pub(super) fn session_errors(&self, handle: CK_SESSION_HANDLE) -> Vec<CK_RV> {
        if !self.initialized {
            vec![CKR_CRYPTOKI_NOT_INITIALIZED]
        } else if self.sessions.iter().all(|session| session.handle != handle) {
            vec![CKR_SESSION_HANDLE_INVALID]
        } else {
            Vec::new()
        }
    }

    /// The pair of an object handle and which half it is of, when that object is to be seen.
    pub(super) fn object(&self, handle: CK_OBJECT_HANDLE) -> Option<(usize, Half)> {
        let found = self.pairs.iter().enumerate().find_map(|(number, pair)| {
            if pair.has_public && pair.public == Some(handle) {
                Some((number, Half::Public))
            } else if pair.has_private && pair.private == Some(handle) {
                Some((number, Half::Private))
            } else {
                None
            }
        });
        found.filter(|(_, half)| *half == Half::Public || self.login == Login::User)
    }

    /// The handle no longer denotes anything.
    pub(super) fn bury(&mut self, handle: Option<CK_OBJECT_HANDLE>) {
        self.dead.extend(handle);
    }

    pub(super) fn end_session_pairs(&mut self, ends: impl Fn(CK_SESSION_HANDLE) -> bool) {
        for number in 0..self.pairs.len() {
            if self.pairs[number].session.is_some_and(&ends) {
                self.end_pair(number);
            }
        }
    }

    pub(super) fn end_pair(&mut self, number: usize) {
        let pair = &mut self.pairs[number];
        (pair.has_public, pair.has_private) = (false, false);
        let (public, private) = (pair.public.take(), pair.private.take());
        self.bury(public);
        self.bury(private);
    }

    pub(super) fn close(&mut self, ends: impl Fn(CK_SESSION_HANDLE) -> bool) {
        self.sessions.retain(|session| !ends(session.handle));
        self.end_session_pairs(ends);
        if self.sessions.is_empty() {
            self.login = Login::Nobody;
        }
    }

    pub(super) fn log_out(&mut self) {
        self.login = Login::Nobody;
        for number in 0..self.pairs.len() {
            let pair = &mut self.pairs[number];
            // Private session objects end; the public half stays.
            pair.has_private &= pair.session.is_none();
            let private = pair.private.take();
            self.bury(private);
        }
        for session in &mut self.sessions {
            (session.sign, session.verify) = (None, None);
        }
    }
}
