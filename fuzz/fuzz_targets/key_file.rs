//! A storage key file.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    towpath_store::fuzzing::key_file(data);
});
