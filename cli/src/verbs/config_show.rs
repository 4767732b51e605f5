//! `holdfast config show`: every value in force and where it comes from.

use clap::Args;
use holdfast_config::{Origin, SettingValue};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::Failure;
use crate::report::Report;

/// No options of its own.
#[derive(Debug, Args)]
pub struct Arguments {}

/// Prints the configuration as a file that would give the same, the origin of each value in a comment.
pub fn run(_: Arguments, context: &Context) -> Result<Report, Failure> {
    let config = context.config()?;
    let file = config.file.as_ref().map(|file| file.display().to_string());
    let mut text = match &file {
        Some(file) => format!("# file: {file}\n"),
        None => "# no configuration file\n".to_owned(),
    };
    let lines: Vec<_> =
        config.settings().iter().map(|setting| format!("{} = {}", setting.key, setting.value)).collect();
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let mut section = "";
    for (setting, line) in config.settings().iter().zip(&lines) {
        if setting.section != section {
            section = setting.section;
            text.push_str(&format!("\n[{section}]\n"));
        }
        text.push_str(&format!("{line:width$}  # {}\n", setting.origin));
    }
    let settings: Vec<Value> = config
        .settings()
        .iter()
        .map(|setting| {
            let value = match &setting.value {
                SettingValue::Text(text) => json!(text),
                SettingValue::Integer(number) => json!(number),
                SettingValue::Boolean(value) => json!(value),
            };
            let (origin, line) = match &setting.origin {
                Origin::Default => ("default", None),
                Origin::File { line, .. } => ("file", Some(*line)),
                Origin::Variable(_) => ("environment", None),
            };
            json!({
                "section": setting.section,
                "key": setting.key,
                "value": value,
                "origin": origin,
                "line": line,
                "variable": setting.variable(),
            })
        })
        .collect();
    let json = json!({ "file": file, "settings": settings, "log_problems": config.log_problems });
    Ok(Report::fine(text, json))
}
