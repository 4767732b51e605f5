//! The C ABI of `libzk_app_utils.so` (`zymkey/zk_app_utils.h`). The only unsafe code of this crate.
//!
//! What the library promises, and everything here relies on: the functions have the signatures of the vendor's header;
//! what they hand back through a `T **` is memory of malloc(3) that is ours to free; they do not keep our pointers
//! after they return; a context may be used from any thread, by one at a time. Nothing else is believed: pointers may
//! be NULL, sizes wrong, strings without end.

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicPtr, Ordering};

use holdfast_wallet::{ChildNumber, Curve, PublicKey};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use zeroize::{Zeroize as _, Zeroizing};

use crate::reply::{self, MAX_TEXT};
use crate::{AllocatedSlots, KeySlot, NodeAddress};

/// `zkCTX`.
type ZkCtx = *mut c_void;

/// Declares the functions of the library that are used, all of which must be there.
macro_rules! functions {
    ($($symbol:ident($($argument:ty),*);)+) => {
        /// The library's functions. The library stays loaded for good, so they may be copied and kept.
        #[allow(non_snake_case)]
        #[derive(Clone, Copy)]
        pub struct Functions {
            $($symbol: unsafe extern "C" fn($($argument),*) -> c_int,)+
        }

        impl Functions {
            /// Looks every function up. The error names the first one that is missing.
            fn resolve(library: &Library) -> Result<Self, String> {
                Ok(Self {
                    $($symbol: {
                        type Function = unsafe extern "C" fn($($argument),*) -> c_int;
                        const NAME: &str = stringify!($symbol);
                        // SAFETY: the vendor's header promises this signature; `Option` allows for a symbol whose
                        // value is NULL.
                        let symbol = unsafe { library.get::<Option<Function>>(NAME.as_bytes()) };
                        symbol.ok().and_then(|symbol| *symbol).ok_or_else(|| {
                            format!("it has no function {NAME}, so it is not the vendor's library or is too old")
                        })?
                    },)+
                })
            }
        }
    };
}

functions! {
    zkOpen(*mut ZkCtx);
    zkClose(ZkCtx);
    zkGetModelNumberString(ZkCtx, *mut *mut c_char);
    zkGetFirmwareVersionString(ZkCtx, *mut *mut c_char);
    zkGetSerialNumberString(ZkCtx, *mut *mut c_char);
    zkGenECDSASigFromDigest(ZkCtx, *const u8, c_int, *mut *mut u8, *mut c_int);
    zkDoRawECDH(ZkCtx, c_int, *const u8, c_int, *mut *mut u8);
    zkExportPubKey(ZkCtx, *mut *mut u8, *mut c_int, c_int, bool);
    zkGetAllocSlotsList(ZkCtx, bool, *mut c_int, *mut *mut c_int, *mut c_int);
    zkGenWalletMasterSeedWithBIP39(
        ZkCtx, c_int, *const c_char, *const c_char, *const u8, c_int, *const c_char, *mut *mut c_char
    );
    zkGenWalletChildKey(ZkCtx, c_int, u32, bool, bool, *mut *mut u8);
    zkGetWalletNodeAddrFromKeySlot(ZkCtx, c_int, *mut *mut c_char, *mut *mut c_char, *mut c_int);
    zkGetWalletKeySlotFromNodeAddr(ZkCtx, *const c_char, *const c_char, c_int, *mut c_int);
    zkRemoveKey(ZkCtx, c_int, bool);
}

impl Functions {
    /// Loads the library at `path`, which stays loaded until the process ends: unloading it could pull code from
    /// under threads of its own.
    pub fn load(path: &Path) -> Result<Self, String> {
        let name: &OsStr = path.as_os_str();
        // SAFETY: loading runs the library's initialisers. The caller has checked that nobody but root or this user
        // can have written the file, and the administrator named it as the vendor's library.
        let library = unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| error.to_string())?;
        let functions = Self::resolve(&library);
        std::mem::forget(library);
        functions
    }
}

/// The functions of a library that was loaded once. A forked child uses its parent's: loading again there could wait
/// for a lock of the dynamic linker that some thread of the parent held.
pub struct Loaded(AtomicPtr<Functions>);

impl Loaded {
    /// Not loaded.
    pub const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// The functions, if they were loaded.
    pub fn get(&self) -> Option<Functions> {
        // SAFETY: NULL, or a leaked box of `set`, which nobody changes or frees.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }.copied()
    }

    /// Remembers them for good.
    pub fn set(&self, functions: Functions) {
        self.0.store(Box::leak(Box::new(functions)), Ordering::Release);
    }
}

/// Why a call gave nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum CallError {
    /// The library answered less than zero.
    Failed,
    /// The library answered that all went well, with something that it may not answer.
    Invalid(String),
}

impl From<reply::Invalid> for CallError {
    fn from(reason: reply::Invalid) -> Self {
        Self::Invalid(reason)
    }
}

/// `ZK_EC_KEY_TYPE`.
fn key_type(curve: Curve) -> c_int {
    match curve {
        Curve::P256 => 0,
        Curve::Secp256k1 => 1,
    }
}

fn succeeded(answer: c_int) -> Result<c_int, CallError> {
    if answer < 0 { Err(CallError::Failed) } else { Ok(answer) }
}

/// An open connection to the device, closed when it is dropped.
pub struct Context {
    functions: Functions,
    context: NonNull<c_void>,
}

// SAFETY: the library promises that a context may be used from any thread by one at a time, and a `Context` is not
// `Sync`, so that only its owner uses it.
unsafe impl Send for Context {}

impl Context {
    /// Connects to the device.
    pub fn open(functions: Functions) -> Result<Self, CallError> {
        let mut context = ptr::null_mut();
        // SAFETY: `context` can be written during the call.
        succeeded(unsafe { (functions.zkOpen)(&raw mut context) })?;
        let context = NonNull::new(context).ok_or_else(|| CallError::Invalid("a context that is NULL".into()))?;
        Ok(Self { functions, context })
    }

    fn ctx(&self) -> ZkCtx {
        self.context.as_ptr()
    }

    /// `zkGetModelNumberString`.
    pub fn model(&self) -> Result<String, CallError> {
        self.string(self.functions.zkGetModelNumberString, "the model number")
    }

    /// `zkGetFirmwareVersionString`.
    pub fn firmware(&self) -> Result<String, CallError> {
        self.string(self.functions.zkGetFirmwareVersionString, "the firmware version")
    }

    /// `zkGetSerialNumberString`.
    pub fn serial(&self) -> Result<String, CallError> {
        self.string(self.functions.zkGetSerialNumberString, "the serial number")
    }

    fn string(
        &self,
        function: unsafe extern "C" fn(ZkCtx, *mut *mut c_char) -> c_int,
        what: &str,
    ) -> Result<String, CallError> {
        let mut text = ptr::null_mut();
        // SAFETY: the context is open; `text` can be written during the call.
        succeeded(unsafe { function(self.ctx(), &raw mut text) })?;
        // SAFETY: the call succeeded, so `text` is memory to free, or NULL.
        let text = unsafe { Owned::new(text, false) }?;
        Ok(reply::text(text.text(what)?, what)?)
    }

    /// `zkGenECDSASigFromDigest`.
    pub fn sign(&self, slot: KeySlot, digest: &[u8; 32]) -> Result<[u8; 64], CallError> {
        let (mut signature, mut size) = (ptr::null_mut(), -1);
        // SAFETY: the context is open; the digest has the 32 bytes that the function reads; both results can be
        // written during the call.
        let answer = unsafe {
            (self.functions.zkGenECDSASigFromDigest)(
                self.ctx(),
                digest.as_ptr(),
                slot.number(),
                &raw mut signature,
                &raw mut size,
            )
        };
        succeeded(answer)?;
        // SAFETY: the call succeeded, so `signature` is memory to free, or NULL.
        let signature = unsafe { Owned::new(signature, false) }?;
        Ok(reply::signature(signature.bytes(size)?)?)
    }

    /// `zkDoRawECDH`.
    pub fn ecdh(&self, slot: KeySlot, peer: &PublicKey) -> Result<Zeroizing<[u8; 32]>, CallError> {
        const SECRET_SIZE: c_int = 32;
        let peer = peer.coordinates();
        let mut secret = ptr::null_mut();
        // SAFETY: the context is open; `peer` has the 64 bytes that are passed as its size; `secret` can be written
        // during the call.
        let answer =
            unsafe { (self.functions.zkDoRawECDH)(self.ctx(), slot.number(), peer.as_ptr(), 64, &raw mut secret) };
        succeeded(answer)?;
        // SAFETY: the call succeeded, so `secret` is memory to free, or NULL.
        let secret = unsafe { Owned::new(secret, true) }?;
        Ok(reply::shared_secret(secret.bytes(SECRET_SIZE)?)?)
    }

    /// `zkExportPubKey` from the key store.
    pub fn public_key(&self, slot: KeySlot, curve: Curve) -> Result<PublicKey, CallError> {
        let (mut key, mut size) = (ptr::null_mut(), -1);
        // SAFETY: the context is open; both results can be written during the call.
        let answer =
            unsafe { (self.functions.zkExportPubKey)(self.ctx(), &raw mut key, &raw mut size, slot.number(), false) };
        succeeded(answer)?;
        // SAFETY: the call succeeded, so `key` is memory to free, or NULL.
        let key = unsafe { Owned::new(key, false) }?;
        Ok(reply::public_key(curve, key.bytes(size)?)?)
    }

    /// `zkGetAllocSlotsList` of the key store.
    pub fn allocated_slots(&self) -> Result<AllocatedSlots, CallError> {
        let (mut capacity, mut list, mut count) = (-1, ptr::null_mut::<c_int>(), -1);
        // SAFETY: the context is open; the three results can be written during the call.
        let answer = unsafe {
            (self.functions.zkGetAllocSlotsList)(self.ctx(), false, &raw mut capacity, &raw mut list, &raw mut count)
        };
        succeeded(answer)?;
        if list.is_null() && count == 0 {
            // No slots need no memory.
            return Ok(reply::allocated_slots(reply::slot_counts(capacity, count)?.0, &[])?);
        }
        // SAFETY: the call succeeded, so `list` is memory to free, or NULL.
        let list = unsafe { Owned::new(list, false) }?;
        let (capacity, count) = reply::slot_counts(capacity, count)?;
        let numbers: Vec<c_int> = list
            .exactly(count.saturating_mul(size_of::<c_int>()))?
            .chunks_exact(size_of::<c_int>())
            .filter_map(|number| number.try_into().ok().map(c_int::from_ne_bytes))
            .collect();
        Ok(reply::allocated_slots(capacity, &numbers)?)
    }

    /// `zkGenWalletMasterSeedWithBIP39` without a mnemonic.
    pub fn create_wallet(&self, curve: Curve, name: &CStr) -> Result<KeySlot, CallError> {
        // SAFETY: NULL means that no mnemonic is wanted.
        unsafe { self.create(curve, name, c"", ptr::null_mut()) }
    }

    /// `zkGenWalletMasterSeedWithBIP39` with a mnemonic.
    pub fn create_wallet_bip39(
        &self,
        curve: Curve,
        name: &CStr,
        passphrase: &CStr,
    ) -> Result<(KeySlot, Zeroizing<String>), CallError> {
        let mut mnemonic = ptr::null_mut();
        // SAFETY: `mnemonic` can be written during the call.
        let slot = unsafe { self.create(curve, name, passphrase, &raw mut mnemonic) }?;
        // SAFETY: the call succeeded, so `mnemonic` is memory to free, or NULL.
        let mnemonic = unsafe { Owned::new(mnemonic, true) }?;
        Ok((slot, reply::mnemonic(mnemonic.text("the mnemonic")?)?))
    }

    /// # Safety
    /// `mnemonic` is NULL or can be written during the call.
    unsafe fn create(
        &self,
        curve: Curve,
        name: &CStr,
        passphrase: &CStr,
        mnemonic: *mut *mut c_char,
    ) -> Result<KeySlot, CallError> {
        // The vendor's client passes an empty array, not NULL, for a master generator key that there is none of.
        let no_generator_key = [0_u8; 1];
        // SAFETY: the context is open; the strings are terminated; no bytes of the generator key are to be read; the
        // caller promises that `mnemonic` fits.
        let answer = unsafe {
            (self.functions.zkGenWalletMasterSeedWithBIP39)(
                self.ctx(),
                key_type(curve),
                c"".as_ptr(),
                name.as_ptr(),
                no_generator_key.as_ptr(),
                0,
                passphrase.as_ptr(),
                mnemonic,
            )
        };
        Ok(reply::slot(succeeded(answer)?)?)
    }

    /// `zkGenWalletChildKey` without the chain code.
    pub fn generate_child(&self, parent: KeySlot, child: ChildNumber) -> Result<KeySlot, CallError> {
        // SAFETY: the context is open; no chain code is asked for, so there is none to write.
        let answer = unsafe {
            (self.functions.zkGenWalletChildKey)(
                self.ctx(),
                parent.number(),
                child.index(),
                child.is_hardened(),
                false,
                ptr::null_mut(),
            )
        };
        Ok(reply::slot(succeeded(answer)?)?)
    }

    /// `zkGetWalletNodeAddrFromKeySlot`.
    pub fn node_of_slot(&self, slot: KeySlot) -> Result<NodeAddress, CallError> {
        let (mut address, mut name, mut master) = (ptr::null_mut(), ptr::null_mut(), -1);
        // SAFETY: the context is open; the three results can be written during the call.
        let answer = unsafe {
            (self.functions.zkGetWalletNodeAddrFromKeySlot)(
                self.ctx(),
                slot.number(),
                &raw mut address,
                &raw mut name,
                &raw mut master,
            )
        };
        succeeded(answer)?;
        if address == name {
            // The same memory twice is not ours to free twice. Both may be NULL.
            // SAFETY: the call succeeded, so `address` is memory to free, or NULL.
            drop(unsafe { Owned::new(address, false) }?);
            return Err(CallError::Invalid("node address and wallet name in the same memory".into()));
        }
        // SAFETY: the call succeeded, so both are memory to free, or NULL, and not the same.
        let (address, name) = unsafe { (Owned::new(address, false), Owned::new(name, false)) };
        let (address, name) = (address?, name?);
        Ok(NodeAddress {
            path: reply::node_path(address.text("the node address")?)?,
            wallet_name: reply::text(name.text("the wallet name")?, "the wallet name")?,
            master_slot: reply::slot(master)?,
        })
    }

    /// `zkGetWalletKeySlotFromNodeAddr` in a wallet given by its name.
    pub fn slot_of_node(&self, path: &CStr, wallet_name: &CStr) -> Result<KeySlot, CallError> {
        // The master's slot does not count when there is a name; the vendor's client passes 0.
        const NO_MASTER_SLOT: c_int = 0;
        let mut slot = -1;
        // SAFETY: the context is open; the strings are terminated; `slot` can be written during the call.
        let answer = unsafe {
            (self.functions.zkGetWalletKeySlotFromNodeAddr)(
                self.ctx(),
                path.as_ptr(),
                wallet_name.as_ptr(),
                NO_MASTER_SLOT,
                &raw mut slot,
            )
        };
        succeeded(answer)?;
        Ok(reply::slot(slot)?)
    }

    /// `zkRemoveKey` from the key store.
    pub fn remove_key(&self, slot: KeySlot) -> Result<(), CallError> {
        // SAFETY: the context is open.
        succeeded(unsafe { (self.functions.zkRemoveKey)(self.ctx(), slot.number(), false) }).map(|_| ())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context is open, and nobody can use it afterwards.
        let _ = unsafe { (self.functions.zkClose)(self.ctx()) };
    }
}

/// Memory that the library allocated and we free.
struct Owned {
    memory: NonNull<c_void>,
    /// Overwritten before it is freed.
    secret: bool,
}

impl Owned {
    /// Takes over what a successful call left in a result, and refuses what cannot be memory of malloc(3).
    ///
    /// # Safety
    /// `memory` is NULL, or memory of malloc(3) that nobody else frees.
    unsafe fn new<T>(memory: *mut T, secret: bool) -> Result<Self, CallError> {
        let memory = NonNull::new(memory.cast()).ok_or_else(|| CallError::Invalid("a pointer that is NULL".into()))?;
        if !memory.is_aligned_to_word() {
            return Err(CallError::Invalid("a pointer that malloc(3) would not give".into()));
        }
        Ok(Self { memory, secret })
    }

    /// How many bytes there are at least. This is malloc's own word, so that a size which the library got wrong does
    /// not make us read beyond them.
    fn usable_size(&self) -> usize {
        // SAFETY: `new` was promised memory of malloc(3), and it is not freed before the drop.
        unsafe { libc::malloc_usable_size(self.memory.as_ptr()) }
    }

    /// The first `size` bytes, the size as the library gave it.
    fn bytes(&self, size: c_int) -> Result<&[u8], CallError> {
        let size = usize::try_from(size).map_err(|_| CallError::Invalid(format!("a size of {size}")))?;
        // No reply of bytes is longer than a public key; more would only be copied to be refused.
        const MOST: usize = 4096;
        if size > MOST {
            return Err(CallError::Invalid(format!("a size of {size}")));
        }
        self.exactly(size)
    }

    fn exactly(&self, size: usize) -> Result<&[u8], CallError> {
        if size > self.usable_size() {
            return Err(CallError::Invalid(format!("a size of {size} for memory of {}", self.usable_size())));
        }
        // SAFETY: there are that many bytes, they are ours, and u8 has no alignment. The library wrote them or they
        // are what malloc left there, which is no less initialised for coming from foreign code.
        Ok(unsafe { slice::from_raw_parts(self.memory.as_ptr().cast(), size) })
    }

    /// The bytes before the first zero.
    fn text(&self, what: &str) -> Result<&[u8], CallError> {
        let bytes = self.exactly(self.usable_size().min(MAX_TEXT + 1))?;
        let end = bytes.iter().position(|&byte| byte == 0);
        let end = end.ok_or_else(|| CallError::Invalid(format!("{what} does not end")))?;
        bytes.get(..end).ok_or_else(|| CallError::Invalid(format!("{what} does not end")))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if self.secret {
            let size = self.usable_size();
            // SAFETY: there are that many bytes, and they are ours alone.
            unsafe { slice::from_raw_parts_mut(self.memory.as_ptr().cast::<u8>(), size) }.zeroize();
        }
        // SAFETY: `new` was promised memory of malloc(3) that nobody else frees, and this happens once.
        unsafe { libc::free(self.memory.as_ptr()) };
    }
}

trait WordAligned {
    fn is_aligned_to_word(&self) -> bool;
}

impl WordAligned for NonNull<c_void> {
    /// malloc(3) aligns for any type, so at least for a pointer.
    fn is_aligned_to_word(&self) -> bool {
        self.addr().get().is_multiple_of(align_of::<usize>())
    }
}

/// A value that each process has its own of: a forked child finds a new one, whatever state a thread of its parent
/// left the parent's in. The parent's is neither used nor dropped there.
pub struct PerProcess<T> {
    current: AtomicPtr<Owner<T>>,
}

struct Owner<T> {
    process: u32,
    value: T,
}

impl<T: Default> PerProcess<T> {
    /// No value yet; the first [`PerProcess::get`] makes one.
    pub const fn new() -> Self {
        Self { current: AtomicPtr::new(ptr::null_mut()) }
    }

    /// This process's value.
    pub fn get(&self) -> &T {
        let process = std::process::id();
        loop {
            let current = self.current.load(Ordering::Acquire);
            // SAFETY: NULL, or a box that `publish` made and that is freed by nobody but the drop, which needs `self`
            // alone.
            if let Some(owner) = unsafe { current.as_ref() }
                && owner.process == process
            {
                return &owner.value;
            }
            self.publish(current, Box::new(Owner { process, value: T::default() }));
        }
    }

    /// Puts `new` in the place of `old`, unless another thread was faster. `old` is left alone for good: it is the
    /// parent's.
    fn publish(&self, old: *mut Owner<T>, new: Box<Owner<T>>) {
        let new = Box::into_raw(new);
        if self.current.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: it came out of a box just now, and nobody else has seen it.
            drop(unsafe { Box::from_raw(new) });
        }
    }

    /// Forgets the value without dropping it. For a forked child that knows it is one, so that it does not depend on
    /// its process number being another one (in a new PID namespace it may be the same).
    pub fn forget(&self) {
        self.current.store(ptr::null_mut(), Ordering::Release);
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let current = *self.current.get_mut();
        // SAFETY: NULL, or a box that `publish` made; nobody else has a reference to it while `self` is dropped.
        if unsafe { current.as_ref() }.is_some_and(|owner| owner.process == std::process::id()) {
            // SAFETY: as above, and it is freed once.
            drop(unsafe { Box::from_raw(current) });
        }
    }
}
