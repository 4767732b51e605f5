//! The log of the module: level, target, and what becomes of a line.
//!
//! The host's logging is the host's: there is no global subscriber. Our own lines go through [`warn`] and its like;
//! what the libraries below say with `tracing` is caught by a subscriber that is current only inside [`scoped`].
//! Nothing is kept open between lines, so that a fork inherits no descriptor, an operator may rotate a file, and a
//! restarted system log is found again. No lock is held while writing.

use std::fmt::{self, Write as _};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use holdfast_config::{Level, LogTarget};
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber};

use crate::abi::kept::Kept;
use crate::error::{Error, Severity};

/// The system log's socket.
const SYSLOG: &str = "/dev/log";

/// The system log's facility for daemons (RFC 3164, section 4.1.1).
const FACILITY_DAEMON: u8 = 3;

/// A line is cut after so many bytes.
const MAX_LINE_BYTES: usize = 2000;

/// The least severe rank that is logged; until there is a configuration, the default of `log.level`.
static LEVEL: AtomicU8 = AtomicU8::new(rank(Level::Warn));

static TARGET: Kept<LogTarget> = Kept::new();

static DISPATCH: Kept<Dispatch> = Kept::new();

const fn rank(level: Level) -> u8 {
    match level {
        Level::Error => 0,
        Level::Warn => 1,
        Level::Info => 2,
        Level::Debug => 3,
    }
}

/// Severity of the system log (RFC 3164, section 4.1.1).
const fn syslog_severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug => 7,
    }
}

/// Takes over level and target. The first target stays.
pub fn configure(log: &holdfast_config::Log) {
    LEVEL.store(rank(log.level), Ordering::Relaxed);
    if TARGET.get().is_none() {
        TARGET.set(log.target.clone());
    }
    // Made here, when the configuration is read: it takes a lock of the tracing crate, which no call takes later.
    dispatch();
}

/// Whether lines of `level` are logged.
pub fn enabled(level: Level) -> bool {
    rank(level) <= LEVEL.load(Ordering::Relaxed)
}

/// Runs `body` with what it and the libraries below say with `tracing` going to our log. Every mapped operation runs
/// in here; a forwarded call does not.
pub fn scoped<T>(body: impl FnOnce() -> T) -> T {
    tracing::dispatcher::with_default(dispatch(), body)
}

fn dispatch() -> &'static Dispatch {
    DISPATCH.get().unwrap_or_else(|| DISPATCH.set(Dispatch::new(ToLog)))
}

/// A failed call: loud if an operator has to do something about it.
pub fn failure(function: &'static str, error: &Error) {
    match error.severity() {
        Severity::Operator => self::error(format_args!("{function}: {error}")),
        Severity::Protocol => debug(format_args!("{function}: {error}")),
    }
}

/// A panic that the boundary caught.
pub fn panic(function: &'static str) {
    error(format_args!("{function}: internal error, answered with CKR_GENERAL_ERROR; please report it"));
}

/// Something failed.
pub fn error(message: fmt::Arguments<'_>) {
    line(Level::Error, message);
}

/// Something needs attention.
pub fn warn(message: fmt::Arguments<'_>) {
    line(Level::Warn, message);
}

/// Something happened.
pub fn info(message: fmt::Arguments<'_>) {
    line(Level::Info, message);
}

/// How something happened.
pub fn debug(message: fmt::Arguments<'_>) {
    line(Level::Debug, message);
}

fn line(level: Level, message: fmt::Arguments<'_>) {
    if enabled(level) {
        write(TARGET.get().unwrap_or(&LogTarget::Stderr), level, &one_line(message));
    }
}

/// The message on one line, without control characters: labels in it are the client's.
fn one_line(message: fmt::Arguments<'_>) -> String {
    let mut line = String::new();
    for character in message.to_string().chars() {
        if line.len() >= MAX_LINE_BYTES {
            line.push('…');
            break;
        }
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// Writes a line. If the target cannot be written, it goes to standard error; if that fails, nobody can be told.
fn write(target: &LogTarget, level: Level, line: &str) {
    let written = match target {
        LogTarget::Stderr => Err(None),
        LogTarget::Syslog => to_syslog(level, line).map_err(Some),
        LogTarget::File(path) => to_file(path, level, line).map_err(Some),
    };
    if let Err(why) = written {
        to_stderr(level, line, why);
    }
}

fn to_stderr(level: Level, line: &str, instead: Option<io::Error>) {
    let pid = std::process::id();
    let text = match instead {
        None => format!("holdfast[{pid}]: {level}: {line}\n"),
        Some(why) => format!("holdfast[{pid}]: {level}: {line} (log.target cannot be written: {why})\n"),
    };
    // Not through `io::stderr().write`, whose lock a thread may have held when this process was forked.
    let stderr = io::stderr();
    if takes_a_line(stderr.as_fd()) {
        let _ = rustix::io::write(stderr.as_fd(), text.as_bytes());
    }
}

/// Whether a line can be written without waiting and without SIGPIPE: a host whose standard error is a pipe that nobody
/// reads, or reads any more, loses lines rather than its life. A pipe that is writable takes a line of ours as a whole.
fn takes_a_line(descriptor: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let mut asked = [PollFd::new(&descriptor, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut asked, Some(&at_once)), Ok(1)) && asked.iter().all(|fd| fd.revents() == PollFlags::OUT)
}

/// As RFC 3164 has it, without time: the daemon then takes its own, in its own time zone.
fn to_syslog(level: Level, line: &str) -> io::Result<()> {
    let priority = FACILITY_DAEMON * 8 + syslog_severity(level);
    let text = format!("<{priority}>holdfast[{}]: {line}", std::process::id());
    let socket = UnixDatagram::unbound()?;
    // A system log that does not keep up loses lines rather than stop a server from signing.
    socket.set_nonblocking(true)?;
    socket.send_to(text.as_bytes(), SYSLOG)?;
    Ok(())
}

fn to_file(path: &Path, level: Level, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK)
        .open(path)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // One write, so that lines of several processes do not mix.
    file.write_all(format!("{} holdfast[{}]: {level}: {line}\n", Utc(now), std::process::id()).as_bytes())
}

/// Seconds since 1970 as RFC 3339 has them.
struct Utc(u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds) = (self.0 / 86_400, self.0 % 86_400);
        // Civil date from days, in eras of 400 years that begin on the 1st of March 0000.
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// The subscriber of [`scoped`]: events of ours become lines, spans are not kept.
struct ToLog;

fn level_of(metadata: &Metadata<'_>) -> Option<Level> {
    match *metadata.level() {
        tracing::Level::ERROR => Some(Level::Error),
        tracing::Level::WARN => Some(Level::Warn),
        tracing::Level::INFO => Some(Level::Info),
        tracing::Level::DEBUG => Some(Level::Debug),
        _ => None,
    }
}

impl Subscriber for ToLog {
    fn register_callsite(&self, _metadata: &'static Metadata<'static>) -> Interest {
        // The level may change with the configuration.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("holdfast") && level_of(metadata).is_some_and(enabled)
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        if let Some(level) = level_of(event.metadata()) {
            let mut text = Text::default();
            event.record(&mut text);
            line(level, format_args!("{}{}", text.message, text.fields));
        }
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

/// The message of an event, then its fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn dates_are_right() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Utc(seconds).to_string(), text);
        }
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(one_line(format_args!("a\nb\x1b[31m")), "a\\nb\\u{1b}[31m");
        assert!(one_line(format_args!("{}", "x".repeat(5000))).len() <= MAX_LINE_BYTES + '…'.len_utf8());
    }

    #[test]
    fn k4_a_pipe_that_nobody_reads_neither_holds_up_nor_kills() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        assert!(takes_a_line(writer.as_fd()));
        while rustix::io::write(&writer, &[0; 4096]).is_ok() {}
        assert!(!takes_a_line(writer.as_fd()), "full");
        drop(reader);
        assert!(!takes_a_line(writer.as_fd()), "without a reader");
    }

    #[test]
    fn a_file_is_private_appended_to_and_never_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        to_file(&path, Level::Warn, "one").unwrap();
        to_file(&path, Level::Error, "two").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with(": warn: one") && lines[1].ends_with(": error: two"), "{text}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(to_file(&link, Level::Warn, "three").is_err());
    }

    #[test]
    fn events_of_ours_are_caught_and_nobody_elses() {
        struct Seen(std::sync::Mutex<Vec<String>>);
        static SEEN: Seen = Seen(std::sync::Mutex::new(Vec::new()));
        let metadata = |event: &Event<'_>| {
            let mut text = Text::default();
            event.record(&mut text);
            SEEN.0.lock().unwrap().push(format!("{}{}", text.message, text.fields));
        };
        struct Collect<F>(F);
        impl<F: Fn(&Event<'_>) + 'static> Subscriber for Collect<F> {
            fn enabled(&self, metadata: &Metadata<'_>) -> bool {
                ToLog.enabled(metadata)
            }
            fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
                ToLog.new_span(span)
            }
            fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
            fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
            fn event(&self, event: &Event<'_>) {
                (self.0)(event)
            }
            fn enter(&self, _: &span::Id) {}
            fn exit(&self, _: &span::Id) {}
        }
        tracing::dispatcher::with_default(&Dispatch::new(Collect(metadata)), || {
            tracing::warn!(slot = 17, "moved");
            tracing::debug!("too quiet");
            tracing::warn!(target: "somebody_else", "not ours");
        });
        assert_eq!(*SEEN.0.lock().unwrap(), ["moved slot=17"]);
    }

    #[test]
    fn a_scope_ends() {
        scoped(|| assert!(tracing::dispatcher::get_default(Dispatch::is::<ToLog>)));
        assert!(!tracing::dispatcher::get_default(Dispatch::is::<ToLog>));
    }
}
