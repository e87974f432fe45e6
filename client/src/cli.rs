//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use towpath_protocol::Role;
use towpath_protocol::signed::UserName;

use crate::exit::Exit;
use crate::limits::{DEFAULT_PARALLEL, MAX_PARALLEL};
use crate::transport::{RouteOptions, Transport};

/// Secure file transfer that survives the loss of a network path.
///
/// A URL is `towpath://USER@ADDRESS[,ADDRESS…][:PORT]/PATH`. Several addresses are addresses of one
/// server, all used by one connection. The port is 9260 unless given; IPv6 addresses are in
/// brackets; in the path `%20` is a space and `%25` a percent sign.
#[derive(Debug, Parser)]
#[command(
    name = "towpath",
    version,
    max_term_width = 110,
    arg_required_else_help = true
)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// Options of every command; allowed before and after its name.
#[derive(Debug, Args)]
pub struct Common {
    /// Directory of keys, known servers and pins [default: TOWPATH_CONFIG_DIR, else
    /// ~/.config/towpath]
    #[arg(long, global = true, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
    /// The server's key must be this one; also trusts it the first time
    #[arg(long, global = true, value_name = "SHA256:…")]
    pub fingerprint: Option<String>,
    /// Trust an unknown server without asking
    #[arg(long, global = true)]
    pub trust_first_use: bool,
    /// Log in with the password in the first line of this file (`-`: standard input)
    #[arg(long, global = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// The private key to log in and to sign with [default: id_ed25519 in the configuration
    /// directory]
    #[arg(long, short, global = true, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// The passphrase of the key is the first line of this file (`-`: standard input)
    #[arg(long, global = true, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Never prompt
    #[arg(long, global = true)]
    pub batch: bool,
    /// Print errors only
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Seconds for the connection to come up
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub connect_timeout: u64,
    /// Transport: SCTP of the kernel, or SCTP in user space over UDP
    #[arg(long, global = true, value_enum, default_value_t = Transport::Auto)]
    pub transport: Transport,
    /// The server's UDP port, for SCTP in user space
    #[arg(long, global = true, value_name = "PORT", default_value_t = towpath_io_mio::carrier::udp::UDP_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    pub udp_port: u16,
    /// Local address to use; may be repeated
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub bind: Vec<IpAddr>,
    /// Connect to a test server at this socket instead
    #[arg(long, global = true, hide = true, value_name = "PATH")]
    pub unix: Option<PathBuf>,
}

impl Cli {
    /// Parses the command line of the process; ends the process on a usage error or for help.
    #[must_use]
    pub fn read() -> Self {
        let command = Self::command().after_help(Exit::table());
        match Self::from_arg_matches(&command.get_matches()) {
            Ok(cli) => cli,
            Err(error) => error.exit(),
        }
    }

    /// Whether to print statistics.
    pub(crate) fn stats(&self) -> bool {
        match &self.command {
            Command::Get(args) => args.transfers.stats,
            Command::Put(args) => args.transfers.stats,
            _ => false,
        }
    }
}

impl Common {
    /// The options about the route to the server.
    pub(crate) fn route(&self) -> RouteOptions {
        RouteOptions {
            transport: self.transport,
            udp_port: self.udp_port,
            bind: self.bind.clone(),
            unix: self.unix.clone(),
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List files: size, time, version, owner, name
    Ls(Ls),
    /// Get files, verified
    ///
    /// Size, hash, signature and signer are verified before a file appears under its name. LOCAL is
    /// a file, a directory, or `-` for standard output [default: the current directory]. When the
    /// connection is lost, a partial file `.NAME.towpath-partial` stays, and the same command
    /// continues it. With -r the files below a directory come below LOCAL itself, or below
    /// LOCAL/NAME when LOCAL is `.` or ends in `/`.
    #[command(override_usage = "towpath get [OPTIONS] URL… [LOCAL]")]
    Get(Get),
    /// Put files, signed
    ///
    /// Each file is read once, sent, and signed with your key. A URL that ends in `/` is a
    /// directory. With -r a local directory comes below it under its own name, or without it when
    /// written with a `/` at its end.
    #[command(override_usage = "towpath put [OPTIONS] LOCAL… URL")]
    Put(Put),
    /// Delete files, with a signature
    Rm(Rm),
    /// Show the logged-in user and role
    Whoami(Whoami),
    /// Generate, register and list keys
    #[command(subcommand)]
    Keys(Keys),
    /// List, add and remove users, and change their roles (administrators)
    #[command(subcommand)]
    Users(Users),
    /// Write a file's proof of authorship for ssh-keygen and b3sum
    ///
    /// Writes DIR/NAME.manifest, DIR/NAME.sig, DIR/NAME.b3 and a line in DIR/allowed_signers, and
    /// prints the commands that check them:
    /// `ssh-keygen -Y verify -f allowed_signers -I USER -n file@towpath -s NAME.sig <
    /// NAME.manifest` shows that USER signed, and `b3sum --check NAME.b3` (beside the file)
    /// that this is what they signed.
    Export(Export),
    /// Show what Towpath does: a server and its clients in this process, on loopback addresses
    Demo,
}

/// Options of transfers.
#[derive(Debug, Args)]
pub struct Transfers {
    /// Parallel transfers
    #[arg(long, short = 'j', value_name = "N", default_value_t = DEFAULT_PARALLEL as u64, value_parser = clap::value_parser!(u64).range(1..=MAX_PARALLEL as u64))]
    pub parallel: u64,
    /// Print statistics of each transfer, for programs:
    /// `stats transfer=NAME bytes=N seconds=S longest_stall_ms=N`, then
    /// `link transfer=NAME direction=get|put transport=NAME paths=…`
    #[arg(long)]
    pub stats: bool,
}

/// Allowed contradictions of the pins.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Pinned {
    /// Accept another signer than the one seen before, and pin the new one
    #[arg(long)]
    pub accept_signer: bool,
    /// Accept an older version than the one seen before, as after a restored backup
    #[arg(long)]
    pub accept_rollback: bool,
}

/// `towpath ls`
#[derive(Debug, Args)]
pub struct Ls {
    /// A file or directory on the server
    pub url: String,
    /// One JSON object on each line
    #[arg(long)]
    pub json: bool,
}

/// `towpath get`
#[derive(Debug, Args)]
pub struct Get {
    /// Files on the server, then the local target
    #[arg(required = true, value_name = "URL… LOCAL")]
    pub places: Vec<String>,
    /// Get every file below a directory
    #[arg(long, short)]
    pub recursive: bool,
    /// With `-`: write data before it is verified (a failure still sets the exit code)
    #[arg(long)]
    pub unverified: bool,
    /// Options of the transfers.
    #[command(flatten)]
    pub transfers: Transfers,
    /// Allowed contradictions of the pins.
    #[command(flatten)]
    pub pinned: Pinned,
}

/// `towpath put`
#[derive(Debug, Args)]
pub struct Put {
    /// Local files (`-`: standard input), then the URL to put them at
    #[arg(required = true, value_name = "LOCAL… URL")]
    pub places: Vec<String>,
    /// Put directories with every file in them
    #[arg(long, short)]
    pub recursive: bool,
    /// Replace a file that is damaged on the server and whose owner is unreadable (administrators)
    #[arg(long)]
    pub replace_damaged: bool,
    /// Options of the transfers.
    #[command(flatten)]
    pub transfers: Transfers,
    /// Allowed contradictions of the pins.
    #[command(flatten)]
    pub pinned: Pinned,
}

/// `towpath rm`
#[derive(Debug, Args)]
pub struct Rm {
    /// Files on the server
    #[arg(required = true, value_name = "URL")]
    pub urls: Vec<String>,
    /// Allowed contradictions of the pins.
    #[command(flatten)]
    pub pinned: Pinned,
}

/// `towpath whoami`
#[derive(Debug, Args)]
pub struct Whoami {
    /// The server
    pub url: String,
}

/// `towpath keys`
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Generate an Ed25519 key in OpenSSH's format (0600; an existing one is never overwritten)
    New(KeysNew),
    /// Register your key at a server, with a statement signed by the key
    Add(KeysAdd),
    /// List a user's keys: fingerprint, whether pinned here, how it was registered, comment
    List(KeysList),
}

/// `towpath keys new`
#[derive(Debug, Args)]
pub struct KeysNew {
    /// Comment of the key (default: USER@towpath)
    #[arg(long)]
    pub comment: Option<String>,
    /// Store it without a passphrase, without asking
    #[arg(long)]
    pub no_passphrase: bool,
}

/// `towpath keys add`
#[derive(Debug, Args)]
pub struct KeysAdd {
    /// The server
    pub url: String,
    /// The private key to register [default: the identity]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
}

/// `towpath keys list`
#[derive(Debug, Args)]
pub struct KeysList {
    /// The server
    pub url: String,
    /// User whose keys to list [default: yourself]
    pub user: Option<String>,
}

/// `towpath users`
#[derive(Debug, Subcommand)]
pub enum Users {
    /// List all users: name, role, uid, number of keys
    List(UsersList),
    /// Add a user, who logs in by key, by password, or both
    Add(UsersAdd),
    /// Remove a user; their files stay
    Remove(UsersOne),
    /// Give a user another role; takes effect on open sessions
    Role(UsersRole),
}

/// `towpath users list`
#[derive(Debug, Args)]
pub struct UsersList {
    /// The server
    pub url: String,
}

/// `towpath users add`
#[derive(Debug, Args)]
pub struct UsersAdd {
    /// The server
    pub url: String,
    /// User name
    pub name: UserName,
    /// admin, maintainer or guest
    #[arg(long, default_value_t = Role::Guest)]
    pub role: Role,
    /// Their OpenSSH Ed25519 public key
    #[arg(
        long,
        value_name = "FILE.pub",
        required_unless_present = "new_password_file"
    )]
    pub key: Option<PathBuf>,
    /// Their password is the first line of this file
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
}

/// `towpath users remove`
#[derive(Debug, Args)]
pub struct UsersOne {
    /// The server
    pub url: String,
    /// User name
    pub name: UserName,
}

/// `towpath users role`
#[derive(Debug, Args)]
pub struct UsersRole {
    /// The server
    pub url: String,
    /// User name
    pub name: UserName,
    /// admin, maintainer or guest
    pub role: Role,
}

/// `towpath export`
#[derive(Debug, Args)]
pub struct Export {
    /// The file on the server
    pub url: String,
    /// Directory to write to
    pub directory: PathBuf,
    /// Allowed contradictions of the pins.
    #[command(flatten)]
    pub pinned: Pinned,
}
