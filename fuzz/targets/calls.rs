//! Sequences of calls over the whole function list, against a model of what mapped keys answer.
#![no_main]

use holdfast_fuzz::sequence;
use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| sequence::play(&mut Unstructured::new(data)));
