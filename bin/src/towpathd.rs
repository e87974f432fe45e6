//! The Towpath server.

fn main() -> std::process::ExitCode {
    towpath::server::cli::main()
}
