//! SLIP39 sessions: a master seed is made, or brought back, over several calls.

use serde::{Deserialize, Serialize};

/// An open session; one at a time, gone with a power cycle.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slip39Session {}
