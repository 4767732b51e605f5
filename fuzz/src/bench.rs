//! One logged-in session with one mapped pair that stays, for targets that try a single call at a time.

use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use cryptoki_sys::*;

use crate::call;
use crate::call::{Guarded, Mechanism, Module, Template};
use crate::input::ATTRIBUTES;
use crate::key::{Key, P256};
use crate::site::{PIN, SO_PIN, Site};

/// The session, and the pair.
pub struct Bench {
    site: Site,
    /// The module.
    pub module: Module,
    slot: CK_SLOT_ID,
    /// A read-write session with the user logged in.
    pub session: CK_SESSION_HANDLE,
    /// The pair's public object.
    pub public: CK_OBJECT_HANDLE,
    /// The pair's private object.
    pub private: CK_OBJECT_HANDLE,
    /// Its public key.
    pub key: Key,
    inputs: u32,
}

/// An attribute's value, or the code and the length that stand for none.
pub type Answer = Result<Vec<u8>, (CK_RV, CK_ULONG)>;

/// Inputs after which the token is initialised anew, so that objects that cannot be destroyed do not pile up.
const INPUTS_PER_TOKEN: u32 = 2000;

impl Bench {
    /// This process's.
    pub fn get() -> MutexGuard<'static, Self> {
        static BENCH: OnceLock<Mutex<Bench>> = OnceLock::new();
        let mut bench = BENCH.get_or_init(|| Mutex::new(Self::new())).lock().unwrap_or_else(PoisonError::into_inner);
        bench.inputs += 1;
        if bench.inputs >= INPUTS_PER_TOKEN {
            bench.site.trim_log();
            bench.renew();
        }
        bench
    }

    fn new() -> Self {
        let (site, module) = (Site::new(), Module::new());
        assert_eq!(call!(module, C_Initialize(null_mut())), CKR_OK);
        let (mut slots, mut count) = ([0; 4], 4);
        assert_eq!(call!(module, C_GetSlotList(CK_TRUE, slots.as_mut_ptr(), &mut count)), CKR_OK);
        let key = Key::P256(p256::SecretKey::from_slice(&[1; 32]).expect("a scalar").public_key());
        let mut bench = Self { site, module, slot: slots[0], session: 0, public: 0, private: 0, key, inputs: 0 };
        bench.log_in();
        bench.make_pair();
        bench
    }

    /// A session on the token, and another pair.
    fn renew(&mut self) {
        assert_eq!(call!(self.module, C_CloseAllSessions(self.slot)), CKR_OK);
        let (mut so_pin, mut pin) = (SO_PIN.to_vec(), PIN.to_vec());
        let (so_pin, so_length) = (so_pin.as_mut_ptr(), so_pin.len() as CK_ULONG);
        let mut label = *b"fuzz                            ";
        assert_eq!(call!(self.module, C_InitToken(self.slot, so_pin, so_length, label.as_mut_ptr())), CKR_OK);
        self.open();
        assert_eq!(call!(self.module, C_Login(self.session, CKU_SO, so_pin, so_length)), CKR_OK);
        assert_eq!(call!(self.module, C_InitPIN(self.session, pin.as_mut_ptr(), pin.len() as CK_ULONG)), CKR_OK);
        assert_eq!(call!(self.module, C_CloseSession(self.session)), CKR_OK);
        self.log_in();
        assert_eq!(self.find(Template::default()), Some(Vec::new()), "an initialised token is empty");
        self.make_pair();
        self.inputs = 0;
    }

    fn open(&mut self) {
        let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        let rv = call!(self.module, C_OpenSession(self.slot, flags, null_mut(), None, &mut self.session));
        assert_eq!(rv, CKR_OK);
    }

    fn log_in(&mut self) {
        self.open();
        let mut pin = PIN.to_vec();
        let rv = call!(self.module, C_Login(self.session, CKU_USER, pin.as_mut_ptr(), pin.len() as CK_ULONG));
        assert_eq!(rv, CKR_OK);
    }

    fn make_pair(&mut self) {
        let public = Template::default().flag(CKA_TOKEN, true).bytes(CKA_EC_PARAMS, P256);
        let private = Template::default().flag(CKA_TOKEN, true).flag(CKA_SIGN, true).flag(CKA_DERIVE, true);
        let (rv, public, private) = self.generate(public, private);
        assert_eq!(rv, CKR_OK);
        (self.public, self.private) = (public, private);
        let value = |kind| self.attribute(public, kind).expect("the public key");
        self.key = Key::new(&value(CKA_EC_PARAMS), &value(CKA_EC_POINT));
    }

    /// `C_GenerateKeyPair` with `CKM_EC_KEY_PAIR_GEN`: the code, the public and the private handle.
    pub fn generate(&self, mut public: Template, mut private: Template) -> (CK_RV, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
        let (mut raw_public, mut raw_private) = (public.raw(), private.raw());
        let (mut first, mut second) = (0, 0);
        let rv = call!(
            self.module,
            C_GenerateKeyPair(
                self.session,
                &mut Mechanism::plain(CKM_EC_KEY_PAIR_GEN).raw(),
                raw_public.as_mut_ptr(),
                raw_public.len() as CK_ULONG,
                raw_private.as_mut_ptr(),
                raw_private.len() as CK_ULONG,
                &mut first,
                &mut second,
            )
        );
        (rv, first, second)
    }

    /// One attribute of an object.
    pub fn attribute(&self, object: CK_OBJECT_HANDLE, kind: CK_ATTRIBUTE_TYPE) -> Answer {
        const ROOM: usize = 4096;
        let mut value = Guarded::new(ROOM);
        let mut entry = CK_ATTRIBUTE { type_: kind, pValue: value.pointer().cast(), ulValueLen: ROOM as CK_ULONG };
        match call!(self.module, C_GetAttributeValue(self.session, object, &mut entry, 1)) {
            CKR_OK => Ok(value.written(entry.ulValueLen as usize).to_vec()),
            rv => Err((rv, entry.ulValueLen)),
        }
    }

    /// All that an object says of itself.
    pub fn snapshot(&self, object: CK_OBJECT_HANDLE) -> Vec<Answer> {
        ATTRIBUTES.iter().map(|kind| self.attribute(object, *kind)).collect()
    }

    /// All objects that match a template.
    pub fn find(&self, mut template: Template) -> Option<Vec<CK_OBJECT_HANDLE>> {
        let mut raw = template.raw();
        if call!(self.module, C_FindObjectsInit(self.session, raw.as_mut_ptr(), raw.len() as CK_ULONG)) != CKR_OK {
            // SoftHSM2 keeps searches in progress that it refused for some values.
            call!(self.module, C_FindObjectsFinal(self.session));
            return None;
        }
        let mut found = Vec::new();
        loop {
            let (mut handles, mut count) = ([0; 5], 0);
            assert_eq!(call!(self.module, C_FindObjects(self.session, handles.as_mut_ptr(), 5, &mut count)), CKR_OK);
            found.extend_from_slice(&handles[..count as usize]);
            if count == 0 {
                break;
            }
        }
        assert_eq!(call!(self.module, C_FindObjectsFinal(self.session)), CKR_OK);
        Some(found)
    }

    /// Destroys an object if it lets itself be destroyed.
    pub fn destroy(&self, object: CK_OBJECT_HANDLE) -> CK_RV {
        call!(self.module, C_DestroyObject(self.session, object))
    }
}
