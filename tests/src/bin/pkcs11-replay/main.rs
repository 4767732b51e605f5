//! Plays a random, reproducible sequence of PKCS#11 calls against one module and writes what every call answered.
//!
//! ```text
//! pkcs11-replay MODULE SEED CALLS [kryoptic] [3.0|3.2] [mapped-keys]
//! pkcs11-replay MODULE interfaces
//! ```
//!
//! Two modules given copies of the same token must write the same transcript: that is how the tests `differential` and
//! `kryoptic` compare the shim with the module behind it. What a token draws at random (new keys, ECDSA signatures)
//! appears in the transcript by its length only; handles appear as they are.
//!
//! The token must be one of the test sites, with their PINs. With `mapped-keys` it may have mapped keys: objects whose
//! labels begin with `mapped` are left out of the transcript. With `kryoptic` the backend is that, and what it does not
//! do twice alike, or does before it is initialised, is left out, too. With a version the calls go through that
//! interface, and what came with it is called, too.
//!
//! The second form lists the module's interfaces, with the functions that are there.

mod calls;
mod messages;
mod module;
mod newest;
mod objects;
mod operations;
mod values;

use std::io::Write as _;

use module::Version;

fn usage() -> ! {
    eprintln!("usage: pkcs11-replay MODULE SEED CALLS [kryoptic] [3.0|3.2] [mapped-keys] | MODULE interfaces");
    std::process::exit(2);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (path, seed, count, words) = match arguments.as_slice() {
        [path, "interfaces"] => return module::interfaces(path).iter().for_each(|line| println!("{line}")),
        [path, seed, count, words @ ..] => (path, seed, count, words),
        _ => usage(),
    };
    let (mut version, mut mapped_keys, mut kryoptic) = (Version::V2_40, false, false);
    for word in words {
        match *word {
            "3.0" => version = Version::V3_0,
            "3.2" => version = Version::V3_2,
            "kryoptic" => kryoptic = true,
            "mapped-keys" => mapped_keys = true,
            _ => usage(),
        }
    }
    let seed = seed.parse().expect("SEED is a number");
    let count: usize = count.parse().expect("CALLS is a number");
    let module = module::Module::load(path, version);
    let mut player = calls::Player::new(&module, holdfast_tests::random::Random::new(seed), mapped_keys, kryoptic);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for number in 0..count {
        let line = player.play();
        writeln!(out, "{number} {line}").expect("standard output takes the transcript");
        // A crash must not take the lines before it along.
        out.flush().expect("standard output takes the transcript");
    }
}
