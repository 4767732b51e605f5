//! GF(256) with Rijndael's polynomial x^8 + x^4 + x^3 + x + 1 (SLIP-0039, "Shamir's secret-sharing"). Without tables or
//! branches on the operands: they are secret.

/// The product.
pub(super) fn mul(a: u8, b: u8) -> u8 {
    let mut product = 0;
    let mut a = a;
    for bit in 0..8 {
        product ^= a & 0_u8.wrapping_sub(b >> bit & 1);
        a = (a << 1) ^ (0x1b & 0_u8.wrapping_sub(a >> 7));
    }
    product
}

/// The inverse, a^254; 0 for 0.
pub(super) fn invert(a: u8) -> u8 {
    // 254 is 0b1111_1110: the product of a^2, a^4, ... a^128.
    let mut power = a;
    let mut inverse = 1;
    for _ in 0..7 {
        power = mul(power, power);
        inverse = mul(inverse, power);
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_products() {
        // FIPS 197, section 4.2.
        assert_eq!(mul(0x57, 0x83), 0xc1);
        assert_eq!(mul(0x57, 0x13), 0xfe);
        assert_eq!(invert(0x53), 0xca);
    }

    #[test]
    fn is_a_field() {
        assert_eq!(invert(0), 0);
        for a in 0..=255 {
            assert_eq!(mul(a, invert(a)), u8::from(a != 0));
            for b in 0..=255 {
                assert_eq!(mul(a, b), mul(b, a));
                assert_eq!(mul(a, b ^ 0x1d), mul(a, b) ^ mul(a, 0x1d));
            }
        }
    }
}
