//! Shamir's secret sharing over GF(256), with a digest that tells whether shares belong together (SLIP-0039, "Shamir's
//! secret-sharing" and "Sharing a secret").

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Slip39Error;
use super::gf256::{invert, mul};

pub(super) type Value = Zeroizing<Vec<u8>>;

const SECRET_INDEX: u8 = 255;
const DIGEST_INDEX: u8 = 254;
const DIGEST_LENGTH: usize = 4;

/// The value at `x` of the polynomial through `points`, whose indices differ. Indices are public, values secret.
fn interpolate(points: &[(u8, Value)], x: u8) -> Value {
    if let Some((_, value)) = points.iter().find(|(index, _)| *index == x) {
        return value.clone();
    }
    let length = points.first().map_or(0, |(_, value)| value.len());
    let mut sum = Zeroizing::new(vec![0; length]);
    for (index, value) in points {
        let others = points.iter().map(|(other, _)| *other).filter(|other| other != index);
        let (above, below) =
            others.fold((1, 1), |(above, below), other| (mul(above, x ^ other), mul(below, index ^ other)));
        let factor = mul(above, invert(below));
        sum.iter_mut().zip(value.iter()).for_each(|(sum, byte)| *sum ^= mul(factor, *byte));
    }
    sum
}

fn digest(random: &[u8], secret: &[u8]) -> Result<[u8; DIGEST_LENGTH], hmac::digest::InvalidLength> {
    let mut mac = Hmac::<Sha256>::new_from_slice(random)?;
    mac.update(secret);
    let [a, b, c, d, ..] = <[u8; 32]>::from(mac.finalize().into_bytes());
    Ok([a, b, c, d])
}

/// Shares `secret` out: `count` values, of which `threshold` give it back.
pub(super) fn split(threshold: u8, count: u8, secret: &[u8]) -> Result<Vec<Value>, Slip39Error> {
    if threshold == 1 {
        return Ok(vec![Zeroizing::new(secret.to_vec()); usize::from(count)]);
    }
    let mut points = Vec::with_capacity(usize::from(threshold));
    for index in 0..threshold - 2 {
        points.push((index, random(secret.len())?));
    }
    let mut check = random(secret.len())?;
    let (head, tail) = check.split_at_mut(DIGEST_LENGTH);
    head.copy_from_slice(&digest(tail, secret).expect("HMAC takes keys of any length"));
    points.push((DIGEST_INDEX, check));
    points.push((SECRET_INDEX, Zeroizing::new(secret.to_vec())));
    Ok((0..count).map(|index| interpolate(&points, index)).collect())
}

/// The secret that exactly as many shares give as its threshold says; `None` when they do not belong together.
pub(super) fn recover(shares: &[(u8, Value)]) -> Option<Value> {
    if let [(_, value)] = shares {
        return Some(value.clone());
    }
    let secret = interpolate(shares, SECRET_INDEX);
    let check = interpolate(shares, DIGEST_INDEX);
    let (head, tail) = check.split_at_checked(DIGEST_LENGTH)?;
    (head == digest(tail, &secret).ok()?).then_some(secret)
}

/// Random bytes from the operating system.
pub(super) fn random(length: usize) -> Result<Value, Slip39Error> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    getrandom::fill(&mut bytes).map_err(|error| Slip39Error::Random(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn sharing() -> impl Strategy<Value = (u8, u8, Vec<usize>)> {
        (1_u8..=16).prop_flat_map(|count| (1..=count, Just(count))).prop_flat_map(|(threshold, count)| {
            let order = Just((0..usize::from(count)).collect::<Vec<_>>()).prop_shuffle();
            (Just(threshold), Just(count), order)
        })
    }

    proptest! {
        #[test]
        fn enough_shares_give_the_secret_and_fewer_do_not(
            (threshold, count, order) in sharing(),
            secret in prop::collection::vec(any::<u8>(), 16..33),
        ) {
            let shares = split(threshold, count, &secret).unwrap();
            let chosen = |number: u8| -> Vec<(u8, Value)> {
                order.iter().take(usize::from(number)).map(|&at| (at as u8, shares[at].clone())).collect()
            };
            let recovered = recover(&chosen(threshold)).unwrap();
            prop_assert_eq!(&*recovered, &secret);
            // One share alone is taken for a secret shared with threshold 1: there is no digest to fail.
            for fewer in 2..threshold {
                prop_assert!(recover(&chosen(fewer)).is_none());
            }
        }
    }
}
