//! Prints shares of random secrets as JSON, for another implementation to combine: see `tests/vectors/README.md`.

use holdfast_wallet::slip39::{GroupSpec, Slip39Error, split};

fn main() -> Result<(), Slip39Error> {
    let schemes: [(u8, &[(u8, u8)]); 6] = [
        (1, &[(1, 1)]),
        (1, &[(2, 3)]),
        (1, &[(16, 16)]),
        (2, &[(1, 1), (1, 1), (3, 5), (2, 6)]),
        (3, &[(2, 2), (3, 16), (1, 1), (5, 7), (4, 4)]),
        (16, &[(2, 3); 16]),
    ];
    let mut sets = Vec::new();
    for (group_threshold, specs) in schemes {
        for (length, passphrase, extendable, exponent) in
            [(16, "", true, 0), (20, "TREZOR", false, 1), (32, " ~passphrase! ", true, 2), (64, "", false, 0)]
        {
            let mut secret = vec![0; length];
            getrandom::fill(&mut secret).map_err(|error| Slip39Error::Random(error.to_string()))?;
            let specs: Vec<_> = specs.iter().map(|&(threshold, count)| GroupSpec { threshold, count }).collect();
            let groups = split(&secret, passphrase, extendable, exponent, group_threshold, &specs)?;
            let groups: Vec<_> = specs
                .iter()
                .zip(&groups)
                .map(|(spec, shares)| {
                    let shares: Vec<_> = shares.iter().map(|share| share.as_str()).collect();
                    serde_json::json!({ "threshold": spec.threshold, "shares": shares })
                })
                .collect();
            let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
            sets.push(serde_json::json!({
                "secret": secret, "passphrase": passphrase, "group_threshold": group_threshold, "groups": groups,
            }));
        }
    }
    println!("{}", serde_json::Value::from(sets));
    Ok(())
}
