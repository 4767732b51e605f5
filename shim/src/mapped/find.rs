//! Searches: what the backend finds, and the mapped objects that the template matches.
//!
//! Mapped objects are given out first, as many as a call has room for, then the backend's. What other processes made or
//! destroyed since shows at the next `C_FindObjectsInit`.

use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};

use super::attributes::{filter, matches};
use super::session::Found;
use crate::abi::args::Template;
use crate::error::Error;
use crate::lifecycle::Instance;
use crate::log;

/// After the backend began its search: looks for mapped objects too.
///
/// A store that cannot be read does not take the backend's objects from the client: the log says what is wrong, and the
/// search, which the backend has in progress by now, goes on without mapped keys.
pub fn init(instance: &Instance, session: CK_SESSION_HANDLE, template: &Template<'_>) {
    // Left over from a search whose end the backend refused.
    finish(instance, session);
    if let Err(error) = search(instance, session, template) {
        log::error(format_args!("C_FindObjectsInit: mapped keys cannot be searched: {error}"));
    }
}

fn search(instance: &Instance, session: CK_SESSION_HANDLE, template: &Template<'_>) -> Result<(), Error> {
    let Some(filter) = filter(template) else { return Ok(()) };
    let mapped = &instance.mapped;
    let session = mapped.sessions.session(&instance.calls(), session)?;
    let objects = mapped.keystore.find(&session.token.serial, &filter)?;
    let mut found = Vec::new();
    for object in objects.iter().rev().filter(|object| session.user || !object.record.private) {
        if matches(object, template) {
            let handle = mapped.handles.handle(object)?.to_client();
            found.push(Found { handle, private: object.record.private });
        }
    }
    if !found.is_empty() {
        mapped.sessions.with(session.handle, |operations| operations.found = found);
    }
    Ok(())
}

/// The next mapped objects of the search, at most `room`.
pub fn next(instance: &Instance, session: CK_SESSION_HANDLE, room: usize) -> Vec<CK_OBJECT_HANDLE> {
    instance.mapped.sessions.with(session, |operations| {
        let keep = operations.found.len().saturating_sub(room);
        operations.found.drain(keep..).rev().map(|found| found.handle).collect()
    })
}

/// Ends the search.
pub fn finish(instance: &Instance, session: CK_SESSION_HANDLE) {
    if instance.mapped.sessions.is_busy(session) {
        instance.mapped.sessions.with(session, |operations| operations.found.clear());
    }
}
