//! Plays a random, reproducible sequence of PKCS#11 calls against one module and writes what every call answered.
//!
//! ```text
//! pkcs11-replay MODULE SEED CALLS [mapped-keys]
//! ```
//!
//! Two modules given copies of the same token must write the same transcript: that is how the test `differential`
//! compares the shim with the module behind it. What a token draws at random (new keys, ECDSA signatures) appears in
//! the transcript by its length only; handles appear as they are.
//!
//! The token must be one of the test sites, with their PINs. With `mapped-keys` it may have mapped keys: objects whose
//! labels begin with `mapped` are left out of the transcript.

mod calls;
mod module;
mod objects;
mod operations;
mod values;

use std::io::Write as _;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (path, seed, count, mapped_keys) = match arguments.as_slice() {
        [_, path, seed, count] => (path, seed, count, false),
        [_, path, seed, count, word] if word == "mapped-keys" => (path, seed, count, true),
        _ => {
            eprintln!("usage: pkcs11-replay MODULE SEED CALLS [mapped-keys]");
            std::process::exit(2);
        }
    };
    let seed = seed.parse().expect("SEED is a number");
    let count: usize = count.parse().expect("CALLS is a number");
    let module = module::Module::load(path);
    let mut player = calls::Player::new(&module, holdfast_tests::random::Random::new(seed), mapped_keys);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for number in 0..count {
        let line = player.play();
        writeln!(out, "{number} {line}").expect("standard output takes the transcript");
        // A crash must not take the lines before it along.
        out.flush().expect("standard output takes the transcript");
    }
}
