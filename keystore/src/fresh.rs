//! Whether the device made something new: a slot that was in use before a call is refused as its result.
//!
//! Slots are used again, so one that another process of ours gives up during the call may well be the result.

use std::collections::HashMap;

use holdfast_device::KeySlot;
use holdfast_mapping_db::{IntentId, KeyId};

use crate::{Error, Keystore};

/// What was known just before a call that makes something.
pub(crate) struct Before {
    /// The slots in use.
    pub slots: Vec<KeySlot>,
    /// The store's keys by their slots; what others were making or destroying is not among them.
    keys: HashMap<i32, KeyId>,
    /// Whether others were making or destroying keys.
    others_at_work: bool,
}

impl Keystore {
    /// Looks at what there is, before something is made under the intent `own`. Fails when there is no free slot.
    pub(crate) fn look_before(&self, own: IntentId) -> Result<Before, Error> {
        // The store is asked on both sides of the device, so that no key made or destroyed meanwhile is missed.
        let (mut keys, earlier_work) = self.keys_in_slots(own)?;
        let slots = self.require_room(1)?;
        let (later_keys, later_work) = self.keys_in_slots(own)?;
        keys.extend(later_keys);
        Ok(Before { slots, keys, others_at_work: earlier_work || later_work })
    }

    /// Whether a slot was free before, or was given up since by a process of ours that destroyed its key.
    pub(crate) fn is_fresh(&self, slot: KeySlot, before: &Before) -> Result<bool, Error> {
        if !before.slots.contains(&slot) || before.others_at_work {
            return Ok(true);
        }
        let Some(key) = before.keys.get(&slot.number()) else { return Ok(false) };
        let there = self.read(|rows, _| Ok(rows.private_key_slots()?.iter().any(|(other, _)| other == key)))?;
        Ok(there == Some(false))
    }

    fn keys_in_slots(&self, own: IntentId) -> Result<(HashMap<i32, KeyId>, bool), Error> {
        let found = self.read(|rows, _| {
            let keys = rows.private_key_slots()?.into_iter().map(|(key, slot)| (slot, key)).collect();
            Ok((keys, rows.intents()?.iter().any(|intent| intent.id != own)))
        })?;
        Ok(found.unwrap_or_default())
    }
}
