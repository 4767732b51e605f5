//! NULL and hostile arguments to every function: nothing crashes, and what the bare backend answers is answered.
//!
//! Every function gets each of its arguments wrong in turn, from a baseline of good ones, with and without an operation
//! in progress. Pointers that are neither null nor good cannot be told from good ones and are not tried.

use std::ffi::c_void;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CKA_CLASS, CKA_DECRYPT,
    CKA_ENCRYPT, CKA_KEY_TYPE, CKA_LABEL, CKA_SIGN, CKA_TOKEN, CKA_VALUE_LEN, CKA_VERIFY, CKK_AES, CKM_AES_CBC_PAD,
    CKM_AES_KEY_GEN, CKM_SHA256, CKM_SHA256_HMAC, CKO_SECRET_KEY, CKR_ARGUMENTS_BAD, CKR_OK,
};

use crate::fixture::{Pkcs11, SOFTHSM, World, ck, in_fork, scenario};

/// All functions and the kinds of their arguments: s session, S slot, h object, m mechanism, t template, l length of
/// what stands before it, L place for a length, p pointer, n callback, i any other number.
const FUNCTIONS: [(&str, &str); 104] = [
    ("C_Initialize", "p"),
    ("C_Finalize", "p"),
    ("C_GetInfo", "p"),
    ("C_GetFunctionList", "p"),
    ("C_GetSlotList", "ipL"),
    ("C_GetSlotInfo", "Sp"),
    ("C_GetTokenInfo", "Sp"),
    ("C_GetMechanismList", "SpL"),
    ("C_GetMechanismInfo", "Sip"),
    ("C_InitToken", "Splp"),
    ("C_InitPIN", "spl"),
    ("C_SetPIN", "splpl"),
    ("C_OpenSession", "Sipnp"),
    ("C_CloseSession", "s"),
    ("C_CloseAllSessions", "S"),
    ("C_GetSessionInfo", "sp"),
    ("C_GetOperationState", "spL"),
    ("C_SetOperationState", "splhh"),
    ("C_Login", "sipl"),
    ("C_Logout", "s"),
    ("C_CreateObject", "stlp"),
    ("C_CopyObject", "shtlp"),
    ("C_DestroyObject", "sh"),
    ("C_GetObjectSize", "shL"),
    ("C_GetAttributeValue", "shtl"),
    ("C_SetAttributeValue", "shtl"),
    ("C_FindObjectsInit", "stl"),
    ("C_FindObjects", "splL"),
    ("C_FindObjectsFinal", "s"),
    ("C_EncryptInit", "smh"),
    ("C_Encrypt", "splpL"),
    ("C_EncryptUpdate", "splpL"),
    ("C_EncryptFinal", "spL"),
    ("C_DecryptInit", "smh"),
    ("C_Decrypt", "splpL"),
    ("C_DecryptUpdate", "splpL"),
    ("C_DecryptFinal", "spL"),
    ("C_DigestInit", "sm"),
    ("C_Digest", "splpL"),
    ("C_DigestUpdate", "spl"),
    ("C_DigestKey", "sh"),
    ("C_DigestFinal", "spL"),
    ("C_SignInit", "smh"),
    ("C_Sign", "splpL"),
    ("C_SignUpdate", "spl"),
    ("C_SignFinal", "spL"),
    ("C_SignRecoverInit", "smh"),
    ("C_SignRecover", "splpL"),
    ("C_VerifyInit", "smh"),
    ("C_Verify", "splpl"),
    ("C_VerifyUpdate", "spl"),
    ("C_VerifyFinal", "spl"),
    ("C_VerifyRecoverInit", "smh"),
    ("C_VerifyRecover", "splpL"),
    ("C_DigestEncryptUpdate", "splpL"),
    ("C_DecryptDigestUpdate", "splpL"),
    ("C_SignEncryptUpdate", "splpL"),
    ("C_DecryptVerifyUpdate", "splpL"),
    ("C_GenerateKey", "smtlp"),
    ("C_GenerateKeyPair", "smtltlpp"),
    ("C_WrapKey", "smhhpL"),
    ("C_UnwrapKey", "smhpltlp"),
    ("C_DeriveKey", "smhtlp"),
    ("C_SeedRandom", "spl"),
    ("C_GenerateRandom", "spl"),
    ("C_GetFunctionStatus", "s"),
    ("C_CancelFunction", "s"),
    ("C_WaitForSlotEvent", "ipp"),
    ("C_GetInterfaceList", "pL"),
    ("C_GetInterface", "pppi"),
    ("C_LoginUser", "siplpl"),
    ("C_SessionCancel", "si"),
    ("C_MessageEncryptInit", "smh"),
    ("C_EncryptMessage", "splplplpL"),
    ("C_EncryptMessageBegin", "splpl"),
    ("C_EncryptMessageNext", "splplpLi"),
    ("C_MessageEncryptFinal", "s"),
    ("C_MessageDecryptInit", "smh"),
    ("C_DecryptMessage", "splplplpL"),
    ("C_DecryptMessageBegin", "splpl"),
    ("C_DecryptMessageNext", "splplpLi"),
    ("C_MessageDecryptFinal", "s"),
    ("C_MessageSignInit", "smh"),
    ("C_SignMessage", "splplpL"),
    ("C_SignMessageBegin", "spl"),
    ("C_SignMessageNext", "splplpL"),
    ("C_MessageSignFinal", "s"),
    ("C_MessageVerifyInit", "smh"),
    ("C_VerifyMessage", "splplpl"),
    ("C_VerifyMessageBegin", "spl"),
    ("C_VerifyMessageNext", "splplpl"),
    ("C_MessageVerifyFinal", "s"),
    ("C_EncapsulateKey", "smhtlpLp"),
    ("C_DecapsulateKey", "smhtlplp"),
    ("C_VerifySignatureInit", "smhpl"),
    ("C_VerifySignature", "spl"),
    ("C_VerifySignatureUpdate", "spl"),
    ("C_VerifySignatureFinal", "s"),
    ("C_GetSessionValidationFlags", "sip"),
    ("C_AsyncComplete", "spp"),
    ("C_AsyncGetID", "spL"),
    ("C_AsyncJoin", "splpl"),
    ("C_WrapKeyAuthenticated", "smhhplpL"),
    ("C_UnwrapKeyAuthenticated", "smhpltlplp"),
];

/// Functions that the test needs itself, or that would end it.
const NOT_TRIED: [&str; 5] =
    ["C_Initialize", "C_Finalize", "C_CloseAllSessions", "C_GetInterface", "C_GetFunctionList"];

type Any = unsafe extern "C" fn(usize, usize, usize, usize, usize, usize, usize, usize, usize, usize) -> CK_RV;

/// What can be wrong with an argument of a kind; the first is good.
fn values(kind: char, session: usize, key: usize, memory: &Memory) -> Vec<usize> {
    let half = usize::MAX / 2;
    match kind {
        's' => vec![session, 0, usize::MAX, 0x4000_0001],
        'S' => vec![memory.slot, usize::MAX],
        'h' => vec![key, 0, usize::MAX, 0x4000_0001, 0x6000_0001, 0x4000_0000],
        'm' => memory.mechanisms.iter().map(|m| (&raw const *m) as usize).chain([0, memory.misaligned()]).collect(),
        't' => vec![memory.template.as_ptr() as usize, 0, memory.misaligned(), memory.bad_template.as_ptr() as usize],
        'l' => vec![2, 0, half, half + 1, usize::MAX, usize::MAX - 7, 1 << 40, 0x1fff_ffff_ffff_ffff],
        'L' => vec![memory.length(), 0, memory.misaligned()],
        'p' => vec![memory.scratch(), 0, memory.misaligned()],
        // C_WaitForSlotEvent must not block.
        'i' => vec![1, usize::MAX],
        'n' => vec![0],
        _ => unreachable!(),
    }
}

/// Memory that hostile arguments point to.
struct Memory {
    slot: usize,
    scratch: Vec<u64>,
    mechanisms: Vec<CK_MECHANISM>,
    template: Vec<CK_ATTRIBUTE>,
    bad_template: Vec<CK_ATTRIBUTE>,
}

impl Memory {
    fn new(slot: usize) -> Self {
        let mechanism = |mechanism, pointer: *mut c_void, length| CK_MECHANISM {
            mechanism,
            pParameter: pointer,
            ulParameterLen: length,
        };
        let label: &'static mut [u8; 4] = Box::leak(Box::new(*b"evil"));
        let attribute =
            |kind, pointer: *mut c_void, length| CK_ATTRIBUTE { type_: kind, pValue: pointer, ulValueLen: length };
        let label = label.as_mut_ptr().cast();
        Self {
            slot,
            scratch: vec![16; 512],
            mechanisms: vec![
                mechanism(CKM_SHA256, ptr::null_mut(), 0),
                mechanism(CKM_AES_CBC_PAD, ptr::null_mut(), 16),
                mechanism(CKM_AES_CBC_PAD, label, CK_ULONG::MAX),
                mechanism(cryptoki_sys::CKM_RSA_PKCS_OAEP, ptr::null_mut(), 40),
                mechanism(cryptoki_sys::CKM_RSA_PKCS_PSS, ptr::null_mut(), 24),
                mechanism(cryptoki_sys::CKM_ECDH1_DERIVE, ptr::null_mut(), 40),
                mechanism(cryptoki_sys::CKM_EC_KEY_PAIR_GEN, label, 4),
                mechanism(cryptoki_sys::CKM_ECDSA, label, CK_ULONG::MAX),
                mechanism(cryptoki_sys::CKM_CONCATENATE_BASE_AND_KEY, label, CK_ULONG::MAX),
                mechanism(CK_ULONG::MAX, ptr::null_mut(), CK_ULONG::MAX),
            ],
            template: vec![attribute(CKA_LABEL, label, 4), attribute(CKA_LABEL, label, 4)],
            bad_template: vec![
                attribute(CKA_LABEL, ptr::null_mut(), 4),
                attribute(CKA_CLASS, label, CK_ULONG::MAX),
                attribute(CKA_TOKEN, label, CK_ULONG::MAX / 2),
            ],
        }
    }

    fn scratch(&self) -> usize {
        self.scratch.as_ptr() as usize
    }

    fn length(&self) -> usize {
        self.scratch() + 2048
    }

    /// Good memory, but not where a word or structure can be.
    fn misaligned(&self) -> usize {
        self.scratch() + 1025
    }
}

/// An operation that is in progress when a function is tried.
fn begin(module: &Pkcs11, function: &str, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) {
    let mut iv = [0u8; 16];
    let mut cbc = CK_MECHANISM { mechanism: CKM_AES_CBC_PAD, pParameter: iv.as_mut_ptr().cast(), ulParameterLen: 16 };
    let mut hmac = CK_MECHANISM { mechanism: CKM_SHA256_HMAC, pParameter: ptr::null_mut(), ulParameterLen: 0 };
    let mut sha = CK_MECHANISM { mechanism: CKM_SHA256, pParameter: ptr::null_mut(), ulParameterLen: 0 };
    match function {
        name if name.contains("Init") || name.contains("Message") => {}
        name if name.starts_with("C_Encrypt") => drop(ck!(module, C_EncryptInit(session, &mut cbc, key))),
        name if name.starts_with("C_Decrypt") => drop(ck!(module, C_DecryptInit(session, &mut cbc, key))),
        name if name.starts_with("C_Digest") => drop(ck!(module, C_DigestInit(session, &mut sha))),
        name if name.starts_with("C_Sign") => drop(ck!(module, C_SignInit(session, &mut hmac, key))),
        name if name.starts_with("C_Verify") => drop(ck!(module, C_VerifyInit(session, &mut hmac, key))),
        name if name.starts_with("C_Find") => drop(ck!(module, C_FindObjectsInit(session, ptr::null_mut(), 0))),
        _ => {}
    }
}

fn key(module: &Pkcs11, session: CK_SESSION_HANDLE) -> CK_OBJECT_HANDLE {
    let mut class = CKO_SECRET_KEY;
    let mut kind = CKK_AES;
    let mut length: CK_ULONG = 32;
    let mut yes = 1u8;
    let word = |kind, value: *mut CK_ULONG| CK_ATTRIBUTE {
        type_: kind,
        pValue: value.cast(),
        ulValueLen: size_of::<CK_ULONG>() as CK_ULONG,
    };
    let mut template =
        vec![word(CKA_CLASS, &mut class), word(CKA_KEY_TYPE, &mut kind), word(CKA_VALUE_LEN, &mut length)];
    for usage in [CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY] {
        template.push(CK_ATTRIBUTE { type_: usage, pValue: (&raw mut yes).cast(), ulValueLen: 1 });
    }
    let mut mechanism = CK_MECHANISM { mechanism: CKM_AES_KEY_GEN, pParameter: ptr::null_mut(), ulParameterLen: 0 };
    let mut key = 0;
    let count = template.len() as CK_ULONG;
    ck!(module, C_GenerateKey(session, &mut mechanism, template.as_mut_ptr(), count, &mut key));
    key
}

/// A page that a child shares with its parent: how many lists of arguments it tried, then the answers.
struct Progress(*mut AtomicUsize);

impl Progress {
    const WORDS: usize = 4096;

    fn new() -> Self {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                Self::WORDS * size_of::<usize>(),
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                -1,
                0,
            )
        };
        assert_ne!(memory, libc::MAP_FAILED);
        Self(memory.cast())
    }

    fn word(&self, index: usize) -> &AtomicUsize {
        assert!(index < Self::WORDS);
        unsafe { &*self.0.add(index) }
    }
}

const CRASHED: usize = usize::MAX;

/// Tries a function with every single argument wrong, and with all of a value's kind; a crash ends only one try.
fn try_function(module: &Pkcs11, name: &str, kinds: &str) -> Vec<usize> {
    let progress = Progress::new();
    let address = module.symbol(name);
    loop {
        let done = progress.word(0).load(Ordering::Relaxed);
        let status = in_fork(|| {
            assert_eq!(module.initialize(), CKR_OK);
            let session = module.open();
            module.login(session);
            let key = key(module, session);
            let memory = Memory::new(module.slot() as usize);
            let lists = lists(kinds, session as usize, key as usize, &memory);
            for (index, list) in lists.iter().enumerate().skip(done) {
                progress.word(0).store(index + 1, Ordering::Relaxed);
                progress.word(index + 1).store(CRASHED, Ordering::Relaxed);
                // A session that an earlier try closed or used up is no test.
                let fresh = module.open();
                let list: Vec<_> =
                    list.iter().map(|&v| if v == session as usize { fresh as usize } else { v }).collect();
                begin(module, name, fresh, key);
                let a = |i: usize| list.get(i).copied().unwrap_or(0);
                let rv = match address {
                    Some(address) => {
                        let function = unsafe { std::mem::transmute::<*mut c_void, Any>(address) };
                        unsafe { function(a(0), a(1), a(2), a(3), a(4), a(5), a(6), a(7), a(8), a(9)) }
                    }
                    None => cryptoki_sys::CKR_FUNCTION_NOT_SUPPORTED,
                };
                progress.word(index + 1).store(rv as usize, Ordering::Relaxed);
                ck!(module, C_CloseSession(fresh));
            }
            progress.word(0).store(usize::MAX, Ordering::Relaxed);
        });
        let now = progress.word(0).load(Ordering::Relaxed);
        if now == usize::MAX {
            break;
        }
        assert!(now > done, "{name}: no progress ({status:?})");
    }
    let memory = Memory::new(0);
    let count = lists(kinds, 1, 1, &memory).len();
    (1..=count).map(|index| progress.word(index).load(Ordering::Relaxed)).collect()
}

/// Argument lists: the good one, each with one argument wrong, and, for each number, all arguments wrong in that way.
fn lists(kinds: &str, session: usize, key: usize, memory: &Memory) -> Vec<Vec<usize>> {
    let choices: Vec<Vec<usize>> = kinds.chars().map(|kind| values(kind, session, key, memory)).collect();
    let good: Vec<usize> = choices.iter().map(|values| values[0]).collect();
    let mut lists = vec![good.clone()];
    for (position, values) in choices.iter().enumerate() {
        for value in &values[1..] {
            let mut list = good.clone();
            list[position] = *value;
            lists.push(list);
        }
    }
    let most = choices.iter().map(Vec::len).max().unwrap_or(0);
    for number in 1..most {
        let list = |keep_session: bool| {
            let wrong = |values: &Vec<usize>| values[number.min(values.len() - 1)];
            let mut list: Vec<usize> = choices.iter().map(wrong).collect();
            if keep_session && kinds.starts_with('s') {
                list[0] = session;
            }
            list
        };
        lists.push(list(false));
        lists.push(list(true));
    }
    lists
}

/// The argument list with this number, and whether it has what we refuse before the backend sees it.
fn nature(kinds: &str, index: usize) -> (String, bool) {
    let memory = Memory::new(0);
    let list = lists(kinds, 0x5e55, 0x4e1, &memory).swap_remove(index);
    let bad_template = memory.bad_template.as_ptr() as usize;
    let absurd = kinds.chars().zip(&list).any(|(kind, value)| match kind {
        'l' => *value > 4096,
        // What stands at the misaligned place are no attributes.
        't' => [bad_template, memory.misaligned()].contains(value),
        _ => false,
    });
    (format!("{kinds} {list:x?}"), absurd)
}

/// Compares with the bare backend. Where that crashes, we answer; where a length is absurd, we may say so first.
fn compare(name: &str, kinds: &str, ours: &[usize], bare: &[usize]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (index, (ours, bare)) in ours.iter().zip(bare).enumerate() {
        let (list, absurd) = nature(kinds, index);
        let refused = absurd && *ours == CKR_ARGUMENTS_BAD as usize;
        if *ours == CRASHED || (ours != bare && *bare != CRASHED && !refused) {
            wrong.push(format!("{name} {list}: {ours:#x}, bare {bare:#x}"));
        }
    }
    wrong
}

#[test]
fn k1_hostile_arguments_crash_nothing() {
    scenario("hostile::k1_hostile_arguments_crash_nothing", World::softhsm, || {
        let ours = Pkcs11::holdfast();
        let bare = Pkcs11::load(Path::new(SOFTHSM));
        let mut wrong = Vec::new();
        for (name, kinds) in FUNCTIONS.iter().filter(|(name, _)| !NOT_TRIED.contains(name)) {
            let ours = try_function(&ours, name, kinds);
            // SoftHSM2 2.6.1 has no interfaces.
            let bare = if *name == "C_GetInterfaceList" { ours.clone() } else { try_function(&bare, name, kinds) };
            wrong.append(&mut compare(name, kinds, &ours, &bare));
        }
        assert!(wrong.is_empty(), "{} of them\n{}", wrong.len(), wrong.join("\n"));
    });
}

#[test]
fn k1_a_backend_that_only_says_ok_crashes_nothing() {
    // What is done with its results must stand up to there being none.
    scenario(
        "hostile::k1_a_backend_that_only_says_ok_crashes_nothing",
        || World::with_compiled_backend("backend", &["V3_2", "INERT"]),
        || {
            let ours = Pkcs11::holdfast();
            let mut crashed = Vec::new();
            for (name, kinds) in FUNCTIONS.iter().filter(|(name, _)| !NOT_TRIED.contains(name)) {
                for (index, answer) in try_function(&ours, name, kinds).into_iter().enumerate() {
                    if answer == CRASHED {
                        crashed.push(format!("{name} {}", nature(kinds, index).0));
                    }
                }
            }
            assert!(crashed.is_empty(), "{}", crashed.join("\n"));
        },
    );
}

#[test]
fn every_function_is_tried() {
    use holdfast_pkcs11::abi::tables::NAMES;
    for name in NAMES {
        assert!(FUNCTIONS.iter().any(|(tried, _)| *tried == name.to_str().unwrap()), "{name:?}");
    }
}
