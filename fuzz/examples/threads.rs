//! Threads in every part of the module at once, for ThreadSanitizer: signing, making, finding, reading, changing and
//! destroying keys, opening and closing sessions, and finalising while others call.
//!
//! Nothing here synchronises the threads, which would hide what is looked for. `cargo xtask fuzz --sanitizer thread`
//! builds and runs it.

use std::ptr::null_mut;
use std::thread;

use cryptoki_sys::*;
use holdfast_fuzz::call::{Mechanism, Module, Template};
use holdfast_fuzz::key::P256;
use holdfast_fuzz::site::{PIN, Site};

const THREADS: u8 = 4;
const ROUNDS: u8 = 12;

/// Codes that a call may answer while another thread finalises.
const AT_THE_END: [CK_RV; 4] =
    [CKR_OK, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_SESSION_HANDLE_INVALID, CKR_OPERATION_NOT_INITIALIZED];

#[derive(Clone, Copy)]
struct Client<'a> {
    list: &'a CK_FUNCTION_LIST,
    slot: CK_SLOT_ID,
}

macro_rules! ck {
    ($client:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        let function = $client.list.$function.expect(stringify!($function));
        #[allow(clippy::macro_metavars_in_unsafe, reason = "arguments are pointers to locals, and numbers")]
        // SAFETY: every pointer comes from a live local of the caller, with its true length.
        unsafe { function($($argument),*) }
    }};
}

impl Client<'_> {
    fn open(self) -> Result<CK_SESSION_HANDLE, CK_RV> {
        let (flags, mut session) = (CKF_SERIAL_SESSION | CKF_RW_SESSION, 0);
        match ck!(self, C_OpenSession(self.slot, flags, null_mut(), None, &mut session)) {
            CKR_OK => Ok(session),
            rv => Err(rv),
        }
    }

    fn log_in(self) {
        let (session, mut pin) = (self.open().expect("a session"), PIN.to_vec());
        let rv = ck!(self, C_Login(session, CKU_USER, pin.as_mut_ptr(), pin.len() as CK_ULONG));
        assert_eq!(rv, CKR_OK, "C_Login");
    }

    fn pair(self, session: CK_SESSION_HANDLE, id: u8) -> (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
        let mut public = Template::default().flag(CKA_TOKEN, true).bytes(CKA_EC_PARAMS, P256).bytes(CKA_ID, &[id]);
        let mut private = Template::default().flag(CKA_TOKEN, true).flag(CKA_SIGN, true).bytes(CKA_ID, &[id]);
        let (mut public, mut private) = (public.raw(), private.raw());
        let mut mechanism = Mechanism::plain(CKM_EC_KEY_PAIR_GEN);
        let (lengths, mut first, mut second) = ((public.len() as CK_ULONG, private.len() as CK_ULONG), 0, 0);
        let rv = ck!(
            self,
            C_GenerateKeyPair(
                session,
                &mut mechanism.raw(),
                public.as_mut_ptr(),
                lengths.0,
                private.as_mut_ptr(),
                lengths.1,
                &mut first,
                &mut second,
            )
        );
        assert_eq!(rv, CKR_OK, "C_GenerateKeyPair");
        (first, second)
    }

    fn sign(self, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> CK_RV {
        let mut mechanism = Mechanism::plain(CKM_ECDSA);
        let rv = ck!(self, C_SignInit(session, &mut mechanism.raw(), key));
        if rv != CKR_OK {
            return rv;
        }
        let (mut digest, mut signature, mut length) = ([7; 32], [0; 64], 64);
        ck!(self, C_Sign(session, digest.as_mut_ptr(), 32, signature.as_mut_ptr(), &mut length))
    }

    fn find(self, session: CK_SESSION_HANDLE, id: u8) -> usize {
        let mut template = Template::default().bytes(CKA_ID, &[id]);
        let mut raw = template.raw();
        assert_eq!(ck!(self, C_FindObjectsInit(session, raw.as_mut_ptr(), 1)), CKR_OK, "C_FindObjectsInit");
        let (mut found, mut count) = ([0; 8], 0);
        assert_eq!(ck!(self, C_FindObjects(session, found.as_mut_ptr(), 8, &mut count)), CKR_OK, "C_FindObjects");
        assert_eq!(ck!(self, C_FindObjectsFinal(session)), CKR_OK, "C_FindObjectsFinal");
        count as usize
    }

    fn work(self, thread: u8, shared: CK_OBJECT_HANDLE) {
        for round in 0..ROUNDS {
            let session = self.open().expect("a session");
            assert_eq!(self.sign(session, shared), CKR_OK, "C_Sign");
            let (public, private) = self.pair(session, thread);
            assert_eq!(self.find(session, thread), 2);
            let mut label = Template::default().bytes(CKA_LABEL, &[round]);
            let mut raw = label.raw();
            assert_eq!(ck!(self, C_SetAttributeValue(session, public, raw.as_mut_ptr(), 1)), CKR_OK);
            let mut value = [0_u8; 8];
            let mut entry = CK_ATTRIBUTE { type_: CKA_LABEL, pValue: value.as_mut_ptr().cast(), ulValueLen: 8 };
            assert_eq!(ck!(self, C_GetAttributeValue(session, public, &mut entry, 1)), CKR_OK);
            assert_eq!(self.sign(session, private), CKR_OK, "C_Sign");
            for object in [public, private] {
                assert_eq!(ck!(self, C_DestroyObject(session, object)), CKR_OK, "C_DestroyObject");
            }
            assert_eq!(ck!(self, C_CloseSession(session)), CKR_OK, "C_CloseSession");
        }
    }

    /// Calls until there is nothing left to call.
    fn until_the_end(self, shared: CK_OBJECT_HANDLE) {
        loop {
            match self.open() {
                Ok(session) => {
                    let rv = self.sign(session, shared);
                    assert!(AT_THE_END.contains(&rv), "C_Sign: {rv:#x}");
                    let rv = ck!(self, C_CloseSession(session));
                    assert!(AT_THE_END.contains(&rv), "C_CloseSession: {rv:#x}");
                }
                Err(rv) => {
                    assert_eq!(rv, CKR_CRYPTOKI_NOT_INITIALIZED, "C_OpenSession");
                    return;
                }
            }
        }
    }
}

fn main() {
    let _site = Site::new();
    let module = Module::new();
    let mut client = Client { list: module.list(), slot: 0 };
    for round in 0..3 {
        let mut arguments = CK_C_INITIALIZE_ARGS {
            CreateMutex: None,
            DestroyMutex: None,
            LockMutex: None,
            UnlockMutex: None,
            flags: CKF_OS_LOCKING_OK,
            pReserved: null_mut(),
        };
        assert_eq!(ck!(client, C_Initialize((&raw mut arguments).cast())), CKR_OK, "C_Initialize");
        let (mut slots, mut count) = ([0; 4], 4);
        assert_eq!(ck!(client, C_GetSlotList(CK_TRUE, slots.as_mut_ptr(), &mut count)), CKR_OK, "C_GetSlotList");
        client.slot = slots[0];
        client.log_in();
        let (_, shared) = client.pair(client.open().expect("a session"), 100 + round);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || client.work(thread, shared));
            }
        });
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(move || client.until_the_end(shared));
            }
            scope.spawn(move || assert_eq!(ck!(client, C_Finalize(null_mut())), CKR_OK, "C_Finalize"));
        });
    }
    println!("{THREADS} threads, {ROUNDS} rounds, 3 times: no race was reported above");
}
