//! A slot is only where a key was last seen. A slot that holds another key signs nothing.

mod openssl_check;

use anyhow::{Result, ensure};
use holdfast_tests::client::Curve;
use holdfast_tests::{Client, Site};
use openssl_check::verifies;

const DIGEST: [u8; 32] = [7; 32];

/// Two keys, and what each is.
struct Pair {
    site: Site,
    points: [Vec<u8>; 2],
}

impl Pair {
    fn new() -> Result<Self> {
        let site = Site::new()?;
        let mut client = site.client()?;
        client.generate(Curve::P256, "one", &[1])?;
        client.generate(Curve::P256, "two", &[2])?;
        let points = [client.public_point(&[1])?, client.public_point(&[2])?];
        client.finish()?;
        Ok(Self { site, points })
    }

    fn slot(&self, number: usize) -> Result<String> {
        Ok(self.site.device().slot_of(&self.points[number][1..])?.number.to_string())
    }

    /// Signs with both keys; each signature must be good, or refused.
    fn sign_with_both(&self, client: &mut Client) -> Result<[bool; 2]> {
        let mut signed = [false; 2];
        for (number, point) in self.points.iter().enumerate() {
            if let Ok(signature) = client.try_sign(&[number as u8 + 1], "ecdsa", &DIGEST)? {
                ensure!(
                    verifies(Curve::P256, point, &DIGEST, &signature)?,
                    "a signature by another key left the module"
                );
                signed[number] = true;
            }
        }
        Ok(signed)
    }
}

#[test]
fn i4_another_key_in_the_slot_never_signs() -> Result<()> {
    let pair = Pair::new()?;
    // A client that used the key before and keeps its session, and one that comes after.
    let mut running = pair.site.client()?;
    ensure!(pair.sign_with_both(&mut running)? == [true, true], "before");
    pair.site.device().control(&["replace-key", &pair.slot(0)?])?;
    pair.site.clear_log()?;
    let contents = pair.site.contents()?;
    for _ in 0..2 {
        ensure!(pair.sign_with_both(&mut running)? == [false, true], "the running client");
        ensure!(pair.sign_with_both(&mut pair.site.client()?)? == [false, true], "a new client");
    }
    let refusal = running.try_sign(&[1], "ecdsa", &DIGEST)?.err();
    ensure!(refusal.as_ref().is_some_and(|r| r.code == "DeviceError"), "{refusal:?}");
    pair.site.logged(": error: ")?;
    ensure!(pair.site.contents()? == contents, "device or store changed");
    let verified = pair.site.holdfast(&["verify"])?;
    ensure!(verified.code()? == 1, "verify does not see it:\n{verified}");
    Ok(())
}

#[test]
fn swapped_slots_are_sorted_out_by_node_address() -> Result<()> {
    let pair = Pair::new()?;
    let mut running = pair.site.client()?;
    ensure!(pair.sign_with_both(&mut running)? == [true, true], "before");
    pair.site.device().control(&["swap-slots", &pair.slot(0)?, &pair.slot(1)?])?;
    ensure!(pair.sign_with_both(&mut pair.site.client()?)? == [true, true], "a new client finds both again");
    // The running client has checked the slots already; at worst it refuses once and then looks again.
    pair.sign_with_both(&mut running)?;
    ensure!(pair.sign_with_both(&mut running)? == [true, true], "the running client finds both again");
    Ok(())
}

#[test]
fn g1_a_slot_that_moved_is_found_by_node_address() -> Result<()> {
    let pair = Pair::new()?;
    let mut running = pair.site.client()?;
    ensure!(pair.sign_with_both(&mut running)? == [true, true], "before");
    pair.site.device().control(&["move-slot", &pair.slot(0)?, "300"])?;
    ensure!(pair.sign_with_both(&mut pair.site.client()?)? == [true, true], "a new client");
    pair.sign_with_both(&mut running)?;
    ensure!(pair.sign_with_both(&mut running)? == [true, true], "the running client");
    ensure!(pair.slot(0)? == "300", "the key moved back");
    Ok(())
}

#[test]
fn a_removed_key_is_an_error_and_no_other_signs() -> Result<()> {
    let pair = Pair::new()?;
    pair.site.device().control(&["remove-slot", &pair.slot(0)?])?;
    let mut client = pair.site.client()?;
    ensure!(pair.sign_with_both(&mut client)? == [false, true], "a removed key signed");
    pair.site.logged(": error: ")?;
    Ok(())
}

#[test]
fn i4_k2_a_wrong_signature_of_the_device_does_not_leave_the_module() -> Result<()> {
    let pair = Pair::new()?;
    let mut client = pair.site.client()?;
    for kind in ["wrong-signature", "short-reply", "null-reply"] {
        pair.site.device().fault("zkGenECDSASigFromDigest", kind)?;
        let refused = client.try_sign(&[1], "ecdsa", &DIGEST)?;
        let code = refused.err().map(|refusal| refusal.code);
        ensure!(code.as_deref() == Some("DeviceError"), "{kind}: {code:?}");
        pair.site.device().clear_faults()?;
        ensure!(pair.sign_with_both(&mut client)? == [true, true], "the next signature");
    }
    Ok(())
}
