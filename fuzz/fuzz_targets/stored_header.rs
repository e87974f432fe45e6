//! The header of a stored file, written by anyone.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    towpath_store::fuzzing::header(data);
});
