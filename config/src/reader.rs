//! Reads one value at a time from file and environment, remembering where it came from.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::{ConfigError, Environment};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// The configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// The environment variable of this name.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// One effective value, for showing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The section, `mapping`.
    pub section: &'static str,
    /// The key in it, `session-keys`.
    pub key: &'static str,
    /// The value in force.
    pub value: SettingValue,
    /// Where it came from.
    pub origin: Origin,
}

impl Setting {
    /// The key with its section, `mapping.session-keys`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// The environment variable that overrides it, `HOLDFAST_MAPPING_SESSION_KEYS`.
    pub fn variable(&self) -> String {
        variable(self.section, self.key)
    }
}

/// A value as TOML has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingValue {
    /// A string.
    Text(String),
    /// An integer; milliseconds where the key says so.
    Integer(u64),
    /// A boolean.
    Boolean(bool),
}

impl fmt::Display for SettingValue {
    /// As it may be written in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => {
                f.write_str("\"")?;
                for c in text.chars() {
                    match c {
                        '"' | '\\' => write!(f, "\\{c}")?,
                        c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                        c => write!(f, "{c}")?,
                    }
                }
                f.write_str("\"")
            }
            Self::Integer(number) => number.fmt(f),
            Self::Boolean(value) => value.fmt(f),
        }
    }
}

/// A key of the configuration and the rule for its values.
pub(crate) struct Key<T> {
    pub section: &'static str,
    pub name: &'static str,
    /// What is allowed, for error messages.
    pub allowed: &'static str,
    pub default: T,
    pub parse: fn(Given<'_>) -> Option<T>,
    pub show: fn(&T) -> SettingValue,
    /// An environment variable that goes before the one that follows from the key's name.
    pub variable: Option<&'static str>,
}

/// A value as it was given.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Given<'a> {
    /// A string of the file.
    String(&'a str),
    /// An integer of the file.
    Integer(i64),
    /// A boolean of the file.
    Boolean(bool),
    /// A value of the file that no key takes.
    Other,
    /// The text of an environment variable.
    Variable(&'a str),
}

impl<'a> Given<'a> {
    pub(crate) fn text(self) -> Option<&'a str> {
        match self {
            Self::String(text) | Self::Variable(text) => Some(text),
            Self::Integer(_) | Self::Boolean(_) | Self::Other => None,
        }
    }

    pub(crate) fn integer(self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(number),
            Self::Variable(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
            _ => None,
        }
    }

    pub(crate) fn boolean(self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(value),
            Self::Variable("true") => Some(true),
            Self::Variable("false") => Some(false),
            _ => None,
        }
    }
}

/// A parsed file.
pub(crate) struct Document<'a> {
    path: &'a Path,
    text: &'a str,
    root: Spanned<DeTable<'a>>,
}

impl<'a> Document<'a> {
    /// Parses `text`, the contents of the file `path`.
    pub(crate) fn parse(path: &'a Path, text: &'a str) -> Result<Self, ConfigError> {
        let root = DeTable::parse(text).map_err(|error| {
            let (line, column) = position(text, error.span().map_or(text.len(), |span| span.start));
            let message = error.message().trim().replace('\n', ", ");
            ConfigError::Syntax { path: path.to_owned(), line, column, message }
        })?;
        Ok(Self { path, text, root })
    }

    fn origin(&self, offset: usize) -> Origin {
        Origin::File { path: self.path.to_owned(), line: position(self.text, offset).0 }
    }

    fn find(&self, section: &str, key: &str) -> Option<&Spanned<DeValue<'a>>> {
        self.root.get_ref().get(section)?.get_ref().as_table()?.get(key)
    }
}

/// Line and column of a byte offset, both counted from 1; the end for an offset beyond it.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).map_or(0, |line| line.chars().count()) + 1;
    (before.bytes().filter(|&b| b == b'\n').count() + 1, column)
}

/// Takes values for keys out of a file and the environment.
pub(crate) struct Reader<'a> {
    environment: &'a Environment,
    document: Option<Document<'a>>,
    settings: Vec<Setting>,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(environment: &'a Environment, document: Option<Document<'a>>) -> Self {
        Self { environment, document, settings: Vec::new(), problems: Vec::new() }
    }

    /// What was read, and what was reported and ignored.
    pub(crate) fn finish(self) -> (Vec<Setting>, Vec<String>) {
        (self.settings, self.problems)
    }

    /// The value of `key`. A value of the file is checked even when a variable overrides it.
    pub(crate) fn read<T>(&mut self, key: Key<T>) -> Result<T, ConfigError> {
        let given = self.given(&key).into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(self.take(key, given))
    }

    /// As [`Reader::read`], but a bad value is reported, and the next best source of a value counts.
    pub(crate) fn read_lenient<T>(&mut self, key: Key<T>) -> T {
        let mut good = Vec::new();
        for given in self.given(&key) {
            match given {
                Ok(value) => good.push(value),
                Err(error) => self.ignore(&error),
            }
        }
        self.take(key, good)
    }

    /// What the sources give for `key`, the one that counts most last.
    fn given<T>(&self, key: &Key<T>) -> Vec<Result<(T, Origin), ConfigError>> {
        let check = |given, origin, found: &dyn Fn() -> String| match (key.parse)(given) {
            Some(value) => Ok((value, origin)),
            None => Err(ConfigError::Value {
                origin,
                key: format!("{}.{}", key.section, key.name),
                found: found(),
                allowed: key.allowed.to_owned(),
            }),
        };
        let mut all = Vec::new();
        if let Some(document) = &self.document
            && let Some(entry) = document.find(key.section, key.name)
        {
            let given = match entry.get_ref() {
                DeValue::String(text) => Given::String(text),
                DeValue::Integer(number) => {
                    i64::from_str_radix(number.as_str(), number.radix()).map_or(Given::Other, Given::Integer)
                }
                DeValue::Boolean(flag) => Given::Boolean(*flag),
                _ => Given::Other,
            };
            all.push(check(given, document.origin(entry.span().start), &|| describe(entry.get_ref())));
        }
        for variable in [Some(variable(key.section, key.name)), key.variable.map(str::to_owned)].into_iter().flatten() {
            if let Some(raw) = self.environment.get(&variable) {
                let given = raw.to_str().map_or(Given::Other, Given::Variable);
                all.push(check(given, Origin::Variable(variable), &|| quote(&raw.to_string_lossy())));
            }
        }
        all
    }

    fn take<T>(&mut self, key: Key<T>, mut given: Vec<(T, Origin)>) -> T {
        let (value, origin) = given.pop().unwrap_or((key.default, Origin::Default));
        self.settings.push(Setting { section: key.section, key: key.name, value: (key.show)(&value), origin });
        value
    }

    fn ignore(&mut self, error: &ConfigError) {
        self.problems.push(format!("{error}; ignored"));
    }

    /// Refuses sections and keys of the file that are not in `known`; those of the section `lenient` are reported.
    pub(crate) fn refuse_unknown(&mut self, known: &[(&str, &[&str])], lenient: &str) -> Result<(), ConfigError> {
        let mut ignored = Vec::new();
        let Some(document) = &self.document else { return Ok(()) };
        let line = |offset| position(document.text, offset).0;
        // In the order of the file: the first mistake is the one to name.
        let mut sections: Vec<_> = document.root.get_ref().iter().collect();
        sections.sort_by_key(|(section, _)| section.span().start);
        for (section, content) in sections {
            let name: &str = section.get_ref();
            let Some((_, keys)) = known.iter().find(|(known, _)| *known == name) else {
                return Err(ConfigError::Unknown {
                    path: document.path.to_owned(),
                    line: line(section.span().start),
                    section: content.get_ref().is_table(),
                    key: if content.get_ref().is_table() { format!("[{}]", name_of(name)) } else { name_of(name) },
                    allowed: known.iter().map(|(known, _)| format!("[{known}]")).collect::<Vec<_>>().join(", "),
                });
            };
            let mut errors = Vec::new();
            match content.get_ref().as_table() {
                Some(table) => {
                    let mut unknown: Vec<_> =
                        table.iter().filter(|(key, _)| !keys.contains(&&**key.get_ref())).collect();
                    unknown.sort_by_key(|(key, _)| key.span().start);
                    errors.extend(unknown.into_iter().map(|(key, _)| ConfigError::Unknown {
                        path: document.path.to_owned(),
                        line: line(key.span().start),
                        section: false,
                        key: format!("{name}.{}", name_of(key.get_ref())),
                        allowed: keys.join(", "),
                    }));
                }
                None => errors.push(ConfigError::Value {
                    origin: document.origin(section.span().start),
                    key: name.to_owned(),
                    found: describe(content.get_ref()),
                    allowed: format!("a section, [{name}]"),
                }),
            }
            if name == lenient {
                ignored.append(&mut errors);
            } else if let Some(first) = errors.into_iter().next() {
                return Err(first);
            }
        }
        ignored.iter().for_each(|error| self.ignore(error));
        Ok(())
    }
}

/// The variable that overrides a key.
fn variable(section: &str, key: &str) -> String {
    format!("HOLDFAST_{section}_{key}").to_ascii_uppercase().replace('-', "_")
}

/// A value of the file, for an error message.
fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quote(text),
        DeValue::Integer(number) => clip(&number.to_string()),
        DeValue::Float(number) => clip(number.as_str()),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Quoted and escaped, so that a message stays one line.
fn quote(text: &str) -> String {
    format!("{:?}", clip(text))
}

/// The name of a key or section, escaped: TOML allows anything in quotes.
fn name_of(name: &str) -> String {
    clip(name).escape_debug().to_string()
}

/// What a message shows of a long text.
fn clip(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_counted_from_one() {
        let text = "ab\nä=1\n";
        assert_eq!(position(text, 0), (1, 1));
        assert_eq!(position(text, 3), (2, 1));
        assert_eq!(position(text, 5), (2, 2));
        assert_eq!(position(text, 8), (3, 1));
        assert_eq!(position(text, 99), (3, 1));
    }

    #[test]
    fn a_shown_value_can_be_pasted_into_the_file() {
        for text in ["plain", "with \"quotes\" and \\", "tab\tnewline\n", "ümlaut", ""] {
            let line = format!("key = {}", SettingValue::Text(text.to_owned()));
            let parsed = DeTable::parse(&line).unwrap();
            assert_eq!(parsed.get_ref().get("key").unwrap().get_ref().as_str(), Some(text), "{line}");
        }
    }

    #[test]
    fn long_values_are_clipped_in_messages() {
        assert_eq!(clip(&"ä".repeat(80)), "ä".repeat(80));
        assert_eq!(clip(&"ä".repeat(81)), format!("{}...", "ä".repeat(80)));
    }
}
