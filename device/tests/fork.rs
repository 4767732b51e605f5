//! What a forked child makes of its parent's connection: nothing.

mod common;

use std::time::Duration;

use common::Fake;
use holdfast_device::{Device, KeySlot, WalletDevice};

/// Runs `act` in a forked child, which ends right after it without anything of the test harness running, and answers
/// the child's process number. The child may take a minute.
fn in_forked_child(act: impl FnOnce()) -> u32 {
    // SAFETY: what the child does before it ends takes no lock that another thread may have held at the fork, save
    // those of malloc(3) and stdio(3), which glibc puts right in a child.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: alarm(2) has no precondition. A child that is stuck dies of it.
        unsafe { libc::alarm(60) };
        let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).is_ok();
        // SAFETY: _exit(2) has no precondition.
        unsafe { libc::_exit(if fine { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: `status` can be written, and the child is ours.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child failed, or was stuck");
    child.cast_unsigned()
}

fn count(fake: &Fake, process: u32, call: &str) -> usize {
    fake.calls_by_process().iter().filter(|(by, made)| *by == process && made == call).count()
}

fn sign(device: &Device) {
    device.sign_digest(KeySlot::new(16).unwrap(), &[1; 32]).unwrap();
}

/// The device as a child sees it, who may drop it as well as its parent may.
struct Inherited(std::mem::ManuallyDrop<Device>);

#[test]
fn e1_a_child_opens_a_connection_of_its_own() {
    let fake = Fake::new(&[]);
    let device = fake.device();
    sign(&device);
    let child = in_forked_child(|| {
        sign(&device);
        sign(&device);
    });
    assert_eq!(count(&fake, child, "zkOpen"), 1);
    sign(&device);
    let parent = std::process::id();
    assert_eq!((count(&fake, parent, "zkOpen"), count(&fake, parent, "zkClose")), (1, 0));
}

#[test]
fn e1_a_child_never_closes_its_parents_connection() {
    let fake = Fake::new(&[]);
    let mut device = Inherited(std::mem::ManuallyDrop::new(fake.device()));
    sign(&device.0);
    // One that does not use it.
    let idle = in_forked_child(|| {
        // SAFETY: the child drops its copy, once, and ends.
        unsafe { std::mem::ManuallyDrop::drop(&mut device.0) };
    });
    assert_eq!((count(&fake, idle, "zkOpen"), count(&fake, idle, "zkClose")), (0, 0));
    // And one that does: it closes what it opened.
    let busy = in_forked_child(|| {
        sign(&device.0);
        // SAFETY: as above.
        unsafe { std::mem::ManuallyDrop::drop(&mut device.0) };
    });
    assert_eq!((count(&fake, busy, "zkOpen"), count(&fake, busy, "zkClose")), (1, 1));
    sign(&device.0);
    assert_eq!(count(&fake, std::process::id(), "zkOpen"), 1);
}

#[test]
fn e1_a_child_that_was_told_of_the_fork_forgets_even_under_the_same_process_number() {
    let fake = Fake::new(&[]);
    let device = fake.device();
    sign(&device);
    // As in a new PID namespace, the number does not tell.
    device.forget_after_fork();
    sign(&device);
    assert_eq!((fake.count("zkOpen"), fake.count("zkClose")), (2, 0));
}

#[test]
fn e1_a_fork_in_the_middle_of_a_call_does_not_block_the_child() {
    let fake = Fake::new(&["STALL=3000"]);
    let device = fake.device();
    device.identity().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| sign(&device));
        while fake.count("zkGenECDSASigFromDigest") == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let started = std::time::Instant::now();
        let child = in_forked_child(|| drop(device.identity().unwrap()));
        assert_eq!(count(&fake, child, "zkOpen"), 1);
        assert!(started.elapsed() < Duration::from_millis(2800), "the child waited for its parent's call");
    });
}

#[test]
fn e1_children_of_children() {
    let fake = Fake::new(&[]);
    let device = fake.device();
    sign(&device);
    in_forked_child(|| {
        sign(&device);
        let grandchild = in_forked_child(|| sign(&device));
        assert_eq!(count(&fake, grandchild, "zkOpen"), 1);
        sign(&device);
        assert_eq!(count(&fake, std::process::id(), "zkOpen"), 1);
    });
    assert_eq!(fake.count("zkOpen"), 3);
    assert_eq!(fake.count("zkClose"), 0);
}
