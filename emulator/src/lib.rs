//! An emulated Zymbit Secure Compute Module behind the C ABI of the vendor's `libzk_app_utils.so`.
//!
//! Built as that library, it is what clients of the device load: the vendor's Python client, Holdfast itself. The
//! `holdfast-emulator` command makes devices and controls them from outside. It is for tests, demonstrations and
//! development, and says so on standard error, once in a process, when it is opened: **the keys lie in a file**.
//!
//! # Using it
//! ```text
//! export HOLDFAST_EMULATOR_STATE=/tmp/device
//! holdfast-emulator create            # an SCM with the affected firmware
//! ... programs that load target/release/libzk_app_utils.so ...
//! holdfast-emulator power-cycle       # and the keys of zkGenKeyPair are gone
//! ```
//! `zkOpen` fails unless that variable names a directory with a device. A context is good until the next power cycle or
//! disconnection; then every call on it answers -1 and the client opens another. The vendor's Python client finds the
//! library at `<site-packages>/usr/lib/libzk_app_utils.so`.
//!
//! # How it is built
//! [`state`] is all that a device remembers; [`device`], [`wallets`], [`slip39_session`], [`peripherals`] are what the
//! calls do to it, without C and without files; [`store`] keeps it in a directory; [`behaviour`] is what tests ask of it
//! beyond what a healthy device does; [`abi`] puts the C functions around them, and holds all unsafe code; [`admin`] is
//! behind the command.
//!
//! One device serves one call at a time, whoever calls: a lock on a file of the directory, taken anew by each call. A call
//! that changes something has changed it durably when it answers. Reading calls - signing is one - write nothing, and look
//! at the state again only when its file was replaced. Nothing here holds a lock that a forked child could inherit taken.
//!
//! # What we chose where the vendor says nothing
//! The vendor's documents leave these open, so a client must not rely on them. Where it is cheap, a device can be made
//! that does otherwise.
//!
//! | question | here |
//! |---|---|
//! | error codes | -1 for everything; `-ETIMEDOUT` for a wait that ended, as the Python client expects |
//! | the model string | `SCM`; whatever contains `scm` or `secure compute` is one, for the defect, the factory slots and SLIP39's limits |
//! | the size of the key pool | factory slots and generated slots together, 16 + 512; new keys from slot 16 on, on the HSM6 too |
//! | which slot a new key gets | the lowest free one, so numbers come back soon; `create --allocation rotating` gives them late |
//! | removing a factory key | refused |
//! | `zkGenWalletChildKey` for a node that exists | -1; `create --existing-node answer` answers its slot |
//! | signing, ECDH and verifying with a master seed's slot | refused, like the export of its public key |
//! | the nonce of ECDSA | random (RFC 6979 with added entropy), so two signatures differ; s is as often high as low |
//! | Ed25519 on a 32-byte digest | pure Ed25519 of these 32 bytes as the message; recovery ID 0 |
//! | wallets on P-256 and Ed25519 | SLIP-0010; secp256k1 by BIP32, `cardano` by CIP-3 (Icarus) and BIP32-Ed25519 |
//! | the master generator key | none: the standard derivation. Else the seed is HMAC-SHA-512 of it under that key |
//! | a seed's passphrase, which the vendor wants in base64 | base64 of text is decoded, other text is taken as it is |
//! | a wallet's seed without recovery | 64 random bytes; with BIP39, 32 bytes of entropy, 24 words; with SLIP39, a secret of 32 bytes, 33 words a share |
//! | wallet names | 1 to 128 printable ASCII characters |
//! | what an open SLIP39 session locks | everything that makes a wallet or a node; not `zkGenKeyPair`, signing, removing |
//! | where a SLIP39 session lives | in the device: it outlives the process, and ends with a power cycle |
//! | passwords of SLIP39 members | mask the share's value (PBKDF2); without one the words are the standard's own |
//! | a share that does not fit | -1, and it is not kept; the next may be given |
//! | KDF numbers | from 0 (`ZK_KDF_RFC5869_SHA256`), as the vendor's header counts and the Python client passes them |
//! | what unlocking answers | 1; for data that does not verify 0 into a buffer, as the Python client expects, -1 elsewhere |
//! | the shared key of locked data | the device's own, like the other: there is no cloud that has it too |
//! | what a self-destruction leaves | the device answers, and holds no key, factory keys included |
//! | an oversight wallet on plain Ed25519 | can be made, and has no children: SLIP-0010 has none for public keys |
//!
//! # Beyond the promised verbs
//! `show`, `move-slot`, `swap-slots`, `replace-key`, `disconnect`, `trace`, `tap`, `breach`, `fault list`; the fault kinds
//! `error-after`, `disconnect`, `short-reply`, `null-reply`, `bad-point`, `other-key`, `wrong-signature`, `wrong-slot`, and
//! `fault --times`: all for tests that need a device to misbehave in a particular way.

#![deny(unsafe_code)]

#[allow(unsafe_code)]
pub mod abi;
pub mod admin;
pub mod behaviour;
mod derive;
pub mod device;
pub mod error;
pub mod hex;
pub mod keys;
mod lock_data;
mod passphrase;
pub mod peripherals;
pub mod slip39_session;
pub mod state;
pub mod store;
pub mod wallets;

pub use error::{Error, Result};
