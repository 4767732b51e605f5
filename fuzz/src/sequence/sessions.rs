//! Sessions, login, searches left open, and the token initialised anew.

use std::ptr::null_mut;

use cryptoki_sys::*;
use libfuzzer_sys::arbitrary::{Result, Unstructured};

use super::model::{Login, Session};
use super::{Client, expect};
use crate::call;
use crate::site::{PIN, SO_PIN};

impl Client<'_> {
    pub(super) fn open_session(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let read_write = !u.ratio(1, 5)?;
        let flags = CKF_SERIAL_SESSION | if read_write { CKF_RW_SESSION } else { 0 };
        let mut session = 0;
        let rv = call!(self.module(), C_OpenSession(self.world.slot, flags, null_mut(), None, &mut session));
        let mut errors = Vec::new();
        if !self.model.initialized {
            errors.push(CKR_CRYPTOKI_NOT_INITIALIZED);
        } else if !read_write && self.model.login == Login::SecurityOfficer {
            errors.push(CKR_SESSION_READ_WRITE_SO_EXISTS);
        }
        expect("C_OpenSession", rv, &errors);
        if rv == CKR_OK {
            assert!(self.model.session(session).is_none(), "two sessions have one handle");
            let fresh = Session { handle: session, read_write, searching: false, sign: None, verify: None };
            self.model.sessions.push(fresh);
        }
        Ok(())
    }

    pub(super) fn close_session(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if u.ratio(1, 5)? {
            let rv = call!(self.module(), C_CloseAllSessions(self.world.slot));
            let errors: &[CK_RV] = if self.model.initialized { &[] } else { &[CKR_CRYPTOKI_NOT_INITIALIZED] };
            expect("C_CloseAllSessions", rv, errors);
            self.model.close(|_| true);
        } else {
            let session = self.a_session(u)?;
            let rv = call!(self.module(), C_CloseSession(session));
            expect("C_CloseSession", rv, &self.model.session_errors(session));
            self.model.close(|handle| handle == session);
        }
        Ok(())
    }

    pub(super) fn log_in(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let session = self.a_session(u)?;
        let officer = u.ratio(1, 12)?;
        let right = !u.ratio(1, 10)?;
        let (user, mut pin) = if officer { (CKU_SO, SO_PIN.to_vec()) } else { (CKU_USER, PIN.to_vec()) };
        if !right {
            pin.push(b'x');
        }
        let rv = call!(self.module(), C_Login(session, user, pin.as_mut_ptr(), pin.len() as CK_ULONG));
        let mut errors = self.model.session_errors(session);
        if errors.is_empty() {
            let wanted = if officer { Login::SecurityOfficer } else { Login::User };
            match self.model.login {
                Login::Nobody => {}
                login if login == wanted => errors.push(CKR_USER_ALREADY_LOGGED_IN),
                _ => errors.push(CKR_USER_ANOTHER_ALREADY_LOGGED_IN),
            }
            if officer && self.model.sessions.iter().any(|session| !session.read_write) {
                errors.push(CKR_SESSION_READ_ONLY_EXISTS);
            }
            if !right {
                errors.push(CKR_PIN_INCORRECT);
            }
            if errors.is_empty() {
                self.model.login = wanted;
            }
        }
        expect("C_Login", rv, &errors);
        Ok(())
    }

    pub(super) fn log_out(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let session = self.a_session(u)?;
        let rv = call!(self.module(), C_Logout(session));
        let mut errors = self.model.session_errors(session);
        // SoftHSM2 logs out whoever is not logged in.
        if errors.is_empty() && self.model.login == Login::Nobody && rv != CKR_OK {
            errors.push(CKR_USER_NOT_LOGGED_IN);
        }
        expect("C_Logout", rv, &errors);
        if rv == CKR_OK {
            self.model.log_out();
        }
        Ok(())
    }

    /// Searches left open, states, initialised tokens.
    pub(super) fn seldom(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let session = self.a_session(u)?;
        match u.int_in_range(0..=5)? {
            0 => {
                let rv = call!(self.module(), C_FindObjectsInit(session, null_mut(), 0));
                let mut errors = self.model.session_errors(session);
                if let Some(session) = self.model.session(session) {
                    if session.searching {
                        errors.push(CKR_OPERATION_ACTIVE);
                    }
                    session.searching = true;
                }
                expect("C_FindObjectsInit", rv, &errors);
            }
            1 => {
                let (mut handles, mut count) = ([0; 2], 0);
                let rv = call!(self.module(), C_FindObjects(session, handles.as_mut_ptr(), 2, &mut count));
                let mut errors = self.model.session_errors(session);
                if self.model.session(session).is_some_and(|session| !session.searching) {
                    errors.push(CKR_OPERATION_NOT_INITIALIZED);
                }
                expect("C_FindObjects", rv, &errors);
                assert!(count <= 2);
            }
            2 => {
                let rv = call!(self.module(), C_FindObjectsFinal(session));
                let mut errors = self.model.session_errors(session);
                if let Some(session) = self.model.session(session)
                    && !std::mem::take(&mut session.searching)
                {
                    errors.push(CKR_OPERATION_NOT_INITIALIZED);
                }
                expect("C_FindObjectsFinal", rv, &errors);
            }
            3 => {
                let mut length = 0;
                let rv = call!(self.module(), C_GetOperationState(session, null_mut(), &mut length));
                if self.model.session(session).is_some_and(|session| session.sign.is_some()) {
                    expect("C_GetOperationState", rv, &[CKR_STATE_UNSAVEABLE]);
                }
            }
            4 => self.init_token(u)?,
            _ => {
                let mut info = CK_SESSION_INFO { slotID: 0, state: 0, flags: 0, ulDeviceError: 0 };
                let rv = call!(self.module(), C_GetSessionInfo(session, &mut info));
                expect("C_GetSessionInfo", rv, &self.model.session_errors(session));
            }
        }
        Ok(())
    }

    /// The token is initialised anew, and gets the same PINs again.
    pub(super) fn init_token(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let right = !u.ratio(1, 2)?;
        let mut pin = if right { SO_PIN.to_vec() } else { b"wrong".to_vec() };
        let mut label = *b"fuzz                            ";
        let rv = call!(
            self.module(),
            C_InitToken(self.world.slot, pin.as_mut_ptr(), pin.len() as CK_ULONG, label.as_mut_ptr())
        );
        let mut errors = Vec::new();
        if !self.model.initialized {
            errors.push(CKR_CRYPTOKI_NOT_INITIALIZED);
        } else {
            if !self.model.sessions.is_empty() {
                errors.push(CKR_SESSION_EXISTS);
            }
            if !right {
                errors.push(CKR_PIN_INCORRECT);
            }
        }
        expect("C_InitToken", rv, &errors);
        if rv != CKR_OK {
            return Ok(());
        }
        for number in 0..self.model.pairs.len() {
            self.model.end_pair(number);
        }
        let mut session = 0;
        let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        let rv = call!(self.module(), C_OpenSession(self.world.slot, flags, null_mut(), None, &mut session));
        expect("C_OpenSession", rv, &[]);
        let rv = call!(self.module(), C_Login(session, CKU_SO, pin.as_mut_ptr(), pin.len() as CK_ULONG));
        expect("C_Login", rv, &[]);
        let mut pin = PIN.to_vec();
        expect("C_InitPIN", call!(self.module(), C_InitPIN(session, pin.as_mut_ptr(), pin.len() as CK_ULONG)), &[]);
        expect("C_CloseSession", call!(self.module(), C_CloseSession(session)), &[]);
        Ok(())
    }

    pub(super) fn logged_in(&mut self) -> CK_SESSION_HANDLE {
        let mut session = 0;
        let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        let rv = call!(self.module(), C_OpenSession(self.world.slot, flags, null_mut(), None, &mut session));
        expect("C_OpenSession", rv, &[]);
        let mut pin = PIN.to_vec();
        let rv = call!(self.module(), C_Login(session, CKU_USER, pin.as_mut_ptr(), pin.len() as CK_ULONG));
        expect("C_Login", rv, &[]);
        self.model.login = Login::User;
        let fresh = Session { handle: session, read_write: true, searching: false, sign: None, verify: None };
        self.model.sessions.push(fresh);
        session
    }
}
