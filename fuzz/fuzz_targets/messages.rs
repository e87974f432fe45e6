//! Control messages and record bodies that are taken have exactly the spelling they came in.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| towpath_protocol::fuzzing::messages(data));
