//! Recovery words on their one way out: to a terminal, some of them asked back, or to a file. Never to standard output,
//! JSON, a log or an error message.

use std::io::{self, Write};
use std::path::Path;
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::file::SecretFile;
use crate::terminal::Terminal;

/// How many words are asked back.
const ASKED: usize = 3;

/// Where the words go. Made before the wallet is, so that nothing is done when they could go nowhere.
#[derive(Debug)]
pub enum Outlet {
    /// To the person at the terminal.
    Terminal(Terminal),
    /// To a file of mode 0600, encrypted when there is a recipient.
    File {
        /// The file.
        file: SecretFile,
        /// Who can decrypt it.
        recipient: Option<Recipient>,
    },
}

/// A recipient as age knows it, `age1...`.
#[derive(Clone)]
pub struct Recipient(age::x25519::Recipient);

impl std::fmt::Debug for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recipient({})", self.0)
    }
}

impl FromStr for Recipient {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
            // Not repeated in the message: it is a secret.
            return Err(
                "this is a secret key: give the public one, age1..., and treat this one as disclosed".to_owned()
            );
        }
        text.parse()
            .map(Self)
            .map_err(|error: &str| format!("{text:?} is no age recipient ({error}): age1... expected"))
    }
}

impl Outlet {
    /// To a new file.
    pub fn file(path: &Path, recipient: Option<Recipient>) -> Result<Self, Failure> {
        Ok(Self::File { file: SecretFile::create(path)?, recipient })
    }

    /// To the terminal, if there is one.
    pub fn terminal() -> Result<Self, Failure> {
        Terminal::open().map(Self::Terminal).map_err(|error| {
            Failure::usage(format!(
                "there is no terminal to show the recovery words on ({error}): give --words-out FILE; nothing was done"
            ))
        })
    }

    /// Hands the words over; once this answers, somebody has them.
    pub fn deliver(self, words: &str, wallet: &str) -> io::Result<()> {
        match self {
            Self::File { file, recipient } => {
                let mut line = Zeroizing::new(words.to_owned());
                line.push('\n');
                match recipient {
                    None => file.keep(line.as_bytes()),
                    Some(recipient) => file.keep(&encrypt(line.as_bytes(), &recipient)?),
                }
            }
            Self::Terminal(mut terminal) => show_and_ask(&mut terminal, words, wallet),
        }
    }
}

fn encrypt(plain: &[u8], recipient: &Recipient) -> io::Result<Vec<u8>> {
    let recipients = std::iter::once(&recipient.0 as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
    let mut encrypted = Vec::new();
    let mut writer = encryptor.wrap_output(&mut encrypted)?;
    writer.write_all(plain)?;
    writer.finish()?;
    Ok(encrypted)
}

fn show_and_ask(terminal: &mut Terminal, words: &str, wallet: &str) -> io::Result<()> {
    let list: Vec<&str> = words.split_ascii_whitespace().collect();
    loop {
        terminal.clear()?;
        terminal.show(&format!(
            "Recovery words of wallet {wallet}. They are shown this once and kept nowhere.\n\
             Whoever has them can make every key of the wallet. Write them on paper:\n\n"
        ))?;
        terminal.show(&grid(&list))?;
        terminal.ask("\nPress Enter when they are written down; the screen is then cleared. ")?;
        terminal.clear()?;
        if ask_back(terminal, &list)? {
            terminal.clear()?;
            return terminal.show("That is right: the wallet takes keys now.\n");
        }
        terminal.ask("That is not the word. Press Enter to see them again. ")?;
    }
}

fn ask_back(terminal: &mut Terminal, words: &[&str]) -> io::Result<bool> {
    for position in positions(words.len())? {
        let answer = terminal.ask(&format!("Word {}: ", position + 1))?;
        if words.get(position) != Some(&answer.trim().to_ascii_lowercase().as_str()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Different places in the list, by chance.
fn positions(count: usize) -> io::Result<Vec<usize>> {
    let mut left: Vec<usize> = (0..count).collect();
    let mut chosen = Vec::new();
    while chosen.len() < ASKED && !left.is_empty() {
        let random = getrandom::u32().map_err(io::Error::other)? as usize;
        chosen.push(left.swap_remove(random % left.len()));
    }
    Ok(chosen)
}

fn grid(words: &[&str]) -> Zeroizing<String> {
    const COLUMNS: usize = 4;
    let rows = words.len().div_ceil(COLUMNS);
    let mut text = Zeroizing::new(String::with_capacity(words.len() * 16));
    for row in 0..rows {
        for column in 0..COLUMNS {
            let position = column * rows + row;
            if let Some(word) = words.get(position) {
                text.push_str(&format!("{:>4}. {word:10}", position + 1));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_for_different_words() {
        for _ in 0..50 {
            let mut chosen = positions(24).unwrap();
            chosen.sort_unstable();
            chosen.dedup();
            assert_eq!(chosen.len(), ASKED);
            assert!(chosen.iter().all(|position| *position < 24));
        }
    }

    #[test]
    fn the_grid_holds_every_word_once() {
        let words: Vec<String> = (1..=24).map(|number| format!("word{number}")).collect();
        let list: Vec<&str> = words.iter().map(String::as_str).collect();
        let text = grid(&list);
        for (position, word) in list.iter().enumerate() {
            assert_eq!(text.matches(&format!("{}. {word} ", position + 1)).count(), 1, "{word}");
        }
        assert_eq!(text.lines().count(), 6);
    }

    #[test]
    fn a_file_for_a_recipient_is_read_by_that_recipient() {
        let identity = age::x25519::Identity::generate();
        let recipient: Recipient = identity.to_public().to_string().parse().unwrap();
        let encrypted = encrypt(b"zoo zoo\n", &recipient).unwrap();
        assert!(!encrypted.windows(3).any(|window| window == b"zoo"));
        assert_eq!(age::decrypt(&identity, &encrypted).unwrap(), b"zoo zoo\n");
    }

    #[test]
    fn a_secret_key_is_no_recipient_and_is_not_repeated() {
        let error = "AGE-SECRET-KEY-1QQQ".parse::<Recipient>().unwrap_err();
        assert!(error.contains("disclosed") && !error.contains("1QQQ"), "{error}");
        assert!("age1nonsense".parse::<Recipient>().is_err());
    }
}
