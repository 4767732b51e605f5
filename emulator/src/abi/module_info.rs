//! "Module Info", "Random Number Generation" and "Time".

use std::ffi::{c_char, c_int};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use super::args::{CBool, Out, text};
use super::call::{Device, exports};
use crate::error::{Error, Result};
use crate::peripherals::{AUX_TEMPERATURE, BATTERY_VOLTAGE, CPU_TEMPERATURE, RTC_DRIFT};

fn string(device: &Device<'_>, value: &str, out: Out<*mut c_char>) -> Result<c_int> {
    out_text(device, value, out)?;
    Ok(0)
}

/// Answers a string.
pub(super) fn out_text(device: &Device<'_>, value: &str, out: Out<*mut c_char>) -> Result<()> {
    match device.reply_text(value) {
        Some(text) => out.set_text(text),
        None => {
            out.set(std::ptr::null_mut());
            Ok(())
        }
    }
}

fn random(size: c_int) -> Result<Zeroizing<Vec<u8>>> {
    let size = usize::try_from(size).map_err(|_| Error::Argument("rdata_sz"))?;
    let mut bytes = Zeroizing::new(vec![0; size]);
    getrandom::fill(&mut bytes).map_err(|_| Error::Argument("rdata_sz"))?;
    Ok(bytes)
}

/// Seconds since 1970.
pub(super) fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

exports! {
    /// The model.
    fn zkGetModelNumberString(ctx, model_str: *mut *mut c_char) |device| {
        // SAFETY: the caller promises a pointer that can be written.
        let out = unsafe { Out::new(model_str) }?;
        string(device, &device.state().model, out)
    }

    /// The firmware's version.
    fn zkGetFirmwareVersionString(ctx, fw_ver_str: *mut *mut c_char) |device| {
        // SAFETY: the caller promises a pointer that can be written.
        let out = unsafe { Out::new(fw_ver_str) }?;
        string(device, &device.state().firmware, out)
    }

    /// The serial number.
    fn zkGetSerialNumberString(ctx, serial_num_str: *mut *mut c_char) |device| {
        // SAFETY: the caller promises a pointer that can be written.
        let out = unsafe { Out::new(serial_num_str) }?;
        string(device, &device.state().serial, out)
    }

    /// The processor's temperature in degrees Celsius.
    fn zkGetCPUTemp(ctx, cpu_temp: *mut f32) |_device| {
        // SAFETY: the caller promises a pointer that can be written.
        unsafe { Out::new(cpu_temp) }?.set(CPU_TEMPERATURE);
        Ok(0)
    }

    /// The other processor's temperature in degrees Celsius.
    fn zkGetAUXTemp(ctx, index: c_int, aux_temp: *mut f32) |_device| {
        // SAFETY: the caller promises a pointer that can be written.
        let out = unsafe { Out::new(aux_temp) }?;
        if index != 0 {
            return Err(Error::Argument("index"));
        }
        out.set(AUX_TEMPERATURE);
        Ok(0)
    }

    /// The clock's drift.
    fn zkGetRTCDrift(ctx, rtc_drift: *mut f32) |_device| {
        // SAFETY: the caller promises a pointer that can be written.
        unsafe { Out::new(rtc_drift) }?.set(RTC_DRIFT);
        Ok(0)
    }

    /// The battery's voltage.
    fn zkGetBatteryVoltage(ctx, batt_voltage: *mut f32) |_device| {
        // SAFETY: the caller promises a pointer that can be written.
        unsafe { Out::new(batt_voltage) }?.set(BATTERY_VOLTAGE);
        Ok(0)
    }

    /// Random bytes.
    fn zkGetRandBytes(ctx, rdata: *mut *mut u8, rdata_sz: c_int) |device| {
        // SAFETY: the caller promises a pointer that can be written.
        let out = unsafe { Out::new(rdata) }?;
        let bytes = random(rdata_sz)?;
        match device.reply(&bytes) {
            Some(bytes) => out.set_bytes(bytes)?,
            None => out.set(std::ptr::null_mut()),
        }
        Ok(0)
    }

    /// A file of random bytes.
    fn zkCreateRandDataFile(ctx, dst_filename: *const c_char, rdata_sz: c_int) |_device| {
        // SAFETY: the caller promises a string.
        let filename = unsafe { text(dst_filename) }?;
        let bytes = random(rdata_sz)?;
        std::fs::write(filename, &*bytes).map_err(|source| Error::File { path: filename.into(), source })?;
        Ok(0)
    }

    /// The time in seconds since 1970; at the beginning of a second if `precise_time` says so.
    fn zkGetTime(ctx, epoch_time_sec: *mut u32, precise_time: CBool) |_device| {
        // SAFETY: the caller promises a pointer that can be written.
        let out = unsafe { Out::new(epoch_time_sec) }?;
        if precise_time != 0 {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            std::thread::sleep(Duration::from_secs(1) - Duration::from_nanos(since.subsec_nanos().into()));
        }
        out.set(now());
        Ok(0)
    }
}
