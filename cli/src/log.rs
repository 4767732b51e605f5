//! The keystore's log lines, on standard error: whoever runs a command sees them at once.
//!
//! `[log] target` is for servers, whose standard error nobody reads; here only the level counts.

use std::fmt::{self, Write as _};

use holdfast_config::Level;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::report::say;

/// Starts the log; a second start changes nothing.
pub fn start(level: Level, problems: &[String]) {
    let limit = match level {
        Level::Error => tracing::Level::ERROR,
        Level::Warn => tracing::Level::WARN,
        Level::Info => tracing::Level::INFO,
        Level::Debug => tracing::Level::DEBUG,
    };
    if tracing::subscriber::set_global_default(Stderr { limit }).is_ok() {
        problems.iter().for_each(|problem| say(&format!("holdfast: warn: {problem}")));
    }
}

/// Events of our own crates, one line each. Spans are not used by them.
struct Stderr {
    limit: tracing::Level,
}

impl Stderr {
    /// What failed is the verb's own message: as a log line too it would stand there twice. Not so when debugging.
    fn repeats_the_verb(&self, level: tracing::Level) -> bool {
        level == tracing::Level::ERROR && self.limit != tracing::Level::DEBUG
    }
}

impl Subscriber for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && metadata.target().starts_with("holdfast")
            && *metadata.level() <= self.limit
            && !self.repeats_the_verb(*metadata.level())
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        say(&format!("holdfast: {level}: {}{}", line.message, line.fields));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
