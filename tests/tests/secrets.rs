//! No PIN, no recovery words and no private key is ever in the store, the log, the output or the process list.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::client::Curve;
use holdfast_tests::site::write_private;
use holdfast_tests::{Finished, Module, Site, token};

/// The command lines of every process of a site, while it exists.
struct Watch {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeSet<Vec<u8>>>>,
    thread: std::thread::JoinHandle<()>,
}

impl Watch {
    fn begin(site: &Site) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let root = site.root().as_os_str().as_bytes().to_vec();
        let (stopped, found) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
                    let path = entry.path();
                    // The site's processes are those that have its directory in their environment.
                    let environment = fs::read(path.join("environ")).unwrap_or_default();
                    if contains(&environment, &root)
                        && let Ok(arguments) = fs::read(path.join("cmdline"))
                    {
                        found.lock().map(|mut seen| seen.insert(arguments)).ok();
                    }
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { stop, seen, thread }
    }

    fn end(self) -> Result<BTreeSet<Vec<u8>>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the watch died")?;
        let seen = self.seen.lock().ok().context("the watch died")?;
        Ok(seen.clone())
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && haystack.windows(needle.len()).any(|window| window == needle)
}

/// Every file below a directory.
fn files(directory: &Path, found: &mut Vec<std::path::PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { files(&path, found)? } else { found.push(path) }
    }
    Ok(())
}

/// In how many ways a secret could be written.
fn spellings(secret: &str) -> Vec<Vec<u8>> {
    let mut spellings = vec![secret.as_bytes().to_vec(), secret.to_uppercase().into_bytes()];
    if let Ok(raw) = holdfast_tests::unhex(secret) {
        let list = format!("{raw:?}");
        spellings.extend([raw, list.trim_matches(['[', ']']).as_bytes().to_vec()]);
    } else {
        spellings.push(holdfast_tests::hex(secret.as_bytes()).into_bytes());
    }
    spellings
}

#[test]
fn k7_no_secret_is_stored_logged_shown_or_passed_as_an_argument() -> Result<()> {
    let site = Site::builder().set("log", "level", "\"debug\"").build()?;
    let pin_file = site.root().join("pin");
    write_private(&pin_file, token::PIN)?;
    let words_file = site.root().join("words");
    let (pin_file, words_file) = (pin_file.display().to_string(), words_file.display().to_string());
    // Slow enough for every process to be seen.
    site.device().control(&["latency", "any", "20"])?;
    let watch = Watch::begin(&site);
    let mut shown: Vec<Finished> = Vec::new();

    let create = ["wallet", "create", "--token", token::LABEL, "--recovery", "bip39", "--words-out", &words_file];
    shown.push(site.holdfast(&create)?.success()?);
    let mut client = site.client()?;
    for (number, curve) in [(1, Curve::P256), (2, Curve::Secp256k1)] {
        client.generate(curve, "key", &[number])?;
        client.sign(&[number], "ecdsa", &[1; 32])?;
    }
    let before = site.device().secrets()?;
    client.destroy(&[2])?;
    let mut stranger = site.anonymous_client(Module::Holdfast)?;
    ensure!(stranger.login("user-pin-wrong").is_err(), "a wrong PIN was taken");
    let generate = ["generate", "--token", token::LABEL, "--label", "of-the-command-line", "--id", "03"];
    shown.push(site.holdfast(&generate)?.success()?);
    for arguments in [
        &["self-sign", "of-the-command-line", "--subject", "CN=x", "--days", "1", "--store", "--pin-file", &pin_file][..],
        &["csr", "of-the-command-line", "--subject", "CN=x"],
        &["pubkey", "of-the-command-line", "--format", "pem"],
        &["show", "of-the-command-line", "--json"],
        &["list", "--json"],
        &["status", "--json"],
        &["verify", "--json"],
        &["config", "show", "--json"],
        &["config", "check"],
        &["destroy", "of-the-command-line"],
    ] {
        shown.push(site.holdfast(arguments)?);
    }
    // Failures are where secrets get into messages.
    site.device().fail_always("any")?;
    let _ = client.try_sign(&[1], "ecdsa", &[1; 32])?;
    shown.push(site.holdfast(&["verify"])?);
    shown.push(site.holdfast(&["status"])?);
    site.device().clear_faults()?;
    let made = ["--keypairgen", "--key-type", "EC:prime256v1", "--label", "by-tool", "--id", "04"];
    shown.push(site.pkcs11_tool(Module::Holdfast, &made)?.success()?);
    client.finish()?;
    let arguments = watch.end()?;

    let words = fs::read_to_string(&words_file)?;
    let words: Vec<&str> =
        words.split_whitespace().filter(|word| word.chars().all(|c| c.is_ascii_lowercase())).collect();
    ensure!(words.len() >= 24, "the words are not where they should be");
    let mut secrets = site.device().secrets()?;
    ensure!(secrets.len() > 16, "the device has no private keys: {secrets:?}");
    secrets.extend(before);
    secrets.extend([token::PIN, token::SO_PIN, "user-pin-wrong"].map(ToOwned::to_owned));
    // Single words are English; three in a row are not chance.
    secrets.extend(words.windows(3).map(|three| three.join(" ")));

    let mut places: Vec<(String, Vec<u8>)> = vec![("log".to_owned(), site.log()?.into_bytes())];
    ensure!(places[0].1.len() > 500, "the log is nearly empty");
    let mut stored = Vec::new();
    files(site.database().parent().context("the store has a directory")?, &mut stored)?;
    ensure!(!stored.is_empty(), "there is no store");
    for path in stored {
        places.push((path.display().to_string(), fs::read(&path)?));
    }
    for finished in shown {
        places.push((finished.command.clone(), finished.output().into_bytes()));
    }
    for program in ["holdfast", "pkcs11-client", "pkcs11-tool"] {
        let seen = arguments.iter().any(|line| contains(line, program.as_bytes()));
        ensure!(seen, "{program} was not seen among the processes");
    }
    places.extend(arguments.into_iter().map(|line| ("process arguments".to_owned(), line)));

    for secret in &secrets {
        for spelling in spellings(secret) {
            for (place, content) in &places {
                ensure!(!contains(content, &spelling), "a secret is in {place}:\n{}", String::from_utf8_lossy(content));
            }
        }
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&words_file)?.permissions());
    ensure!(mode & 0o777 == 0o600, "the words have mode {mode:o}");
    Ok(())
}
