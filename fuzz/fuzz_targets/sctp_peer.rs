//! An SCTP association whose peer does whatever the bytes say.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| towpath_sctp::fuzzing::peer(data));
