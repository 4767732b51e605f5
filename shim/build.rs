//! Link options of the module.

fn main() {
    // Unloading would leave fork handlers and thread-local destructors pointing at nothing, and the backend module,
    // which is never unloaded, without its caller: `dlclose` keeps the code mapped.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // Every PKCS#11 module exports the same names. Our function lists must hold our functions, whatever the host
    // has linked or preloaded.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-Bsymbolic");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,relro,-z,now");
    println!("cargo::rerun-if-changed=build.rs");
}
