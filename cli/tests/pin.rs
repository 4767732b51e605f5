//! Where PINs come from, with a backend that demands a login for a certificate.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use support::{Dialogue, PIN, World, softhsm};

const STORE: [&str; 5] = ["self-sign", "tls", "--subject", "CN=x", "--store"];

/// A world with a key, whose backend wants a login, and the path of that backend.
fn strict() -> (World, String) {
    let world = World::new();
    world.generate("tls", &["--id", "01"]);
    let module = world.path("strict.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/strict.c");
    let mut gcc = Command::new("gcc");
    gcc.args(["-shared", "-fPIC", "-o"]).arg(&module).arg(format!("-DSOFTHSM={:?}", softhsm())).arg(source);
    assert!(gcc.status().expect("gcc; `cargo xtask test` installs it").success());
    std::fs::set_permissions(&module, std::fs::Permissions::from_mode(0o755)).unwrap();
    let module = module.to_str().unwrap().to_owned();
    (world, module)
}

fn run(world: &World, module: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = world.holdfast(arguments);
    command.env("HOLDFAST_BACKEND_MODULE", module).envs(variables.iter().copied());
    command.output().unwrap()
}

fn certificates(world: &World) -> usize {
    let module = softhsm();
    let arguments = ["--module", module.to_str().unwrap(), "--token-label", "demo", "-O", "--type", "cert"];
    world.tool("pkcs11-tool", &arguments).matches("Certificate Object").count()
}

#[test]
fn i1_a_pin_comes_from_a_file_named_in_one_of_three_ways() {
    let (world, module) = strict();
    let pin = world.path("pin");
    let credentials = world.path("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::copy(&pin, credentials.join("holdfast-pin")).unwrap();
    for (number, (option, variables)) in [
        (vec!["--pin-file", "pin"], vec![]),
        (vec![], vec![("HOLDFAST_PIN_FILE", pin.to_str().unwrap())]),
        (vec![], vec![("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap())]),
        // What is named first goes first.
        (vec!["--pin-file", "pin"], vec![("HOLDFAST_PIN_FILE", "/nowhere")]),
    ]
    .into_iter()
    .enumerate()
    {
        let subject = format!("CN=x{number}");
        let arguments =
            [["self-sign", "tls", "--store", "--non-interactive", "--subject", &subject].as_slice(), &option].concat();
        let output = run(&world, &module, &arguments, &variables);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(certificates(&world), number + 1);
        for text in [&output.stdout, &output.stderr] {
            assert!(!String::from_utf8_lossy(text).contains(PIN));
        }
    }
}

#[test]
fn without_a_pin_it_says_where_one_could_come_from() {
    let (world, module) = strict();
    let output = run(&world, &module, &[STORE.as_slice(), &["--non-interactive"]].concat(), &[]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    for word in ["--pin-file", "HOLDFAST_PIN_FILE", "holdfast-pin"] {
        assert!(stderr.contains(word), "{word}: {stderr}");
    }
    assert_eq!(certificates(&world), 0);
}

#[test]
fn i7_a_wrong_pin_is_tried_once_and_never_shown() {
    let (world, module) = strict();
    world.write("wrong", "918273\n");
    let output = run(&world, &module, &[STORE.as_slice(), &["--pin-file", "wrong"]].concat(), &[]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("tried once") && !stderr.contains("918273"), "{stderr}");
    assert_eq!(certificates(&world), 0);
}

#[test]
fn a_pin_asked_for_at_the_terminal_is_not_echoed() {
    let (world, module) = strict();
    let mut dialogue = Dialogue::start(&world, &STORE, &[("HOLDFAST_BACKEND_MODULE", &module)]);
    dialogue.until("User PIN of token \"demo\": ");
    dialogue.answer(PIN);
    let (code, rest) = dialogue.end();
    assert_eq!(code, 0, "{rest}");
    assert!(rest.contains("BEGIN CERTIFICATE") && !rest.contains(PIN), "{rest}");
    assert_eq!(certificates(&world), 1);
}
