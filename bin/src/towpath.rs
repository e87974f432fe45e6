//! The Towpath client, and the demonstration of client and server.
#![forbid(unsafe_code)]

mod demo;

fn main() {
    towpath_client::main(demo::run)
}
