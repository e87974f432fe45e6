//! The Towpath client, and the demonstration of client and server.
#![forbid(unsafe_code)]

mod demo;

use towpath_client::cli::{Cli, Command};
use towpath_client::exit::Exit;
use towpath_client::run;

fn main() {
    let cli = Cli::read();
    if !matches!(cli.command, Command::Demo) {
        run::main(&cli)
    }
    let exit = match demo::run() {
        true => Exit::Success,
        false => Exit::Partial,
    };
    std::process::exit(i32::from(exit.code()))
}
