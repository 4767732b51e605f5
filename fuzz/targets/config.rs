//! The text of a configuration file.
#![no_main]

use std::path::Path;

use holdfast_config::{Config, Environment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let path = Path::new("/etc/holdfast/holdfast.toml");
    match Config::from_text(&Environment::empty(), path, text) {
        Ok(config) => {
            // Everything that took effect can be shown, with where it came from.
            for setting in config.settings() {
                assert!(config.origin(&setting.name()).is_some());
            }
        }
        Err(error) => assert!(error.to_string().contains("holdfast.toml"), "{error}"),
    }
});
