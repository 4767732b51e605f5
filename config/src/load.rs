//! The keys, their defaults and their rules.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::reader::{Document, Given, Key, Reader, SettingValue};
use crate::trust::{self, TrustError};
use crate::values::{AutoCreateWallet, Level, LogTarget, Policy, SessionKeys, Strategy};
use crate::{Backend, Config, ConfigError, Device, Environment, Log, Mapping};

/// Where the configuration is looked for when `HOLDFAST_CONFIG` does not name another place.
pub const DEFAULT_PATH: &str = "/etc/holdfast/holdfast.toml";

/// No configuration is longer; what is longer is some other file.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Ten minutes: longer, and a server seems dead.
const MAX_MILLISECONDS: i64 = 600_000;

const SECTIONS: &[(&str, &[&str])] = &[
    ("backend", &["module"]),
    ("device", &["library", "open-timeout-ms", "retry-interval-ms"]),
    (
        "mapping",
        &[
            "database",
            "group",
            "mode",
            "policy",
            "strategy",
            "session-keys",
            "hardened",
            "wallet-capacity",
            "auto-create-wallet",
        ],
    ),
    ("log", &["level", "target"]),
];

/// Loads `named`, else what `HOLDFAST_CONFIG` names, else `default_path` if there is such a file.
pub(crate) fn load(
    environment: &Environment,
    named: Option<&Path>,
    default_path: &Path,
) -> Result<Config, ConfigError> {
    let from_variable = match environment.get("HOLDFAST_CONFIG") {
        Some(value) if named.is_none() => {
            let path = Path::new(value);
            if !path.is_absolute() {
                return Err(ConfigError::NotAbsolute { found: value.to_string_lossy().into_owned() });
            }
            Some(path)
        }
        _ => None,
    };
    let (path, named_by) = match (named, from_variable) {
        (Some(path), _) => (path, Some("--config")),
        (None, Some(path)) => (path, Some("HOLDFAST_CONFIG")),
        (None, None) => (default_path, None),
    };
    match read_file(path) {
        Ok(text) => parse(environment, Some((path, &text))),
        Err(ReadError::Absent) => match named_by {
            Some(named_by) => Err(ConfigError::Missing { path: path.to_owned(), named_by }),
            None => parse(environment, None),
        },
        Err(ReadError::Untrusted(error)) => Err(error.into()),
        Err(ReadError::Io(source)) => Err(ConfigError::Unreadable { path: path.to_owned(), source }),
    }
}

/// The built-in values.
pub(crate) fn defaults() -> Config {
    match parse(&Environment::empty(), None) {
        Ok(config) => config,
        // Without file and variables there is nothing that could be refused.
        Err(_) => unreachable!("the defaults are allowed values"),
    }
}

enum ReadError {
    Absent,
    Untrusted(TrustError),
    Io(io::Error),
}

/// The text of a file that only root or this user can have written.
fn read_file(path: &Path) -> Result<String, ReadError> {
    // A symbolic link to nowhere is there: somebody meant it to say something.
    let absent = |error: &io::Error| {
        error.kind() == io::ErrorKind::NotFound
            && std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    trust::check_trusted_file(path).map_err(|error| match error {
        TrustError::Io { source, .. } if absent(&source) => ReadError::Absent,
        TrustError::Io { source, .. } => ReadError::Io(source),
        error => ReadError::Untrusted(error),
    })?;
    // Checked above to be a regular file; O_NONBLOCK so that not even a race can make this wait for a writer.
    let flags = (rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)
        .map_err(|error| if absent(&error) { ReadError::Absent } else { ReadError::Io(error) })?;
    trust::check_opened_file(&file, path).map_err(ReadError::Untrusted)?;
    read_text(file).map_err(ReadError::Io)
}

fn read_text(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE_BYTES) {
        return Err(io::Error::other(format!("longer than {MAX_FILE_BYTES} bytes, so it is no configuration")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes().iter().take(error.utf8_error().valid_up_to()).filter(|&&b| b == b'\n').count() + 1;
        io::Error::new(io::ErrorKind::InvalidData, format!("line {line} is not UTF-8"))
    })
}

/// Makes the configuration of `file` (path and text) and `environment`.
pub(crate) fn parse(environment: &Environment, file: Option<(&Path, &str)>) -> Result<Config, ConfigError> {
    let document = file.map(|(path, text)| Document::parse(path, text)).transpose()?;
    let mut reader = Reader::new(environment, document);
    reader.refuse_unknown(SECTIONS, "log")?;

    let backend = Backend { module: reader.read(path_key("backend", "module", "/usr/lib/libzk_pkcs11.so"))? };
    let device = Device {
        library: reader.read(path_key("device", "library", "/usr/lib/libzk_app_utils.so"))?,
        open_timeout: reader.read(Key {
            section: "device",
            name: "open-timeout-ms",
            allowed: "a number of milliseconds, 0 (try once) to 600000",
            default: Duration::from_millis(5000),
            parse: |given| milliseconds(given, 0),
            show: show_milliseconds,
            variable: None,
        })?,
        retry_interval: reader.read(Key {
            section: "device",
            name: "retry-interval-ms",
            allowed: "a number of milliseconds, 1 to 600000",
            default: Duration::from_millis(500),
            parse: |given| milliseconds(given, 1),
            show: show_milliseconds,
            variable: None,
        })?,
    };
    let mapping = Mapping {
        database: reader.read(path_key("mapping", "database", "/var/lib/holdfast/mapping.db"))?,
        group: reader.read(Key {
            section: "mapping",
            name: "group",
            allowed: "a group's name, or \"\" to leave the group of file and directory alone",
            default: Some("holdfast".to_owned()),
            parse: group,
            show: |group| SettingValue::Text(group.clone().unwrap_or_default()),
            variable: None,
        })?,
        mode: reader.read(Key {
            section: "mapping",
            name: "mode",
            allowed: "\"0660\" (the group signs and generates), \"0640\" (the group signs, root generates) or \"0600\" \
                      (the owner only), as a string; never others: whoever can read the store can sign, whoever can \
                      write it can generate",
            default: 0o660,
            parse: mode,
            show: |mode| SettingValue::Text(format!("{mode:04o}")),
            variable: None,
        })?,
        policy: reader.read(Key {
            section: "mapping",
            name: "policy",
            allowed: "\"auto\", \"always\", \"never\"",
            default: Policy::Auto,
            parse: |given| Policy::from_word(given.text()?),
            show: |value| SettingValue::Text(value.to_string()),
            variable: None,
        })?,
        strategy: reader.read(Key {
            section: "mapping",
            name: "strategy",
            allowed: "\"wallet-per-token\", \"wallet-per-key\", \"shared-wallet\"",
            default: Strategy::WalletPerToken,
            parse: |given| Strategy::from_word(given.text()?),
            show: |value| SettingValue::Text(value.to_string()),
            variable: None,
        })?,
        session_keys: reader.read(Key {
            section: "mapping",
            name: "session-keys",
            allowed: "\"backend\", \"wallet\"",
            default: SessionKeys::Backend,
            parse: |given| SessionKeys::from_word(given.text()?),
            show: |value| SettingValue::Text(value.to_string()),
            variable: None,
        })?,
        hardened: reader.read(Key {
            section: "mapping",
            name: "hardened",
            allowed: "true, false",
            default: true,
            parse: |given| given.boolean(),
            show: |value| SettingValue::Boolean(*value),
            variable: None,
        })?,
        wallet_capacity: reader.read(Key {
            section: "mapping",
            name: "wallet-capacity",
            allowed: "a number of keys, 1 to 2147483647, or 0 for no limit",
            default: None,
            parse: wallet_capacity,
            show: |capacity| SettingValue::Integer(capacity.map_or(0, |capacity| u64::from(capacity.get()))),
            variable: None,
        })?,
        auto_create_wallet: reader.read(Key {
            section: "mapping",
            name: "auto-create-wallet",
            allowed: "\"no-recovery\", \"refuse\"",
            default: AutoCreateWallet::NoRecovery,
            parse: |given| AutoCreateWallet::from_word(given.text()?),
            show: |value| SettingValue::Text(value.to_string()),
            variable: None,
        })?,
    };
    let log = Log {
        level: reader.read_lenient(Key {
            section: "log",
            name: "level",
            allowed: "\"error\", \"warn\", \"info\", \"debug\"",
            default: Level::Warn,
            parse: |given| Level::from_word(given.text()?),
            show: |value| SettingValue::Text(value.to_string()),
            variable: Some("HOLDFAST_LOG"),
        }),
        target: reader.read_lenient(Key {
            section: "log",
            name: "target",
            allowed: "\"stderr\", \"syslog\", or a file's absolute path",
            default: LogTarget::Stderr,
            parse: log_target,
            show: |value| SettingValue::Text(value.to_string()),
            variable: None,
        }),
    };
    let (settings, log_problems) = reader.finish();
    Ok(Config { backend, device, mapping, log, log_problems, file: file.map(|(path, _)| path.to_owned()), settings })
}

/// A key whose value is an absolute path. A relative one would be another file in every working directory, and a bare
/// name would be searched for by the dynamic linker.
fn path_key(section: &'static str, name: &'static str, default: &str) -> Key<PathBuf> {
    Key {
        section,
        name,
        allowed: "an absolute path",
        default: PathBuf::from(default),
        parse: absolute_path,
        show: |path| SettingValue::Text(path.to_string_lossy().into_owned()),
        variable: None,
    }
}

fn absolute_path(given: Given<'_>) -> Option<PathBuf> {
    given.text().filter(|text| text.starts_with('/') && !text.contains('\0')).map(PathBuf::from)
}

fn milliseconds(given: Given<'_>, least: i64) -> Option<Duration> {
    let number = given.integer().filter(|number| (least..=MAX_MILLISECONDS).contains(number))?;
    u64::try_from(number).ok().map(Duration::from_millis)
}

fn show_milliseconds(duration: &Duration) -> SettingValue {
    SettingValue::Integer(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn group(given: Given<'_>) -> Option<Option<String>> {
    match given.text()? {
        "" => Some(None),
        // What a line of /etc/group could not hold is no group.
        name if name.chars().any(|c| c == ':' || c == ',' || c == '/' || c.is_whitespace() || c.is_control()) => None,
        name => Some(Some(name.to_owned())),
    }
}

fn mode(given: Given<'_>) -> Option<u32> {
    match given.text()? {
        "0660" | "660" => Some(0o660),
        "0640" | "640" => Some(0o640),
        "0600" | "600" => Some(0o600),
        _ => None,
    }
}

fn wallet_capacity(given: Given<'_>) -> Option<Option<NonZeroU32>> {
    // A node index has 31 bits.
    let number = given.integer().filter(|number| (0..=i64::from(i32::MAX)).contains(number))?;
    u32::try_from(number).ok().map(NonZeroU32::new)
}

fn log_target(given: Given<'_>) -> Option<LogTarget> {
    match given.text()? {
        "stderr" => Some(LogTarget::Stderr),
        "syslog" => Some(LogTarget::Syslog),
        _ => absolute_path(given).map(LogTarget::File),
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
