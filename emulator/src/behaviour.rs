//! What tests ask of the device beyond what a healthy one does: faults, latencies, a trace of the calls.
//!
//! It stands in `behaviour.json`, apart from the state, and is shared by all processes. Only while there is a fault
//! that counts down does a call write it.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The call name that means every call.
pub const ANY: &str = "any";

/// Faults, latencies and tracing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    /// Faults that have not happened yet, or go on.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// Milliseconds that a call takes longer, by its name or [`ANY`].
    #[serde(default)]
    pub latencies: BTreeMap<String, u64>,
    /// Whether every call is written to `trace.log`.
    #[serde(default)]
    pub trace: bool,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The call's name, or [`ANY`].
    pub call: String,
    /// How many calls to go until it happens; 1 means the next one.
    pub after: u64,
    /// How many calls in a row it happens to; 0 means until it is cleared.
    pub times: u64,
    /// What happens.
    pub kind: FaultKind,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// It fails, and the device did nothing.
    Error,
    /// It fails, and the device has acted all the same.
    ErrorAfter,
    /// The calling process dies before the device acts.
    AbortBefore,
    /// The calling process dies after the device has acted.
    AbortAfter,
    /// The device takes that many milliseconds longer, once.
    Hang(u64),
    /// The device's daemon restarts: the call fails, and every open context with it.
    Disconnect,
    /// The reply says that all went well, and has half of its bytes.
    ShortReply,
    /// The reply says that all went well, and has no bytes: a NULL pointer.
    NullReply,
    /// A public key is not on its curve.
    BadPoint,
    /// A public key is a good one, of another key.
    OtherKey,
    /// A signature is well-formed and wrong.
    WrongSignature,
    /// A slot number is one that no key store has.
    WrongSlot,
}

impl FaultKind {
    const NAMES: [(&'static str, Self); 11] = [
        ("error", Self::Error),
        ("error-after", Self::ErrorAfter),
        ("abort-before", Self::AbortBefore),
        ("abort-after", Self::AbortAfter),
        ("disconnect", Self::Disconnect),
        ("short-reply", Self::ShortReply),
        ("null-reply", Self::NullReply),
        ("bad-point", Self::BadPoint),
        ("other-key", Self::OtherKey),
        ("wrong-signature", Self::WrongSignature),
        ("wrong-slot", Self::WrongSlot),
    ];
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(ms) = text.strip_prefix("hang=") {
            return ms.parse().map(Self::Hang).map_err(|_| format!("hang={ms}: milliseconds expected"));
        }
        let names = || Self::NAMES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let found = Self::NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, kind)| *kind).ok_or_else(|| format!("one of {}, hang=MS expected", names()))
    }
}

impl std::fmt::Display for FaultKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hang(ms) => write!(f, "hang={ms}"),
            kind => f.write_str(Self::NAMES.iter().find(|(_, k)| k == kind).map_or("", |(name, _)| name)),
        }
    }
}

impl Behaviour {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How many milliseconds longer `call` takes.
    pub fn latency(&self, call: &str) -> u64 {
        self.latencies.get(call).or_else(|| self.latencies.get(ANY)).copied().unwrap_or(0)
    }

    /// Whether a fault counts the calls named `call`.
    pub fn counts(&self, call: &str) -> bool {
        self.faults.iter().any(|fault| fault.matches(call))
    }

    /// Counts one call, and answers what happens to it. When several faults are due, the one set first happens.
    pub fn count(&mut self, call: &str) -> Option<FaultKind> {
        let mut due = None;
        self.faults.retain_mut(|fault| {
            if !fault.matches(call) {
                return true;
            }
            if fault.after > 1 {
                fault.after -= 1;
                return true;
            }
            if due.is_some() {
                return true;
            }
            due = Some(fault.kind);
            match fault.times {
                0 => true,
                1 => false,
                _ => {
                    fault.times -= 1;
                    true
                }
            }
        });
        due
    }
}

impl Fault {
    fn matches(&self, call: &str) -> bool {
        self.call == call || self.call == ANY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behaviour(faults: &[(&str, u64, u64, FaultKind)]) -> Behaviour {
        let fault = |(call, after, times, kind): &(&str, u64, u64, FaultKind)| Fault {
            call: (*call).into(),
            after: *after,
            times: *times,
            kind: *kind,
        };
        Behaviour { faults: faults.iter().map(fault).collect(), ..Behaviour::default() }
    }

    #[test]
    fn the_nth_next_call_fails_once() {
        let mut b = behaviour(&[("zkGenKeyPair", 3, 1, FaultKind::Error)]);
        let answers: Vec<_> = (0..5).map(|_| b.count("zkGenKeyPair").is_some()).collect();
        assert_eq!(answers, [false, false, true, false, false]);
        assert!(b.is_empty());
    }

    #[test]
    fn other_calls_do_not_count_but_any_does() {
        let mut b = behaviour(&[("zkGenKeyPair", 1, 1, FaultKind::Error)]);
        assert_eq!(b.count("zkOpen"), None);
        assert_eq!(b.count("zkGenKeyPair"), Some(FaultKind::Error));
        let mut b = behaviour(&[(ANY, 2, 1, FaultKind::Disconnect)]);
        assert_eq!(b.count("zkOpen"), None);
        assert_eq!(b.count("zkClose"), Some(FaultKind::Disconnect));
    }

    #[test]
    fn times_repeats_and_zero_never_ends() {
        let mut b = behaviour(&[(ANY, 2, 2, FaultKind::Error)]);
        let answers: Vec<_> = (0..5).map(|_| b.count("x").is_some()).collect();
        assert_eq!(answers, [false, true, true, false, false]);
        let mut b = behaviour(&[(ANY, 1, 0, FaultKind::Error)]);
        assert!((0..100).all(|_| b.count("x").is_some()));
    }

    #[test]
    fn two_faults_due_at_once_happen_one_after_the_other() {
        let mut b = behaviour(&[(ANY, 1, 1, FaultKind::Error), (ANY, 1, 1, FaultKind::Disconnect)]);
        assert_eq!(b.count("x"), Some(FaultKind::Error));
        assert_eq!(b.count("x"), Some(FaultKind::Disconnect));
        assert_eq!(b.count("x"), None);
    }

    #[test]
    fn kinds_parse_and_print() {
        for (name, kind) in FaultKind::NAMES {
            assert_eq!(name.parse(), Ok(kind));
            assert_eq!(kind.to_string(), name);
        }
        assert_eq!("hang=250".parse(), Ok(FaultKind::Hang(250)));
        assert!("hang=soon".parse::<FaultKind>().is_err() && "explode".parse::<FaultKind>().is_err());
    }
}
