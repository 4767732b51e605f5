//! Random number generation functions.

use cryptoki_sys::{CK_BYTE_PTR, CK_SESSION_HANDLE, CK_ULONG};

use super::entry::forwarded;

forwarded! {
    /// `C_SeedRandom`: mixes seed material into the token's generator.
    fn C_SeedRandom(hSession: CK_SESSION_HANDLE, pSeed: CK_BYTE_PTR, ulSeedLen: CK_ULONG) [ulSeedLen];

    /// `C_GenerateRandom`: random bytes from the token.
    fn C_GenerateRandom(hSession: CK_SESSION_HANDLE, RandomData: CK_BYTE_PTR, ulRandomLen: CK_ULONG) [ulRandomLen];
}
