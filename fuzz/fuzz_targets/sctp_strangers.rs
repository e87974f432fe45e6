//! An SCTP listener that receives arbitrary datagrams.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| towpath_sctp::fuzzing::strangers(data, Instant::now()));
