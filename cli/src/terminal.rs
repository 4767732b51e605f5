//! Questions to the person at the terminal: on `/dev/tty`, so that neither pipes nor logs see them.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use zeroize::Zeroizing;

/// No answer is longer.
const MAX_ANSWER_BYTES: usize = 1024;

/// The controlling terminal of this process.
#[derive(Debug)]
pub struct Terminal {
    device: File,
}

impl Terminal {
    /// Opens it; fails when there is none, as in a service or a cron job.
    pub fn open() -> io::Result<Self> {
        Ok(Self { device: OpenOptions::new().read(true).write(true).open("/dev/tty")? })
    }

    /// Writes `text` as it is.
    pub fn show(&mut self, text: &str) -> io::Result<()> {
        self.device.write_all(text.as_bytes())?;
        self.device.flush()
    }

    /// Clears the screen and what a terminal keeps above it, as far as terminals let us.
    pub fn clear(&mut self) -> io::Result<()> {
        self.show("\x1b[H\x1b[2J\x1b[3J")
    }

    /// Asks and reads one line. The end of input is an error.
    pub fn ask(&mut self, question: &str) -> io::Result<Zeroizing<String>> {
        self.show(question)?;
        self.read_line()
    }

    /// Asks for something that must not appear on the screen.
    pub fn ask_hidden(&mut self, question: &str) -> io::Result<Zeroizing<String>> {
        let device = self.device.try_clone()?;
        // Before the question, as the answer to it may come at once.
        let _hidden = Hidden::new(&device)?;
        self.show(question)?;
        let answer = self.read_line();
        self.show("\n")?;
        answer
    }

    fn read_line(&mut self) -> io::Result<Zeroizing<String>> {
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_ANSWER_BYTES));
        let mut byte = [0];
        loop {
            if self.device.read(&mut byte)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match byte[0] {
                b'\n' => break,
                _ if line.len() == MAX_ANSWER_BYTES => return Err(io::Error::other("the answer is too long")),
                other => line.push(other),
            }
        }
        let text = std::str::from_utf8(&line).map_err(|_| io::Error::other("the answer is not UTF-8"))?;
        Ok(Zeroizing::new(text.trim_end_matches('\r').to_owned()))
    }
}

/// While it lives, the terminal does not echo.
struct Hidden<'a> {
    device: &'a File,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn new(device: &'a File) -> io::Result<Self> {
        let before = termios::tcgetattr(device.as_fd())?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        termios::tcsetattr(device.as_fd(), SetArg::TCSAFLUSH, &silent)?;
        Ok(Self { device, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(self.device.as_fd(), SetArg::TCSANOW, &self.before);
    }
}
