//! `towpath-sctp` over plain sockets with the command line of `tests/peers/usrsctp_peer.c`, so that
//! each can stand on either side of the other.
#![forbid(unsafe_code)]

mod cli;
mod client;
mod server;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Role};
use crate::client::Client;
use crate::server::Server;
use crate::wire::Wire;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.role {
        Role::Server => Wire::new(&cli).and_then(|wire| Server::new(wire, &cli).run()),
        Role::Client => Wire::new(&cli).and_then(|wire| Client::new(wire, &cli)?.run()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("error {error}");
            ExitCode::FAILURE
        }
    }
}
