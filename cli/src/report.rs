//! What a verb found out, and how it is printed.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::failure::{Exit, Failure};

/// The outcome of a verb that could do its work.
#[derive(Debug)]
pub struct Report {
    /// The exit code: fine, or a finding, or partly unreachable.
    pub exit: Exit,
    /// For people, on standard output; also bytes that are no text, such as DER.
    pub human: Vec<u8>,
    /// For programs, on standard output with `--json`.
    pub json: Map<String, Value>,
    /// What the user should know besides; on standard error, or in the JSON object.
    pub warnings: Vec<String>,
}

impl Report {
    /// A report that all is fine. `json` is an object.
    pub fn fine(human: impl Into<Vec<u8>>, json: Value) -> Self {
        let json = match json {
            Value::Object(map) => map,
            other => Map::from_iter([("value".to_owned(), other)]),
        };
        Self { exit: Exit::Fine, human: human.into(), json, warnings: Vec::new() }
    }

    /// The same with another exit code.
    pub fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// The same with one more warning.
    pub fn with_warnings(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        self.warnings.extend(warnings);
        self
    }
}

/// Prints the outcome: data on standard output, everything else on standard error.
///
/// A reader that closes the pipe early, as `head` does, has what it wanted: that is no error, and no signal kills us
/// for it, since Rust programs ignore SIGPIPE.
pub fn finish(outcome: Result<Report, Failure>, as_json: bool) -> ExitCode {
    let exit = match outcome {
        Ok(report) => {
            let exit = report.exit;
            match print(report, as_json) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    say(&format!("error: standard output: {error}"));
                    Exit::Finding
                }
                _ => exit,
            }
        }
        Err(failure) => {
            if as_json {
                say(&failure.to_json().to_string());
            } else {
                say(&format!("error: {failure}"));
                failure.candidates.iter().for_each(|(text, _)| say(&format!("  {text}")));
            }
            failure.exit
        }
    };
    ExitCode::from(exit.code())
}

fn print(report: Report, as_json: bool) -> io::Result<()> {
    let bytes = if as_json {
        let mut json = report.json;
        json.insert("warnings".to_owned(), json!(report.warnings));
        let mut text = serde_json::to_string_pretty(&json).map_err(io::Error::other)?;
        text.push('\n');
        text.into_bytes()
    } else {
        report.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
        report.human
    };
    let mut stdout = io::stdout().lock();
    stdout.write_all(&bytes)?;
    stdout.flush()
}

/// One line on standard error. Nobody may be listening; that is no reason to fail.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
