//! The mapped keys' side of an instance.

use cryptoki_sys::{CK_SESSION_HANDLE, CK_SLOT_ID};
use holdfast_config::Config;

use crate::route::MappedHandle;

/// What mapped keys need from one `C_Initialize` to its `C_Finalize`.
pub struct Mapped {}

impl Mapped {
    /// At `C_Initialize`. Opens and enumerates nothing.
    pub fn new(_config: &'static Config) -> Self {
        Self {}
    }

    /// Whether this handle was given out since `C_Initialize`, even if its object is gone by now.
    pub fn gave_out(&self, _handle: MappedHandle) -> bool {
        false
    }

    /// The backend has closed this session: its operations, searches and session keys end.
    pub fn session_closed(&self, _session: CK_SESSION_HANDLE) {}

    /// The backend has closed the sessions of this slot.
    pub fn all_sessions_closed(&self, _slot: CK_SLOT_ID) {}

    /// The backend has logged out, for all sessions with the token of this one.
    pub fn logged_out(&self, _session: CK_SESSION_HANDLE) {}

    /// At `C_Finalize`, when no call is in progress any more.
    pub fn finalize(&self) {}

    /// Before `fork`, in the forking thread: takes what a child must not inherit half changed.
    pub fn fork_prepare(&self) {}

    /// After `fork`, in the parent.
    pub fn fork_parent(&self) {}

    /// After `fork`, in the child, which never uses this instance again.
    pub fn fork_child(&self) {}
}
