//! `holdfast status`: device, firmware, verdict and policy in force, wallets, keys, store, and what is wrong.
//!
//! It says what it can: with the device or the store out of reach the rest is still printed, and the exit code is 3.

use clap::Args;
use holdfast_config::{Config, Policy};
use holdfast_device::{AllocatedSlots, DeviceError, Identity, Verdict, WalletDevice, verdict};
use holdfast_keystore::{
    Error as KeystoreError, Finding, KeyState, KeyWithState, Keystore, Origin, Recovery, WalletRecord,
};
use serde_json::{Value, json};

use crate::context::{Context, keystore, shown};
use crate::failure::{Exit, Failure, device_exit, keystore_exit};
use crate::present;
use crate::report::Report;
use crate::table::{Table, pairs, printable};

/// No options of its own.
#[derive(Debug, Args)]
pub struct Arguments {}

/// Looks at everything and reports it.
pub fn run(_: Arguments, context: &Context) -> Result<Report, Failure> {
    let config = context.config()?;
    let keystore = keystore(&config);
    let device = DeviceStatus::ask(keystore.device().as_ref());
    let store = StoreStatus::look(&config, &keystore);
    let findings = findings(&keystore);
    let packages = vendor_packages();

    let mut exit = device.exit().max(store.exit());
    if let Ok(findings) = &findings
        && findings.iter().any(|finding| severity(finding) == "problem")
    {
        exit = exit.max(Exit::Finding);
    }
    if let Err(error) = &findings {
        exit = exit.max(keystore_exit(error));
    }

    let mut text = device.text(&config);
    text.push_str(&policy_text(&config, &device));
    text.push_str(&store.text(&config));
    if !packages.is_empty() {
        let list: Vec<_> = packages.iter().map(|(name, version)| format!("{name} {version}")).collect();
        text.push_str(&format!("vendor's packages\n{}", pairs(&[("installed", list.join(", "))])));
    }
    text.push_str(&findings_text(&findings));

    let packages: Vec<_> = packages.iter().map(|(name, version)| json!({ "name": name, "version": version })).collect();
    let json = json!({
        "device": device.json(&config),
        "firmware": device.firmware_json(),
        "mapping": policy_json(&config, &device),
        "vendor_packages": packages,
        "store": store.json(&config),
        "backend": { "module": shown(&config.backend.module) },
        "wallets": store.wallets_json(),
        "keys": store.keys_json(),
        "findings": findings_json(&findings),
        "findings_error": findings.as_ref().err().map(ToString::to_string),
    });
    Ok(Report::fine(text, json).with_exit(exit))
}

/// What the device answered.
struct DeviceStatus {
    identity: Result<Identity, DeviceError>,
    slots: Option<Result<AllocatedSlots, DeviceError>>,
}

impl DeviceStatus {
    fn ask(device: &dyn WalletDevice) -> Self {
        let identity = device.identity();
        let slots = identity.is_ok().then(|| device.allocated_slots());
        Self { identity, slots }
    }

    fn error(&self) -> Option<&DeviceError> {
        self.identity.as_ref().err().or(self.slots.as_ref().and_then(|slots| slots.as_ref().err()))
    }

    fn exit(&self) -> Exit {
        self.error().map_or(Exit::Fine, device_exit)
    }

    fn verdict(&self) -> Option<(Verdict, &'static str)> {
        self.identity.as_ref().ok().map(verdict)
    }

    fn slots(&self) -> Option<&AllocatedSlots> {
        self.slots.as_ref().and_then(|slots| slots.as_ref().ok())
    }

    fn text(&self, config: &Config) -> String {
        let mut lines = vec![("library", shown(&config.device.library))];
        match &self.identity {
            Ok(identity) => {
                lines.push(("model", identity.model.clone()));
                lines.push(("serial", identity.serial.clone()));
                lines.push(("firmware", identity.firmware.clone()));
            }
            Err(error) => lines.push(("NOT REACHED", error.to_string())),
        }
        if let Some((verdict, reason)) = self.verdict() {
            lines.push(("verdict", format!("{}: {reason}", verdict_name(verdict))));
        }
        match &self.slots {
            Some(Ok(slots)) => lines.push((
                "slots",
                format!("{} free of {}", slots.capacity.saturating_sub(slots.slots.len()), slots.capacity),
            )),
            Some(Err(error)) => lines.push(("slots", format!("unknown: {error}"))),
            None => {}
        }
        format!("device\n{}", pairs(&lines))
    }

    fn json(&self, config: &Config) -> Value {
        let identity = self.identity.as_ref().ok();
        json!({
            "library": shown(&config.device.library),
            "reachable": self.identity.is_ok(),
            "error": self.error().map(ToString::to_string),
            "model": identity.map(|identity| &identity.model),
            "serial": identity.map(|identity| &identity.serial),
            "firmware": identity.map(|identity| &identity.firmware),
            "slots": self.slots().map(|slots| json!({
                "capacity": slots.capacity,
                "used": slots.slots.len(),
                "free": slots.capacity.saturating_sub(slots.slots.len()),
            })),
        })
    }

    fn firmware_json(&self) -> Value {
        let verdict = self.verdict();
        json!({
            "version": self.identity.as_ref().ok().map(|identity| &identity.firmware),
            "verdict": verdict.map(|(verdict, _)| verdict_name(verdict)),
            "reason": verdict.map(|(_, reason)| reason),
        })
    }
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Affected => "affected",
        Verdict::NotAffected => "not-affected",
        Verdict::Unknown => "unknown",
    }
}

/// Where a generation goes now, and why; `None` when that depends on a device that does not answer.
fn maps(config: &Config, device: &DeviceStatus) -> (Option<bool>, String) {
    match (config.mapping.policy, device.verdict()) {
        (Policy::Always, _) => (Some(true), "policy is \"always\"".to_owned()),
        (Policy::Never, _) => (Some(false), "policy is \"never\"".to_owned()),
        (Policy::Auto, Some((Verdict::NotAffected, reason))) => (Some(false), reason.to_owned()),
        (Policy::Auto, Some((_, reason))) => (Some(true), reason.to_owned()),
        (Policy::Auto, None) => (None, "policy is \"auto\" and the device does not answer".to_owned()),
    }
}

fn policy_text(config: &Config, device: &DeviceStatus) -> String {
    let (maps, reason) = maps(config, device);
    let goes = match maps {
        Some(true) => "go to a wallet of the device",
        Some(false) => "go to the backend",
        None => "cannot be made",
    };
    let mapping = &config.mapping;
    format!(
        "mapping\n{}",
        pairs(&[
            ("policy", mapping.policy.to_string()),
            ("new EC keys", format!("{goes}: {reason}")),
            ("strategy", mapping.strategy.to_string()),
            ("session keys", format!("go to the {}", mapping.session_keys)),
            ("backend", shown(&config.backend.module)),
        ])
    )
}

fn policy_json(config: &Config, device: &DeviceStatus) -> Value {
    let (maps, reason) = maps(config, device);
    let mapping = &config.mapping;
    json!({
        "policy": mapping.policy.as_str(),
        "maps": maps,
        "reason": reason,
        "strategy": mapping.strategy.as_str(),
        "session_keys": mapping.session_keys.as_str(),
        "auto_create_wallet": mapping.auto_create_wallet.as_str(),
    })
}

/// What is recorded.
struct StoreStatus {
    exists: bool,
    obstacle: Option<String>,
    recorded: Result<(Vec<WalletRecord>, Vec<KeyWithState>), KeystoreError>,
}

impl StoreStatus {
    fn look(config: &Config, keystore: &Keystore) -> Self {
        let exists = std::fs::symlink_metadata(&config.mapping.database).is_ok();
        let obstacle = keystore.write_obstacle().ok().flatten();
        let recorded = keystore.wallets().and_then(|wallets| Ok((wallets, keystore.keys()?)));
        Self { exists, obstacle, recorded }
    }

    fn exit(&self) -> Exit {
        self.recorded.as_ref().err().map_or(Exit::Fine, keystore_exit)
    }

    fn state(&self) -> &'static str {
        match (&self.recorded, self.exists, &self.obstacle) {
            (Err(_), _, _) => "error",
            (Ok(_), false, _) => "absent",
            (Ok(_), true, Some(_)) => "read-only",
            (Ok(_), true, None) => "writable",
        }
    }

    fn count(&self, wanted: impl Fn(&KeyWithState) -> bool) -> usize {
        self.recorded.as_ref().map_or(0, |(_, keys)| keys.iter().filter(|key| wanted(key)).count())
    }

    fn keys_of(&self, wallet: &WalletRecord) -> usize {
        self.count(|key| matches!(&key.key.origin, Origin::Derived { wallet: id, .. } if *id == wallet.id))
    }

    fn text(&self, config: &Config) -> String {
        let said = match (&self.recorded, self.state()) {
            (Err(error), _) => error.to_string(),
            (Ok(_), "absent") => "not there yet: the first wallet or key makes it".to_owned(),
            (Ok(_), "read-only") => format!(
                "read-only for this user ({}): keys sign, none can be made",
                self.obstacle.as_deref().unwrap_or_default()
            ),
            (Ok(_), _) => "readable and writable".to_owned(),
        };
        let mut lines = vec![("database", shown(&config.mapping.database)), ("state", said)];
        let (wallets, keys) = match &self.recorded {
            Ok((wallets, keys)) => (wallets.as_slice(), keys.len()),
            Err(_) => (&[][..], 0),
        };
        if keys > 0 {
            let hidden = self.count(|key| matches!(key.state, KeyState::Destroying | KeyState::InitialisingToken));
            let hidden = if hidden == 0 { String::new() } else { format!(", {hidden} of them hidden") };
            lines.push(("keys", format!("{keys}{hidden}; `holdfast list` shows them")));
        }
        let mut text = format!("store\n{}", pairs(&lines));
        if !wallets.is_empty() {
            let mut table = Table::new(&["WALLET", "TOKEN", "CURVE", "KEYS", "RECOVERY", "STATE"]);
            for wallet in wallets {
                table.row([
                    wallet.name.clone(),
                    if wallet.token_serial.is_some() { wallet.token_label.clone() } else { "(all)".to_owned() },
                    wallet.curve.to_string(),
                    self.keys_of(wallet).to_string(),
                    present::loud(wallet.recovery.name()),
                    wallet_state(wallet).to_owned(),
                ]);
            }
            text.push_str(&table.render());
        }
        text
    }

    fn json(&self, config: &Config) -> Value {
        json!({
            "database": shown(&config.mapping.database),
            "state": self.state(),
            "obstacle": self.obstacle,
            "error": self.recorded.as_ref().err().map(ToString::to_string),
        })
    }

    fn wallets_json(&self) -> Value {
        match &self.recorded {
            Ok((wallets, _)) => {
                wallets.iter().map(|wallet| present::wallet_json(wallet, self.keys_of(wallet))).collect()
            }
            Err(_) => Value::Null,
        }
    }

    fn keys_json(&self) -> Value {
        let states = [
            KeyState::Ready,
            KeyState::Session,
            KeyState::PublicOnly,
            KeyState::Destroying,
            KeyState::InitialisingToken,
        ];
        let mut counts = json!({ "total": self.count(|_| true) });
        for state in states {
            counts[present::state(state).replace('-', "_")] = json!(self.count(|key| key.state == state));
        }
        if self.recorded.is_ok() { counts } else { Value::Null }
    }
}

fn wallet_state(wallet: &WalletRecord) -> &'static str {
    if wallet.retired {
        "no further keys"
    } else if !wallet.confirmed {
        "WORDS NOT CONFIRMED"
    } else if wallet.recovery == Recovery::None {
        "in use, dies with the device"
    } else {
        "in use"
    }
}

fn findings(keystore: &Keystore) -> Result<Vec<Finding>, KeystoreError> {
    keystore.findings()
}

/// `warning` for what the operator chose or need not act on now; `problem` for what makes the exit code 1.
pub fn severity(finding: &Finding) -> &'static str {
    match finding {
        Finding::NoRecovery(_) | Finding::Retired(_) | Finding::DeviceUnreachable(_) => "warning",
        _ => "problem",
    }
}

/// A short, stable name of a finding.
fn kind(finding: &Finding) -> &'static str {
    match finding {
        Finding::Leftover(_) => "leftover",
        Finding::DeviceUnreachable(_) => "device-unreachable",
        Finding::OtherDevice { .. } => "other-device",
        Finding::UnrecordedNode { .. } => "unrecorded-node",
        Finding::WalletMissing { .. } => "wallet-missing",
        Finding::KeyMissing { .. } => "key-missing",
        Finding::InterruptedInitToken { .. } => "interrupted-init-token",
        Finding::Interrupted { .. } => "interrupted",
        Finding::NoRecovery(_) => "no-recovery",
        Finding::Unconfirmed(_) => "unconfirmed",
        Finding::Retired(_) => "retired",
        _ => "other",
    }
}

/// A finding, for JSON.
pub fn finding_json(finding: &Finding) -> Value {
    json!({ "kind": kind(finding), "severity": severity(finding), "message": finding.to_string() })
}

fn findings_text(findings: &Result<Vec<Finding>, KeystoreError>) -> String {
    match findings {
        Err(error) => format!("findings\n  could not look: {error}\n"),
        Ok(findings) if findings.is_empty() => "findings\n  none\n".to_owned(),
        Ok(findings) => {
            let lines = findings.iter().map(|f| format!("  {}: {}\n", severity(f), printable(&f.to_string())));
            format!("findings\n{}", lines.collect::<String>())
        }
    }
}

fn findings_json(findings: &Result<Vec<Finding>, KeystoreError>) -> Value {
    match findings {
        Ok(findings) => findings.iter().map(finding_json).collect(),
        Err(_) => Value::Null,
    }
}

/// The vendor's host software, as far as dpkg knows it: what stands between us and the device.
fn vendor_packages() -> Vec<(String, String)> {
    const NAMES: [&str; 8] =
        ["libzk", "libzymkeyssl", "zkapputilslib", "zkbootrtc", "zkifc", "zkpkcs11", "zksaapps", "zku"];
    let Ok(status) = std::fs::read_to_string("/var/lib/dpkg/status") else { return Vec::new() };
    let field = |paragraph: &str, name: &str| {
        paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(ToOwned::to_owned))
    };
    status
        .split("\n\n")
        .filter_map(|paragraph| {
            let name = field(paragraph, "Package").filter(|name| NAMES.contains(&name.as_str()))?;
            let installed = field(paragraph, "Status")?.ends_with(" installed");
            installed.then_some((name, field(paragraph, "Version")?))
        })
        .collect()
}
