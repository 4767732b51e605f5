//! "Perimeter Detect", "LED Control", "Administrative Ops", "Accelerometer", "Binding Management", the battery and
//! temperature monitors, and supervised boot.

use std::ffi::{c_char, c_int};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::args::{CBool, Out, text};
use super::call::{Device, exports, with_context};
use super::contexts::ZkCtx;
use super::module_info::out_text;
use crate::error::{Error, Result};
use crate::peripherals::{Led, Peripherals, SupervisedFile};

/// `zkAccelAxisDataType`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AccelAxisData {
    /// In units of g.
    pub g: f64,
    /// -1, 0 or 1.
    pub tap_direction: c_int,
}

/// How often a waiting call looks.
const POLL: Duration = Duration::from_millis(20);

fn set(device: &mut Device<'_>, change: impl FnOnce(&mut Peripherals) -> Result<()>) -> Result<c_int> {
    device.change(|state| change(&mut state.peripherals).map(|()| 0))
}

/// Waits until a count in the state grows. The device is not held meanwhile; 0xffffffff waits for ever.
fn wait_for(ctx: ZkCtx, name: &'static str, timeout_ms: u32, count: impl Fn(&Peripherals) -> u64) -> c_int {
    let deadline = (timeout_ms != u32::MAX).then(|| Instant::now() + Duration::from_millis(timeout_ms.into()));
    let mut before = None;
    loop {
        let mut now = 0;
        let answer = with_context(ctx, name, |device| {
            now = count(&device.state().peripherals);
            Ok(0)
        });
        if answer < 0 || now > *before.get_or_insert(now) {
            return answer;
        }
        match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => return -libc::ETIMEDOUT,
            Some(left) => thread::sleep(left.min(POLL)),
            None => thread::sleep(POLL),
        }
    }
}

/// Waits for a tap, which `holdfast-emulator tap` makes.
///
/// # Safety
/// There is nothing to promise.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "C" fn zkWaitForTap(ctx: ZkCtx, timeout_ms: u32) -> c_int {
    wait_for(ctx, "zkWaitForTap", timeout_ms, |peripherals| peripherals.taps)
}

/// Waits for a breach on a channel that notifies, which `holdfast-emulator breach` makes.
///
/// # Safety
/// There is nothing to promise.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "C" fn zkWaitForPerimeterEvent(ctx: ZkCtx, timeout_ms: u32) -> c_int {
    wait_for(ctx, "zkWaitForPerimeterEvent", timeout_ms, |peripherals| peripherals.perimeter_events)
}

/// The calls of this file that are written without the macro.
pub(super) const WAITING: &[&str] = &["zkWaitForTap", "zkWaitForPerimeterEvent"];

exports! {
    /// What a breach of a channel does.
    fn zkSetPerimeterEventAction(ctx, channel: c_int, action_flags: u32) |device| {
        set(device, |peripherals| peripherals.set_perimeter_action(channel, action_flags))
    }

    /// The low power period in microseconds.
    fn zkSetDigitalPerimeterDetectLPPeriod(ctx, lp_period: c_int) |device| {
        set(device, |peripherals| peripherals.set_perimeter_lp_period(lp_period))
    }

    /// The low power maximum number of bits.
    fn zkSetDigitalPerimeterDetectLPMaxBits(ctx, max_num_bits: c_int) |device| {
        set(device, |peripherals| peripherals.set_perimeter_lp_max_bits(max_num_bits))
    }

    /// The delays in nanoseconds.
    fn zkSetDigitalPerimeterDetectDelays(ctx, min_delay_ns: c_int, max_delay_ns: c_int) |device| {
        set(device, |peripherals| peripherals.set_perimeter_delays(min_delay_ns, max_delay_ns))
    }

    /// When each channel was breached first, in seconds since 1970.
    fn zkGetPerimeterDetectInfo(ctx, timestamps_sec: *mut *mut u32, num_timestamps: *mut c_int) |device| {
        // SAFETY: the caller promises two pointers that can be written; C's int is as large as its uint32_t.
        let (out, size) = unsafe { (Out::new(timestamps_sec.cast::<*mut c_int>())?, Out::new(num_timestamps)?) };
        let breaches = device.state().peripherals.perimeter_breaches.map(u32::cast_signed);
        size.set(c_int::try_from(breaches.len()).map_err(|_| Error::Argument("too large"))?);
        out.set_numbers(&breaches)?;
        Ok(0)
    }

    /// Forgets all breaches.
    fn zkClearPerimeterDetectEvents(ctx) |device| {
        set(device, |peripherals| {
            peripherals.perimeter_breaches = [0; 2];
            Ok(())
        })
    }

    /// Darkens the LED.
    fn zkLEDOff(ctx) |device| {
        set(device, |peripherals| {
            peripherals.led = Led::Off;
            Ok(())
        })
    }

    /// Lights the LED.
    fn zkLEDOn(ctx) |device| {
        set(device, |peripherals| {
            peripherals.led = Led::On;
            Ok(())
        })
    }

    /// Flashes the LED.
    fn zkLEDFlash(ctx, on_ms: u32, off_ms: u32, num_flashes: u32) |device| {
        set(device, |peripherals| {
            peripherals.led = Led::Flash(on_ms, off_ms, num_flashes);
            Ok(())
        })
    }

    /// The I2C address.
    fn zkSetI2CAddr(ctx, addr: c_int) |device| {
        set(device, |peripherals| peripherals.set_i2c_address(addr))
    }

    /// The sensitivity of tap detection.
    fn zkSetTapSensitivity(ctx, axis: c_int, pct: f32) |device| {
        set(device, |peripherals| peripherals.set_tap_sensitivity(axis, pct))
    }

    /// What the accelerometer reads: the device lies still.
    fn zkGetAccelerometerData(ctx, x: *mut AccelAxisData, y: *mut AccelAxisData, z: *mut AccelAxisData) |_device| {
        // SAFETY: the caller promises three pointers that can be written.
        let axes = unsafe { [Out::new(x)?, Out::new(y)?, Out::new(z)?] };
        for (axis, g) in axes.into_iter().zip([0.0, 0.0, 1.0]) {
            axis.set(AccelAxisData { g, tap_direction: 0 });
        }
        Ok(0)
    }

    /// Binds the device to its host for good.
    fn zkLockBinding(ctx) |device| {
        set(device, |peripherals| {
            peripherals.binding_locked = true;
            Ok(())
        })
    }

    /// Whether the binding is locked, and whether there is one; the emulated device is always bound.
    fn zkGetCurrentBindingInfo(ctx, binding_is_locked: *mut CBool, is_bound: *mut CBool) |device| {
        // SAFETY: the caller promises two pointers that can be written.
        let (locked, bound) = unsafe { (Out::new(binding_is_locked)?, Out::new(is_bound)?) };
        locked.set(CBool::from(device.state().peripherals.binding_locked));
        bound.set(1);
        Ok(0)
    }

    /// What a low battery does.
    fn zkSetBatteryVoltageAction(ctx, action: c_int) |device| {
        set(device, |peripherals| peripherals.set_battery_action(action))
    }

    /// From which voltage on the battery is low.
    fn zkSetBatteryVoltageThreshold(ctx, threshold: f32) |device| {
        set(device, |peripherals| peripherals.set_battery_threshold(threshold))
    }

    /// What a temperature out of range does.
    fn zkSetCPUTempAction(ctx, action: c_int) |device| {
        set(device, |peripherals| peripherals.set_cpu_temp_action(action))
    }

    /// The lowest temperature in degrees Celsius.
    fn zkSetCPULowTempThreshold(ctx, threshold: f32) |device| {
        set(device, |peripherals| peripherals.set_cpu_low_temp(threshold))
    }

    /// The highest temperature in degrees Celsius.
    fn zkSetCPUHighTempThreshold(ctx, threshold: f32) |device| {
        set(device, |peripherals| peripherals.set_cpu_high_temp(threshold))
    }

    /// What a failed supervised boot does.
    fn zkSetSupervisedBootPolicy(ctx, policy_id: c_int) |device| {
        set(device, |peripherals| peripherals.set_supervised_boot_policy(policy_id))
    }

    /// Signs a file for supervised boot.
    fn zkAddOrUpdateSupervisedBootFile(ctx, file_path: *const c_char, slot: c_int) |device| {
        // SAFETY: the caller promises a string.
        let path = unsafe { text(file_path) }?;
        let contents = std::fs::read(path).map_err(|source| Error::File { path: path.into(), source })?;
        let (signature, _) = device.state().sign(slot, &Sha256::digest(contents).into())?;
        set(device, |peripherals| {
            let file = SupervisedFile { slot, signature: signature.to_vec().into() };
            peripherals.supervised_boot_files.insert(path.into(), file);
            Ok(())
        })
    }

    /// Forgets a file of supervised boot.
    fn zkRemoveSupervisedBootFile(ctx, file_path: *const c_char) |device| {
        // SAFETY: the caller promises a string.
        let path = unsafe { text(file_path) }?;
        set(device, |peripherals| peripherals.remove_supervised_file(path))
    }

    /// The files that supervised boot checks.
    fn zkGetSupervisedBootFileManifest(ctx, manifest: *mut *mut c_char) |device| {
        // SAFETY: the caller promises a pointer that can be written.
        let out = unsafe { Out::new(manifest) }?;
        out_text(device, &device.state().peripherals.supervised_manifest(), out)?;
        Ok(0)
    }
}
