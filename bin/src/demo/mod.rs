//! `towpath demo`: a server and its clients in one process.
//!
//! Every step is a command as a user types it, run in this process by the same code. The
//! server listens at several loopback addresses over SCTP in user space, so nothing is needed but
//! permission to open UDP sockets.

mod error;
mod size;
mod stage;
mod statistics;
mod steps;

/// Runs the demo; true if every step succeeded.
pub(crate) fn run() -> bool {
    match steps::all() {
        Ok(()) => {
            println!("\nEvery step succeeded. To set up your own server, see README.md.");
            true
        }
        Err(error) => {
            eprintln!("towpath demo: {error}");
            false
        }
    }
}
