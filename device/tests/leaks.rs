//! Memory over many calls. Alone in its process, whose size it watches.

mod common;

use common::Fake;
use holdfast_device::{KeySlot, WalletDevice};
use holdfast_wallet::Curve;

#[test]
fn leaks_nothing_over_many_calls() {
    let device = Fake::new(&["QUIET"]).into_device();
    let slot = KeySlot::new(16).unwrap();
    let peer = device.export_public_key(slot, Curve::P256).unwrap();
    let round = || {
        for _ in 0..20_000 {
            device.identity().unwrap();
            device.allocated_slots().unwrap();
            device.node_of_slot(slot).unwrap();
            device.raw_ecdh(slot, &peer).unwrap();
            device.create_wallet_bip39(Curve::P256, "w", "p").unwrap();
        }
    };
    let resident = || -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    round();
    let before = resident();
    round();
    let grown = resident().saturating_sub(before);
    // What malloc gives takes 32 bytes at the least: a leak of a single kind of reply would be 640 kB.
    assert!(grown < 256 * 1024, "{grown} bytes");
}
