//! SLIP-0039 against the published vectors, against the reference implementation, and by its properties.

mod common;

use std::str::FromStr;

use bip32::XPrv;
use common::{list, text, to_hex};
use holdfast_wallet::hd::{ExtendedPrivateKey, HdCurve};
use holdfast_wallet::slip39::{Combiner, Common, GroupProgress, GroupSpec, Share, Slip39Error, Splitter, split};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, proptest};
use serde_json::Value;

fn combine<S: AsRef<str>>(shares: &[S], passphrase: &str) -> Result<Vec<u8>, Slip39Error> {
    let mut combiner = Combiner::new();
    for share in shares {
        combiner.add_mnemonic(share.as_ref())?;
    }
    combiner.secret(passphrase).map(|secret| secret.to_vec())
}

fn shares(vector: &Value) -> Vec<&str> {
    list(&vector["shares"]).iter().map(|share| share.as_str().unwrap()).collect()
}

/// What we say of an invalid vector, by its title.
fn expected(title: &str) -> Slip39Error {
    let (_, title) = title.split_once(". ").unwrap();
    let incomplete = |complete, needed| Slip39Error::Incomplete { complete, needed };
    match title.split(" (").next().unwrap() {
        "Mnemonic with invalid checksum" => Slip39Error::Checksum,
        "Mnemonic with invalid padding" => Slip39Error::Padding,
        "Basic sharing 2-of-3" => incomplete(0, 1),
        "Mnemonics with different identifiers" => Slip39Error::Mismatch(Common::Identifier),
        "Mnemonics with different iteration exponents" => Slip39Error::Mismatch(Common::IterationExponent),
        "Mnemonics with mismatching group thresholds" => Slip39Error::Mismatch(Common::GroupThreshold),
        "Mnemonics with mismatching group counts" => Slip39Error::Mismatch(Common::GroupCount),
        "Mnemonics with greater group threshold than group counts" => {
            Slip39Error::GroupThreshold { threshold: 2, count: 1 }
        }
        "Mnemonics with duplicate member indices" => Slip39Error::DuplicateMember { group: 0, member: 2 },
        "Mnemonics with mismatching member thresholds" => Slip39Error::MemberThreshold(0),
        "Mnemonics giving an invalid digest" => Slip39Error::GroupDigest(0),
        "Insufficient number of groups"
        | "Threshold number of groups, but insufficient number of members in one group" => incomplete(1, 2),
        "Mnemonic with insufficient length" => Slip39Error::WordCount(19),
        "Mnemonic with invalid master secret length" => Slip39Error::WordCount(21),
        other => panic!("{other}"),
    }
}

#[test]
fn slip_0039_test_vectors() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/slip39.json")).unwrap();
    assert_eq!(list(&vectors).len(), 45);
    let mut valid = 0;
    for vector in list(&vectors) {
        let result = combine(&shares(vector), "TREZOR");
        let title = text(vector, "title");
        if text(vector, "secret").is_empty() {
            assert_eq!(result, Err(expected(title)), "{title}");
            continue;
        }
        valid += 1;
        let secret = result.unwrap();
        assert_eq!(to_hex(&secret), text(vector, "secret"), "{title}");
        for share in shares(vector) {
            assert_eq!(*Share::parse(share).unwrap().mnemonic(), share, "{title}");
        }
        let master = ExtendedPrivateKey::from_seed(HdCurve::Secp256k1, &secret).unwrap();
        let expected = XPrv::from_str(text(vector, "xprv")).unwrap();
        assert_eq!(master.private_key(), &expected.to_bytes(), "{title}");
        assert_eq!(master.chain_code(), &expected.attrs().chain_code, "{title}");
    }
    assert_eq!(valid, 15);
}

#[test]
fn combines_what_the_reference_implementation_split() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/python-shamir-mnemonic.json")).unwrap();
    assert_eq!(list(&vectors).len(), 30);
    for vector in list(&vectors) {
        let shares = shares(vector);
        let secret = combine(&shares, text(vector, "passphrase")).unwrap();
        assert_eq!(to_hex(&secret), text(vector, "secret"));
        for share in shares {
            let share = Share::parse(share).unwrap();
            assert_eq!(Some(share.is_extendable()), vector["extendable"].as_bool());
            assert_eq!(Some(share.iteration_exponent().into()), vector["iteration_exponent"].as_u64());
        }
    }
}

const TWO_OF_THREE: &[GroupSpec] = &[GroupSpec { threshold: 2, count: 3 }];

#[test]
fn the_combiner_follows_a_person_typing() {
    let secret = [7; 32];
    let groups = [TWO_OF_THREE[0], GroupSpec { threshold: 1, count: 1 }, GroupSpec { threshold: 3, count: 5 }];
    let made = split(&secret, "pass", true, 0, 2, &groups).unwrap();
    let other = split(&secret, "pass", true, 0, 2, &groups).unwrap();
    let mut combiner = Combiner::new();
    assert!(!combiner.progress().is_complete());
    assert_eq!(combiner.secret("pass"), Err(Slip39Error::Incomplete { complete: 0, needed: 0 }));

    let progress = combiner.add_mnemonic(&made[0][2]).unwrap();
    assert_eq!(progress.groups, [GroupProgress { group: 0, shares: 1, needed: 2 }]);
    assert_eq!(combiner.add_mnemonic(&made[0][2]), Err(Slip39Error::Repeated(0)));
    assert_eq!(combiner.add_mnemonic(&other[0][1]), Err(Slip39Error::Mismatch(Common::Identifier)));
    assert_eq!(combiner.add_mnemonic("academic"), Err(Slip39Error::WordCount(1)));
    assert_eq!(combiner.progress(), progress);

    let shouted = format!("\n {} ", made[2][4].to_uppercase().replace(' ', "  "));
    assert!(!combiner.add_mnemonic(&shouted).unwrap().is_complete());
    let progress = combiner.add_mnemonic(&made[0][0]).unwrap();
    assert_eq!((progress.complete_groups, progress.needed_groups), (1, 2));
    assert_eq!(combiner.add_mnemonic(&made[0][1]), Err(Slip39Error::GroupComplete(0)));
    assert!(combiner.secret("pass").is_err());

    assert!(combiner.add_mnemonic(&made[1][0]).unwrap().is_complete());
    assert_eq!(combiner.add_mnemonic(&made[2][0]), Err(Slip39Error::SetComplete));
    assert_eq!(*combiner.secret("pass").unwrap(), secret);
    assert_ne!(*combiner.secret("Pass").unwrap(), secret);
    assert_eq!(combiner.secret("pässe"), Err(Slip39Error::Passphrase));
}

/// One with a wrong digest is refused, and another may take its place.
#[test]
fn a_refused_share_leaves_no_trace() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/slip39.json")).unwrap();
    let wrong = list(&vectors).iter().find(|vector| text(vector, "title").contains("invalid digest")).unwrap();
    let mut combiner = Combiner::new();
    let before = combiner.add_mnemonic(shares(wrong)[0]).unwrap();
    assert_eq!(combiner.add_mnemonic(shares(wrong)[1]), Err(Slip39Error::GroupDigest(0)));
    assert_eq!(combiner.progress(), before);
}

#[test]
fn says_which_word_is_wrong() {
    let share = split(&[1; 16], "", true, 0, 1, TWO_OF_THREE).unwrap()[0][0].to_string();
    let mut words: Vec<_> = share.split(' ').collect();
    words[6] = "abandon";
    assert_eq!(Share::parse(&words.join(" ")).unwrap_err(), Slip39Error::UnknownWord(6));
    assert_eq!(Slip39Error::UnknownWord(6).to_string(), "word 7 is not in the SLIP-0039 list: check its spelling");
    let debug = format!("{:?}", Share::parse(&share).unwrap());
    assert!(!debug.contains("value"), "{debug}");
}

#[test]
fn refuses_what_the_standard_does_not_have() {
    let splitter = |secret: &[u8], passphrase: &str, exponent, threshold, count| {
        Splitter::new(secret, passphrase, true, exponent, threshold, count).err()
    };
    assert_eq!(splitter(&[0; 14], "", 0, 1, 1), Some(Slip39Error::SecretLength(14)));
    assert_eq!(splitter(&[0; 17], "", 0, 1, 1), Some(Slip39Error::SecretLength(17)));
    assert_eq!(splitter(&[0; 16], "", 16, 1, 1), Some(Slip39Error::IterationExponent(16)));
    assert_eq!(splitter(&[0; 16], "\n", 0, 1, 1), Some(Slip39Error::Passphrase));
    for (threshold, count) in [(0, 0), (0, 1), (2, 1), (1, 17)] {
        let error = Slip39Error::Groups { threshold: threshold.into(), count: count.into() };
        assert_eq!(splitter(&[0; 16], "", 0, threshold, count), Some(error));
    }
    let mut splitter = Splitter::new(&[0; 16], "", true, 0, 1, 2).unwrap();
    for (threshold, count) in [(0, 0), (0, 1), (2, 1), (2, 17), (1, 2)] {
        let spec = GroupSpec { threshold, count };
        assert_eq!(splitter.group(0, spec), Err(Slip39Error::Members(spec)));
    }
    assert_eq!(splitter.group(0, TWO_OF_THREE[0]).unwrap().len(), 3);
    assert_eq!(splitter.group(0, TWO_OF_THREE[0]), Err(Slip39Error::NoSuchGroup(0)));
    assert_eq!(splitter.group(2, TWO_OF_THREE[0]), Err(Slip39Error::NoSuchGroup(2)));
    assert_eq!(split(&[0; 16], "", true, 0, 1, &[]), Err(Slip39Error::Groups { threshold: 1, count: 0 }));
}

#[test]
fn a_splitting_goes_on_in_another_process() {
    let secret = [9; 32];
    let mut splitter = Splitter::new(&secret, "", false, 0, 3, 3).unwrap();
    let mut made: Vec<_> = splitter.group(1, TWO_OF_THREE[0]).unwrap()[1..].to_vec();
    for group in [2, 0] {
        let left = splitter.suspend();
        splitter = Splitter::resume(&left).unwrap();
        assert_eq!(splitter.group(1, TWO_OF_THREE[0]), Err(Slip39Error::NoSuchGroup(1)));
        made.extend_from_slice(&splitter.group(group, TWO_OF_THREE[0]).unwrap()[..2]);
    }
    assert!(splitter.suspend().is_empty());
    assert_eq!(Splitter::resume::<&str>(&[]).err(), Some(Slip39Error::NoSuchGroup(0)));
    let mnemonics: Vec<_> = made.iter().map(Share::mnemonic).collect();
    assert_eq!(combine(&mnemonics, "").unwrap(), secret);
    // A member's share is no suspended group, and two splittings do not mix.
    let mismatch = Some(Slip39Error::Mismatch(Common::Identifier));
    assert_eq!(Splitter::resume(&mnemonics).err(), mismatch);
    let suspended = || Splitter::new(&secret, "", false, 0, 2, 2).unwrap().suspend();
    let mixed = [
        suspended()[0].clone(),
        split(&secret, "", true, 0, 1, &[GroupSpec { threshold: 1, count: 1 }]).unwrap()[0][0].clone(),
    ];
    assert_eq!(Splitter::resume(&mixed).err(), mismatch);
}

#[test]
fn sixteen_groups_of_sixteen() {
    let secret: Vec<u8> = (0..32).collect();
    let made = split(&secret, "", true, 0, 16, &[GroupSpec { threshold: 16, count: 16 }; 16]).unwrap();
    let all: Vec<_> = made.into_iter().flatten().collect();
    assert_eq!(all.len(), 256);
    assert_eq!(combine(&all, "").unwrap(), secret);
    assert_eq!(combine(&all[1..], ""), Err(Slip39Error::Incomplete { complete: 15, needed: 16 }));
}

fn group() -> impl Strategy<Value = GroupSpec> {
    threshold_and_count().prop_map(|(threshold, count)| GroupSpec { threshold, count })
}

fn threshold_and_count() -> impl Strategy<Value = (u8, u8)> {
    (1_u8..=16).prop_flat_map(|count| (if count == 1 { 1..=1 } else { 2..=count }, Just(count)))
}

/// Groups, how many of them are needed, and an order in which to take them.
fn scheme() -> impl Strategy<Value = (Vec<GroupSpec>, u8, Vec<usize>)> {
    prop::collection::vec(group(), 1..=16).prop_flat_map(|groups| {
        let count = groups.len();
        (Just(groups), 1..=count as u8, Just((0..count).collect::<Vec<_>>()).prop_shuffle())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn enough_shares_give_the_secret_and_one_fewer_does_not(
        secret in (8_usize..=32).prop_flat_map(|half| prop::collection::vec(any::<u8>(), 2 * half)),
        passphrase in "[ -~]{0,12}",
        extendable: bool,
        (groups, threshold, order) in scheme(),
        skip in any::<prop::sample::Index>(),
        missing in any::<prop::sample::Index>(),
    ) {
        let made = split(&secret, &passphrase, extendable, 0, threshold, &groups).unwrap();
        let chosen: Vec<_> = order[..usize::from(threshold)]
            .iter()
            .flat_map(|&group| {
                // Any of the group's members, not only the first.
                let spec = groups[group];
                let skip = skip.index(usize::from(spec.count));
                made[group].iter().cycle().skip(skip).take(spec.threshold.into())
            })
            .collect();
        for share in &chosen {
            prop_assert_eq!(&Share::parse(share).unwrap().mnemonic(), *share);
        }
        prop_assert_eq!(combine(&chosen, &passphrase).unwrap(), secret);
        let missing = missing.index(chosen.len());
        let without_one = [&chosen[..missing], &chosen[missing + 1..]].concat();
        for fewer in [&without_one, &chosen[..missing]] {
            let incomplete = matches!(combine(fewer, &passphrase), Err(Slip39Error::Incomplete { .. }));
            prop_assert!(incomplete);
        }
    }

    #[test]
    fn any_words_are_parsed_or_refused(numbers in prop::collection::vec(0_usize..1024, 0..70)) {
        let list: Vec<&str> = include_str!("../src/slip39/wordlist.txt").split_ascii_whitespace().collect();
        let words: Vec<&str> = numbers.iter().map(|number| list[*number]).collect();
        // The checksum has 30 bits: what passes by chance must at least be written as it was read.
        if let Ok(share) = Share::parse(&words.join(" ")) {
            prop_assert_eq!(&*share.mnemonic(), &words.join(" "));
        }
    }
}
