//! Every operation, ended at every step and at every device call, in every way: what clients were told still holds,
//! and nothing is unaccounted for.

mod common;

use std::collections::HashMap;

use common::{Fault, Host, TOKEN, generate, request};
use holdfast_config::Strategy;
use holdfast_keystore::{
    Error, Finding, GeneratedPair, Keystore, NewWallet, ObjectChange, ObjectFilter, WalletRecovery,
};
use holdfast_wallet::{Curve, PublicKey};

type Expected = HashMap<PublicKey, usize>;

/// A host with two keys, and what clients know of it.
struct Scene {
    host: Host,
    expected: Expected,
    first: GeneratedPair,
    second: GeneratedPair,
}

fn scene(strategy: Strategy) -> Scene {
    let mut host = Host::new();
    host.settings.strategy = strategy;
    host.sim.state().single_key_seeds = strategy == Strategy::WalletPerKey;
    let keystore = host.process();
    let (first, second) = (generate(&keystore, "first"), generate(&keystore, "second"));
    let expected = [&first, &second].map(|pair| (pair.public.key.public_key.clone(), 2)).into();
    Scene { host, expected, first, second }
}

/// What a client learns from an operation: public keys with the number of objects they must have from now on.
type Outcome = Result<Expected, Error>;

struct Operation {
    name: &'static str,
    strategy: Strategy,
    run: fn(&Keystore, &Scene) -> Outcome,
    /// Keys that need not be as they were when the operation did not end well.
    uncertain: fn(&Scene) -> Vec<PublicKey>,
}

fn nothing(_: &Scene) -> Vec<PublicKey> {
    Vec::new()
}

fn first(scene: &Scene) -> Vec<PublicKey> {
    vec![scene.first.public.key.public_key.clone()]
}

fn both(scene: &Scene) -> Vec<PublicKey> {
    vec![scene.first.public.key.public_key.clone(), scene.second.public.key.public_key.clone()]
}

const OPERATIONS: &[Operation] = &[
    Operation {
        name: "generate",
        strategy: Strategy::WalletPerToken,
        run: |keystore, _| Ok([(keystore.generate(&request("new"))?.public.key.public_key.clone(), 2)].into()),
        uncertain: nothing,
    },
    Operation {
        name: "generate with a wallet",
        strategy: Strategy::WalletPerKey,
        run: |keystore, _| Ok([(keystore.generate(&request("new"))?.public.key.public_key.clone(), 2)].into()),
        uncertain: nothing,
    },
    Operation {
        name: "create a wallet with words",
        strategy: Strategy::WalletPerToken,
        run: |keystore, _| {
            let recovery = WalletRecovery::Bip39 { passphrase: String::new().into() };
            let made = keystore.create_wallet(&NewWallet {
                token_serial: TOKEN.into(),
                token_label: "token".into(),
                curve: Curve::Secp256k1,
                recovery,
            })?;
            keystore.confirm_wallet(made.record.id)?;
            Ok(Expected::new())
        },
        uncertain: nothing,
    },
    Operation {
        name: "destroy the private half",
        strategy: Strategy::WalletPerToken,
        run: |keystore, scene| {
            keystore.destroy_object(scene.first.private.record.id)?;
            Ok([(scene.first.public.key.public_key.clone(), 1)].into())
        },
        uncertain: first,
    },
    Operation {
        name: "destroy the public half",
        strategy: Strategy::WalletPerToken,
        run: |keystore, scene| {
            keystore.destroy_object(scene.first.public.record.id)?;
            Ok([(scene.first.public.key.public_key.clone(), 1)].into())
        },
        uncertain: first,
    },
    Operation {
        name: "destroy a key",
        strategy: Strategy::WalletPerToken,
        run: |keystore, scene| {
            keystore.destroy_key(scene.first.private.key.id)?;
            Ok([(scene.first.public.key.public_key.clone(), 0)].into())
        },
        uncertain: first,
    },
    Operation {
        name: "destroy a key and its wallet",
        strategy: Strategy::WalletPerKey,
        run: |keystore, scene| {
            keystore.destroy_key(scene.first.private.key.id)?;
            Ok([(scene.first.public.key.public_key.clone(), 0)].into())
        },
        uncertain: first,
    },
    Operation {
        name: "session key, copied, session ended",
        strategy: Strategy::WalletPerToken,
        run: |keystore, _| {
            let mut session = request("session");
            session.session = true;
            let pair = keystore.generate(&session)?;
            let change = ObjectChange { cka_id: Some(b"id".to_vec()), ..ObjectChange::default() };
            keystore.token_key_from_session_key(pair.private.record.id, &change)?;
            keystore.drop_session_key(pair.private.key.id)?;
            Ok([(pair.public.key.public_key.clone(), 2)].into())
        },
        uncertain: nothing,
    },
    Operation {
        name: "session key, session ended",
        strategy: Strategy::WalletPerToken,
        run: |keystore, _| {
            let mut session = request("session");
            session.session = true;
            let pair = keystore.generate(&session)?;
            keystore.drop_session_key(pair.private.key.id)?;
            Ok([(pair.public.key.public_key.clone(), 0)].into())
        },
        uncertain: nothing,
    },
    Operation {
        name: "change attributes",
        strategy: Strategy::WalletPerToken,
        run: |keystore, scene| {
            let change = ObjectChange { label: Some(b"renamed".to_vec()), ..ObjectChange::default() };
            keystore.update_object(scene.first.public.record.id, &change)?;
            Ok(Expected::new())
        },
        uncertain: nothing,
    },
    Operation {
        name: "initialise the token",
        strategy: Strategy::WalletPerToken,
        run: |keystore, scene| {
            keystore.begin_init_token(TOKEN)?.complete(None)?;
            Ok(both(scene).into_iter().map(|key| (key, 0)).collect())
        },
        uncertain: both,
    },
    Operation {
        name: "initialise the token, refused",
        strategy: Strategy::WalletPerToken,
        run: |keystore, _| {
            keystore.begin_init_token(TOKEN)?.withdraw()?;
            Ok(Expected::new())
        },
        uncertain: both,
    },
];

/// Checks a scene after an operation that ended well, badly, or with its process.
fn check(operation: &Operation, scene: &Scene, outcome: Option<Outcome>, context: &str) {
    let mut expected = scene.expected.clone();
    match outcome {
        Some(Ok(learnt)) => expected.extend(learnt),
        Some(Err(_)) | None => {
            // The client does not know. The operator says that an interrupted initialisation happened if the backend
            // is known to have agreed, and else that it did not.
            let process = scene.host.process();
            let interrupted = process.findings().unwrap().into_iter().find_map(|finding| match finding {
                Finding::InterruptedInitToken { accepted, .. } => Some(accepted),
                _ => None,
            });
            if let Some(accepted) = interrupted {
                process.resolve_init_token(TOKEN, accepted).unwrap();
            }
            for key in (operation.uncertain)(scene) {
                if interrupted == Some(true) {
                    expected.insert(key, 0);
                } else if interrupted.is_none() {
                    expected.remove(&key);
                }
            }
        }
    }
    scene.host.check(&expected, context);
    // Whatever happened, work goes on: the next key is a new one.
    let next = scene.host.process().generate(&request("next")).unwrap_or_else(|e| panic!("{context}: {e}"));
    expected.insert(next.public.key.public_key.clone(), 2);
    scene.host.check(&expected, &format!("{context}, then generate"));
}

#[test]
fn ended_at_every_step() {
    for operation in OPERATIONS {
        let whole = scene(operation.strategy);
        let (outcome, steps) = whole.host.run_until(usize::MAX, |keystore| (operation.run)(keystore, &whole));
        assert!(matches!(outcome, Some(Ok(_))), "{}", operation.name);
        check(operation, &whole, outcome, operation.name);
        assert!(!steps.is_empty());
        for (number, step) in steps.iter().enumerate() {
            let scene = scene(operation.strategy);
            let (outcome, _) = scene.host.run_until(number + 1, |keystore| (operation.run)(keystore, &scene));
            assert!(outcome.is_none());
            check(operation, &scene, outcome, &format!("{} ended at {step:?}", operation.name));
        }
    }
}

#[test]
fn every_device_call_goes_wrong_in_every_way() {
    let faults =
        [Fault::Refuse, Fault::LoseBefore, Fault::LoseAfter, Fault::DieBefore, Fault::DieAfter, Fault::Nonsense];
    for operation in OPERATIONS {
        let whole = scene(operation.strategy);
        whole.host.sim.state().calls = 0;
        (operation.run)(&whole.host.process(), &whole).unwrap();
        let calls = whole.host.sim.state().calls;
        for call in 1..=calls {
            for fault in faults {
                let scene = scene(operation.strategy);
                scene.host.sim.state().log.clear();
                let outcome = scene.host.run_with_fault(call, fault, |keystore| (operation.run)(keystore, &scene));
                let name = scene.host.sim.state().log.get(call - 1).copied().unwrap_or("none");
                let context = format!("{}: call {call} ({name}) {fault:?}", operation.name);
                if matches!(fault, Fault::DieBefore | Fault::DieAfter) {
                    assert!(outcome.is_none(), "{context}");
                }
                check(operation, &scene, outcome, &context);
            }
        }
    }
}

#[test]
fn a_failed_generation_of_a_living_process_leaves_nothing() {
    // When the process lives on and the device answers again, it undoes its own work: no slot is lost.
    let scene = scene(Strategy::WalletPerToken);
    let before = scene.host.sim.state().slots.len();
    let keystore = scene.host.process();
    keystore.find(TOKEN, &ObjectFilter::default()).unwrap();
    for fault in [Fault::Refuse, Fault::LoseBefore, Fault::LoseAfter, Fault::Nonsense] {
        for call in 1..40 {
            {
                let mut state = scene.host.sim.state();
                state.calls = 0;
                state.fault = Some((call, fault));
            }
            let outcome = keystore.generate(&request("new"));
            scene.host.sim.state().fault = None;
            if let Ok(pair) = outcome {
                keystore.destroy_key(pair.private.key.id).unwrap();
            }
            let state = scene.host.sim.state();
            let leftovers = state.slots.len().saturating_sub(before);
            let seeds = state.slots.values().filter(|n| !n.wallet.is_empty() && n.path.is_master()).count() - 1;
            assert_eq!(leftovers, seeds, "{fault:?} at call {call}: only seeds may stay");
            assert!(state.violations.is_empty(), "{:?}", state.violations);
        }
    }
}

/// Whether the node exists already is asked before it is derived. No answer is not a no.
#[test]
fn i7_a_node_of_which_nothing_is_known_is_not_derived() {
    let scene = scene(Strategy::WalletPerToken);
    let keystore = scene.host.process();
    // Which slots are not ours is learnt at the first one.
    keystore.generate(&request("first in this process")).unwrap();
    let calls_of = |log: &[&str], call: &str| log.iter().filter(|known| **known == call).count();
    {
        let mut state = scene.host.sim.state();
        state.calls = 0;
        state.log.clear();
    }
    keystore.generate(&request("heard of")).unwrap();
    let asked = {
        let mut state = scene.host.sim.state();
        let derived = state.log.iter().position(|call| *call == "zkGenWalletChildKey").unwrap();
        let asked = state.log[..derived].iter().rposition(|call| *call == "zkGetWalletKeySlotFromNodeAddr").unwrap();
        state.calls = 0;
        state.log.clear();
        asked
    };
    scene.host.sim.state().fault = Some((asked + 1, Fault::LoseBefore));
    let error = keystore.generate(&request("unheard of")).unwrap_err();
    let state = scene.host.sim.state();
    assert!(matches!(error, Error::Device(_)), "{error}");
    assert_eq!(state.log[asked], "zkGetWalletKeySlotFromNodeAddr", "{:?}", state.log);
    assert_eq!(calls_of(&state.log, "zkGenWalletChildKey"), 0, "{:?}", state.log);
}
