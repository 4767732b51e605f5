//! The environment, as a value, so that tests do not touch the process's own.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

/// Environment variables that configuration may be taken from.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: HashMap<OsString, OsString>,
}

impl Environment {
    /// No variables at all.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The variables of this process that begin with `HOLDFAST_`, or none if the process is privileged: its
    /// environment is the caller's, who must not choose what code it loads (as `secure_getenv` has it).
    pub fn of_process() -> Self {
        Self::from_variables(std::env::vars_os(), is_privileged())
    }

    /// From `variables`; none when the process is `privileged`.
    pub fn from_variables<K, V>(variables: impl IntoIterator<Item = (K, V)>, privileged: bool) -> Self
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        if privileged {
            return Self::empty();
        }
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .filter(|(name, _)| name.as_encoded_bytes().starts_with(b"HOLDFAST_"))
            .collect();
        Self { variables }
    }

    /// The value of `name`, which may be empty.
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str)
    }
}

/// Whether the kernel started this process with more rights than its caller's (`AT_SECURE`: set-user-ID, set-group-ID,
/// file capabilities, or a security module's word).
#[cfg(not(miri))]
fn is_privileged() -> bool {
    // rustix keeps this safe `getauxval(AT_SECURE)` in a module whose name changes with its version, hence the exact
    // version in the workspace's manifest.
    rustix::runtime_448b8ad740e2a26f::linux_secure()
}

/// Miri, which runs the argument readers' tests, makes no system calls of rustix's.
#[cfg(miri)]
const fn is_privileged() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k6_a_privileged_process_ignores_the_environment() {
        let variables = [("HOLDFAST_CONFIG", "/tmp/evil.toml"), ("HOLDFAST_LOG", "debug")];
        let environment = Environment::from_variables(variables, true);
        assert_eq!(environment.get("HOLDFAST_CONFIG"), None);
        assert_eq!(environment.get("HOLDFAST_LOG"), None);
        let environment = Environment::from_variables(variables, false);
        assert_eq!(environment.get("HOLDFAST_CONFIG"), Some(OsStr::new("/tmp/evil.toml")));
    }

    #[test]
    fn this_test_process_is_not_privileged() {
        assert!(!is_privileged());
    }
}
