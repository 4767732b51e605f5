//! The run: which function comes next, and the calls about slots, tokens and sessions.

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use cryptoki_sys::*;
use holdfast_tests::token;

use crate::call;
use crate::module::Module;
use holdfast_tests::random::Random;

const USER_PIN: &[u8] = token::PIN.as_bytes();
const SO_PIN: &[u8] = token::SO_PIN.as_bytes();

/// What the shim adds to the backend's list: documented exceptions, left out of the comparison.
const ADDED_MECHANISMS: [CK_MECHANISM_TYPE; 5] =
    [CKM_ECDSA_SHA1, CKM_ECDSA_SHA224, CKM_ECDSA_SHA256, CKM_ECDSA_SHA384, CKM_ECDSA_SHA512];

/// The state of one run: the handles met so far, and the numbers still to come.
pub struct Player<'a> {
    pub(crate) module: &'a Module,
    pub(crate) random: Random,
    /// Whether the token has mapped keys, through one of the modules.
    mapped_keys: bool,
    /// Whether the backend is kryoptic.
    pub(crate) kryoptic: bool,
    slots: Vec<CK_SLOT_ID>,
    sessions: Vec<CK_SESSION_HANDLE>,
    objects: Vec<CK_OBJECT_HANDLE>,
    /// Of the objects, those made as keys, with their types.
    pub(crate) keys: Vec<(CK_OBJECT_HANDLE, CK_KEY_TYPE)>,
    mechanisms: Vec<CK_MECHANISM_TYPE>,
    /// A state taken by C_GetOperationState.
    pub(crate) saved_state: Vec<u8>,
    initialized: bool,
    /// What the last call was given.
    last_session: CK_SESSION_HANDLE,
    last_object: CK_OBJECT_HANDLE,
    /// A session to close next.
    stuck: Option<CK_SESSION_HANDLE>,
}

impl<'a> Player<'a> {
    pub fn new(module: &'a Module, random: Random, mapped_keys: bool, kryoptic: bool) -> Self {
        Self {
            module,
            random,
            mapped_keys,
            kryoptic,
            slots: Vec::new(),
            sessions: Vec::new(),
            objects: Vec::new(),
            keys: Vec::new(),
            mechanisms: Vec::new(),
            saved_state: Vec::new(),
            initialized: false,
            last_session: 0,
            last_object: 0,
            stuck: None,
        }
    }

    /// Makes the next call and describes it with its answer.
    pub fn play(&mut self) -> String {
        if let Some(session) = self.stuck.take() {
            return self.close(session);
        }
        let initialized = self.initialized;
        let line = self.next_call();
        // Without this most calls would meet an operation that nobody ends, or an object that went with its session.
        let answered = |rv: CK_RV| line.contains(&format!(" {rv:#x}"));
        if answered(CKR_OPERATION_ACTIVE) && !self.random.once_in(3) {
            self.stuck = self.sessions.contains(&self.last_session).then_some(self.last_session);
        }
        if (answered(CKR_OBJECT_HANDLE_INVALID) || answered(CKR_KEY_HANDLE_INVALID)) && !self.random.once_in(3) {
            let gone = self.last_object;
            self.objects.retain(|&object| object != gone);
            self.keys.retain(|&(key, _)| key != gone);
        }
        // Before it is initialised kryoptic looks at arguments first, and answers some functions; of ours none does.
        if self.kryoptic && !initialized && !line.starts_with("C_Initialize") {
            return format!("{} before C_Initialize", line.split(' ').next().unwrap_or_default());
        }
        line
    }

    fn next_call(&mut self) -> String {
        if !self.initialized && !self.random.once_in(20) {
            return self.initialize();
        }
        if self.initialized && (self.sessions.len() < 2 || self.slots.is_empty()) && !self.random.once_in(4) {
            return if self.slots.is_empty() { self.slot_list() } else { self.open_session() };
        }
        // An operation once begun stands in the way of all others of its kind.
        if self.sessions.len() > 6 {
            return self.close(self.sessions[0]);
        }
        match (self.module.list_3_0, self.module.list_3_2) {
            (_, Some(list)) if self.random.once_in(8) => return self.call_of_3_2(list),
            (Some(list), _) if self.random.once_in(4) => return self.call_of_3_0(list),
            _ => {}
        }
        match self.random.below(100) {
            0 if self.random.once_in(8) => self.finalize(),
            0 => self.initialize(),
            1 => self.slot_list(),
            2..=4 => self.token_facts(),
            5..=6 => self.mechanism_list(),
            7..=9 => self.open_session(),
            10 => self.close_session(),
            11..=12 => self.session_info(),
            13..=16 => self.login(),
            17 => self.pins(),
            18..=29 => self.create_object(),
            30..=32 => self.generate(),
            33..=34 => self.copy_object(),
            35..=36 => self.destroy_object(),
            37..=46 => self.get_attributes(),
            47..=49 => self.set_attributes(),
            50..=56 => self.find(),
            57..=68 => self.cipher(),
            69..=74 => self.digest(),
            75..=86 => self.sign_or_verify(),
            87..=90 => self.wrap_unwrap_derive(),
            91..=92 => self.random_numbers(),
            93..=95 => self.combined(),
            96..=97 => self.operation_state(),
            _ => self.legacy(),
        }
    }

    fn close(&mut self, session: CK_SESSION_HANDLE) -> String {
        let rv = call!(self.module, C_CloseSession, session);
        self.sessions.retain(|&open| open != session);
        format!("C_CloseSession {session} {rv:#x}")
    }

    pub(crate) fn session(&mut self) -> CK_SESSION_HANDLE {
        self.last_session = if self.sessions.is_empty() || self.random.once_in(40) {
            *self.random.pick(&[0, 77_777, CK_ULONG::MAX])
        } else {
            *self.random.pick(&self.sessions)
        };
        self.last_session
    }

    pub(crate) fn object(&mut self) -> CK_OBJECT_HANDLE {
        self.last_object = if self.objects.is_empty() || self.random.once_in(25) {
            // Never issued by either: also the values with the shim's own tag bit. Where mapped keys are, the first of
            // those may be.
            let tagged = if self.mapped_keys { 0x4fff_0001 } else { 0x4000_0001 };
            *self.random.pick(&[0, 99_999, tagged, 0x4000_ffff, 0x6000_0001, CK_ULONG::MAX])
        } else {
            // The newest are the likeliest to be alive.
            let newest = self.objects.len().saturating_sub(24);
            *self.random.pick(&self.objects[newest..])
        };
        self.last_object
    }

    fn slot(&mut self) -> CK_SLOT_ID {
        // The first is our token; behind it stands SoftHSM2's free slot. Kryoptic lists several in no order, and has one.
        match self.slots.first() {
            Some(&first) if !self.random.once_in(12) => first,
            Some(_) if self.random.once_in(2) => *self.random.pick(&self.slots),
            _ => 12_345,
        }
    }

    /// A key that the mechanism takes, most of the time.
    pub(crate) fn key_for(&mut self, mechanism: CK_MECHANISM_TYPE) -> CK_OBJECT_HANDLE {
        let wanted = match mechanism {
            CKM_AES_GCM | CKM_AES_ECB | CKM_AES_CBC | CKM_AES_CBC_PAD | CKM_AES_CMAC | CKM_AES_KEY_WRAP => CKK_AES,
            CKM_SHA256_HMAC | CKM_SHA_1_HMAC => CKK_GENERIC_SECRET,
            CKM_RSA_PKCS | CKM_SHA256_RSA_PKCS => CKK_RSA,
            _ => CKK_EC,
        };
        let suitable: Vec<_> = self.keys.iter().filter(|(_, kind)| *kind == wanted).map(|&(key, _)| key).collect();
        match suitable.as_slice() {
            [.., newest] if !self.random.once_in(4) => {
                self.last_object = *newest;
                *newest
            }
            _ => self.object(),
        }
    }

    pub(crate) fn remember(&mut self, rv: CK_RV, handle: CK_OBJECT_HANDLE) {
        if rv == CKR_OK && !self.objects.contains(&handle) {
            self.objects.push(handle);
        }
    }

    fn initialize(&mut self) -> String {
        let mut arguments: CK_C_INITIALIZE_ARGS = CK_C_INITIALIZE_ARGS {
            CreateMutex: None,
            DestroyMutex: None,
            LockMutex: None,
            UnlockMutex: None,
            flags: CKF_OS_LOCKING_OK,
            pReserved: null_mut(),
        };
        let rv = if self.random.once_in(3) {
            call!(self.module, C_Initialize, null_mut())
        } else {
            call!(self.module, C_Initialize, (&raw mut arguments).cast::<c_void>())
        };
        self.initialized |= rv == CKR_OK;
        format!("C_Initialize {rv:#x}")
    }

    fn finalize(&mut self) -> String {
        let rv = call!(self.module, C_Finalize, null_mut());
        if rv == CKR_OK {
            self.initialized = false;
            self.sessions.clear();
            self.objects.clear();
            self.keys.clear();
            self.slots.clear();
        }
        format!("C_Finalize {rv:#x}")
    }

    fn slot_list(&mut self) -> String {
        let present = if self.random.once_in(2) { CK_TRUE } else { CK_FALSE };
        let mut count: CK_ULONG = 0;
        if self.random.once_in(10) {
            let rv = call!(self.module, C_GetSlotList, present, null_mut(), null_mut());
            return format!("C_GetSlotList null {rv:#x}");
        }
        let rv = call!(self.module, C_GetSlotList, present, null_mut(), &mut count);
        let mut list = vec![0; count as usize];
        let short = self.random.once_in(8);
        if short {
            count = count.saturating_sub(1);
        }
        let rv_list = call!(self.module, C_GetSlotList, present, list.as_mut_ptr(), &mut count);
        if rv_list == CKR_OK {
            self.slots.clone_from(&list);
        }
        format!("C_GetSlotList {present} short={short} {rv:#x} {rv_list:#x} {count} {list:?}")
    }

    fn token_facts(&mut self) -> String {
        let slot = self.slot();
        match self.random.below(3) {
            0 => {
                // SAFETY: CK_INFO is plain data, for which zeros are a value.
                let mut info: CK_INFO = unsafe { std::mem::zeroed() };
                let rv = call!(self.module, C_GetInfo, &mut info);
                format!("C_GetInfo {rv:#x} {:?} {:?}", { info.cryptokiVersion }.major, { info.manufacturerID })
            }
            1 => {
                // SAFETY: CK_SLOT_INFO is plain data, for which zeros are a value.
                let mut info: CK_SLOT_INFO = unsafe { std::mem::zeroed() };
                let rv = call!(self.module, C_GetSlotInfo, slot, &mut info);
                format!("C_GetSlotInfo {slot} {rv:#x} {:?} {:#x}", { info.slotDescription }, { info.flags })
            }
            _ => {
                // SAFETY: CK_TOKEN_INFO is plain data, for which zeros are a value.
                let mut info: CK_TOKEN_INFO = unsafe { std::mem::zeroed() };
                let rv = call!(self.module, C_GetTokenInfo, slot, &mut info);
                // A slot without a token makes up a serial number at every start.
                let initialized = info.flags & CKF_TOKEN_INITIALIZED != 0;
                let serial = if initialized { info.serialNumber } else { [0; 16] };
                let (label, flags) = ({ info.label }, { info.flags });
                let counts = ({ info.ulSessionCount }, { info.ulRwSessionCount }, { info.ulMaxPinLen });
                format!("C_GetTokenInfo {slot} {rv:#x} {label:?} {serial:?} {flags:#x} {counts:?}")
            }
        }
    }

    fn mechanism_list(&mut self) -> String {
        let slot = self.slot();
        if self.mechanisms.is_empty() || self.random.once_in(3) {
            let mut count: CK_ULONG = 0;
            let rv = call!(self.module, C_GetMechanismList, slot, null_mut(), &mut count);
            let mut list = vec![0; count as usize];
            let rv_list = call!(self.module, C_GetMechanismList, slot, list.as_mut_ptr(), &mut count);
            if rv_list == CKR_OK {
                // SoftHSM2 lacks them, kryoptic has them all.
                if !self.kryoptic {
                    list.retain(|mechanism| !ADDED_MECHANISMS.contains(mechanism));
                }
                self.mechanisms.clone_from(&list);
            }
            return format!("C_GetMechanismList {slot} {rv:#x} {rv_list:#x} {list:?}");
        }
        let mechanism = if self.random.once_in(10) { 0x7777_7777 } else { *self.random.pick(&self.mechanisms) };
        // SAFETY: CK_MECHANISM_INFO is plain data, for which zeros are a value.
        let mut info: CK_MECHANISM_INFO = unsafe { std::mem::zeroed() };
        let rv = call!(self.module, C_GetMechanismInfo, slot, mechanism, &mut info);
        let (least, most, flags) = ({ info.ulMinKeySize }, { info.ulMaxKeySize }, { info.flags });
        format!("C_GetMechanismInfo {mechanism:#x} {rv:#x} {least} {most} {flags:#x}")
    }

    fn open_session(&mut self) -> String {
        let slot = self.slot();
        let flags = *self.random.pick(&[
            CKF_SERIAL_SESSION | CKF_RW_SESSION,
            CKF_SERIAL_SESSION | CKF_RW_SESSION,
            CKF_SERIAL_SESSION | CKF_RW_SESSION,
            CKF_SERIAL_SESSION,
            CKF_RW_SESSION,
        ]);
        let mut session = 0;
        let rv = call!(self.module, C_OpenSession, slot, flags, null_mut(), None, &mut session);
        if rv == CKR_OK {
            self.sessions.push(session);
        }
        format!("C_OpenSession {slot} {flags} {rv:#x} {session}")
    }

    fn close_session(&mut self) -> String {
        if self.random.once_in(5) {
            let slot = self.slot();
            let rv = call!(self.module, C_CloseAllSessions, slot);
            if rv == CKR_OK {
                self.sessions.clear();
            }
            return format!("C_CloseAllSessions {slot} {rv:#x}");
        }
        let session = self.session();
        let rv = call!(self.module, C_CloseSession, session);
        // A closed handle is kept now and then: its use must be refused alike.
        if rv == CKR_OK && !self.random.once_in(5) {
            self.sessions.retain(|&open| open != session);
        }
        format!("C_CloseSession {session} {rv:#x}")
    }

    fn session_info(&mut self) -> String {
        let session = self.session();
        // SAFETY: CK_SESSION_INFO is plain data, for which zeros are a value.
        let mut info: CK_SESSION_INFO = unsafe { std::mem::zeroed() };
        let rv = call!(self.module, C_GetSessionInfo, session, &mut info);
        format!("C_GetSessionInfo {session} {rv:#x} {} {} {:#x}", { info.slotID }, { info.state }, { info.flags })
    }

    fn login(&mut self) -> String {
        let session = self.session();
        let (user, mut pin) = match self.random.below(12) {
            0..=7 => (CKU_USER, USER_PIN.to_vec()),
            8 => (CKU_SO, SO_PIN.to_vec()),
            9 => (CKU_USER, b"wrong".to_vec()),
            10 => (CKU_CONTEXT_SPECIFIC, USER_PIN.to_vec()),
            _ => {
                let rv = call!(self.module, C_Logout, session);
                return format!("C_Logout {session} {rv:#x}");
            }
        };
        let rv = call!(self.module, C_Login, session, user, pin.as_mut_ptr(), pin.len() as CK_ULONG);
        format!("C_Login {session} {user} {rv:#x}")
    }

    fn pins(&mut self) -> String {
        let session = self.session();
        let mut user_pin = USER_PIN.to_vec();
        let length = user_pin.len() as CK_ULONG;
        if self.random.once_in(2) {
            let rv = call!(self.module, C_InitPIN, session, user_pin.as_mut_ptr(), length);
            return format!("C_InitPIN {session} {rv:#x}");
        }
        let mut old = if self.random.once_in(2) { USER_PIN.to_vec() } else { b"other".to_vec() };
        let old_length = old.len() as CK_ULONG;
        // The PIN stays what it was: the sequence goes on with it.
        let rv = call!(self.module, C_SetPIN, session, old.as_mut_ptr(), old_length, user_pin.as_mut_ptr(), length);
        format!("C_SetPIN {session} {rv:#x}")
    }

    fn random_numbers(&mut self) -> String {
        let session = self.session();
        let mut bytes = self.random.bytes(24);
        let length = *self.random.pick(&[0, 1, 24]);
        if self.random.once_in(2) {
            let rv = call!(self.module, C_GenerateRandom, session, bytes.as_mut_ptr(), length);
            return format!("C_GenerateRandom {session} {length} {rv:#x}");
        }
        let rv = call!(self.module, C_SeedRandom, session, bytes.as_mut_ptr(), length);
        format!("C_SeedRandom {session} {length} {rv:#x}")
    }

    fn legacy(&mut self) -> String {
        let session = self.session();
        match self.random.below(5) {
            0 => format!("C_GetFunctionStatus {:#x}", call!(self.module, C_GetFunctionStatus, session)),
            1 => format!("C_CancelFunction {:#x}", call!(self.module, C_CancelFunction, session)),
            2 => {
                let mut slot = 0;
                let rv = call!(self.module, C_WaitForSlotEvent, CKF_DONT_BLOCK, &mut slot, null_mut());
                format!("C_WaitForSlotEvent {rv:#x}")
            }
            3 => {
                // A wrong SO PIN leaves the token as it is; a free slot would become a token, with a random serial number.
                let slot = self.slots.first().copied().unwrap_or(12_345);
                let (mut pin, mut label) = (b"nobody".to_vec(), [b' '; 32]);
                let rv = call!(self.module, C_InitToken, slot, pin.as_mut_ptr(), 6, label.as_mut_ptr());
                format!("C_InitToken {slot} {rv:#x}")
            }
            _ => {
                let rv = call!(self.module, C_Initialize, null::<c_void>().cast_mut());
                self.initialized |= rv == CKR_OK;
                format!("C_Initialize {rv:#x}")
            }
        }
    }
}
