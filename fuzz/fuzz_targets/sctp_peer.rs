//! An SCTP association whose peer acts as the input says.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| towpath_sctp::fuzzing::peer(data, Instant::now()));
