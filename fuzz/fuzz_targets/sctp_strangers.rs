//! An SCTP listener to which anybody sends anything.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| towpath_sctp::fuzzing::strangers(data));
