//! What the library exports, and that its lists hold the same functions.

use std::collections::BTreeSet;
use std::process::Command;

use cryptoki_sys::{CK_FUNCTION_LIST, CK_VERSION};
use holdfast_pkcs11::abi::tables::NAMES;

use crate::fixture::{Pkcs11, module_path};

#[test]
fn a1_every_function_is_exported_and_nothing_else() {
    let output = Command::new("nm").args(["-D", "--defined-only"]).arg(module_path()).output().expect("nm");
    assert!(output.status.success());
    let exported: BTreeSet<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| line.split_whitespace().last().unwrap().to_owned())
        .collect();
    let wanted: BTreeSet<String> = NAMES.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    assert_eq!(exported, wanted);
}

#[test]
fn a1_no_constructors_of_ours_and_no_unloading() {
    let output = Command::new("readelf").args(["-dW"]).arg(module_path()).output().expect("readelf");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("NODELETE"), "{text}");
    assert!(text.contains("SYMBOLIC"), "{text}");
    // frame_dummy of the C runtime, and the standard library's, which saves the program's arguments.
    let size = text.lines().find(|line| line.contains("INIT_ARRAYSZ")).unwrap();
    let bytes: usize = size.split_whitespace().rev().nth(1).unwrap().parse().unwrap();
    assert!(bytes <= 2 * size_of::<usize>(), "{size}");
    // No library that a host brings its own copy of.
    for line in text.lines().filter(|line| line.contains("NEEDED")) {
        assert!(
            ["libc.so", "libgcc_s.so", "libm.so", "ld-linux", "libdl.so", "libpthread.so"]
                .iter()
                .any(|allowed| line.contains(allowed)),
            "{line}"
        );
    }
}

#[test]
fn the_list_of_2_40_holds_the_exported_functions() {
    let module = Pkcs11::holdfast();
    let CK_VERSION { major, minor } = module.list.version;
    assert_eq!((major, minor), (2, 40));
    let first =
        (&raw const *module.list).cast::<u8>().wrapping_add(std::mem::offset_of!(CK_FUNCTION_LIST, C_Initialize));
    let first = first.cast::<*mut std::ffi::c_void>();
    for (index, name) in NAMES.iter().take(68).enumerate() {
        // The names stand in the order of the list, but for the last ones.
        let listed = unsafe { *first.add(index) };
        assert!(!listed.is_null());
        assert_eq!(Some(listed), module.symbol(name.to_str().unwrap()), "{name:?}");
    }
}
