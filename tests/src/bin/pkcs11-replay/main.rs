//! Plays a random, reproducible sequence of PKCS#11 calls against one module and writes what every call answered.
//!
//! ```text
//! pkcs11-replay MODULE SEED CALLS
//! ```
//!
//! Two modules given copies of the same token must write the same transcript: that is how the test `differential`
//! compares the shim with the module behind it. What a token draws at random (new keys, ECDSA signatures) appears in
//! the transcript by its length only; handles appear as they are.
//!
//! The token must be one of the test sites, with their PINs.

mod calls;
mod module;
mod objects;
mod operations;
mod values;

use std::io::Write as _;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, seed, count] = arguments.as_slice() else {
        eprintln!("usage: pkcs11-replay MODULE SEED CALLS");
        std::process::exit(2);
    };
    let seed = seed.parse().expect("SEED is a number");
    let count: usize = count.parse().expect("CALLS is a number");
    let module = module::Module::load(path);
    let mut player = calls::Player::new(&module, holdfast_tests::random::Random::new(seed));
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for number in 0..count {
        let line = player.play();
        writeln!(out, "{number} {line}").expect("standard output takes the transcript");
        // A crash must not take the lines before it along.
        out.flush().expect("standard output takes the transcript");
    }
}
