//! The command line of `towpathd`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use towpath_protocol::Role;
use towpath_protocol::signed::UserName;

use super::admin::{self, AdminError, Password};
use super::config::Transport;
use super::run::{self, Listen, ListenOptions, RunError};

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed; the message says at what
  2  wrong usage
  3  the server directory is missing, damaged or in use";

/// Towpath's server: keeps an organisation's files encrypted at rest and serves them over SCTP.
#[derive(Debug, Parser)]
#[command(name = "towpathd", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a server directory: certificate, storage key, empty user registry, store
    Init {
        /// The directory to create; it must be absent or empty
        dir: PathBuf,
    },
    /// Serve until SIGINT or SIGTERM
    Run(RunArguments),
    /// Manage users; safe while the server runs
    #[command(subcommand)]
    User(UserCommand),
}

#[derive(Debug, Args)]
struct RunArguments {
    /// Path of the server directory
    dir: PathBuf,
    /// A local address to listen on; repeat it for several networks [default: every IPv4 address]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<IpAddr>,
    /// SCTP port [default: 9260]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Transport: SCTP of the kernel, SCTP in user space, or both [default: auto]
    #[arg(long, value_enum)]
    transport: Option<Transport>,
    /// UDP port of SCTP in user space [default: 9899]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    udp_port: Option<u16>,
    /// Listen on a UNIX socket instead
    #[arg(long, hide = true, value_name = "PATH")]
    unix: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Add a user; the password is asked for unless it comes from a file or a key is given
    Add {
        /// Path of the server directory
        dir: PathBuf,
        /// The user's name: lower-case letters, digits, `.`, `_` and `-`
        name: UserName,
        /// admin, maintainer or guest
        #[arg(long)]
        role: Role,
        /// Read the password from the first line of a file
        #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
        password_file: Option<PathBuf>,
        /// Read the password from the first line of standard input
        #[arg(long)]
        password_stdin: bool,
        /// Register an OpenSSH Ed25519 public key
        #[arg(long, value_name = "FILE.pub")]
        key: Option<PathBuf>,
    },
    /// List the users
    List {
        /// Path of the server directory
        dir: PathBuf,
    },
    /// Change a user's role; takes effect on open sessions
    Role {
        /// Path of the server directory
        dir: PathBuf,
        /// Name of the user
        name: UserName,
        /// admin, maintainer or guest
        role: Role,
    },
    /// Remove a user; their files stay
    Remove {
        /// Path of the server directory
        dir: PathBuf,
        /// Name of the user
        name: UserName,
    },
}

/// Runs `towpathd` with the process's arguments.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match dispatch(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("towpathd: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(command: Command) -> Result<(), CommandError> {
    match command {
        Command::Init { dir } => {
            print!("{}", admin::init(&dir)?);
            Ok(())
        }
        Command::Run(arguments) => {
            let listen = match arguments.unix {
                Some(path) => Listen::Unix(path),
                None => Listen::Sctp(ListenOptions {
                    addresses: arguments.listen,
                    port: arguments.port,
                    transport: arguments.transport,
                    udp_port: arguments.udp_port,
                    link_faults: None,
                }),
            };
            Ok(run::run(&arguments.dir, listen)?)
        }
        Command::User(UserCommand::Add {
            dir,
            name,
            role,
            password_file,
            password_stdin,
            key,
        }) => {
            let password = match (password_file, password_stdin, &key) {
                (Some(path), _, _) => Password::File(path),
                (None, true, _) => Password::StandardInput,
                (None, false, Some(_)) => Password::None,
                (None, false, None) => Password::Ask,
            };
            let user = admin::add_user(&dir, name, role, password, key.as_deref())?;
            println!("added {} as {}, uid {}", user.name, user.role, user.uid);
            for entry in &user.keys {
                println!("key {}", entry.key.fingerprint());
            }
            Ok(())
        }
        Command::User(UserCommand::List { dir }) => Ok(admin::list_users(&dir)?),
        Command::User(UserCommand::Role { dir, name, role }) => {
            Ok(admin::set_role(&dir, &name, role)?)
        }
        Command::User(UserCommand::Remove { dir, name }) => Ok(admin::remove_user(&dir, &name)?),
    }
}

#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    Run(#[from] RunError),
}

impl CommandError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Admin(error) => error.exit_code(),
            Self::Run(error) => error.exit_code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_password_is_never_an_argument() {
        let parse = Arguments::try_parse_from([
            "towpathd",
            "user",
            "add",
            "dir",
            "alice",
            "--role",
            "guest",
            "--password",
            "secret",
        ]);
        assert!(parse.is_err());
    }
}
