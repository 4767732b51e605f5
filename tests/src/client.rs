//! A PKCS#11 client in a process of its own, driven through its standard input and output: what tests use where no
//! command-line tool makes the calls they need, or where a process must be running already.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use crate::run::{TIME_LIMIT, shell, signal_group};
use crate::{hex, unhex};

/// A curve that the device's wallets have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// The curve of Bitcoin.
    Secp256k1,
}

impl Curve {
    /// `p256` or `secp256k1`.
    pub fn name(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::Secp256k1 => "secp256k1",
        }
    }
}

/// What a call answered.
pub type Answer<T> = std::result::Result<T, Refusal>;

/// A return code other than `CKR_OK`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The function, as the `cryptoki` crate calls it.
    pub function: String,
    /// The code without `CKR_`, as the `cryptoki` crate writes it: `DeviceError`.
    pub code: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} answered {}", self.function, self.code)
    }
}

impl std::error::Error for Refusal {}

/// The process `pkcs11-client`, with one session open.
#[derive(Debug)]
pub struct Client {
    child: Child,
    requests: ChildStdin,
    answers: Receiver<std::io::Result<String>>,
    command: String,
}

impl Client {
    /// Starts `pkcs11-client MODULE LABEL` and waits until its session is open.
    ///
    /// # Errors
    /// When it cannot be started; as [`Refusal`] when the module refuses.
    pub fn start(command: &mut Command) -> Result<Self> {
        let shown = shell(command);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().with_context(|| format!("$ {shown}"))?;
        let requests = child.stdin.take().context("standard input is a pipe")?;
        let answers = lines(child.stdout.take().context("standard output is a pipe")?);
        let mut client = Self { child, requests, answers, command: shown };
        client.answer()??;
        Ok(client)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn call(&mut self, request: &Value) -> Result<Answer<Value>> {
        writeln!(self.requests, "{request}").with_context(|| format!("{} takes no request", self.command))?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Answer<Value>> {
        let line = match self.answers.recv_timeout(TIME_LIMIT) {
            Ok(line) => line?,
            Err(RecvTimeoutError::Timeout) => bail!("{} does not answer", self.command),
            Err(RecvTimeoutError::Disconnected) => bail!("{} ended: {}", self.command, self.child.wait()?),
        };
        let answer: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        if let Some(message) = answer.get("failed") {
            bail!("{}: {message}", self.command);
        }
        let field = |name: &str| answer[name].as_str().map(ToOwned::to_owned);
        Ok(match (field("function"), field("code")) {
            (Some(function), Some(code)) => Err(Refusal { function, code }),
            _ => Ok(answer["ok"].clone()),
        })
    }

    /// `C_Login` as the user.
    ///
    /// # Errors
    /// When the process fails; as [`Refusal`] when the module refuses.
    pub fn login(&mut self, pin: &str) -> Result<()> {
        self.call(&json!({ "do": "login", "pin": pin }))??;
        Ok(())
    }

    /// `C_GenerateKeyPair` with `CKM_EC_KEY_PAIR_GEN`: a token key pair that signs.
    ///
    /// # Errors
    /// When the process fails. The module's own answer is inside.
    pub fn try_generate(&mut self, curve: Curve, label: &str, id: &[u8]) -> Result<Answer<()>> {
        let request = json!({ "do": "generate", "curve": curve.name(), "label": label, "id": hex(id), "token": true });
        Ok(self.call(&request)?.map(drop))
    }

    /// The same; a refusal is an error.
    ///
    /// # Errors
    /// When the process fails or the module refuses.
    pub fn generate(&mut self, curve: Curve, label: &str, id: &[u8]) -> Result<()> {
        Ok(self.try_generate(curve, label, id)??)
    }

    /// A session key pair, which goes with the session.
    ///
    /// # Errors
    /// When the process fails or the module refuses.
    pub fn generate_session_key(&mut self, curve: Curve, label: &str, id: &[u8]) -> Result<()> {
        let request = json!({ "do": "generate", "curve": curve.name(), "label": label, "id": hex(id), "token": false });
        self.call(&request)??;
        Ok(())
    }

    /// Labels of the private keys with this ID, or of all with none, as `C_FindObjects` sees them now.
    ///
    /// # Errors
    /// When the process fails or the module refuses.
    pub fn private_keys(&mut self, id: Option<&[u8]>) -> Result<Vec<String>> {
        self.labels("private", id)
    }

    /// Labels of the public keys with this ID, or of all with none.
    ///
    /// # Errors
    /// When the process fails or the module refuses.
    pub fn public_keys(&mut self, id: Option<&[u8]>) -> Result<Vec<String>> {
        self.labels("public", id)
    }

    fn labels(&mut self, class: &str, id: Option<&[u8]>) -> Result<Vec<String>> {
        let answer = self.call(&json!({ "do": "find", "class": class, "id": id.map(hex) }))??;
        let labels = answer.as_array().context("a list of labels")?;
        Ok(labels.iter().filter_map(|label| label.as_str().map(ToOwned::to_owned)).collect())
    }

    /// The public point `04‖X‖Y` of the public key with this ID.
    ///
    /// # Errors
    /// When the process fails or the module refuses.
    pub fn public_point(&mut self, id: &[u8]) -> Result<Vec<u8>> {
        let answer = self.call(&json!({ "do": "public-point", "id": hex(id) }))??;
        let encoded = unhex(answer.as_str().context("a point")?)?;
        // A DER OCTET STRING around it, as the specification has it.
        match encoded.as_slice() {
            [0x04, 0x41, point @ ..] if point.len() == 65 => Ok(point.to_vec()),
            other => Err(anyhow!("no uncompressed point of 256 bits: {}", hex(other))),
        }
    }

    /// Signs with the private key of this ID: `ecdsa` or `ecdsa-sha256`.
    ///
    /// # Errors
    /// When the process fails. The module's own answer is inside: `r‖s`.
    pub fn try_sign(&mut self, id: &[u8], mechanism: &str, data: &[u8]) -> Result<Answer<Vec<u8>>> {
        let request = json!({ "do": "sign", "id": hex(id), "mechanism": mechanism, "data": hex(data) });
        match self.call(&request)? {
            Ok(answer) => Ok(Ok(unhex(answer.as_str().context("a signature")?)?)),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// The same; a refusal is an error, and so is a signature of another length than 64 bytes.
    ///
    /// # Errors
    /// When the process fails or the module refuses.
    pub fn sign(&mut self, id: &[u8], mechanism: &str, data: &[u8]) -> Result<Vec<u8>> {
        let signature = self.try_sign(id, mechanism, data)??;
        ensure!(signature.len() == 64, "a signature of {} bytes", signature.len());
        Ok(signature)
    }

    /// `C_DestroyObject` of both halves of the key pair with this ID.
    ///
    /// # Errors
    /// When the process fails or the module refuses.
    pub fn destroy(&mut self, id: &[u8]) -> Result<()> {
        self.call(&json!({ "do": "destroy", "id": hex(id) }))??;
        Ok(())
    }

    /// Lets it end as a well-behaved client does: session closed, module finalised.
    ///
    /// # Errors
    /// When it does not exit with 0.
    pub fn finish(mut self) -> Result<()> {
        self.call(&json!({ "do": "finish" }))??;
        let status = self.child.wait()?;
        ensure!(status.success(), "{}: {status}", self.command);
        Ok(())
    }

    /// Ends it as a power cut does.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            signal_group(self.child.id(), libc::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// The lines of a pipe, read by a thread so that waiting for one has an end.
fn lines(stdout: ChildStdout) -> Receiver<std::io::Result<String>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
