//! Where a PIN comes from: a file, the service manager, or the terminal - never an argument, which every user of the
//! host can read, nor the environment, which child processes inherit.

use std::path::PathBuf;

use clap::Args;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::failure::Failure;
use crate::file::read_secret;
use crate::terminal::Terminal;

/// The name under which a service gets the PIN: `LoadCredential=holdfast-pin:...` or `LoadCredentialEncrypted=`.
const CREDENTIAL: &str = "holdfast-pin";

/// The option of verbs that may have to log in to the token.
#[derive(Debug, Args)]
pub struct PinArguments {
    /// File with the user PIN of the token [default: $HOLDFAST_PIN_FILE, the systemd credential holdfast-pin, a prompt]
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
}

impl PinArguments {
    /// The PIN, from the first place that has one. Called only once the token has asked for it.
    pub fn pin(&self, token: &str, context: &Context) -> Result<Zeroizing<String>, Failure> {
        let from_variable = || std::env::var_os("HOLDFAST_PIN_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        if let Some(path) = self.pin_file.clone().or_else(from_variable).or_else(credential) {
            return read_secret(&path, "PIN");
        }
        let advice = "give it with --pin-file FILE, HOLDFAST_PIN_FILE, or the systemd credential holdfast-pin";
        if context.non_interactive() {
            return Err(Failure::usage(format!(
                "token {token:?} wants its PIN, and --non-interactive forbids asking: {advice}"
            )));
        }
        let prompt = format!("User PIN of token {token:?}: ");
        let mut terminal = Terminal::open().map_err(|error| {
            Failure::usage(format!("token {token:?} wants its PIN, and there is no terminal ({error}): {advice}"))
        })?;
        let pin = terminal.ask_hidden(&prompt).map_err(|error| Failure::usage(format!("no PIN was given: {error}")))?;
        if pin.is_empty() { Err(Failure::usage("no PIN was given")) } else { Ok(pin) }
    }
}

fn credential() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?).join(CREDENTIAL);
    path.is_file().then_some(path)
}
