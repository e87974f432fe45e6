//! A server against a client that sends any records, under fixed keys.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| towpath_protocol::fuzzing::server_transfers(data));
