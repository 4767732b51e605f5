//! `holdfast config check`: whether the configuration can work on this host.

use std::path::Path;

use clap::Args;
use holdfast_config::{Config, check_trusted_file};
use serde_json::json;

use crate::context::{Context, keystore, shown};
use crate::failure::{Exit, Failure};
use crate::report::Report;

/// No options of its own.
#[derive(Debug, Args)]
pub struct Arguments {}

/// A problem: which key is at fault, what is wrong, how bad it is.
struct Problem {
    key: &'static str,
    message: String,
    exit: Exit,
}

/// Checks what `Config` cannot know: the libraries that the configuration names, and the store's permissions. Nothing
/// is loaded, opened on the device, or made.
pub fn run(_: Arguments, context: &Context) -> Result<Report, Failure> {
    let config = context.config()?;
    let problems = problems(&config);
    let exit = problems.iter().map(|problem| problem.exit).max().unwrap_or(Exit::Fine);
    let file = config.file.as_deref().map(shown);
    let mut text = match &file {
        Some(file) => format!("{file}: the configuration is well formed\n"),
        None => "no configuration file: the defaults and the environment are in force\n".to_owned(),
    };
    for problem in &problems {
        text.push_str(&format!("{}: {}\n", problem.key, problem.message));
    }
    if problems.is_empty() {
        text.push_str("nothing is wrong with the files it names\n");
    }
    let json_problems: Vec<_> =
        problems.iter().map(|problem| json!({ "key": problem.key, "message": problem.message })).collect();
    let json = json!({ "file": file, "ok": problems.is_empty(), "problems": json_problems });
    Ok(Report::fine(text, json).with_exit(exit))
}

fn problems(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut library = |key, path: &Path, advice: &str| {
        if let Err(error) = check_trusted_file(path) {
            problems.push(Problem { key, message: format!("{error}; {advice}"), exit: Exit::Usage });
        }
    };
    library(
        "backend.module",
        &config.backend.module,
        "install the PKCS#11 module of your tokens (Zymbit's package zkpkcs11), or name another",
    );
    library(
        "device.library",
        &config.device.library,
        "install the vendor's library (Zymbit's package zkapputilslib), or name another",
    );
    if config.backend.module.canonicalize().is_ok_and(|path| path.ends_with("libholdfast_pkcs11.so")) {
        problems.push(Problem {
            key: "backend.module",
            message: "it is Holdfast's own module, which would call itself: name the module that it shall front"
                .to_owned(),
            exit: Exit::Usage,
        });
    }
    // Not there yet is fine: the first wallet or key makes it.
    if let Err(error) = keystore(config).wallets() {
        problems.push(Problem { key: "mapping.database", message: error.to_string(), exit: Exit::Unreachable });
    }
    for problem in &config.log_problems {
        problems.push(Problem { key: "log", message: problem.clone(), exit: Exit::Finding });
    }
    problems
}
