//! A fork while another thread makes the curves' tables.

use std::process::Command;
use std::time::{Duration, Instant};

use holdfast_wallet::{Curve, PublicKey, tables_at_rest};

/// secp256r1's base point (SEC 2, section 2.4.2): a public key like any other.
const POINT: &str = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                     4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";

fn key() -> PublicKey {
    let digits: Vec<u8> = POINT.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    PublicKey::from_coordinates(Curve::P256, &digits.chunks(2).map(byte).collect::<Vec<_>>()).unwrap()
}

#[test]
fn a_child_never_waits_for_tables_that_its_parent_was_making() {
    if let Ok(delay) = std::env::var("FORK_AFTER_US") {
        return fork_after(Duration::from_micros(delay.parse().unwrap()));
    }
    // Each process makes its tables once, so each moment takes a process.
    for round in 0..24_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_child_never_waits_for_tables_that_its_parent_was_making"])
            .env("FORK_AFTER_US", (round * 83).to_string())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "round {round}");
                break;
            }
            if begin.elapsed() > Duration::from_secs(60) {
                child.kill().unwrap();
                panic!("round {round}: a child hangs");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn fork_after(delay: Duration) {
    let key = key();
    std::thread::scope(|scope| {
        scope.spawn(|| key.verify_prehash(&[1; 32], &[1; 64]));
        std::thread::sleep(delay);
        let at_rest = (tables_at_rest(), tables_at_rest());
        // SAFETY: the child verifies, which takes no lock but the one held here, and ends with `_exit`.
        let pid = unsafe { libc::fork() };
        drop(at_rest);
        if pid == 0 {
            key.verify_prehash(&[1; 32], &[1; 64]);
            // SAFETY: ends the process without running what belongs to the parent.
            unsafe { libc::_exit(0) };
        }
        let (begin, mut status) = (Instant::now(), -1);
        // SAFETY: the child is ours, and `status` can be written.
        while unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) } == 0 {
            if begin.elapsed() > Duration::from_secs(30) {
                // SAFETY: the child is ours.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(status, 0, "the child waited for ever");
    });
}
