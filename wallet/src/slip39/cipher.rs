//! The encryption of the secret with the passphrase: four rounds of a Feistel network (SLIP-0039, "Encryption of the
//! master secret").

use pbkdf2::pbkdf2_hmac;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Slip39Error;
use super::shamir::Value;

/// What enters the encryption beside secret and passphrase.
#[derive(Clone, Copy)]
pub(super) struct Parameters {
    pub(super) identifier: u16,
    pub(super) extendable: bool,
    pub(super) iteration_exponent: u8,
}

/// Encrypts the master secret.
pub(super) fn encrypt(parameters: Parameters, passphrase: &str, secret: &[u8]) -> Result<Value, Slip39Error> {
    feistel(parameters, passphrase, secret, [0, 1, 2, 3])
}

/// Decrypts it. A wrong passphrase gives another secret.
pub(super) fn decrypt(parameters: Parameters, passphrase: &str, encrypted: &[u8]) -> Result<Value, Slip39Error> {
    feistel(parameters, passphrase, encrypted, [3, 2, 1, 0])
}

/// Refuses a passphrase that the standard has no encoding for.
pub(super) fn check_passphrase(passphrase: &str) -> Result<(), Slip39Error> {
    if passphrase.bytes().all(|byte| (32..=126).contains(&byte)) { Ok(()) } else { Err(Slip39Error::Passphrase) }
}

fn feistel(parameters: Parameters, passphrase: &str, data: &[u8], rounds: [u8; 4]) -> Result<Value, Slip39Error> {
    check_passphrase(passphrase)?;
    let (left, right) = data.split_at(data.len() / 2);
    let (mut left, mut right) = (Zeroizing::new(left.to_vec()), Zeroizing::new(right.to_vec()));
    for round in rounds {
        let pad = round_function(parameters, round, passphrase, &right);
        left.iter_mut().zip(pad.iter()).for_each(|(byte, pad)| *byte ^= pad);
        std::mem::swap(&mut left, &mut right);
    }
    Ok(Zeroizing::new([&**right, &**left].concat()))
}

fn round_function(parameters: Parameters, round: u8, passphrase: &str, right: &[u8]) -> Value {
    let password = Zeroizing::new([&[round], passphrase.as_bytes()].concat());
    let identifier = parameters.identifier.to_be_bytes();
    let prefix: &[&[u8]] = if parameters.extendable { &[] } else { &[b"shamir", &identifier] };
    let salt = Zeroizing::new([&prefix.concat(), right].concat());
    let mut pad = Zeroizing::new(vec![0; right.len()]);
    pbkdf2_hmac::<Sha256>(&password, &salt, 2500 << parameters.iteration_exponent, &mut pad);
    pad
}
