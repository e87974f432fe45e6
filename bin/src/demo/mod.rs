//! `towpath demo`: a server and its clients in one process, and what they do for each other.
//!
//! Every step is a command that a person would type, run in this process by the same code. The
//! server listens at several loopback addresses over SCTP in user space, so nothing is needed but
//! permission to open UDP sockets.

mod error;
mod figures;
mod size;
mod stage;
mod steps;

/// Runs the demonstration; true if every step went as it should.
pub(crate) fn run() -> bool {
    match steps::all() {
        Ok(()) => {
            println!("\nAll of it worked. Now on your own machines: see the README.");
            true
        }
        Err(error) => {
            eprintln!("towpath demo: {error}");
            false
        }
    }
}
