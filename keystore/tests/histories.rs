//! Random histories over several processes, with deaths, lost connections, power cycles and restored stores, against a
//! model of what clients were told. `HOLDFAST_TEST_HISTORIES` says how many.

mod common;

use std::collections::{HashMap, HashSet};

use common::{Fault, Host, TOKEN, request};
use holdfast_config::Strategy;
use holdfast_keystore::{Error, Finding, GeneratedPair, Keystore, ObjectChange, ObjectFilter};
use holdfast_wallet::{Curve, PublicKey};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Event {
    Generate {
        curve: Curve,
        session: bool,
    },
    Sign(prop::sample::Index),
    Destroy {
        key: prop::sample::Index,
        half: bool,
    },
    Rename(prop::sample::Index),
    CopySession,
    EndSessions,
    /// The process ends without a word, and another takes its place.
    Restart,
    /// The process ends at a step of the next operation.
    DieAtStep(usize),
    /// A device call of the next operation goes wrong.
    Fault(usize, Fault),
    Repair,
    /// A copy of the store is put aside.
    Backup,
    /// The copy is put back while nobody uses the store: the database alone, or with the owners' file.
    Restore {
        all: bool,
    },
    /// The operator removes what was left over.
    CleanUp,
}

fn events() -> impl Strategy_<Value = Vec<Event>> {
    let curve = prop::sample::select(&Curve::ALL[..]);
    let fault = prop::sample::select(vec![
        Fault::Refuse,
        Fault::LoseBefore,
        Fault::LoseAfter,
        Fault::DieBefore,
        Fault::DieAfter,
        Fault::Nonsense,
    ]);
    let event = prop_oneof![
        6 => (curve, prop::bool::weighted(0.2)).prop_map(|(curve, session)| Event::Generate { curve, session }),
        3 => any::<prop::sample::Index>().prop_map(Event::Sign),
        4 => (any::<prop::sample::Index>(), prop::bool::weighted(0.3)).prop_map(|(key, half)| Event::Destroy { key, half }),
        1 => any::<prop::sample::Index>().prop_map(Event::Rename),
        2 => Just(Event::CopySession),
        1 => Just(Event::EndSessions),
        2 => Just(Event::Restart),
        3 => (1usize..8).prop_map(Event::DieAtStep),
        4 => (1usize..20, fault).prop_map(|(at, fault)| Event::Fault(at, fault)),
        1 => Just(Event::Repair),
        1 => Just(Event::Backup),
        1 => any::<bool>().prop_map(|all| Event::Restore { all }),
        1 => Just(Event::CleanUp),
    ];
    prop::collection::vec(event, 1..40)
}

use proptest::strategy::Strategy as Strategy_;

/// What clients know.
#[derive(Clone, Default)]
struct Model {
    /// Keys that must be there, with the number of their objects.
    keys: HashMap<PublicKey, usize>,
    /// Keys of which nobody can say whether they are there.
    uncertain: Vec<PublicKey>,
}

#[derive(Clone)]
struct Backup {
    database: Vec<u8>,
    owners: Vec<u8>,
    /// The nodes that had ever been derived.
    derived: HashSet<([u8; 32], String)>,
    model: Model,
}

struct World {
    host: Host,
    model: Model,
    backup: Option<Backup>,
    /// Session pairs of the process that is running.
    sessions: Vec<GeneratedPair>,
    everything_ever: Vec<PublicKey>,
}

impl World {
    /// One operation of a client. When it does not end well, the keys in `touched` are uncertain.
    fn operation<T>(
        &mut self,
        process: &mut Option<Keystore>,
        twist: Option<&Event>,
        touched: &[PublicKey],
        work: impl FnOnce(&Keystore) -> Result<T, Error>,
    ) -> Option<T> {
        let outcome = match twist {
            Some(Event::DieAtStep(at)) => {
                // Another process does it, so that it can be ended.
                self.host.run_until(*at, work).0
            }
            Some(Event::Fault(at, fault)) => {
                {
                    let mut state = self.host.sim.state();
                    state.calls = 0;
                    state.fault = Some((*at, *fault));
                }
                let keystore = process.get_or_insert_with(|| self.host.process());
                let outcome = common::survive(|| work(keystore));
                self.host.sim.state().fault = None;
                if outcome.is_none() {
                    *process = None;
                    self.sessions.clear();
                }
                outcome
            }
            _ => Some(work(process.get_or_insert_with(|| self.host.process()))),
        };
        match outcome {
            Some(Ok(value)) => Some(value),
            Some(Err(_)) | None => {
                for key in touched {
                    self.model.keys.remove(key);
                    self.model.uncertain.push(key.clone());
                }
                None
            }
        }
    }

    fn pick(&self, index: &prop::sample::Index) -> Option<PublicKey> {
        let mut keys: Vec<_> = self.model.keys.iter().filter(|(_, count)| **count == 2).map(|(key, _)| key).collect();
        keys.sort_by_key(|key| *key.coordinates());
        (!keys.is_empty()).then(|| (*index.get(&keys)).clone())
    }

    fn play(&mut self, events: &[Event]) {
        let mut process = Some(self.host.process());
        let mut twist: Option<&Event> = None;
        for event in events {
            let this = twist.take();
            let dies = matches!(this, Some(Event::DieAtStep(_)));
            match event {
                Event::Generate { curve, session } => {
                    let mut wanted = request("key");
                    (wanted.curve, wanted.session) = (*curve, *session);
                    let made = self.operation(&mut process, this, &[], |keystore| keystore.generate(&wanted));
                    if let Some(pair) = made {
                        let key = pair.public.key.public_key.clone();
                        assert!(!self.everything_ever.contains(&key), "I3: the same key again");
                        self.everything_ever.push(key.clone());
                        match (session, dies) {
                            (false, _) => drop(self.model.keys.insert(key, 2)),
                            (true, false) => self.sessions.push(pair),
                            // Its process has ended, and its session keys with it.
                            (true, true) => {}
                        }
                    }
                }
                Event::Sign(index) => {
                    let Some(key) = self.pick(index) else { continue };
                    let signature = self.operation(&mut process, this, &[], |keystore| {
                        let found = keystore.find(TOKEN, &ObjectFilter::default())?;
                        let object = found.into_iter().find(|object| object.key.public_key == key).expect("I1");
                        keystore.sign(&object.key, &[6; 32])
                    });
                    assert!(this.is_some() || signature.is_some(), "I1: nothing went wrong, yet no signature");
                    if let Some(signature) = signature {
                        assert!(key.verify_prehash(&[6; 32], &signature), "I4");
                    }
                }
                Event::Destroy { key, half } => {
                    let Some(key) = self.pick(key) else { continue };
                    let gone = self.operation(&mut process, this, std::slice::from_ref(&key), |keystore| {
                        let found = keystore.find(TOKEN, &ObjectFilter::default())?;
                        let mut own = found.into_iter().filter(|object| object.key.public_key == key);
                        if *half {
                            keystore.destroy_object(own.nth(1).expect("I1").record.id)
                        } else {
                            keystore.destroy_key(own.next().expect("I1").key.id)
                        }
                    });
                    if gone.is_some() {
                        self.model.keys.insert(key, usize::from(*half));
                    }
                }
                Event::Rename(index) => {
                    let Some(key) = self.pick(index) else { continue };
                    self.operation(&mut process, this, &[], |keystore| {
                        let found = keystore.find(TOKEN, &ObjectFilter::default())?;
                        let object = found.into_iter().find(|object| object.key.public_key == key).expect("I1");
                        let change = ObjectChange { label: Some(b"renamed".to_vec()), ..ObjectChange::default() };
                        keystore.update_object(object.record.id, &change)
                    });
                }
                Event::CopySession => {
                    let (Some(pair), Some(_)) = (self.sessions.pop(), &process) else { continue };
                    let key = pair.public.key.public_key.clone();
                    // A dying process is another one here, to which the session object is not visible.
                    let copied =
                        self.operation(&mut process, this.filter(|_| !dies), std::slice::from_ref(&key), |keystore| {
                            keystore.token_key_from_session_key(pair.private.record.id, &ObjectChange::default())?;
                            keystore.drop_session_key(pair.private.key.id)
                        });
                    if copied.is_some() {
                        self.model.keys.insert(key, 2);
                    }
                }
                Event::EndSessions => {
                    for pair in std::mem::take(&mut self.sessions) {
                        let Some(keystore) = &process else { break };
                        keystore.drop_session_key(pair.private.key.id).unwrap();
                    }
                }
                Event::Restart => {
                    process = None;
                    self.sessions.clear();
                }
                Event::DieAtStep(_) | Event::Fault(..) => twist = Some(event),
                Event::Repair => drop(process.get_or_insert_with(|| self.host.process()).repair().unwrap()),
                Event::Backup => {
                    let owners = self.host.database().with_file_name("mapping.db.owners");
                    if let (Ok(database), Ok(owners)) = (std::fs::read(self.host.database()), std::fs::read(owners)) {
                        let derived = self.host.sim.state().derived.clone();
                        self.backup = Some(Backup { database, owners, derived, model: self.model.clone() });
                    }
                }
                Event::Restore { all } => {
                    let Some(Backup { database, owners, derived, model }) = self.backup.clone() else { continue };
                    process = None;
                    self.sessions.clear();
                    std::fs::write(self.host.database(), database).unwrap();
                    // Without the owners' file only nodes on the device tell that the store is an older one: that an
                    // index was used by a key destroyed since, nobody can know then.
                    let all_there = {
                        let state = self.host.sim.state();
                        let there = state.nodes();
                        state.derived.difference(&derived).all(|node| there.contains(node))
                    };
                    if *all && all_there {
                        std::fs::write(self.host.database().with_file_name("mapping.db.owners"), owners).unwrap();
                    }
                    // Clients know only what the restored store knows; of what was destroyed since, nobody is sure.
                    let now = std::mem::replace(&mut self.model, model);
                    let changed: Vec<_> = self
                        .model
                        .keys
                        .iter()
                        .filter(|(key, count)| now.keys.get(*key) != Some(*count))
                        .map(|(key, _)| key.clone())
                        .collect();
                    for key in changed {
                        self.model.keys.remove(&key);
                        self.model.uncertain.push(key);
                    }
                }
                Event::CleanUp => {
                    process = None;
                    self.sessions.clear();
                    let keystore = self.host.process();
                    keystore.repair().unwrap();
                    self.host.sim.state().operator = true;
                    for finding in keystore.findings().unwrap() {
                        if let Finding::Leftover(leftover) = finding {
                            // One with nodes under it stays.
                            match keystore.remove_leftover(leftover.id) {
                                Ok(()) | Err(Error::Conflict { .. }) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                    }
                    self.host.sim.state().operator = false;
                }
            }
        }
        drop(process);
        let restored = events.iter().any(|event| matches!(event, Event::Restore { .. }));
        self.host.check_after(&self.model.keys, restored, "history");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("HOLDFAST_TEST_HISTORIES").map_or(250, |cases| cases.parse().unwrap()), failure_persistence: None, max_shrink_iters: 3000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_what_clients_were_told_holds(
        events in events(),
        strategy in prop::sample::select(vec![Strategy::WalletPerToken, Strategy::WalletPerKey, Strategy::SharedWallet]),
    ) {
        let mut host = Host::with_capacity(120);
        host.settings.strategy = strategy;
        host.sim.state().single_key_seeds = strategy == Strategy::WalletPerKey;
        let mut world =
            World { host, model: Model::default(), backup: None, sessions: Vec::new(), everything_ever: Vec::new() };
        world.play(&events);
    }
}
