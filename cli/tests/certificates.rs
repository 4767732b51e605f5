//! `holdfast pubkey, csr, self-sign`: what OpenSSL and OpenSSH, which had no part in making it, say of it.

mod support;

use support::{PIN, World, softhsm};

const CURVES: [&str; 2] = ["p256", "secp256k1"];

#[test]
fn a_public_key_is_the_same_in_every_format() {
    let world = World::new();
    for curve in CURVES {
        let key = world.generate(curve, &["--curve", curve]);
        let pem = world.run(&["pubkey", curve]).expect(0).stdout;
        std::fs::write(world.path("key.pem"), &pem).unwrap();
        let der = world.run(&["pubkey", curve, "--format", "der"]).expect(0).bytes;
        std::fs::write(world.path("key.der"), der).unwrap();
        let from_pem = world.tool("openssl", &["pkey", "-pubin", "-in", "key.pem", "-text", "-noout"]);
        let from_der =
            world.tool("openssl", &["pkey", "-pubin", "-inform", "DER", "-in", "key.der", "-text", "-noout"]);
        assert_eq!(from_pem, from_der);
        let hex: String = from_pem.chars().filter(|c| c.is_ascii_hexdigit()).collect();
        assert!(hex.contains(key["public_key"].as_str().unwrap()), "{from_pem}");
        assert!(from_pem.contains(if curve == "p256" { "prime256v1" } else { "secp256k1" }), "{from_pem}");
    }
    let line = world.run(&["pubkey", "p256", "--format", "ssh"]).expect(0).stdout;
    std::fs::write(world.path("key.pub"), &line).unwrap();
    let fingerprint = world.json(&["show", "p256"])["key"]["ssh_fingerprint"].as_str().unwrap().to_owned();
    assert!(world.tool("ssh-keygen", &["-l", "-f", "key.pub"]).contains(&fingerprint));
    let said = world.run(&["pubkey", "secp256k1", "--format", "ssh"]).expect(2);
    assert!(said.stderr.contains("OpenSSH") && said.stdout.is_empty(), "{}", said.stderr);
}

#[test]
fn json_and_files_hold_the_same_public_key() {
    let world = World::new();
    world.generate("tls", &[]);
    let pem = world.run(&["pubkey", "tls"]).expect(0).stdout;
    assert_eq!(world.json(&["pubkey", "tls"])["public_key"], pem.as_str());
    assert_eq!(world.json(&["pubkey", "tls", "--out", "key.pem"])["changed"], true);
    assert_eq!(world.json(&["pubkey", "tls", "--out", "key.pem"])["changed"], false);
    assert_eq!(std::fs::read_to_string(world.path("key.pem")).unwrap(), pem);
    let der = world.json(&["pubkey", "tls", "--format", "der"]);
    assert_eq!(der["encoding"], "hex");
}

#[test]
fn openssl_accepts_the_request_of_either_curve() {
    let world = World::new();
    for curve in CURVES {
        world.generate(curve, &["--curve", curve]);
        let request = world
            .run(&[
                "csr",
                curve,
                "--subject",
                "CN=www.example.org,O=Ex\\, Ample,C=DE",
                "--san",
                "DNS:www.example.org,IP:192.0.2.7,IP:2001:db8::1",
                "--san",
                "EMAIL:ca@example.org",
            ])
            .expect(0)
            .stdout;
        world.write("r.csr", &request);
        let text = world.tool("openssl", &["req", "-in", "r.csr", "-verify", "-noout", "-text", "-nameopt", "RFC2253"]);
        for word in [
            "CN=www.example.org,O=Ex\\, Ample,C=DE",
            "DNS:www.example.org",
            "IP Address:192.0.2.7",
            "IP Address:2001:DB8:0:0:0:0:0:1",
            "email:ca@example.org",
            "ecdsa-with-SHA256",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let public = world.tool("openssl", &["req", "-in", "r.csr", "-pubkey", "-noout"]);
        assert_eq!(public, world.run(&["pubkey", curve]).expect(0).stdout);
    }
    let plain = world.run(&["csr", "p256", "--subject", "CN=plain"]).expect(0).stdout;
    world.write("plain.csr", &plain);
    let text = world.tool("openssl", &["req", "-in", "plain.csr", "-verify", "-noout", "-text"]);
    assert!(!text.contains("Alternative"), "{text}");
}

#[test]
fn a_request_that_is_there_is_left_alone() {
    let world = World::new();
    world.generate("tls", &[]);
    let make = ["csr", "tls", "--subject", "CN=a", "--san", "DNS:a", "--out", "r.csr"];
    assert_eq!(world.json(&make)["changed"], true);
    let first = std::fs::read(world.path("r.csr")).unwrap();
    assert_eq!(world.json(&make)["changed"], false);
    assert_eq!(std::fs::read(world.path("r.csr")).unwrap(), first);

    let other = ["csr", "tls", "--subject", "CN=b", "--out", "r.csr"];
    assert!(world.run(&other).expect(2).stderr.contains("--force"));
    assert_eq!(std::fs::read(world.path("r.csr")).unwrap(), first);
    assert_eq!(world.json(&[other.as_slice(), &["--force"]].concat())["changed"], true);
    assert!(world.tool("openssl", &["req", "-in", "r.csr", "-noout", "-subject"]).contains("CN = b"));
}

#[test]
fn openssl_accepts_the_certificate_of_either_curve() {
    let world = World::new();
    for curve in CURVES {
        world.generate(curve, &["--curve", curve]);
        let arguments = [
            "self-sign",
            curve,
            "--subject",
            "CN=localhost",
            "--san",
            "DNS:localhost",
            "--days",
            "30",
            "--out",
            "c.pem",
            "--force",
        ];
        world.json(&arguments);
        assert!(world.tool("openssl", &["verify", "-CAfile", "c.pem", "c.pem"]).contains("OK"));
        assert!(
            world.tool("openssl", &["verify", "-purpose", "sslserver", "-CAfile", "c.pem", "c.pem"]).contains("OK")
        );
        let text = world.tool("openssl", &["x509", "-in", "c.pem", "-noout", "-text"]);
        for word in
            ["CN = localhost", "DNS:localhost", "CA:FALSE", "Digital Signature", "ecdsa-with-SHA256", "Version: 3"]
        {
            assert!(text.contains(word), "{word}: {text}");
        }
        let public = world.tool("openssl", &["x509", "-in", "c.pem", "-pubkey", "-noout"]);
        assert_eq!(public, world.run(&["pubkey", curve]).expect(0).stdout);
        world.tool("openssl", &["x509", "-in", "c.pem", "-noout", "-checkend", "2500000"]);
        let late = world.command("openssl").args(["x509", "-in", "c.pem", "-noout", "-checkend", "2600000"]).output();
        assert_eq!(late.unwrap().status.code(), Some(1), "it ends after 30 days");
    }
}

#[test]
fn certificates_beyond_2049_have_a_date_that_openssl_reads() {
    let world = World::new();
    world.generate("tls", &[]);
    world.json(&["self-sign", "tls", "--subject", "CN=x", "--days", "36500", "--out", "c.pem"]);
    assert!(world.tool("openssl", &["verify", "-CAfile", "c.pem", "c.pem"]).contains("OK"));
    world.run(&["self-sign", "tls", "--subject", "CN=x", "--days", "4000000"]).expect(2);
}

#[test]
fn i4_a_stored_certificate_stands_beside_its_key() {
    let world = World::new();
    world.generate("tls", &["--id", "0a0b"]);
    let arguments = ["self-sign", "tls", "--subject", "CN=localhost", "--store", "--pin-file", "pin"];
    let first = world.json(&arguments);
    assert_eq!(first["changed"], true);
    let again = world.json(&arguments);
    assert_eq!(again["changed"], false);
    assert_eq!(again["certificate"], first["certificate"]);

    let module = softhsm();
    let list = world
        .tool("pkcs11-tool", &["--module", module.to_str().unwrap(), "--token-label", "demo", "-O", "--type", "cert"]);
    assert_eq!(list.matches("Certificate Object").count(), 1, "{list}");
    assert!(list.contains("ID:         0a0b") && list.contains("label:      tls"), "{list}");
    let read = [
        "--module",
        module.to_str().unwrap(),
        "--token-label",
        "demo",
        "--read-object",
        "--type",
        "cert",
        "--id",
        "0a0b",
        "--output-file",
        "stored.der",
    ];
    world.tool("pkcs11-tool", &read);
    let pem = world.tool("openssl", &["x509", "-inform", "DER", "-in", "stored.der"]);
    assert_eq!(first["certificate"], pem.as_str());
}

#[test]
fn a_stored_certificate_is_written_to_a_file_as_it_is() {
    let world = World::new();
    world.generate("tls", &[]);
    let stored = world.json(&["self-sign", "tls", "--subject", "CN=a", "--store"]);
    let both = ["self-sign", "tls", "--subject", "CN=a", "--store", "--out", "c.pem"];
    assert_eq!(world.json(&both)["changed"], true);
    assert_eq!(stored["certificate"], std::fs::read_to_string(world.path("c.pem")).unwrap().as_str());
    assert_eq!(world.json(&both)["changed"], false);
}

#[test]
fn a_certificate_can_be_renewed() {
    let world = World::new();
    world.generate("tls", &["--id", "01"]);
    let make = ["self-sign", "tls", "--subject", "CN=a", "--store", "--out", "c.pem"];
    let first = world.json(&make)["certificate"].clone();
    // Another subject is another certificate and stays.
    world.json(&["self-sign", "tls", "--subject", "CN=b", "--store"]);
    let second = world.json(&[make.as_slice(), &["--force"]].concat());
    assert_eq!(second["changed"], true);
    assert_ne!(second["certificate"], first);
    assert_eq!(second["certificate"], std::fs::read_to_string(world.path("c.pem")).unwrap().as_str());
    // Other names, another certificate, in the place of the one before.
    let third = world.json(&["self-sign", "tls", "--subject", "CN=a", "--san", "DNS:a", "--store"]);
    assert_eq!(third["changed"], true);
    let module = softhsm();
    let list = ["--module", module.to_str().unwrap(), "--token-label", "demo", "-O", "--type", "cert"];
    let list = world.tool("pkcs11-tool", &list);
    assert_eq!(list.matches("Certificate Object").count(), 2, "{list}");
    assert_eq!(list.matches("CN=a").count(), 1, "{list}");
}

#[test]
fn a_certificate_is_never_made_with_another_keys_signature() {
    let world = World::new();
    world.generate("tls", &["--id", "01"]);
    world.generate("other", &["--id", "02"]);
    let slots: Vec<String> =
        world.json(&["list"])["keys"].as_array().unwrap().iter().map(|key| key["slot"].to_string()).collect();
    for slot in slots {
        world.emulator(&["remove-slot", &slot]);
    }
    for verb in [["csr"].as_slice(), &["self-sign"]] {
        let said = world.run(&[verb, &["tls", "--subject", "CN=x"]].concat()).expect(1);
        assert!(said.stdout.is_empty() && said.stderr.contains("holdfast verify"), "{}", said.stderr);
    }
}

#[test]
fn i1_a_pin_is_only_asked_for_when_the_token_wants_it() {
    // SoftHSM2 takes a public certificate without login: no PIN is needed, and a wrong one does no harm.
    let world = World::new();
    world.generate("tls", &[]);
    world.json(&["self-sign", "tls", "--subject", "CN=a", "--store"]);
    world.write("wrong", "000000\n");
    world.json(&["self-sign", "tls", "--subject", "CN=b", "--store", "--pin-file", "wrong"]);
    let module = softhsm();
    world.tool(
        "pkcs11-tool",
        &["--module", module.to_str().unwrap(), "--token-label", "demo", "--login", "--pin", PIN, "-O"],
    );
}
