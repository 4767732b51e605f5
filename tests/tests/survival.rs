//! A mapped key outlives every reboot, and stays itself.

mod openssl_check;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::client::Curve;
use holdfast_tests::random::Random;
use holdfast_tests::{Client, Site, hex};
use openssl_check::verifies;

const POWER_CYCLES: usize = 200;
/// More keys at once would only make the test slower.
const MOST_KEYS: usize = 12;

/// What we know about a key from when it was made.
#[derive(Clone, Debug)]
struct Key {
    curve: Curve,
    point: Vec<u8>,
}

struct History {
    random: Random,
    keys: BTreeMap<Vec<u8>, Key>,
    made: u16,
    destroyed: usize,
    signatures: usize,
}

impl History {
    /// Something that a client does between two reboots.
    fn act(&mut self, client: &mut Client) -> Result<()> {
        match self.random.below(6) {
            0 | 1 if self.keys.len() < MOST_KEYS => self.generate(client),
            2 if self.keys.len() > 2 => self.destroy(client),
            _ => match self.any() {
                Some(id) => self.sign(client, &id),
                None => self.generate(client),
            },
        }
    }

    fn any(&mut self) -> Option<Vec<u8>> {
        let ids: Vec<_> = self.keys.keys().cloned().collect();
        if ids.is_empty() { None } else { Some(self.random.pick(&ids).clone()) }
    }

    fn generate(&mut self, client: &mut Client) -> Result<()> {
        self.made += 1;
        let id = self.made.to_be_bytes().to_vec();
        let curve = if self.random.once_in(4) { Curve::Secp256k1 } else { Curve::P256 };
        client.generate(curve, &label(&id), &id)?;
        let point = client.public_point(&id)?;
        ensure!(self.keys.values().all(|key| key.point != point), "key {} has the public key of another", hex(&id));
        self.keys.insert(id, Key { curve, point });
        Ok(())
    }

    fn sign(&mut self, client: &mut Client, id: &[u8]) -> Result<()> {
        let digest = self.random.bytes(32);
        let signature = client.sign(id, "ecdsa", &digest).with_context(|| format!("key {}", hex(id)))?;
        let key = &self.keys[id];
        let good = verifies(key.curve, &key.point, &digest, &signature)?;
        ensure!(good, "key {}: OpenSSL does not verify {}", hex(id), hex(&signature));
        self.signatures += 1;
        Ok(())
    }

    fn destroy(&mut self, client: &mut Client) -> Result<()> {
        let Some(id) = self.any() else { return Ok(()) };
        client.destroy(&id)?;
        self.keys.remove(&id);
        self.destroyed += 1;
        Ok(())
    }

    /// After a reboot: the keys that should be there are there, no others are, and each is the one that was made.
    fn check(&mut self, client: &mut Client, thorough: bool) -> Result<()> {
        let wanted: Vec<String> = self.keys.keys().map(|id| label(id)).collect();
        ensure!(client.private_keys(None)? == wanted, "private keys: wanted {wanted:?}");
        ensure!(client.public_keys(None)? == wanted, "public keys: wanted {wanted:?}");
        let sample = if thorough { self.keys.len() } else { 2 };
        let ids: Vec<_> = self.keys.keys().cloned().collect();
        for number in 0..sample.min(ids.len()) {
            let id = if thorough { ids[number].clone() } else { self.random.pick(&ids).clone() };
            ensure!(client.public_point(&id)? == self.keys[&id].point, "key {} has another public key", hex(&id));
            self.sign(client, &id)?;
        }
        Ok(())
    }
}

fn label(id: &[u8]) -> String {
    format!("key {}", hex(id))
}

#[test]
fn no_key_is_lost_and_none_is_wrong_in_200_power_cycles() -> Result<()> {
    let (random, seed) = match std::env::var("SURVIVAL_SEED") {
        Ok(seed) => {
            let seed = seed.parse()?;
            (Random::new(seed), seed)
        }
        Err(_) => Random::fresh(),
    };
    println!("SURVIVAL_SEED={seed}");
    let site = Site::new()?;
    let mut history = History { random, keys: BTreeMap::new(), made: 0, destroyed: 0, signatures: 0 };
    for cycle in 0..POWER_CYCLES {
        let mut client = site.client()?;
        let checked = history.check(&mut client, cycle % 20 == 19);
        checked.with_context(|| format!("after {cycle} power cycles, seed {seed}"))?;
        for _ in 0..=history.random.below(3) {
            history.act(&mut client).with_context(|| format!("after {cycle} power cycles, seed {seed}"))?;
        }
        if history.random.once_in(2) {
            client.kill()?
        } else {
            client.finish()?
        }
        site.device().power_cycle()?;
    }
    let mut client = site.client()?;
    history.check(&mut client, true)?;
    client.finish()?;

    let listed = site.holdfast(&["list", "--json"])?.success()?.json()?;
    let mapped = listed["keys"].as_array().map_or(0, Vec::len);
    ensure!(mapped == history.keys.len(), "{mapped} of {} keys are in a wallet", history.keys.len());
    let verified = site.holdfast(&["verify", "--json"])?;
    ensure!(verified.code()? == 0, "verify finds something:\n{verified}");
    println!("{} keys made, {} destroyed, {} signatures", history.made, history.destroyed, history.signatures);
    ensure!(history.made > 20 && history.destroyed > 10 && history.signatures > 500, "the history is too thin");
    Ok(())
}
