//! What the device has besides keys: LED, accelerometer, perimeter, temperature, battery, binding, supervised boot.
//!
//! The emulation has no sensors. Readings are those of a device lying on a desk; settings are kept and checked as the
//! vendor's header says; taps and breaches happen when the command line says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::hex::HexBytes;

/// Settings and events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peripherals {
    /// What the LED does.
    pub led: Led,
    /// The I2C address, which only the Zymkeys on that bus use.
    pub i2c_address: i32,
    /// Tap sensitivity of X, Y and Z in percent.
    pub tap_sensitivity: [f32; 3],
    /// How many taps there were.
    pub taps: u64,
    /// What a breach of each perimeter channel does: bit 0 notify, bit 1 self-destruct.
    pub perimeter_actions: [u32; 2],
    /// When each channel was breached first, in seconds since 1970; 0 for not yet.
    pub perimeter_breaches: [u32; 2],
    /// How many breaches there were on channels that notify.
    pub perimeter_events: u64,
    /// Low power period of the digital perimeter in microseconds.
    pub perimeter_lp_period: i32,
    /// Low power maximum number of bits of the digital perimeter.
    pub perimeter_lp_max_bits: i32,
    /// Shortest and longest delay of the digital perimeter in nanoseconds.
    pub perimeter_delays: [i32; 2],
    /// `ZK_THRESHOLD_ACTION_TYPE` for a low battery.
    pub battery_action: i32,
    /// The battery's threshold in volts.
    pub battery_threshold: f32,
    /// `ZK_THRESHOLD_ACTION_TYPE` for a temperature out of range.
    pub cpu_temp_action: i32,
    /// The lowest and the highest temperature in degrees Celsius.
    pub cpu_temp_thresholds: [f32; 2],
    /// Set by `zkLockBinding`, for good.
    pub binding_locked: bool,
    /// What a failed supervised boot does: 0 nothing, 1 self-destruct, 2 hold in reset.
    pub supervised_boot_policy: i32,
    /// The files that supervised boot checks.
    pub supervised_boot_files: BTreeMap<String, SupervisedFile>,
}

/// What the LED does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Led {
    /// Dark.
    Off,
    /// Lit.
    On,
    /// Flashing: milliseconds on, milliseconds off, how often (0: without end).
    Flash(u32, u32, u32),
}

/// A file of the supervised boot manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SupervisedFile {
    /// The slot whose key signed it.
    pub slot: i32,
    /// The signature of its SHA-256.
    pub signature: HexBytes,
}

impl Default for Peripherals {
    /// The defaults that the vendor's header names.
    fn default() -> Self {
        Self {
            led: Led::Off,
            i2c_address: 0x30,
            tap_sensitivity: [50.0; 3],
            taps: 0,
            perimeter_actions: [1; 2],
            perimeter_breaches: [0; 2],
            perimeter_events: 0,
            perimeter_lp_period: 0,
            perimeter_lp_max_bits: 0,
            perimeter_delays: [0; 2],
            battery_action: 0,
            battery_threshold: 2.3,
            cpu_temp_action: 0,
            cpu_temp_thresholds: [-10.0, 65.0],
            binding_locked: false,
            supervised_boot_policy: 0,
            supervised_boot_files: BTreeMap::new(),
        }
    }
}

/// The temperature of the processor, in degrees Celsius.
pub const CPU_TEMPERATURE: f32 = 42.0;
/// The temperature of the other processor, in degrees Celsius.
pub const AUX_TEMPERATURE: f32 = 40.0;
/// The battery's voltage.
pub const BATTERY_VOLTAGE: f32 = 3.0;
/// The clock's drift.
pub const RTC_DRIFT: f32 = 0.0;

fn require(condition: bool, argument: &'static str) -> Result<()> {
    if condition { Ok(()) } else { Err(Error::Argument(argument)) }
}

impl Peripherals {
    /// A reboot darkens the LED; everything else is kept.
    pub fn power_cycle(&mut self) {
        self.led = Led::Off;
    }

    /// `zkSetI2CAddr`: 0x30-0x37 and 0x60-0x67.
    ///
    /// # Errors
    /// [`Error::Argument`], as all functions here.
    pub fn set_i2c_address(&mut self, address: i32) -> Result<()> {
        require((0x30..=0x37).contains(&address) || (0x60..=0x67).contains(&address), "addr")?;
        self.i2c_address = address;
        Ok(())
    }

    /// `zkSetTapSensitivity`: axis 0, 1, 2, or 3 for all; 0 to 100 percent.
    pub fn set_tap_sensitivity(&mut self, axis: i32, percent: f32) -> Result<()> {
        require((0.0..=100.0).contains(&percent), "pct")?;
        match usize::try_from(axis) {
            Ok(3) => self.tap_sensitivity = [percent; 3],
            Ok(axis) => *self.tap_sensitivity.get_mut(axis).ok_or(Error::Argument("axis"))? = percent,
            Err(_) => return Err(Error::Argument("axis")),
        }
        Ok(())
    }

    /// `zkSetPerimeterEventAction`: channel 0 or 1, flags 0 to 3.
    pub fn set_perimeter_action(&mut self, channel: i32, flags: u32) -> Result<()> {
        require(flags <= 3, "action_flags")?;
        let channel = usize::try_from(channel).ok().and_then(|channel| self.perimeter_actions.get_mut(channel));
        *channel.ok_or(Error::Argument("channel"))? = flags;
        Ok(())
    }

    /// A breach of a channel. Answers whether the device destroys itself.
    pub fn breach(&mut self, channel: usize, now: u32) -> Result<bool> {
        let actions = *self.perimeter_actions.get(channel).ok_or(Error::Argument("channel"))?;
        let first = self.perimeter_breaches.get_mut(channel).ok_or(Error::Argument("channel"))?;
        if *first == 0 {
            *first = now;
        }
        if actions & 1 != 0 {
            self.perimeter_events += 1;
        }
        Ok(actions & 2 != 0)
    }

    /// `zkSetDigitalPerimeterDetectLPPeriod`.
    pub fn set_perimeter_lp_period(&mut self, microseconds: i32) -> Result<()> {
        require(microseconds >= 0, "lp_period")?;
        self.perimeter_lp_period = microseconds;
        Ok(())
    }

    /// `zkSetDigitalPerimeterDetectLPMaxBits`.
    pub fn set_perimeter_lp_max_bits(&mut self, bits: i32) -> Result<()> {
        require(bits >= 0, "max_num_bits")?;
        self.perimeter_lp_max_bits = bits;
        Ok(())
    }

    /// `zkSetDigitalPerimeterDetectDelays`.
    pub fn set_perimeter_delays(&mut self, min: i32, max: i32) -> Result<()> {
        require(0 <= min && min <= max, "min_delay_ns")?;
        self.perimeter_delays = [min, max];
        Ok(())
    }

    /// `zkSetBatteryVoltageAction`: 0 nothing, 1 self-destruct, 2 sleep.
    pub fn set_battery_action(&mut self, action: i32) -> Result<()> {
        require((0..=2).contains(&action), "action")?;
        self.battery_action = action;
        Ok(())
    }

    /// `zkSetBatteryVoltageThreshold`: below 2.5 V.
    pub fn set_battery_threshold(&mut self, volts: f32) -> Result<()> {
        require((0.0..2.5).contains(&volts), "threshold")?;
        self.battery_threshold = volts;
        Ok(())
    }

    /// `zkSetCPUTempAction`: 0 nothing, 1 self-destruct.
    pub fn set_cpu_temp_action(&mut self, action: i32) -> Result<()> {
        require((0..=1).contains(&action), "action")?;
        self.cpu_temp_action = action;
        Ok(())
    }

    /// `zkSetCPULowTempThreshold`.
    pub fn set_cpu_low_temp(&mut self, celsius: f32) -> Result<()> {
        require(celsius.is_finite() && celsius < self.cpu_temp_thresholds[1], "threshold")?;
        self.cpu_temp_thresholds[0] = celsius;
        Ok(())
    }

    /// `zkSetCPUHighTempThreshold`.
    pub fn set_cpu_high_temp(&mut self, celsius: f32) -> Result<()> {
        require(celsius.is_finite() && celsius > self.cpu_temp_thresholds[0], "threshold")?;
        self.cpu_temp_thresholds[1] = celsius;
        Ok(())
    }

    /// `zkSetSupervisedBootPolicy`: 0 nothing, 1 self-destruct, 2 hold in reset.
    pub fn set_supervised_boot_policy(&mut self, policy: i32) -> Result<()> {
        require((0..=2).contains(&policy), "policy_id")?;
        self.supervised_boot_policy = policy;
        Ok(())
    }

    /// `zkRemoveSupervisedBootFile`.
    pub fn remove_supervised_file(&mut self, path: &str) -> Result<()> {
        require(self.supervised_boot_files.remove(path).is_some(), "file_path")
    }

    /// `zkGetSupervisedBootFileManifest`: one line a file, its slot and its path.
    pub fn supervised_manifest(&self) -> String {
        self.supervised_boot_files.iter().map(|(path, file)| format!("{} {path}\n", file.slot)).collect()
    }
}
