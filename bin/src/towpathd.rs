//! The Towpath server.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    towpath_server::cli::main()
}
