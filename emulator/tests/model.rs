//! Random histories of a device, without C and files: whatever is asked of it, its state stays whole.

use holdfast_wallet::ChildNumber;
use proptest::prelude::*;
use zk_app_utils::device::{NewDevice, PublicSlot};
use zk_app_utils::keys::KeyType;
use zk_app_utils::state::{Allocation, Origin, State};
use zk_app_utils::wallets::NewWallet;

#[derive(Clone, Debug)]
enum Step {
    Generate(i32),
    Wallet(i32, u8),
    Child(i32, u32, bool),
    Oversight(i32, u8),
    Remove(i32),
    Swap(i32, i32),
    PowerCycle,
    Firmware(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let slot = || 14..26;
    prop_oneof![
        2 => (0..5).prop_map(Step::Generate),
        2 => (0..5, 0..4_u8).prop_map(|(key_type, name)| Step::Wallet(key_type, name)),
        8 => (slot(), 0..3_u32, any::<bool>()).prop_map(|(parent, index, hardened)| Step::Child(parent, index, hardened)),
        2 => (slot(), 0..4_u8).prop_map(|(node, name)| Step::Oversight(node, name)),
        3 => slot().prop_map(Step::Remove),
        1 => (slot(), slot()).prop_map(|(a, b)| Step::Swap(a, b)),
        1 => Just(Step::PowerCycle),
        1 => any::<bool>().prop_map(Step::Firmware),
    ]
}

/// Takes a step on a copy, as a call does: what fails leaves no trace.
fn take(state: &mut State, step: &Step) {
    let mut next = state.clone();
    let done = match step {
        Step::Generate(key_type) => {
            KeyType::from_number(*key_type).and_then(|key_type| next.generate(key_type)).is_ok()
        }
        Step::Wallet(key_type, name) => KeyType::from_number(*key_type).is_ok_and(|key_type| {
            next.create_wallet(&NewWallet {
                key_type,
                variant: "",
                name: &format!("w{name}"),
                master_generator_key: &[],
            })
            .is_ok()
        }),
        Step::Child(parent, index, hardened) => {
            ChildNumber::new(*index, *hardened).is_some_and(|child| next.create_child(*parent, child).is_ok())
        }
        Step::Oversight(number, name) => state.slots.get(number).is_some_and(|slot| {
            let Some(node) = &slot.node else { return false };
            let name = format!("o{name}");
            let new = NewWallet { key_type: slot.key.key_type, variant: "", name: &name, master_generator_key: &[] };
            let (public, code) = (slot.key.public.as_slice(), node.chain_code.as_slice());
            next.create_oversight(&new, public, code, &node.path.to_string()).is_ok()
        }),
        Step::Remove(number) => next.remove(PublicSlot::Own(*number)).is_ok(),
        Step::Swap(a, b) => next.swap_slots(*a, *b).is_ok(),
        Step::PowerCycle => {
            next.power_cycle();
            true
        }
        Step::Firmware(affected) => {
            next.firmware = if *affected { "01.02.02release" } else { "01.00.00" }.into();
            true
        }
    };
    if done {
        *state = next;
    }
}

fn check(state: &State) {
    for (number, slot) in &state.slots {
        assert!((0..26).contains(number));
        assert_eq!(slot.node.is_some(), matches!(slot.origin, Origin::Wallet | Origin::Oversight));
        assert_eq!(slot.key.private.is_none(), slot.origin == Origin::Oversight);
        let Some(node) = &slot.node else { continue };
        let wallet = &state.wallets[&node.wallet];
        assert_eq!(wallet.key_type, slot.key.key_type);
        assert_eq!(state.node_slot(&node.wallet, &node.path), Some(*number), "an address is in one slot only");
        assert_eq!(
            state.node_of_slot(*number).map(|(_, master)| Some(master)).ok(),
            Some(state.master_slot(&node.wallet))
        );
        if node.path != wallet.root {
            let parent = node.path.parent().expect("only a root has no parent");
            assert!(state.node_slot(&node.wallet, &parent).is_some(), "no node without its parent");
        }
    }
    for name in state.wallets.keys() {
        assert!(state.master_slot(name).is_some(), "no wallet without its first node");
    }
    assert_eq!(state.slots.values().filter(|slot| slot.origin == Origin::Factory).count(), 16);
    let text = serde_json::to_string(state).expect("a state can be written");
    let read: State = serde_json::from_str(&text).expect("and read");
    assert_eq!(serde_json::to_string(&read).expect("and written"), text);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn every_history_leaves_a_whole_state(steps in prop::collection::vec(step(), 1..60), rotating: bool) {
        let allocation = if rotating { Allocation::Rotating } else { Allocation::Lowest };
        let mut state = State::new(&NewDevice { slots: 10, allocation, ..NewDevice::default() });
        for step in &steps {
            take(&mut state, step);
            check(&state);
        }
        state.firmware = "01.02.02release".into();
        let lost = state.slots.values().filter(|slot| state.is_volatile(slot)).count();
        prop_assert_eq!(state.power_cycle(), lost);
        check(&state);
        prop_assert!(state.slots.values().all(|slot| slot.origin != Origin::Generated));
    }
}
