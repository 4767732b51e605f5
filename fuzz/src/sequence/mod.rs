//! A client that calls whatever the fuzzer says, in any order, and a model of what a token with mapped keys has to answer.
//!
//! For each call the model collects every return code that the specification, or docs/compatibility.md, gives for what
//! is wrong with it. If there is none the call must succeed. What the backend alone answers is not modelled: the test
//! `differential` compares that.

mod model;
mod objects;
mod operations;
mod others;
mod sessions;

use std::ptr::null_mut;
use std::sync::{Mutex, OnceLock, PoisonError};

use cryptoki_sys::*;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use zk_app_utils::behaviour::{ANY, Fault, FaultKind};

use self::model::{Half, Model, Pair};
use crate::call;
use crate::call::{Guarded, Mechanism, Module, Template};
use crate::input::pick;
use crate::site::Site;

/// Calls in one sequence, at most.
const MOST_CALLS: usize = 60;

/// Handles of mapped objects: bits 30 and up are `01`, and bit 29 says that it is no alias.
const MAPPED: CK_OBJECT_HANDLE = 0x4000_0000;

/// What a call that reaches a device in trouble may answer.
const TROUBLE: &[CK_RV] = &[CKR_DEVICE_ERROR, CKR_DEVICE_REMOVED, CKR_DEVICE_MEMORY, CKR_FUNCTION_FAILED];

/// Plays one sequence from nothing to the power cycle at its end.
pub fn play(u: &mut Unstructured<'_>) {
    static WORLD: OnceLock<Mutex<World>> = OnceLock::new();
    let world = WORLD.get_or_init(|| Mutex::new(World { site: Site::new(), module: Module::new(), slot: 0 }));
    let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
    world.site.trim_log();
    let mut client = Client { world: &mut world, model: Model::default() };
    client.initialize();
    for _ in 0..MOST_CALLS {
        if u.is_empty() || client.step(u).is_err() {
            break;
        }
    }
    client.survive_a_power_cycle();
    client.clean_up();
}

struct World {
    site: Site,
    module: Module,
    slot: CK_SLOT_ID,
}

struct Client<'a> {
    world: &'a mut World,
    model: Model,
}
/// That a call answered what it must: success if nothing is wrong with it, else one of `errors`.
fn expect(what: &str, rv: CK_RV, errors: &[CK_RV]) {
    if errors.is_empty() {
        assert_eq!(rv, CKR_OK, "{what} answered {rv:#x}; nothing is wrong with the call");
    } else {
        assert!(errors.contains(&rv), "{what} answered {rv:#x}, not one of {errors:x?}");
    }
}
impl Client<'_> {
    /// As [`expect`], for calls that reach the device: it may fail them while it is in trouble.
    fn expect_of_device(&self, what: &str, rv: CK_RV, errors: &[CK_RV]) {
        if !self.model.trouble || !TROUBLE.contains(&rv) {
            expect(what, rv, errors);
        }
    }

    fn module(&self) -> &Module {
        &self.world.module
    }

    fn initialize(&mut self) {
        let rv = call!(self.module(), C_Initialize(null_mut()));
        let errors: &[CK_RV] = if self.model.initialized { &[CKR_CRYPTOKI_ALREADY_INITIALIZED] } else { &[] };
        expect("C_Initialize", rv, errors);
        self.model.initialized = true;
        let (mut slots, mut count) = ([0; 4], 4);
        let rv = call!(self.module(), C_GetSlotList(CK_TRUE, slots.as_mut_ptr(), &mut count));
        expect("C_GetSlotList", rv, &[]);
        // The free slot comes last.
        self.world.slot = slots[0];
    }

    fn finalize(&mut self) {
        let rv = call!(self.module(), C_Finalize(null_mut()));
        let errors: &[CK_RV] = if self.model.initialized { &[] } else { &[CKR_CRYPTOKI_NOT_INITIALIZED] };
        expect("C_Finalize", rv, errors);
        self.model.close(|_| true);
        self.model.initialized = false;
        for pair in &mut self.model.pairs {
            (pair.public, pair.private) = (None, None);
        }
        // Numbers begin again.
        self.model.dead.clear();
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if self.model.initialized && self.model.sessions.is_empty() && !u.ratio(1, 8)? {
            return self.open_session(u);
        }
        match u.int_in_range(0..=41)? {
            0 => {
                self.finalize();
                if !u.ratio(1, 4)? {
                    self.initialize();
                }
            }
            1 => self.initialize(),
            2..=3 => self.open_session(u)?,
            4 => self.close_session(u)?,
            5..=8 => self.log_in(u)?,
            9 => self.log_out(u)?,
            10..=14 => self.generate(u)?,
            15..=17 => self.find(u)?,
            18..=21 => self.sign_init(u)?,
            22..=25 => self.sign(u)?,
            26 => self.sign_update(u)?,
            27..=28 => self.verify_init(u)?,
            29..=30 => self.verify(u)?,
            31..=32 => self.derive(u)?,
            33 => self.destroy(u)?,
            34 => self.set_id(u)?,
            35 => self.read(u)?,
            36 => self.refused(u)?,
            37 => self.device(u)?,
            38 => self.backend(u)?,
            39..=40 => self.others(u)?,
            _ => self.seldom(u)?,
        }
        Ok(())
    }

    fn a_session(&self, u: &mut Unstructured<'_>) -> Result<CK_SESSION_HANDLE> {
        if self.model.sessions.is_empty() || u.ratio(1, 40)? {
            return pick(u, &[0, 77, CK_ULONG::MAX]);
        }
        Ok(u.choose(&self.model.sessions)?.handle)
    }

    fn an_object(&self, u: &mut Unstructured<'_>, half: Half) -> Result<CK_OBJECT_HANDLE> {
        let handle = |pair: &Pair, half| if half == Half::Public { pair.public } else { pair.private };
        let half = match (half, u.ratio(1, 12)?) {
            (Half::Public, false) | (Half::Private, true) => Half::Public,
            (Half::Private, false) | (Half::Public, true) => Half::Private,
        };
        let known: Vec<_> = self.model.pairs.iter().filter_map(|pair| handle(pair, half)).collect();
        if known.is_empty() || u.ratio(1, 20)? {
            if !self.model.dead.is_empty() && u.ratio(1, 2)? {
                return pick(u, &self.model.dead);
            }
            // Never given out, by us or by the backend.
            return pick(u, &[0, MAPPED, MAPPED | 0x3f_ffff, MAPPED | 0x2000_7777, 0x7fff_ffff, CK_ULONG::MAX]);
        }
        pick(u, &known)
    }

    /// Something happens to the device.
    fn device(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        const KINDS: &[FaultKind] = &[
            FaultKind::Error,
            FaultKind::ErrorAfter,
            FaultKind::Disconnect,
            FaultKind::ShortReply,
            FaultKind::NullReply,
            FaultKind::BadPoint,
            FaultKind::WrongSignature,
            FaultKind::WrongSlot,
        ];
        let device = &self.world.site.device;
        match u.int_in_range(0..=3)? {
            0 => device.disconnect().expect("the daemon restarts"),
            1 => {
                device.change_behaviour(|behaviour| behaviour.faults.clear()).expect("faults are cleared");
                // What it has broken is not whole at once: a lost connection shows at the next call.
            }
            _ => {
                let (after, times, kind) = (u.int_in_range(1..=9)?, u.int_in_range(1..=2)?, pick(u, KINDS)?);
                // One reply that is cut short is noticed. Of two alike nobody could tell: it may be another device.
                let times = if kind == FaultKind::ShortReply { 1 } else { times };
                let pending = device.behaviour().expect("the device").faults;
                if !pending.is_empty()
                    && pending.iter().any(|fault| fault.kind == kind || kind == FaultKind::ShortReply)
                {
                    return Ok(());
                }
                let fault = Fault { call: ANY.to_owned(), after, times, kind };
                device.change_behaviour(|behaviour| behaviour.faults.push(fault)).expect("a fault");
                self.model.trouble = true;
            }
        }
        Ok(())
    }

    /// The device is whole again and loses what it loses at a power cycle: every token pair is still there, is found, and
    /// signs, and nothing else is there.
    fn survive_a_power_cycle(&mut self) {
        if self.model.initialized {
            self.finalize();
        }
        let device = &self.world.site.device;
        device.change_behaviour(|behaviour| behaviour.faults.clear()).expect("faults are cleared");
        device.power_cycle().expect("a power cycle");
        self.model.trouble = false;
        self.initialize();
        let session = self.logged_in();
        self.find_exactly(session, Template::default(), None, None, 100);
        for pair in &self.model.pairs {
            let Some(private) = pair.private.filter(|_| pair.has_private) else { continue };
            let mut digest = [7; 32];
            let mut signature = Guarded::new(64);
            let mut length = 64;
            let mut mechanism = Mechanism::plain(CKM_ECDSA).raw();
            expect("C_SignInit", call!(self.module(), C_SignInit(session, &mut mechanism, private)), &[]);
            let rv = call!(self.module(), C_Sign(session, digest.as_mut_ptr(), 32, signature.pointer(), &mut length));
            expect("C_Sign, after a power cycle", rv, &[]);
            assert!(pair.key.verifies(CKM_ECDSA, &digest, signature.written(64)), "after a power cycle: a wrong key");
        }
    }

    /// Leaves the token empty for the next sequence.
    fn clean_up(&mut self) {
        let session = self.model.sessions[0].handle;
        for pair in &self.model.pairs {
            for handle in [pair.private, pair.public].into_iter().flatten() {
                expect("C_DestroyObject", call!(self.module(), C_DestroyObject(session, handle)), &[]);
            }
        }
        self.model.pairs.clear();
        self.find_exactly(session, Template::default(), None, None, 100);
        self.finalize();
    }
}
