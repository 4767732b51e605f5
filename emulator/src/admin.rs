//! What `holdfast-emulator` does to a device from outside: none of it is a call of the vendor's library.

use std::fmt;

use serde::Serialize;

use crate::behaviour::Behaviour;
use crate::device::{NewDevice, PublicSlot};
use crate::error::Result;
use crate::state::{EPHEMERAL_SLOT, Origin, State};
use crate::store::Directory;

/// What there is to know about a device at large.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// What `zkGetModelNumberString` answers.
    pub model: String,
    /// What `zkGetFirmwareVersionString` answers.
    pub firmware: String,
    /// What `zkGetSerialNumberString` answers.
    pub serial: String,
    /// Whether `zkGenKeyPair` keys are lost at a power cycle.
    pub affected: bool,
    /// How often it was switched on.
    pub boots: u64,
    /// How many keys fit, factory keys included.
    pub capacity: i32,
    /// How many slots hold a key.
    pub used: usize,
    /// The open SLIP39 session, if any.
    pub slip39_session: bool,
    /// The wallets' names.
    pub wallets: Vec<String>,
}

/// One slot that holds a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlotInfo {
    /// Its number; -1 is the ephemeral key.
    pub slot: i32,
    /// `p256`, `secp256k1`, `ed25519`, `x25519`.
    #[serde(rename = "type")]
    pub key_type: &'static str,
    /// `factory`, `generated`, `wallet`, `oversight`, `ephemeral`, `foreign`.
    pub origin: &'static str,
    /// Its wallet.
    pub wallet: Option<String>,
    /// Its node address.
    pub node: Option<String>,
    /// The public key in hexadecimal, whether or not it may be exported.
    pub public_key: String,
    /// Whether the next power cycle removes it.
    pub volatile: bool,
    /// Whether `zkDisablePubKeyExport` was called.
    pub export_disabled: bool,
}

/// Every key of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Slots {
    /// How many keys fit, factory keys included.
    pub capacity: i32,
    /// The key store in ascending order, then the ephemeral key.
    pub slots: Vec<SlotInfo>,
    /// The store of foreign public keys.
    pub foreign: Vec<SlotInfo>,
}

impl fmt::Display for SlotInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key: String = self.public_key.chars().take(16).collect();
        write!(f, "{:>4}  {:<9}  {:<9}  {key}..", self.slot, self.key_type, self.origin)?;
        if let (Some(wallet), Some(node)) = (&self.wallet, &self.node) {
            write!(f, "  {node} of {wallet}")?;
        }
        f.write_str(if self.volatile { "  lost at the next power cycle" } else { "" })?;
        f.write_str(if self.export_disabled { "  export disabled" } else { "" })
    }
}

/// A device seen from outside.
#[derive(Clone, Debug)]
pub struct Admin(Directory);

impl Admin {
    /// The device in a directory.
    pub fn new(directory: Directory) -> Self {
        Self(directory)
    }

    /// Makes a device. Files get `mode`; without one only the owner may use it.
    ///
    /// # Errors
    /// [`crate::Error::DeviceExists`], or what the operating system says; so for all functions here.
    pub fn create(&self, new: &NewDevice, mode: Option<u32>) -> Result<Summary> {
        let state = State::new(new);
        self.0.create(&state, mode)?;
        Ok(summary(&state))
    }

    /// The device at large.
    pub fn summary(&self) -> Result<Summary> {
        self.read(summary)
    }

    /// Every key.
    pub fn slots(&self) -> Result<Slots> {
        self.read(slots)
    }

    /// A reboot. Answers the slots whose keys vanished.
    pub fn power_cycle(&self) -> Result<Vec<i32>> {
        self.change(|state| {
            let before: Vec<i32> = state.slots.keys().copied().collect();
            state.power_cycle();
            Ok(before.into_iter().filter(|number| !state.slots.contains_key(number)).collect())
        })
    }

    /// A tamper event.
    pub fn wipe(&self) -> Result<()> {
        self.change(|state| {
            state.wipe();
            Ok(())
        })
    }

    /// Other firmware.
    pub fn set_firmware(&self, firmware: &str) -> Result<()> {
        self.change(|state| {
            state.firmware = firmware.into();
            Ok(())
        })
    }

    /// Removes a key as `zkRemoveKey` does. Answers every slot that is empty now.
    pub fn remove_slot(&self, number: i32) -> Result<Vec<i32>> {
        self.change(|state| {
            let before: Vec<i32> = state.slots.keys().copied().collect();
            state.remove(PublicSlot::Own(number))?;
            Ok(before.into_iter().filter(|number| !state.slots.contains_key(number)).collect())
        })
    }

    /// Exchanges what two slots hold; one of them may be empty.
    pub fn swap_slots(&self, a: i32, b: i32) -> Result<()> {
        self.change(|state| state.swap_slots(a, b))
    }

    /// Moves a key into an empty slot.
    pub fn move_slot(&self, from: i32, to: i32) -> Result<()> {
        self.change(|state| {
            if state.slots.contains_key(&to) {
                return Err(crate::Error::Argument("the slot to move to holds a key"));
            }
            if !state.slots.contains_key(&from) {
                return Err(crate::Error::EmptySlot(from));
            }
            state.swap_slots(from, to)
        })
    }

    /// Puts another key into a slot.
    pub fn replace_key(&self, number: i32) -> Result<()> {
        self.change(|state| state.replace_key(number))
    }

    /// Ends every open context, as a restart of the device's daemon does.
    pub fn disconnect(&self) -> Result<()> {
        self.change(|state| {
            state.connections += 1;
            Ok(())
        })
    }

    /// A tap on the device.
    pub fn tap(&self) -> Result<()> {
        self.change(|state| {
            state.peripherals.taps += 1;
            Ok(())
        })
    }

    /// A breach of a perimeter channel at `now`, in seconds since 1970. Answers whether the device destroyed itself.
    pub fn breach(&self, channel: usize, now: u32) -> Result<bool> {
        self.change(|state| {
            let destroyed = state.peripherals.breach(channel, now)?;
            if destroyed {
                state.wipe();
            }
            Ok(destroyed)
        })
    }

    /// The faults, latencies and tracing in force.
    pub fn behaviour(&self) -> Result<Behaviour> {
        let _lock = self.0.lock()?;
        self.0.load_state()?;
        Ok(self.0.load_behaviour()?.map(|behaviour| (*behaviour).clone()).unwrap_or_default())
    }

    /// Changes them.
    pub fn change_behaviour(&self, change: impl FnOnce(&mut Behaviour)) -> Result<Behaviour> {
        let _lock = self.0.lock()?;
        self.0.load_state()?;
        let mut behaviour = self.0.load_behaviour()?.map(|behaviour| (*behaviour).clone()).unwrap_or_default();
        change(&mut behaviour);
        self.0.save_behaviour(&behaviour)?;
        Ok(behaviour)
    }

    /// The trace so far.
    pub fn trace(&self) -> Result<String> {
        let _lock = self.0.lock()?;
        self.0.read_trace()
    }

    /// Forgets the trace.
    pub fn clear_trace(&self) -> Result<()> {
        let _lock = self.0.lock()?;
        self.0.clear_trace()
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> Result<T> {
        let _lock = self.0.lock()?;
        Ok(read(&*self.0.load_state()?))
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let _lock = self.0.lock()?;
        let mut state = State::clone(&*self.0.load_state()?);
        let answer = change(&mut state)?;
        state.generation += 1;
        self.0.save_state(&state)?;
        Ok(answer)
    }
}

fn summary(state: &State) -> Summary {
    Summary {
        model: state.model.clone(),
        firmware: state.firmware.clone(),
        serial: state.serial.clone(),
        affected: state.is_affected(),
        boots: state.boots,
        capacity: state.capacity(),
        used: state.slots.len(),
        slip39_session: state.slip39.is_some(),
        wallets: state.wallets.keys().cloned().collect(),
    }
}

fn slots(state: &State) -> Slots {
    let own = state.slots.iter().map(|(number, slot)| SlotInfo {
        slot: *number,
        key_type: slot.key.key_type.name(),
        origin: match slot.origin {
            Origin::Factory => "factory",
            Origin::Generated => "generated",
            Origin::Wallet => "wallet",
            Origin::Oversight => "oversight",
        },
        wallet: slot.node.as_ref().map(|node| node.wallet.clone()),
        node: slot.node.as_ref().map(|node| node.path.to_string()),
        public_key: slot.key.public.to_string(),
        volatile: state.is_volatile(slot),
        export_disabled: slot.export_disabled,
    });
    let plain = |slot, key_type, origin, public_key, volatile, export_disabled| SlotInfo {
        slot,
        key_type,
        origin,
        wallet: None,
        node: None,
        public_key,
        volatile,
        export_disabled,
    };
    let ephemeral = state.ephemeral.iter();
    let ephemeral = ephemeral
        .map(|key| plain(EPHEMERAL_SLOT, key.key_type.name(), "ephemeral", key.public.to_string(), true, false));
    let foreign = state.foreign.iter().map(|(number, key)| {
        plain(*number, key.key_type.name(), "foreign", key.public.to_string(), false, key.export_disabled)
    });
    Slots { capacity: state.capacity(), slots: own.chain(ephemeral).collect(), foreign: foreign.collect() }
}
