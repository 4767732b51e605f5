//! `holdfast wallet create`: what it makes, what it refuses, and where the words go.

mod support;

use std::os::unix::fs::PermissionsExt;

use support::{Dialogue, World, strings};

const NONE: [&str; 6] = ["wallet", "create", "--token", "demo", "--recovery", "none"];
const BIP39: [&str; 6] = ["wallet", "create", "--token", "demo", "--recovery", "bip39"];

fn more<'a>(first: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
    [first, rest].concat()
}

/// Every byte that the run left outside the words file: what could have leaked.
fn everything_kept(world: &World) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(world.path("store")).unwrap() {
        bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    bytes
}

#[test]
fn a_wallet_without_recovery_is_made_once_and_shouted() {
    let world = World::new();
    let json = world.json(&NONE);
    assert_eq!(json["changed"], true);
    assert_eq!(json["wallet"]["recovery"], "none");
    assert_eq!(json["wallet"]["recoverable"], false);
    assert_eq!(json["wallet"]["token"], "demo");
    assert!(strings(&json["warnings"]).iter().any(|warning| warning.contains("NO RECOVERY")));
    let used = world.used_slots();
    let again = world.json(&NONE);
    assert_eq!(again["changed"], false);
    assert_eq!(again["wallet"]["name"], json["wallet"]["name"]);
    assert_eq!(world.used_slots(), used);
    assert_eq!(world.generate("tls", &[])["wallet"], json["wallet"]["name"]);
    // The other curve is another wallet.
    assert_eq!(world.json(&more(&NONE, &["--curve", "secp256k1"]))["changed"], true);
}

#[test]
fn a_wallet_with_words_takes_keys_and_keeps_the_words_to_the_file() {
    let world = World::new();
    let said = world.run(&more(&BIP39, &["--words-out", "words", "--json"])).expect(0);
    let json = said.json();
    assert_eq!(json["changed"], true);
    assert_eq!(json["words_out"], "words");
    assert_eq!(json["wallet"]["recovery"], "bip39");
    assert_eq!(json["wallet"]["confirmed"], true);
    assert_eq!(json["wallet"]["recoverable"], true);
    assert_eq!(json["wallet"]["derivation_agrees"], true, "the device derives as the standards say");

    let words = std::fs::read_to_string(world.path("words")).unwrap();
    assert_eq!(words.split_ascii_whitespace().count(), 24);
    assert!(words.ends_with('\n'));
    let mode = std::fs::metadata(world.path("words")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);

    let key = world.generate("tls", &[]);
    assert_eq!(key["recovery"], "bip39");
    assert_eq!(key["recoverable"], true);
    let kept = everything_kept(&world);
    let pairs: Vec<&str> = words.split_ascii_whitespace().collect();
    for pair in pairs.windows(2) {
        let pair = pair.join(" ");
        assert!(!said.stdout.contains(&pair) && !said.stderr.contains(&pair));
        assert!(!kept.windows(pair.len()).any(|window| window == pair.as_bytes()));
    }

    let again = world.json(&more(&BIP39, &["--words-out", "again"]));
    assert_eq!(again["changed"], false);
    assert!(!world.path("again").exists());
}

#[test]
fn words_are_encrypted_to_a_recipient() {
    let world = World::new();
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    world.json(&more(&BIP39, &["--words-out", "words.age", "--encrypt-to", &recipient]));
    let encrypted = std::fs::read(world.path("words.age")).unwrap();
    assert!(encrypted.starts_with(b"age-encryption.org/v1"));
    let words = String::from_utf8(age::decrypt(&identity, &encrypted).unwrap()).unwrap();
    assert_eq!(words.split_ascii_whitespace().count(), 24);
}

#[test]
fn a_recoverable_wallet_takes_over_from_one_without_recovery() {
    let world = World::new();
    let old = world.generate("old", &[]);
    let json = world.json(&more(&BIP39, &["--words-out", "words"]));
    assert_eq!(json["changed"], true);
    let new = world.generate("new", &[]);
    assert_eq!(new["wallet"], json["wallet"]["name"]);
    assert_ne!(new["wallet"], old["wallet"]);
}

#[test]
fn a_wallet_without_recovery_beside_a_recoverable_one_is_refused() {
    let world = World::new();
    world.json(&more(&BIP39, &["--words-out", "words"]));
    let used = world.used_slots();
    assert!(world.run(&NONE).expect(2).stderr.contains("would stay unused"));
    assert_eq!(world.used_slots(), used);
}

#[test]
fn what_is_refused_is_refused_before_anything_is_touched() {
    let world = World::new();
    world.write("there", "precious");
    std::os::unix::fs::symlink(world.path("elsewhere"), world.path("link")).unwrap();
    world.write("empty", "");
    let used = world.used_slots();
    for (rest, word) in [
        (vec![], "--words-out"),
        (vec!["--words-out", "there"], "never overwritten"),
        (vec!["--words-out", "link"], "never overwritten"),
        (vec!["--words-out", "no/such/directory"], "No such file"),
        (vec!["--words-out", "w", "--encrypt-to", "AGE-SECRET-KEY-1ABC"], "disclosed"),
        (vec!["--words-out", "w", "--passphrase-file", "empty"], "empty"),
        (vec!["--words-out", "w", "--passphrase-file", "missing"], "missing"),
    ] {
        let said = world.run(&more(&BIP39, &rest)).expect(2);
        assert!(said.stderr.contains(word), "{rest:?}: {}", said.stderr);
    }
    let said = world.run(&["wallet", "create", "--token", "demo", "--recovery", "slip39"]).expect(2);
    assert!(said.stderr.contains("not available"), "{}", said.stderr);
    world.run(&more(&NONE, &["--words-out", "w"])).expect(2);
    world.run(&["wallet", "create", "--token", "nope", "--recovery", "none"]).expect(2);
    assert_eq!(std::fs::read_to_string(world.path("there")).unwrap(), "precious");
    assert!(!world.path("elsewhere").exists() && !world.path("w").exists());
    assert_eq!(world.used_slots(), used);
    assert!(!world.path("store/mapping.db").exists());
}

#[test]
fn a_device_that_refuses_leaves_no_file_behind() {
    let world = World::new();
    world.emulator(&["fault", "zkGenWalletMasterSeedWithBIP39", "--after", "1", "--kind", "error"]);
    world.run(&more(&BIP39, &["--words-out", "words"])).expect(1);
    assert!(!world.path("words").exists());
    assert_eq!(world.json(&["status"])["wallets"].as_array().unwrap().len(), 0);
}

#[test]
fn without_a_device_no_wallet_is_made() {
    let world = World::without_device();
    world.token("demo");
    world.run(&NONE).expect(3);
    world.run(&more(&BIP39, &["--words-out", "words"])).expect(3);
    assert!(!world.path("words").exists());
}

/// The words on the screen, in order.
fn words_on(screen: &str) -> Vec<String> {
    let mut numbered = std::collections::BTreeMap::new();
    let mut tokens = screen.split_whitespace().peekable();
    while let Some(token) = tokens.next() {
        if let Some(number) = token.strip_suffix('.').and_then(|number| number.parse::<usize>().ok())
            && let Some(word) = tokens.peek()
        {
            numbered.insert(number, (*word).to_owned());
        }
    }
    numbered.into_values().collect()
}

#[test]
fn words_on_a_terminal_are_shown_and_asked_back() {
    let world = World::new();
    let mut dialogue = Dialogue::start(&world, &BIP39, &[]);
    let screen = dialogue.until("Press Enter when they are written down");
    let words = words_on(&screen);
    assert_eq!(words.len(), 24, "{screen}");
    dialogue.answer("");
    // A wrong answer shows them again.
    dialogue.until("Word ");
    dialogue.until(": ");
    dialogue.answer("wrong");
    dialogue.until("Press Enter to see them again");
    dialogue.answer("");
    assert_eq!(words_on(&dialogue.until("Press Enter when they are written down")), words);
    dialogue.answer("");
    for _ in 0..3 {
        dialogue.until("Word ");
        let position: usize = dialogue.until(": ").trim_end_matches(": ").parse().unwrap();
        dialogue.answer(&words[position - 1]);
    }
    let (code, rest) = dialogue.end();
    assert_eq!(code, 0, "{rest}");
    assert!(rest.contains("made wallet"), "{rest}");
    assert_eq!(world.json(&["status"])["wallets"][0]["confirmed"], true);
    assert_eq!(world.generate("tls", &[])["recoverable"], true);
}

#[test]
fn words_that_nobody_confirmed_make_a_wallet_that_takes_no_keys() {
    let world = World::new();
    let mut dialogue = Dialogue::start(&world, &BIP39, &[]);
    dialogue.until("Press Enter when they are written down");
    dialogue.answer("\u{4}");
    dialogue.hang_up();
    let (code, rest) = dialogue.end();
    assert_ne!(code, 0, "{rest}");
    let json = world.run(&["status", "--json"]).expect(1).json();
    assert_eq!(json["wallets"][0]["confirmed"], false);
    assert_eq!(json["findings"][0]["kind"], "unconfirmed");
    let said = world.run(&["generate", "--token", "demo", "--label", "tls"]).expect(2);
    assert!(said.stderr.contains("confirmed"), "{}", said.stderr);
    // Another one can be made.
    assert_eq!(world.json(&more(&BIP39, &["--words-out", "words"]))["changed"], true);
    world.generate("tls", &[]);
}

#[test]
fn one_wallet_can_serve_all_tokens() {
    let world = World::new();
    world.token("other");
    world.configure("strategy = \"shared-wallet\"");
    let wallet = world.json(&NONE)["wallet"].clone();
    assert_eq!(wallet["token_serial"], serde_json::Value::Null);
    for token in ["demo", "other"] {
        let json = world.json(&["generate", "--token", token, "--label", token]);
        assert_eq!(json["key"]["wallet"], wallet["name"]);
    }
    assert_eq!(world.json(&["wallet", "create", "--token", "other", "--recovery", "none"])["changed"], false);
}

#[test]
fn each_key_can_have_a_wallet_of_its_own() {
    let world = World::new();
    world.configure("strategy = \"wallet-per-key\"");
    let prepared = world.json(&more(&BIP39, &["--words-out", "words"]))["wallet"]["name"].clone();
    assert_eq!(world.json(&more(&BIP39, &["--words-out", "again"]))["changed"], false);
    assert_eq!(world.generate("a", &[])["wallet"], prepared);
    assert_ne!(world.generate("b", &[])["wallet"], prepared);
    // The prepared one has its key: another can be prepared.
    assert_eq!(world.json(&more(&BIP39, &["--words-out", "next"]))["changed"], true);
    let used = world.used_slots();
    world.json(&["destroy", "b"]);
    assert_eq!(world.used_slots(), used - 2, "the childless seed goes with its key");
}

#[test]
fn a_full_wallet_is_followed_by_another() {
    let world = World::new();
    world.configure("wallet-capacity = 1");
    world.json(&NONE);
    world.generate("a", &[]);
    assert_eq!(world.json(&NONE)["changed"], true);
    assert_eq!(world.json(&NONE)["changed"], false);
}

#[test]
fn a_passphrase_is_used_and_never_kept() {
    let world = World::new();
    world.write("passphrase", "correct horse\n");
    let json = world.json(&more(&BIP39, &["--words-out", "words", "--passphrase-file", "passphrase"]));
    assert_eq!(json["wallet"]["recovery"], "bip39");
    let kept = everything_kept(&world);
    assert!(!kept.windows(13).any(|window| window == b"correct horse"));
    world.generate("tls", &[]);
    world.run(&["verify"]).expect(0);
}
