//! Calls through the C ABI, and what they are given: templates, mechanisms, and buffers whose bounds are watched.

use std::collections::VecDeque;
use std::ptr::{null_mut, with_exposed_provenance_mut};
use std::sync::{Mutex, PoisonError};

use cryptoki_sys::*;
// Its symbols are what is called.
use holdfast_pkcs11 as _;

/// The module under test.
pub struct Module {
    list: &'static CK_FUNCTION_LIST,
}

/// Calls one function of the 2.40 list.
#[macro_export]
macro_rules! call {
    ($module:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        let function = $module.list().$function.expect(stringify!($function));
        #[allow(clippy::macro_metavars_in_unsafe, reason = "arguments are pointers to locals, and numbers")]
        // SAFETY: every pointer comes from a live local of the caller, with its true length, or is null on purpose.
        let rv = unsafe { function($($argument),*) };
        $crate::call::check_code(stringify!($function), rv);
        rv
    }};
}

impl Module {
    /// The function list, as a client gets it.
    pub fn new() -> Self {
        let mut list = null_mut();
        // SAFETY: a place for one pointer.
        let rv = unsafe { holdfast_pkcs11::abi::general::C_GetFunctionList(&mut list) };
        assert_eq!(rv, CKR_OK);
        // SAFETY: CKR_OK promises a list that lives as long as the process.
        Self { list: unsafe { &*list } }
    }

    /// For [`call!`].
    pub fn list(&self) -> &CK_FUNCTION_LIST {
        self.list
    }
}

impl Default for Module {
    fn default() -> Self {
        Self::new()
    }
}

/// The last calls with their codes.
static LAST: Mutex<VecDeque<(&str, CK_RV)>> = Mutex::new(VecDeque::new());

/// That a return code is one. A panic inside the module needs no look: the fuzzer's hook ends the process.
pub fn check_code(function: &'static str, rv: CK_RV) {
    const KEPT: usize = 40;
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    last.push_back((function, rv));
    if last.len() > KEPT {
        last.pop_front();
    }
    drop(last);
    assert!(rv < 0x400, "{function} answered {rv:#x}, which is no CKR code of version 3.2");
}

/// Has a panic show the last calls before all else.
pub fn show_calls_on_panic() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        for (function, rv) in LAST.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            eprintln!("{function} {rv:#x}");
        }
        hook(panic);
    }));
}

/// Attributes that own their values.
#[derive(Clone, Debug, Default)]
pub struct Template(pub Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>);

impl Template {
    /// With one attribute more.
    #[must_use]
    pub fn bytes(mut self, kind: CK_ATTRIBUTE_TYPE, value: &[u8]) -> Self {
        self.0.push((kind, value.to_vec()));
        self
    }

    /// Likewise, a `CK_BBOOL`.
    #[must_use]
    pub fn flag(self, kind: CK_ATTRIBUTE_TYPE, value: bool) -> Self {
        self.bytes(kind, &[u8::from(value)])
    }

    /// Likewise, a `CK_ULONG`.
    #[must_use]
    pub fn number(self, kind: CK_ATTRIBUTE_TYPE, value: CK_ULONG) -> Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// As a function takes it. Values of no bytes are null pointers now and then, as clients send them.
    pub fn raw(&mut self) -> Vec<CK_ATTRIBUTE> {
        let entry = |(kind, value): &mut (CK_ATTRIBUTE_TYPE, Vec<u8>)| CK_ATTRIBUTE {
            type_: *kind,
            pValue: if value.is_empty() && *kind % 2 == 0 { null_mut() } else { value.as_mut_ptr().cast() },
            ulValueLen: value.len() as CK_ULONG,
        };
        self.0.iter_mut().map(entry).collect()
    }

    /// The value of the first attribute of `kind`.
    pub fn get(&self, kind: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| *known == kind).map(|(_, value)| value.as_slice())
    }
}

/// A buffer with bytes before and behind it that nobody may touch.
pub struct Guarded {
    bytes: Vec<u8>,
    room: usize,
}

const GUARD: usize = 32;
const UNTOUCHED: u8 = 0xa5;

impl Guarded {
    /// One with room for `room` bytes.
    pub fn new(room: usize) -> Self {
        Self { bytes: vec![UNTOUCHED; room + 2 * GUARD], room }
    }

    /// The place.
    pub fn pointer(&mut self) -> *mut u8 {
        self.bytes[GUARD..].as_mut_ptr()
    }

    /// What a call left in it, after a look at the bytes around.
    pub fn written(&self, length: usize) -> &[u8] {
        self.check();
        assert!(length <= self.room, "{length} bytes are said to be in a buffer of {}", self.room);
        &self.bytes[GUARD..GUARD + length]
    }

    /// That nothing was written outside.
    pub fn check(&self) {
        let (before, rest) = self.bytes.split_at(GUARD);
        let behind = &rest[self.room..];
        assert!(
            before.iter().chain(behind).all(|&byte| byte == UNTOUCHED),
            "written outside a buffer of {}",
            self.room
        );
    }
}

/// A mechanism with its parameter.
pub struct Mechanism {
    /// `CKM_*`
    pub kind: CK_MECHANISM_TYPE,
    parameter: Parameter,
}

/// What stands behind `pParameter`.
enum Parameter {
    /// Nothing.
    None,
    /// A length without a pointer.
    LengthOnly(usize),
    /// Bytes as they come. Pointers read from them are never ours to follow: whoever makes one keeps it shorter than
    /// any structure that holds pointers, or gives it to mechanisms that have none.
    Bytes(Vec<u8>),
    /// Of ECDH.
    Ecdh { raw: Box<CK_ECDH1_DERIVE_PARAMS>, _data: (Vec<u8>, Vec<u8>) },
}

impl Mechanism {
    /// Without a parameter.
    pub fn plain(kind: CK_MECHANISM_TYPE) -> Self {
        Self { kind, parameter: Parameter::None }
    }

    /// With a length and no parameter.
    pub fn length_only(kind: CK_MECHANISM_TYPE, length: usize) -> Self {
        Self { kind, parameter: Parameter::LengthOnly(length) }
    }

    /// With bytes.
    pub fn with_bytes(kind: CK_MECHANISM_TYPE, bytes: Vec<u8>) -> Self {
        Self { kind, parameter: Parameter::Bytes(bytes) }
    }

    /// With the parameter of `CKM_ECDH1_DERIVE`.
    pub fn ecdh(kind: CK_MECHANISM_TYPE, kdf: CK_EC_KDF_TYPE, mut shared: Vec<u8>, mut public: Vec<u8>) -> Self {
        let raw = Box::new(CK_ECDH1_DERIVE_PARAMS {
            kdf,
            ulSharedDataLen: shared.len() as CK_ULONG,
            pSharedData: if shared.is_empty() { null_mut() } else { shared.as_mut_ptr() },
            ulPublicDataLen: public.len() as CK_ULONG,
            pPublicData: if public.is_empty() { null_mut() } else { public.as_mut_ptr() },
        });
        Self { kind, parameter: Parameter::Ecdh { raw, _data: (shared, public) } }
    }

    /// As a function takes it.
    pub fn raw(&mut self) -> CK_MECHANISM {
        let (pointer, length) = match &mut self.parameter {
            Parameter::None => (null_mut(), 0),
            Parameter::LengthOnly(length) => (null_mut(), *length),
            Parameter::Bytes(bytes) if bytes.is_empty() => (with_exposed_provenance_mut(16), 0),
            Parameter::Bytes(bytes) => (bytes.as_mut_ptr().cast(), bytes.len()),
            Parameter::Ecdh { raw, .. } => ((&raw mut **raw).cast(), size_of::<CK_ECDH1_DERIVE_PARAMS>()),
        };
        CK_MECHANISM { mechanism: self.kind, pParameter: pointer, ulParameterLen: length as CK_ULONG }
    }

    /// Whether there is no parameter. One that is only a length counts as none, as docs/compatibility.md has it.
    pub fn is_plain(&self) -> bool {
        match &self.parameter {
            Parameter::None | Parameter::LengthOnly(_) => true,
            Parameter::Bytes(bytes) => bytes.is_empty(),
            Parameter::Ecdh { .. } => false,
        }
    }
}
