//! Callers that pass nonsense: no call crashes, whatever its pointers and numbers are.

mod common;

use std::ffi::{c_int, c_void};
use std::ptr;

use common::{Client, TempDevice, library_path, role};

/// Every exported function, called with a context and eleven more arguments. The C calling conventions that Linux uses
/// on our machines leave superfluous arguments to the caller, so one type fits all.
type AnyCall = unsafe extern "C" fn(
    *mut c_void,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
) -> c_int;

fn call(library: &libloading::Library, name: &str, ctx: *mut c_void, n: usize) -> c_int {
    // SAFETY: a function of the library; what it does with such arguments is the test.
    unsafe {
        let function = library.get::<AnyCall>(name.as_bytes()).expect("an exported call");
        function(ctx, n, n, n, n, n, n, n, n, n, n, n)
    }
}

#[test]
fn null_and_unknown_contexts_are_refused() {
    if role().is_none() {
        let device = TempDevice::new(&[]);
        let before = device.emulator(&["slots"]);
        let status = device.role("null_and_unknown_contexts_are_refused", "hostile").output().expect("it runs");
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
        assert_eq!(device.emulator(&["slots"])["foreign"], before["foreign"]);
        return;
    }
    // SAFETY: the library has no initialisers.
    let library = unsafe { libloading::Library::new(library_path()) }.expect("it loads");
    let mut open = ptr::null_mut::<c_void>();
    // SAFETY: zkOpen as in the header.
    let opened = unsafe {
        let function = library.get::<unsafe extern "C" fn(*mut *mut c_void) -> c_int>(b"zkOpen").expect("exported");
        function(&mut open)
    };
    assert_eq!(opened, 0);
    let unknown = [0, 1, 7, 4096, 8192, open.addr() + 1, open.addr() + 4096, usize::MAX, usize::MAX - 4095];
    let names: Vec<_> = zk_app_utils::abi::call_names().collect();
    assert_eq!(names.len(), 76);
    for name in names {
        if name != "zkOpen" {
            for ctx in unknown {
                assert_eq!(
                    call(&library, name, ptr::without_provenance_mut(ctx), 0),
                    -1,
                    "{name} with context {ctx:#x}"
                );
            }
        }
        if !["zkClose", "zkWaitForTap", "zkWaitForPerimeterEvent"].contains(&name) {
            // NULL for every pointer, 0 for every number; some calls are content with that.
            let answer = call(&library, name, if name == "zkOpen" { ptr::null_mut() } else { open }, 0);
            assert!(answer >= -1, "{name} answered {answer}");
        }
    }
    for name in ["zkWaitForTap", "zkWaitForPerimeterEvent"] {
        assert_eq!(call(&library, name, open, 0), -libc::ETIMEDOUT);
    }
    let client = Client::open().expect("the device is as before");
    assert!(client.sign(1, &[1; 32]).is_ok());
    for slot in [i32::MIN, -2, 17, 527, 528, 1 << 20, i32::MAX] {
        assert_eq!(client.sign(slot, &[1; 32]), Err(-1));
        assert_eq!(client.export(slot, false), Err(-1));
        assert_eq!(client.export(slot, true), Err(-1));
        assert_eq!(client.remove(slot, false), -1);
        assert_eq!(client.child(slot, 0, true), -1);
        assert_eq!(client.node(slot), Err(-1));
    }
    for address in ["", "m", "m/", "m/0'", "/", "0", "m/4294967296", &"m/0".repeat(10_000)] {
        assert_eq!(client.slot_of(address, Some("none"), 0), Err(-1));
        assert_eq!(client.slot_of(address, None, -5), Err(-1));
    }
}

#[test]
fn contexts_run_out_and_come_back() {
    if role().is_none() {
        let device = TempDevice::new(&[]);
        let output = device.role("contexts_run_out_and_come_back", "contexts").output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    for _ in 0..2 {
        let clients: Vec<_> = (0..4096).map(|_| Client::open().expect("there is room")).collect();
        assert_eq!(Client::open().err(), Some(-1));
        assert!(clients.iter().step_by(500).all(|client| client.sign(0, &[1; 32]).is_ok()));
    }
    let first = Client::open().expect("there is room again");
    assert!(first.sign(0, &[1; 32]).is_ok());
}

#[test]
fn the_library_exports_its_calls_and_nothing_else() {
    let output = std::process::Command::new("nm").args(["-D", "--defined-only"]).arg(library_path()).output();
    let output = output.expect("nm, of binutils, lists symbols");
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut exported: Vec<_> = text.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    let mut calls: Vec<_> = zk_app_utils::abi::call_names().collect();
    exported.sort_unstable();
    calls.sort_unstable();
    assert_eq!(exported, calls);
}
