//! What is done to mechanisms on their way to the backend.
//!
//! Parameters that would crash it are taken out. Object handles inside the parameters of derivation mechanisms need the
//! same translation as those in the arguments.
//!
//! Not covered are the handles that CKM_SP800_108_* and CKM_WTLS_*_KEY_AND_MAC_DERIVE leave behind pointers in their
//! parameters: no backend known to us has those and object handles in our range.

use std::mem::{offset_of, size_of};

use cryptoki_sys::{
    CK_ECMQV_DERIVE_PARAMS, CK_HKDF_PARAMS, CK_IKE_PRF_DERIVE_PARAMS, CK_IKE1_EXTENDED_DERIVE_PARAMS,
    CK_IKE1_PRF_DERIVE_PARAMS, CK_IKE2_PRF_PLUS_DERIVE_PARAMS, CK_KIP_PARAMS, CK_MECHANISM, CK_MECHANISM_PTR,
    CK_MECHANISM_TYPE, CK_OBJECT_HANDLE, CK_SSL3_KEY_MAT_OUT, CK_SSL3_KEY_MAT_PARAMS, CK_TLS12_KEY_MAT_PARAMS,
    CK_X9_42_DH2_DERIVE_PARAMS, CK_X9_42_MQV_DERIVE_PARAMS, CKM_CONCATENATE_BASE_AND_KEY, CKM_ECMQV_DERIVE,
    CKM_HKDF_DATA, CKM_HKDF_DERIVE, CKM_IKE_PRF_DERIVE, CKM_IKE1_EXTENDED_DERIVE, CKM_IKE1_PRF_DERIVE,
    CKM_IKE2_PRF_PLUS_DERIVE, CKM_KIP_DERIVE, CKM_SSL3_KEY_AND_MAC_DERIVE, CKM_TLS_KEY_AND_MAC_DERIVE,
    CKM_TLS12_KEY_AND_MAC_DERIVE, CKM_X9_42_DH_HYBRID_DERIVE, CKM_X9_42_MQV_DERIVE,
};

use super::{args, handles};
use crate::error::Error;
use crate::lifecycle::{Instance, Object};
use crate::route;

/// A mechanism that a backend can read. A parameter that is only a length, or whose length is absurd, becomes none:
/// mechanisms without parameters do not look at it, the others refuse it as missing instead of reading it.
pub struct Sound {
    client: CK_MECHANISM_PTR,
    repaired: Option<CK_MECHANISM>,
}

impl Sound {
    /// The mechanism at `pointer`.
    ///
    /// # Safety
    /// Null, or a mechanism.
    #[inline(always)]
    pub unsafe fn read(pointer: CK_MECHANISM_PTR) -> Self {
        if pointer.is_null() {
            return Self { client: pointer, repaired: None };
        }
        // SAFETY: not null; the caller says what it points to.
        let mechanism = unsafe { pointer.read_unaligned() };
        let unsound = if mechanism.pParameter.is_null() {
            mechanism.ulParameterLen != 0
        } else {
            args::plausible(mechanism.ulParameterLen).is_err()
        };
        let repaired = unsound.then_some(CK_MECHANISM {
            mechanism: mechanism.mechanism,
            pParameter: std::ptr::null_mut(),
            ulParameterLen: 0,
        });
        Self { client: pointer, repaired }
    }

    /// `CKM_*`; `None` without a mechanism.
    pub fn kind(&self) -> Option<CK_MECHANISM_TYPE> {
        if self.client.is_null() {
            return None;
        }
        // SAFETY: not null; as for `read`, and the client's call lasts as long as `self`.
        Some(unsafe { self.client.read_unaligned() }.mechanism)
    }

    /// What the backend gets: the client's own, or a repaired copy, valid while `self` is not moved.
    #[inline(always)]
    pub fn as_ptr(&mut self) -> CK_MECHANISM_PTR {
        self.repaired.as_mut().map_or(self.client, std::ptr::from_mut)
    }
}

/// The size of a mechanism's parameter, and where in it the handles are.
fn handles(mechanism: CK_MECHANISM_TYPE) -> Option<(usize, &'static [usize])> {
    Some(match mechanism {
        CKM_CONCATENATE_BASE_AND_KEY => (size_of::<CK_OBJECT_HANDLE>(), &[0]),
        CKM_HKDF_DERIVE | CKM_HKDF_DATA => {
            (size_of::<CK_HKDF_PARAMS>(), const { &[offset_of!(CK_HKDF_PARAMS, hSaltKey)] })
        }
        CKM_ECMQV_DERIVE => (
            size_of::<CK_ECMQV_DERIVE_PARAMS>(),
            const { &[offset_of!(CK_ECMQV_DERIVE_PARAMS, hPrivateData), offset_of!(CK_ECMQV_DERIVE_PARAMS, publicKey)] },
        ),
        CKM_X9_42_DH_HYBRID_DERIVE => {
            (size_of::<CK_X9_42_DH2_DERIVE_PARAMS>(), const { &[offset_of!(CK_X9_42_DH2_DERIVE_PARAMS, hPrivateData)] })
        }
        CKM_X9_42_MQV_DERIVE => (
            size_of::<CK_X9_42_MQV_DERIVE_PARAMS>(),
            const {
                &[
                    offset_of!(CK_X9_42_MQV_DERIVE_PARAMS, hPrivateData),
                    offset_of!(CK_X9_42_MQV_DERIVE_PARAMS, publicKey),
                ]
            },
        ),
        CKM_IKE_PRF_DERIVE => {
            (size_of::<CK_IKE_PRF_DERIVE_PARAMS>(), const { &[offset_of!(CK_IKE_PRF_DERIVE_PARAMS, hNewKey)] })
        }
        CKM_IKE1_PRF_DERIVE => (
            size_of::<CK_IKE1_PRF_DERIVE_PARAMS>(),
            const { &[offset_of!(CK_IKE1_PRF_DERIVE_PARAMS, hKeygxy), offset_of!(CK_IKE1_PRF_DERIVE_PARAMS, hPrevKey)] },
        ),
        CKM_IKE1_EXTENDED_DERIVE => (
            size_of::<CK_IKE1_EXTENDED_DERIVE_PARAMS>(),
            const { &[offset_of!(CK_IKE1_EXTENDED_DERIVE_PARAMS, hKeygxy)] },
        ),
        CKM_IKE2_PRF_PLUS_DERIVE => (
            size_of::<CK_IKE2_PRF_PLUS_DERIVE_PARAMS>(),
            const { &[offset_of!(CK_IKE2_PRF_PLUS_DERIVE_PARAMS, hSeedKey)] },
        ),
        CKM_KIP_DERIVE => (size_of::<CK_KIP_PARAMS>(), const { &[offset_of!(CK_KIP_PARAMS, hKey)] }),
        _ => return None,
    })
}

/// A mechanism whose parameter holds the backend's handles instead of the client's; the client's is left alone.
pub struct Translated {
    mechanism: CK_MECHANISM,
    // Words, for the alignment of every parameter.
    parameter: Vec<CK_OBJECT_HANDLE>,
}

impl Translated {
    /// The mechanism to give to the backend instead of the one at `pointer`; `None` if that one will do, as it nearly
    /// always does.
    ///
    /// A mapped key in a parameter becomes `CK_INVALID_HANDLE`: the backend then says what it says of keys that it does
    /// not have.
    ///
    /// # Safety
    /// Null, or a mechanism whose parameter is null or good for reading its length.
    pub unsafe fn read(instance: &Instance, pointer: CK_MECHANISM_PTR) -> Option<Self> {
        if pointer.is_null() || !pointer.is_aligned() {
            return None;
        }
        // SAFETY: not null, aligned, and the caller says what it points to.
        let mechanism = unsafe { *pointer };
        let (size, offsets) = handles(mechanism.mechanism)?;
        if mechanism.pParameter.is_null() || usize::try_from(mechanism.ulParameterLen) != Ok(size) {
            return None;
        }
        let handle_at = |base: *const u8, offset: usize| {
            // SAFETY: the parameter has the size of the structure in which a handle has this offset.
            unsafe { base.add(offset).cast::<CK_OBJECT_HANDLE>().read_unaligned() }
        };
        let base = mechanism.pParameter.cast::<u8>().cast_const();
        if !offsets.iter().any(|offset| route::is_tagged(handle_at(base, *offset))) {
            return None;
        }
        let mut parameter = vec![0; size.div_ceil(size_of::<CK_OBJECT_HANDLE>())];
        let copy = parameter.as_mut_ptr().cast::<u8>();
        // SAFETY: `size` bytes are the client's parameter, and there is room for as many in the vector, which is ours.
        unsafe { std::ptr::copy_nonoverlapping(base, copy, size) };
        for offset in offsets {
            let handle = match instance.object(handle_at(base, *offset)) {
                Object::Backend(handle) => handle,
                Object::Mapped(_) => cryptoki_sys::CK_INVALID_HANDLE,
            };
            // SAFETY: as for reading, in our copy.
            unsafe { copy.add(*offset).cast::<CK_OBJECT_HANDLE>().write_unaligned(handle) };
        }
        Some(Self { mechanism, parameter })
    }

    /// The mechanism, valid while `self` is and is not moved.
    pub fn as_ptr(&mut self) -> CK_MECHANISM_PTR {
        self.mechanism.pParameter = self.parameter.as_mut_ptr().cast();
        &raw mut self.mechanism
    }
}

/// After a derivation that makes several keys and leaves their handles in its parameter: makes them what clients see.
///
/// # Safety
/// The mechanism of a `C_DeriveKey` that the backend answered with `CKR_OK`.
pub unsafe fn show_key_material(instance: &Instance, pointer: CK_MECHANISM_PTR) -> Result<(), Error> {
    if pointer.is_null() || !pointer.is_aligned() {
        return Ok(());
    }
    // SAFETY: not null, aligned; a mechanism, as the caller says.
    let mechanism = unsafe { *pointer };
    let (size, offset) = match mechanism.mechanism {
        CKM_SSL3_KEY_AND_MAC_DERIVE | CKM_TLS_KEY_AND_MAC_DERIVE => {
            (size_of::<CK_SSL3_KEY_MAT_PARAMS>(), offset_of!(CK_SSL3_KEY_MAT_PARAMS, pReturnedKeyMaterial))
        }
        CKM_TLS12_KEY_AND_MAC_DERIVE => {
            (size_of::<CK_TLS12_KEY_MAT_PARAMS>(), offset_of!(CK_TLS12_KEY_MAT_PARAMS, pReturnedKeyMaterial))
        }
        _ => return Ok(()),
    };
    if mechanism.pParameter.is_null() || usize::try_from(mechanism.ulParameterLen) != Ok(size) {
        return Ok(());
    }
    // SAFETY: the parameter has the size of the structure in which the pointer has this offset.
    let material =
        unsafe { mechanism.pParameter.cast::<u8>().add(offset).cast::<*mut CK_SSL3_KEY_MAT_OUT>().read_unaligned() };
    if material.is_null() {
        return Ok(());
    }
    // SAFETY: not null, so the backend has written the handles there.
    unsafe {
        handles::show_handle(instance, &raw mut (*material).hClientMacSecret)?;
        handles::show_handle(instance, &raw mut (*material).hServerMacSecret)?;
        handles::show_handle(instance, &raw mut (*material).hClientKey)?;
        handles::show_handle(instance, &raw mut (*material).hServerKey)
    }
}
