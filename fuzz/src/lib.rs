//! What the fuzz targets share: a token and an emulated device that live as long as the process, calls through the C ABI
//! with buffers whose bounds are watched, and the public keys that answers are checked with.

pub mod bench;
pub mod call;
pub mod input;
pub mod key;
pub mod sequence;
pub mod site;
