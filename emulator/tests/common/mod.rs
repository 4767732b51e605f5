//! A device in a temporary directory, and a client that loads the library as every client does.

#![allow(dead_code, reason = "no test needs all of it")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::ptr;
use std::sync::OnceLock;

use libloading::Library;

/// The directory in which cargo leaves the tests of a profile and, beside them, the library.
fn deps() -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own path");
    test.parent().expect("the test lies in a directory").to_path_buf()
}

/// The emulator's library.
pub fn library_path() -> PathBuf {
    let path = deps().join("libzk_app_utils.so");
    assert!(path.is_file(), "{} is missing: cargo builds it with the tests of this crate", path.display());
    path
}

/// The workspace's target directory.
pub fn target_dir() -> PathBuf {
    deps().ancestors().nth(2).expect("target/<profile>/deps").to_path_buf()
}

/// An emulated device that goes with the value.
pub struct TempDevice(tempfile::TempDir);

impl TempDevice {
    /// A device made with these arguments to `create`.
    pub fn new(arguments: &[&str]) -> Self {
        let device = Self(tempfile::tempdir().expect("a temporary directory"));
        let mut all = vec!["create"];
        all.extend(arguments);
        device.emulator(&all);
        device
    }

    /// Its state directory.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs `holdfast-emulator`, whatever it answers.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-emulator"));
        command.arg("--state").arg(self.path()).args(arguments).env_remove("HOLDFAST_EMULATOR_STATE");
        command.output().expect("holdfast-emulator runs")
    }

    /// Runs `holdfast-emulator --json`, which must succeed.
    pub fn emulator(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.run(&[&["--json"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("--json answers JSON")
    }

    /// The slots that hold a key.
    pub fn used_slots(&self) -> Vec<i32> {
        let answer = self.emulator(&["slots"]);
        let slots = answer["slots"].as_array().expect("a list of slots");
        slots.iter().map(|slot| i32::try_from(slot["slot"].as_i64().expect("a number")).expect("small")).collect()
    }

    /// What `slots` says of one slot.
    pub fn slot(&self, number: i32) -> serde_json::Value {
        let answer = self.emulator(&["slots"]);
        let slots = answer["slots"].as_array().expect("a list of slots");
        slots.iter().find(|slot| slot["slot"] == number).cloned().unwrap_or_default()
    }

    /// Runs this test again as a child process with a role, which the test finds in `EMULATOR_TEST_ROLE`.
    pub fn role(&self, test: &str, role: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("the test knows its own path"));
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
        command.env("HOLDFAST_EMULATOR_STATE", self.path()).env("EMULATOR_TEST_ROLE", role);
        command
    }
}

/// The role that [`TempDevice::role`] gave to this process.
///
/// Ends the line on which the test harness has announced the test, so that what the role prints begins a line.
pub fn role() -> Option<String> {
    let role = std::env::var("EMULATOR_TEST_ROLE").ok()?;
    println!();
    Some(role)
}

fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    // SAFETY: the library has no initialisers.
    LIBRARY.get_or_init(|| unsafe { Library::new(library_path()) }.expect("the emulator's library loads"))
}

/// A function of the library.
macro_rules! call {
    ($name:ident($($argument:expr => $type:ty),* $(,)?)) => {{
        // SAFETY: the types are those of zk_app_utils.h.
        unsafe {
            let function = library()
                .get::<unsafe extern "C" fn($($type),*) -> c_int>(stringify!($name).as_bytes())
                .expect(concat!(stringify!($name), " is exported"));
            function($($argument),*)
        }
    }};
}

/// An open context. Functions answer what the library does, results beside it.
pub struct Client(*mut c_void);

// SAFETY: the emulator's context is a number, not a pointer, and any thread may use it.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Drop for Client {
    fn drop(&mut self) {
        self.close();
    }
}

impl Client {
    /// Opens the device of the environment, which only a child process has.
    pub fn open() -> Result<Self, i32> {
        let mut ctx = ptr::null_mut();
        match call!(zkOpen(&mut ctx => *mut *mut c_void)) {
            0 => Ok(Self(ctx)),
            error => Err(error),
        }
    }

    pub fn close(&self) -> i32 {
        call!(zkClose(self.0 => *mut c_void))
    }

    pub fn generate(&self, key_type: i32) -> i32 {
        call!(zkGenKeyPair(self.0 => *mut c_void, key_type => c_int))
    }

    pub fn generate_ephemeral(&self, key_type: i32) -> i32 {
        call!(zkGenEphemeralKeyPair(self.0 => *mut c_void, key_type => c_int))
    }

    pub fn remove(&self, slot: i32, foreign: bool) -> i32 {
        call!(zkRemoveKey(self.0 => *mut c_void, slot => c_int, foreign => bool))
    }

    pub fn disable_export(&self, slot: i32, foreign: bool) -> i32 {
        call!(zkDisablePubKeyExport(self.0 => *mut c_void, slot => c_int, foreign => bool))
    }

    pub fn store_foreign(&self, key_type: i32, key: &[u8]) -> i32 {
        let len = c_int::try_from(key.len()).expect("small");
        call!(zkStoreForeignPubKey(self.0 => *mut c_void, key_type => c_int, key.as_ptr() => *const u8, len => c_int))
    }

    pub fn sign(&self, slot: i32, digest: &[u8; 32]) -> Result<Vec<u8>, i32> {
        let (mut data, mut len) = (ptr::null_mut(), 0);
        let answer = call!(zkGenECDSASigFromDigest(
            self.0 => *mut c_void, digest.as_ptr() => *const u8, slot => c_int,
            &mut data => *mut *mut u8, &mut len => *mut c_int,
        ));
        if answer == 0 { Ok(take(data, len)) } else { Err(answer) }
    }

    pub fn sign_with_recovery(&self, slot: i32, digest: &[u8; 32]) -> Result<(Vec<u8>, u8), i32> {
        let (mut data, mut len, mut recovery) = (ptr::null_mut(), 0, 0xee);
        let answer = call!(zkGenECDSASigFromDigestWithRecID(
            self.0 => *mut c_void, digest.as_ptr() => *const u8, slot => c_int,
            &mut data => *mut *mut u8, &mut len => *mut c_int, &mut recovery => *mut u8,
        ));
        if answer == 0 { Ok((take(data, len), recovery)) } else { Err(answer) }
    }

    pub fn verify(&self, slot: i32, digest: &[u8; 32], signature: &[u8]) -> i32 {
        let len = c_int::try_from(signature.len()).expect("small");
        call!(zkVerifyECDSASigFromDigest(
            self.0 => *mut c_void, digest.as_ptr() => *const u8, slot => c_int, signature.as_ptr() => *const u8, len => c_int,
        ))
    }

    pub fn export(&self, slot: i32, foreign: bool) -> Result<Vec<u8>, i32> {
        let (mut data, mut len) = (ptr::null_mut(), 0);
        let answer = call!(zkExportPubKey(
            self.0 => *mut c_void, &mut data => *mut *mut u8, &mut len => *mut c_int, slot => c_int, foreign => bool,
        ));
        if answer == 0 { Ok(take(data, len)) } else { Err(answer) }
    }

    pub fn export_pem(&self, path: &Path, slot: i32) -> i32 {
        let path = text(path.to_str().expect("a path in UTF-8"));
        call!(zkExportPubKey2File(self.0 => *mut c_void, path.as_ptr() => *const c_char, slot => c_int, false => bool))
    }

    pub fn allocated(&self, foreign: bool) -> Result<(i32, Vec<i32>), i32> {
        let (mut max, mut list, mut len) = (0, ptr::null_mut::<c_int>(), 0);
        let answer = call!(zkGetAllocSlotsList(
            self.0 => *mut c_void, foreign => bool, &mut max => *mut c_int, &mut list => *mut *mut c_int,
            &mut len => *mut c_int,
        ));
        if answer != 0 {
            return Err(answer);
        }
        let bytes = take(list.cast(), len * 4);
        Ok((max, bytes.chunks(4).map(|four| i32::from_ne_bytes(four.try_into().expect("four"))).collect()))
    }

    pub fn ecdh(&self, slot: i32, peer: &[u8]) -> Result<Vec<u8>, i32> {
        let (mut data, len) = (ptr::null_mut(), c_int::try_from(peer.len()).expect("small"));
        let answer = call!(zkDoRawECDH(
            self.0 => *mut c_void, slot => c_int, peer.as_ptr() => *const u8, len => c_int, &mut data => *mut *mut u8,
        ));
        if answer == 0 { Ok(take(data, 32)) } else { Err(answer) }
    }

    pub fn create_wallet(&self, key_type: i32, name: &str) -> i32 {
        let (name, empty) = (text(name), text(""));
        call!(zkGenWalletMasterSeedWithBIP39(
            self.0 => *mut c_void, key_type => c_int, empty.as_ptr() => *const c_char, name.as_ptr() => *const c_char,
            ptr::null() => *const u8, 0 => c_int, empty.as_ptr() => *const c_char, ptr::null_mut() => *mut *mut c_char,
        ))
    }

    pub fn create_wallet_bip39(
        &self,
        key_type: i32,
        name: &str,
        key: &[u8],
        passphrase: &str,
    ) -> Result<(i32, String), i32> {
        let (name, empty, passphrase) = (text(name), text(""), text(passphrase));
        let (mut words, len) = (ptr::null_mut::<c_char>(), c_int::try_from(key.len()).expect("small"));
        let answer = call!(zkGenWalletMasterSeedWithBIP39(
            self.0 => *mut c_void, key_type => c_int, empty.as_ptr() => *const c_char, name.as_ptr() => *const c_char,
            key.as_ptr() => *const u8, len => c_int, passphrase.as_ptr() => *const c_char,
            &mut words => *mut *mut c_char,
        ));
        if answer >= 0 { Ok((answer, take_text(words))) } else { Err(answer) }
    }

    pub fn restore_bip39(&self, key_type: i32, name: &str, key: &[u8], passphrase: &str, words: &str) -> i32 {
        let (name, empty, passphrase, words) = (text(name), text(""), text(passphrase), text(words));
        let len = c_int::try_from(key.len()).expect("small");
        call!(zkRestoreWalletMasterSeedFromBIP39Mnemonic(
            self.0 => *mut c_void, key_type => c_int, empty.as_ptr() => *const c_char, name.as_ptr() => *const c_char,
            key.as_ptr() => *const u8, len => c_int, passphrase.as_ptr() => *const c_char,
            words.as_ptr() => *const c_char,
        ))
    }

    pub fn open_slip39(&self, key_type: i32, name: &str, groups: i32, threshold: i32, passphrase: &str) -> i32 {
        let (name, empty, passphrase) = (text(name), text(""), text(passphrase));
        call!(zkGenWalletMasterSeedWithSLIP39(
            self.0 => *mut c_void, key_type => c_int, empty.as_ptr() => *const c_char, name.as_ptr() => *const c_char,
            ptr::null() => *const u8, 0 => c_int, groups => c_int, threshold => c_int, 0 => c_int,
            passphrase.as_ptr() => *const c_char,
        ))
    }

    pub fn set_group(&self, index: i32, members: i32, threshold: i32) -> i32 {
        call!(zkSetSLIP39GroupInfo(self.0 => *mut c_void, index => c_int, members => c_int, threshold => c_int))
    }

    pub fn add_member(&self, password: &str) -> (i32, Option<String>) {
        let (password, mut words) = (text(password), ptr::null_mut::<c_char>());
        let answer = call!(zkAddSLIP39MemberPassword(
            self.0 => *mut c_void, password.as_ptr() => *const c_char, &mut words => *mut *mut c_char,
        ));
        (answer, (!words.is_null()).then(|| take_text(words)))
    }

    pub fn cancel_slip39(&self) -> i32 {
        call!(zkCancelSLIP39Session(self.0 => *mut c_void))
    }

    pub fn restore_slip39(&self, key_type: i32, name: &str, passphrase: &str) -> i32 {
        let (name, empty, passphrase) = (text(name), text(""), text(passphrase));
        call!(zkRestoreWalletMasterSeedFromSLIP39(
            self.0 => *mut c_void, key_type => c_int, empty.as_ptr() => *const c_char, name.as_ptr() => *const c_char,
            ptr::null() => *const u8, 0 => c_int, passphrase.as_ptr() => *const c_char,
        ))
    }

    pub fn add_share(&self, password: &str, words: &str) -> i32 {
        let (password, words) = (text(password), text(words));
        call!(zkAddRestoreSLIP39Mnemonic(
            self.0 => *mut c_void, password.as_ptr() => *const c_char, words.as_ptr() => *const c_char,
        ))
    }

    pub fn child(&self, parent: i32, index: u32, hardened: bool) -> i32 {
        call!(zkGenWalletChildKey(
            self.0 => *mut c_void, parent => c_int, index => u32, hardened => bool, false => bool,
            ptr::null_mut() => *mut *mut u8,
        ))
    }

    pub fn child_with_chain_code(&self, parent: i32, index: u32, hardened: bool) -> Result<(i32, Vec<u8>), i32> {
        let mut code = ptr::null_mut();
        let answer = call!(zkGenWalletChildKey(
            self.0 => *mut c_void, parent => c_int, index => u32, hardened => bool, true => bool,
            &mut code => *mut *mut u8,
        ));
        if answer >= 0 { Ok((answer, take(code, 32))) } else { Err(answer) }
    }

    pub fn oversight(&self, key_type: i32, name: &str, public: &[u8], chain_code: &[u8], node: &str) -> i32 {
        let (name, empty, node) = (text(name), text(""), text(node));
        call!(zkGenOversightWallet(
            self.0 => *mut c_void, key_type => c_int, empty.as_ptr() => *const c_char, public.as_ptr() => *const u8,
            chain_code.as_ptr() => *const u8, node.as_ptr() => *const c_char, name.as_ptr() => *const c_char,
        ))
    }

    pub fn node(&self, slot: i32) -> Result<(String, String, i32), i32> {
        let (mut address, mut name, mut master) = (ptr::null_mut(), ptr::null_mut(), 0);
        let answer = call!(zkGetWalletNodeAddrFromKeySlot(
            self.0 => *mut c_void, slot => c_int, &mut address => *mut *mut c_char, &mut name => *mut *mut c_char,
            &mut master => *mut c_int,
        ));
        if answer == 0 { Ok((take_text(address), take_text(name), master)) } else { Err(answer) }
    }

    pub fn slot_of(&self, address: &str, wallet: Option<&str>, master: i32) -> Result<i32, i32> {
        let (address, wallet, mut slot) = (text(address), wallet.map(text), 0);
        let wallet = wallet.as_ref().map_or(ptr::null(), |wallet| wallet.as_ptr());
        let answer = call!(zkGetWalletKeySlotFromNodeAddr(
            self.0 => *mut c_void, address.as_ptr() => *const c_char, wallet => *const c_char, master => c_int,
            &mut slot => *mut c_int,
        ));
        if answer == 0 { Ok(slot) } else { Err(answer) }
    }

    pub fn firmware(&self) -> Result<String, i32> {
        let mut firmware = ptr::null_mut();
        let answer = call!(zkGetFirmwareVersionString(self.0 => *mut c_void, &mut firmware => *mut *mut c_char));
        if answer == 0 { Ok(take_text(firmware)) } else { Err(answer) }
    }
}

fn text(text: &str) -> CString {
    CString::new(text).expect("no zero byte")
}

/// Copies a result and frees it.
fn take(data: *mut u8, len: c_int) -> Vec<u8> {
    if data.is_null() {
        return Vec::new();
    }
    // SAFETY: the library answered that many bytes in memory of malloc.
    unsafe {
        let bytes = std::slice::from_raw_parts(data, usize::try_from(len).expect("not negative")).to_vec();
        libc::free(data.cast());
        bytes
    }
}

fn take_text(data: *mut c_char) -> String {
    if data.is_null() {
        return String::new();
    }
    // SAFETY: the library answered a terminated string in memory of malloc.
    unsafe {
        let text = CStr::from_ptr(data).to_str().expect("UTF-8").to_owned();
        libc::free(data.cast());
        text
    }
}

/// Whether OpenSSL, which made nothing here, accepts an ECDSA signature (r‖s) by the key X‖Y.
pub fn openssl_verifies(nid: openssl::nid::Nid, public: &[u8], digest: &[u8], signature: &[u8]) -> bool {
    use openssl::bn::{BigNum, BigNumContext};
    use openssl::ec::{EcGroup, EcKey, EcPoint};
    let group = EcGroup::from_curve_name(nid).expect("a curve");
    let mut context = BigNumContext::new().expect("memory");
    let point = EcPoint::from_bytes(&group, &[&[4], public].concat(), &mut context).expect("a point of the curve");
    let key = EcKey::from_public_key(&group, &point).expect("a key");
    let number = |bytes| BigNum::from_slice(bytes).expect("memory");
    let signature =
        openssl::ecdsa::EcdsaSig::from_private_components(number(&signature[..32]), number(&signature[32..]));
    signature.expect("two numbers").verify(digest, &key).expect("verification runs")
}
