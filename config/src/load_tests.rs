use super::*;
use crate::Origin;
use crate::Strategy;
use proptest::{prop_assert, proptest};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

const PATH: &str = "/etc/holdfast/holdfast.toml";

fn none() -> Environment {
    Environment::empty()
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::from_variables(variables.iter().copied(), false)
}

fn from_text(text: &str) -> Result<Config, ConfigError> {
    parse(&none(), Some((Path::new(PATH), text)))
}

fn refused(text: &str) -> String {
    from_text(text).unwrap_err().to_string()
}

/// A file that passes the check of trust.
fn write(directory: &Path, text: &str) -> PathBuf {
    let path = directory.join("holdfast.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    path
}

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let config = Config::default();
    assert_eq!(config.backend.module, Path::new("/usr/lib/libzk_pkcs11.so"));
    assert_eq!(config.device.library, Path::new("/usr/lib/libzk_app_utils.so"));
    assert_eq!(config.device.open_timeout, Duration::from_secs(5));
    assert_eq!(config.device.retry_interval, Duration::from_millis(500));
    assert_eq!(config.mapping.database, Path::new("/var/lib/holdfast/mapping.db"));
    assert_eq!(config.mapping.group.as_deref(), Some("holdfast"));
    assert_eq!(config.mapping.mode, 0o660);
    assert_eq!(config.mapping.policy, Policy::Auto);
    assert_eq!(config.mapping.strategy, Strategy::WalletPerToken);
    assert_eq!(config.mapping.session_keys, SessionKeys::Backend);
    assert!(config.mapping.hardened);
    assert_eq!(config.mapping.wallet_capacity, None);
    assert_eq!(config.mapping.auto_create_wallet, AutoCreateWallet::NoRecovery);
    assert_eq!(config.log, Log { level: Level::Warn, target: LogTarget::Stderr });
    assert_eq!(config.file, None);
    assert!(config.log_problems.is_empty());
    assert!(config.settings().iter().all(|setting| setting.origin == Origin::Default));
}

#[test]
fn every_key_is_read_from_the_file_and_shown_with_its_line() {
    let text = r#"# every key, none at its default
[backend]
module = "/m.so"

[device]
library = "/d.so"
open-timeout-ms = 1
retry-interval-ms = 2
[mapping]
database = "/db"
group = ""
mode = "0640"
policy = "never"
strategy = "shared-wallet"
session-keys = "wallet"
hardened = false
wallet-capacity = 7
auto-create-wallet = "refuse"
[log]
level = "debug"
target = "/var/log/holdfast"
"#;
    let config = from_text(text).unwrap();
    assert_eq!(config.backend.module, Path::new("/m.so"));
    assert_eq!(
        config.device,
        Device {
            library: "/d.so".into(),
            open_timeout: Duration::from_millis(1),
            retry_interval: Duration::from_millis(2)
        }
    );
    assert_eq!(
        config.mapping,
        Mapping {
            database: "/db".into(),
            group: None,
            mode: 0o640,
            policy: Policy::Never,
            strategy: Strategy::SharedWallet,
            session_keys: SessionKeys::Wallet,
            hardened: false,
            wallet_capacity: NonZeroU32::new(7),
            auto_create_wallet: AutoCreateWallet::Refuse,
        }
    );
    assert_eq!(config.log, Log { level: Level::Debug, target: LogTarget::File("/var/log/holdfast".into()) });
    assert!(config.log_problems.is_empty());
    // Written out again, the settings are the same file: none is forgotten, none is shown wrongly.
    let mut lines = text.lines().enumerate().filter(|(_, line)| line.contains(" = "));
    for setting in config.settings() {
        let (index, line) = lines.next().unwrap();
        assert_eq!(format!("{} = {}", setting.key, setting.value), line);
        assert_eq!(setting.origin, Origin::File { path: PATH.into(), line: index + 1 });
    }
    assert_eq!(lines.next(), None);
    let known: Vec<_> = SECTIONS.iter().flat_map(|(s, keys)| keys.iter().map(move |k| format!("{s}.{k}"))).collect();
    assert_eq!(config.settings().iter().map(|setting| setting.name()).collect::<Vec<_>>(), known);
}

#[test]
fn i2_every_key_has_an_override() {
    let variables = [
        ("HOLDFAST_BACKEND_MODULE", "/m.so"),
        ("HOLDFAST_DEVICE_LIBRARY", "/d.so"),
        ("HOLDFAST_DEVICE_OPEN_TIMEOUT_MS", "1"),
        ("HOLDFAST_DEVICE_RETRY_INTERVAL_MS", "2"),
        ("HOLDFAST_MAPPING_DATABASE", "/db"),
        ("HOLDFAST_MAPPING_GROUP", "g"),
        ("HOLDFAST_MAPPING_MODE", "0600"),
        ("HOLDFAST_MAPPING_POLICY", "always"),
        ("HOLDFAST_MAPPING_STRATEGY", "wallet-per-key"),
        ("HOLDFAST_MAPPING_SESSION_KEYS", "wallet"),
        ("HOLDFAST_MAPPING_HARDENED", "false"),
        ("HOLDFAST_MAPPING_WALLET_CAPACITY", "3"),
        ("HOLDFAST_MAPPING_AUTO_CREATE_WALLET", "refuse"),
        ("HOLDFAST_LOG_LEVEL", "info"),
        ("HOLDFAST_LOG_TARGET", "syslog"),
    ];
    let config = parse(&environment(&variables), None).unwrap();
    assert_eq!(config.settings().len(), variables.len());
    for (setting, (name, value)) in config.settings().iter().zip(variables) {
        assert_eq!(setting.variable(), name);
        assert_eq!(setting.origin, Origin::Variable(name.to_owned()));
        assert_eq!(setting.value.to_string().trim_matches('"'), value);
    }
}

#[test]
fn i2_a_variable_goes_before_the_file_and_the_file_before_the_default() {
    let file = Some((Path::new(PATH), "[mapping]\npolicy = \"never\"\nmode = \"0640\"\n"));
    let config = parse(&environment(&[("HOLDFAST_MAPPING_POLICY", "always")]), file).unwrap();
    assert_eq!(config.mapping.policy, Policy::Always);
    assert_eq!(config.mapping.mode, 0o640);
    assert_eq!(config.origin("mapping.policy"), Some(&Origin::Variable("HOLDFAST_MAPPING_POLICY".to_owned())));
    assert_eq!(config.origin("mapping.mode"), Some(&Origin::File { path: PATH.into(), line: 3 }));
    assert_eq!(config.origin("mapping.strategy"), Some(&Origin::Default));
    assert_eq!(config.origin("mapping.nothing"), None);
}

#[test]
fn other_holdfast_variables_mean_nothing() {
    let variables = [
        ("HOLDFAST_EMULATOR_STATE", "/tmp/x"),
        ("HOLDFAST_PIN_FILE", "/tmp/pin"),
        ("HOLDFAST_MAPPING_SESSION", "nonsense"),
        ("HOLDFAST_mapping_policy", "nonsense"),
        ("HOLDFAST_", "nonsense"),
        ("MAPPING_POLICY", "nonsense"),
    ];
    assert_eq!(parse(&environment(&variables), None).unwrap(), Config::default());
}

#[test]
fn a_bad_override_is_an_error_that_names_the_variable() {
    for (name, value) in [
        ("HOLDFAST_MAPPING_POLICY", "sometimes"),
        ("HOLDFAST_MAPPING_POLICY", ""),
        ("HOLDFAST_MAPPING_POLICY", "Auto"),
        ("HOLDFAST_MAPPING_HARDENED", "yes"),
        ("HOLDFAST_MAPPING_WALLET_CAPACITY", "-1"),
        ("HOLDFAST_MAPPING_WALLET_CAPACITY", "+1"),
        ("HOLDFAST_MAPPING_WALLET_CAPACITY", "99999999999999999999"),
        ("HOLDFAST_DEVICE_OPEN_TIMEOUT_MS", "5s"),
        ("HOLDFAST_DEVICE_OPEN_TIMEOUT_MS", ""),
        ("HOLDFAST_DEVICE_LIBRARY", ""),
        ("HOLDFAST_DEVICE_LIBRARY", "libzk_app_utils.so"),
    ] {
        let error = parse(&environment(&[(name, value)]), None).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{name}: ")), "{error}");
        assert!(error.contains(&format!("is {value:?}; allowed: ")), "{error}");
    }
}

#[test]
fn a_bad_value_in_the_file_is_an_error_even_when_a_variable_overrides_it() {
    let file = Some((Path::new(PATH), "[mapping]\npolicy = \"sometimes\"\n"));
    let error = parse(&environment(&[("HOLDFAST_MAPPING_POLICY", "always")]), file).unwrap_err();
    assert!(error.to_string().contains("line 2"), "{error}");
}

#[test]
fn a_variable_that_is_not_text_is_refused() {
    use std::os::unix::ffi::OsStringExt as _;
    let value = std::ffi::OsString::from_vec(b"/lib\xff".to_vec());
    let environment = Environment::from_variables([("HOLDFAST_BACKEND_MODULE", value)], false);
    assert!(matches!(parse(&environment, None), Err(ConfigError::Value { .. })));
}

#[test]
fn a_bad_value_names_file_line_key_and_what_is_allowed() {
    assert_eq!(
        refused("[mapping]\n\npolicy = \"sometimes\"\n"),
        "/etc/holdfast/holdfast.toml, line 3: mapping.policy is \"sometimes\"; allowed: \"auto\", \"always\", \"never\""
    );
    for (text, said) in [
        ("mapping.hardened = \"true\"", "line 1: mapping.hardened is \"true\"; allowed: true, false"),
        ("mapping = 3", "line 1: mapping is 3; allowed: a section, [mapping]"),
        ("[[mapping]]\npolicy = \"auto\"", "mapping is an array; allowed: a section, [mapping]"),
        ("[device]\nopen-timeout-ms = \"5\"", "device.open-timeout-ms is \"5\"; allowed: a number of milliseconds"),
        ("[device]\nopen-timeout-ms = -1", "is -1; allowed"),
        ("[device]\nopen-timeout-ms = 5.5", "is 5.5; allowed"),
        ("[device]\nopen-timeout-ms = 600001", "is 600001; allowed"),
        ("[device]\nretry-interval-ms = 0", "is 0; allowed"),
        ("[device]\nlibrary = \"zk.so\"", "is \"zk.so\"; allowed: an absolute path"),
        ("[device]\nlibrary = [\"/zk.so\"]", "is an array; allowed: an absolute path"),
        ("[device.library]\nx = 1", "is a table; allowed: an absolute path"),
        ("[mapping]\ndatabase = \"\"", "is \"\"; allowed: an absolute path"),
        ("[mapping]\ndatabase = \"/a\\u0000b\"", "allowed: an absolute path"),
        ("[mapping]\ngroup = \"a:b\"", "allowed: a group's name"),
        ("[mapping]\ngroup = 0", "is 0; allowed: a group's name"),
        ("[mapping]\nwallet-capacity = 2147483648", "allowed: a number of keys"),
        ("[mapping]\nwallet-capacity = 99999999999999999999", "is 99999999999999999999; allowed"),
    ] {
        let error = refused(text);
        assert!(error.starts_with(PATH) && error.contains(said), "{text}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn k6_nobody_else_may_read_or_write_the_store() {
    for (text, mode) in [("0660", 0o660), ("660", 0o660), ("0640", 0o640), ("0600", 0o600)] {
        assert_eq!(from_text(&format!("[mapping]\nmode = \"{text}\"")).unwrap().mapping.mode, mode);
    }
    for text in [
        "\"0666\"", "\"0662\"", "\"0664\"", "\"0644\"", "\"0770\"", "\"0440\"", "\"4660\"", "\"\"", "\"rw\"", "660",
        "0o660",
    ] {
        let error = refused(&format!("[mapping]\nmode = {text}"));
        assert!(error.contains("mapping.mode is") && error.contains("can sign"), "{text}: {error}");
    }
}

#[test]
fn unknown_keys_and_sections_are_refused_by_line() {
    assert_eq!(
        refused("[mapping]\npolicy = \"auto\"\nsession_keys = \"backend\"\n"),
        "/etc/holdfast/holdfast.toml, line 3: unknown key mapping.session_keys; allowed: database, group, mode, policy, \
         strategy, session-keys, hardened, wallet-capacity, auto-create-wallet"
    );
    let sections = "allowed: [backend], [device], [mapping], [log]";
    assert!(refused("\n[maping]\n").ends_with(&format!("line 2: unknown section [maping]; {sections}")));
    assert!(refused("policy = \"auto\"").ends_with(&format!("line 1: unknown key policy; {sections}")));
    assert!(refused("\"a\\nb\" = 1").contains("unknown key a\\nb;"));
    // The first mistake of the file is the one that is named.
    assert!(refused("[zz]\n[aa]\n").contains("[zz]"));
    assert!(refused("[mapping]\nzz = 1\naa = 1\n").contains("mapping.zz"));
}

#[test]
fn what_is_not_toml_is_refused_by_line_and_column() {
    let error = refused("[mapping]\npolicy = auto\n");
    assert!(error.starts_with("/etc/holdfast/holdfast.toml, line 2, column "), "{error}");
    assert!(error.contains("not valid TOML"), "{error}");
    for text in
        ["[mapping", "mode = 0660", "[mapping]\npolicy = \"auto\"\npolicy = \"auto\"", "\"", "=", "a = \"\u{1}\""]
    {
        assert!(matches!(from_text(text), Err(ConfigError::Syntax { .. })), "{text:?}");
    }
}

#[test]
fn a_bad_log_value_is_reported_and_ignored() {
    let config = from_text("[log]\nlevel = \"loud\"\ntarget = \"relative\"\ncolour = true\n").unwrap();
    assert_eq!(config.log, Config::default().log);
    assert_eq!(config.log_problems.len(), 3, "{:?}", config.log_problems);
    assert!(config.log_problems.iter().any(|p| p.contains("line 2: log.level is \"loud\"; allowed: \"error\"")));
    assert!(config.log_problems.iter().any(|p| p.contains("line 3: log.target is \"relative\"")));
    assert!(config.log_problems.iter().any(|p| p.contains("line 4: unknown key log.colour")));
    let config = from_text("log = \"debug\"").unwrap();
    assert_eq!(config.log_problems.len(), 1);
    // The rest of the file counts as ever.
    assert!(from_text("[log]\nlevel = \"loud\"\n[mapping]\npolicy = 1\n").is_err());
}

#[test]
fn holdfast_log_goes_before_all_and_a_bad_one_hides_nothing() {
    let file = Some((Path::new(PATH), "[log]\nlevel = \"error\"\n"));
    let level = |variables: &[(&str, &str)]| {
        let config = parse(&environment(variables), file).unwrap();
        (config.log.level, config.log_problems.len())
    };
    assert_eq!(level(&[]), (Level::Error, 0));
    assert_eq!(level(&[("HOLDFAST_LOG_LEVEL", "info")]), (Level::Info, 0));
    assert_eq!(level(&[("HOLDFAST_LOG_LEVEL", "info"), ("HOLDFAST_LOG", "debug")]), (Level::Debug, 0));
    assert_eq!(level(&[("HOLDFAST_LOG_LEVEL", "info"), ("HOLDFAST_LOG", "loud")]), (Level::Info, 1));
    assert_eq!(level(&[("HOLDFAST_LOG", "")]), (Level::Error, 1));
}

#[test]
fn a_named_file_must_be_there_and_the_default_one_need_not() {
    let directory = directory();
    let absent = directory.path().join("absent.toml");
    assert_eq!(load(&none(), None, &absent).unwrap(), Config::default());
    let error = load(&none(), Some(&absent), &absent).unwrap_err();
    assert!(matches!(error, ConfigError::Missing { named_by: "--config", .. }), "{error}");
    let named = environment(&[("HOLDFAST_CONFIG", absent.to_str().unwrap())]);
    let error = load(&named, None, &absent).unwrap_err();
    assert!(matches!(error, ConfigError::Missing { named_by: "HOLDFAST_CONFIG", .. }), "{error}");
    assert!(error.to_string().contains("absent.toml"));
    // A default file that is there counts, a link to nowhere included.
    std::os::unix::fs::symlink("nowhere", &absent).unwrap();
    assert!(matches!(load(&none(), None, &absent), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn the_first_file_found_counts() {
    let (one, two) = (directory(), directory());
    let by_default = write(one.path(), "[mapping]\npolicy = \"never\"\n");
    let by_variable = write(two.path(), "[mapping]\npolicy = \"always\"\n");
    let named = environment(&[("HOLDFAST_CONFIG", by_variable.to_str().unwrap())]);
    let config = load(&none(), None, &by_default).unwrap();
    assert_eq!((config.mapping.policy, config.file.as_deref()), (Policy::Never, Some(&*by_default)));
    let config = load(&named, None, &by_default).unwrap();
    assert_eq!((config.mapping.policy, config.file.as_deref()), (Policy::Always, Some(&*by_variable)));
    let config = load(&named, Some(&by_default), Path::new("/nonexistent")).unwrap();
    assert_eq!(config.mapping.policy, Policy::Never, "--config goes before HOLDFAST_CONFIG");
}

#[test]
fn k6_in_a_privileged_process_neither_file_nor_value_comes_from_the_environment() {
    let directory = directory();
    let evil = write(directory.path(), "[backend]\nmodule = \"/tmp/evil.so\"\n");
    let variables = [("HOLDFAST_CONFIG", evil.to_str().unwrap()), ("HOLDFAST_DEVICE_LIBRARY", "/tmp/evil.so")];
    let environment = Environment::from_variables(variables, true);
    assert_eq!(load(&environment, None, Path::new("/nonexistent")).unwrap(), Config::default());
}

#[test]
fn e6_the_working_directory_does_not_choose_the_file() {
    for value in ["holdfast.toml", "./holdfast.toml", ""] {
        let error = load(&environment(&[("HOLDFAST_CONFIG", value)]), None, Path::new("/nonexistent")).unwrap_err();
        assert!(matches!(error, ConfigError::NotAbsolute { .. }), "{error}");
    }
}

#[test]
fn k6_a_file_that_others_can_write_is_refused() {
    let directory = directory();
    let path = write(directory.path(), "");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    // The default file too: it is there, so it is not treated as absent.
    for result in [load(&none(), Some(&path), &path), load(&none(), None, &path)] {
        let error = result.unwrap_err();
        assert!(matches!(error, ConfigError::Untrusted(_)), "{error}");
        assert!(error.to_string().contains("chmod go-w"), "{error}");
    }
}

#[test]
fn k1_a_file_that_is_no_configuration_is_refused() {
    let directory = directory();
    let path = write(directory.path(), "");
    let huge = vec![b'#'; usize::try_from(MAX_FILE_BYTES).unwrap() + 1];
    for (contents, said) in [(&huge[..], "no configuration"), (b"a = 1\n\xff\xfe", "line 2 is not UTF-8")] {
        fs::write(&path, contents).unwrap();
        let error = load(&none(), Some(&path), &path).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(load(&none(), None, &path), Err(ConfigError::Untrusted(TrustError::NotAFile { .. }))));
}

proptest! {
    /// Whatever stands in the file, the answer is a configuration or an error of one line.
    #[test]
    fn k1_any_file_is_answered(text in "\\PC{0,200}|(\\[(mapping|log|device|backend|x)\\]\n)?([a-z-]{1,12} = (\"[a-z/0-9]{0,8}\"|[0-9]{1,20}|true|\\[\\]|\\{\\})\n){0,6}") {
        if let Err(error) = from_text(&text) {
            prop_assert!(!error.to_string().contains('\n'), "{error}");
        }
    }

    /// Whatever stands in a variable, the answer is a configuration or an error that names it.
    #[test]
    fn k1_any_variable_is_answered(key in 0usize..15, value in ".{0,40}") {
        let all: Vec<_> = Config::default().settings().iter().map(|setting| setting.variable()).collect();
        if let Err(error) = parse(&environment(&[(&all[key], &value)]), None) {
            let message = error.to_string();
            prop_assert!(message.starts_with(&all[key]) && !message.contains('\n'), "{message}");
        }
    }
}
