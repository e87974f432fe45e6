//! Runs a command: settings, connection, event loop and exit code.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::stat::{Mode, umask};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use towpath_protocol::Escaped;
use towpath_protocol::signed::{SigningKey, UserName};
use zeroize::Zeroizing;

use crate::cli::{self, Cli, Command, Common, Keys, KeysAdd, KeysNew, Pinned};
use crate::drive::drive;
use crate::error::{Error, ErrorKind};
use crate::exit::Exit;
use crate::interaction::Interaction;
use crate::limits::DEFAULT_PARALLEL;
use crate::local::config_dir::{CONFIG_DIR_VARIABLE, ConfigDir};
use crate::local::identity::{IdentitySource, generate_key};
use crate::local::known_servers::parse_fingerprint;
use crate::local::pins::Allowed;
use crate::local::secret::read_secret;
use crate::local::trust::TrustPolicy;
use crate::local::upload::STANDARD;
use crate::plan::{self, Work};
use crate::session::SessionConfig;
use crate::session::login::LoginPlan;
use crate::session::runner::{JobRunner, Settings};
use crate::session::tasks::keys;
use crate::terminal::Terminal;
use crate::terminal::progress::Progress;
use crate::transport;

/// Requirements of a command besides its tasks.
#[derive(Debug, Default)]
struct Needs {
    signing: bool,
    parallel: Option<u64>,
    pinned: Pinned,
    key: Option<Arc<SigningKey>>,
    new_key: Option<Arc<SigningKey>>,
    /// The key to register is the identity, which the server does not know yet.
    adding_identity: bool,
}

/// Runs the command of `cli` on the process's terminal, and ends the process with its exit code.
pub fn main(cli: &Cli) -> ! {
    let shows_progress = matches!(cli.command, Command::Get(_) | Command::Put(_))
        && std::io::stderr().is_terminal()
        && !cli.common.quiet;
    let progress = if shows_progress {
        Progress::shown()
    } else {
        Progress::hidden()
    };
    let terminal = Arc::new(Terminal::new(cli, progress));
    if let Err(error) = watch_signals(Arc::clone(&terminal)) {
        terminal.warn(&Error::io("watch for", "signals", &error).message);
    }
    // The only way to read the umask is to set it; no other thread creates files yet.
    let mask = umask(Mode::from_bits_truncate(0o077));
    umask(mask);
    let exit = match run(cli, &terminal, mask.bits()) {
        Ok(exit) => exit,
        Err(error) => {
            if !error.message.is_empty() {
                terminal.warn(&error.message);
            }
            Exit::Failed(error.kind)
        }
    };
    terminal.finish();
    std::process::exit(i32::from(exit.code()))
}

/// Ends the process on a signal and restores the terminal. Partial files stay for the next get.
fn watch_signals(terminal: Arc<Terminal>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let watch = move || {
        if signals.forever().next().is_some() {
            terminal.interrupt("interrupted; run the same command again to continue a get");
            std::process::exit(i32::from(Exit::Failed(ErrorKind::Interrupted).code()));
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(watch)
        .map(drop)
}

/// Runs the command to its end.
///
/// # Errors
/// The [`Error`] to show; failures of single tasks were shown already, and only determine the exit
/// code.
pub fn run(cli: &Cli, terminal: &Arc<Terminal>, umask: u32) -> Result<Exit, Error> {
    let common = &cli.common;
    let from_environment = std::env::var_os(CONFIG_DIR_VARIABLE)
        .filter(|path| !path.is_empty())
        .map(Into::into);
    let config_dir = ConfigDir::open(common.config_dir.clone().or(from_environment).as_deref())?;
    let identity = IdentitySource::new(
        &config_dir,
        common.identity.clone(),
        common.passphrase_file.clone(),
    );
    let mut needs = Needs::default();
    let work = match &cli.command {
        Command::Ls(args) => plan::ls(args)?,
        Command::Get(args) => {
            needs = Needs {
                parallel: Some(args.transfers.parallel),
                pinned: args.pinned,
                ..needs
            };
            plan::get(args)?
        }
        Command::Put(args) => {
            let input = args.places.iter().any(|place| place == STANDARD);
            check_input(common, input)?;
            needs = Needs {
                signing: true,
                parallel: Some(args.transfers.parallel),
                pinned: args.pinned,
                ..needs
            };
            plan::put(args)?
        }
        Command::Rm(args) => {
            needs = Needs {
                signing: true,
                pinned: args.pinned,
                ..needs
            };
            plan::rm(args)?
        }
        Command::Whoami(args) => plan::single(plan::parse_url(&args.url)?, keys::Whoami),
        Command::Users(args) => {
            if let cli::Users::Add(add) = args {
                let file = add.new_password_file.as_deref();
                check_input(common, file == Some(Path::new(STANDARD)))?;
            }
            plan::users(args, &**terminal)?
        }
        Command::Export(args) => {
            needs.pinned = args.pinned;
            plan::export(args)?
        }
        Command::Demo => {
            return Err(Error::usage(
                "a demonstration does not run within another command",
            ));
        }
        Command::Keys(Keys::New(args)) => return new_key(args, common, &identity, terminal),
        Command::Keys(Keys::List(args)) => {
            let user = args
                .user
                .as_deref()
                .map(UserName::parse)
                .transpose()
                .map_err(|e| Error::usage(format!("not a user name: {e}")))?;
            plan::single(plan::parse_url(&args.url)?, keys::ListKeys::new(user))
        }
        Command::Keys(Keys::Add(args)) => {
            let server = plan::parse_url(&args.url)?;
            let key = key_to_add(args, &identity, &config_dir, common, terminal)?;
            let task = keys::AddKey::new(key.public());
            needs.new_key = Some(key);
            needs.adding_identity = args.key.as_ref().is_none_or(|file| *file == identity.path);
            plan::single(server, task)
        }
    };
    check_input(common, false)?;
    if needs.signing {
        // Unlocked first, so that the prompt does not come at the end of a long transfer.
        needs.key = Some(identity.load(&**terminal).map(Arc::new)?);
    }
    connect(work, needs, common, config_dir, identity, terminal, umask)
}

/// Standard input can be used for one purpose only.
fn check_input(common: &Common, data: bool) -> Result<(), Error> {
    let secrets = [&common.password_file, &common.passphrase_file];
    let uses = secrets
        .iter()
        .filter(|file| file.as_deref().is_some_and(|f| f == Path::new(STANDARD)))
        .count();
    if uses + usize::from(data) > 1 {
        return Err(Error::usage(
            "standard input can only be one thing: a file to put, the password, or the passphrase",
        ));
    }
    Ok(())
}

fn new_key(
    args: &KeysNew,
    common: &Common,
    identity: &IdentitySource,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let user = std::env::var("USER").unwrap_or_else(|_| "user".to_owned());
    let comment = args
        .comment
        .clone()
        .unwrap_or_else(|| format!("{user}@towpath"));
    if comment.chars().any(char::is_control) {
        return Err(Error::usage(
            "a comment is one line without control characters",
        ));
    }
    let passphrase = new_passphrase(args, common, terminal)?;
    let public = generate_key(
        &identity.path,
        &comment,
        passphrase.as_ref().map(|p| p.as_str()),
    )?;
    let text = format!("{} in {}\n", public.fingerprint(), identity.path.display());
    terminal
        .print(text.as_bytes())
        .map_err(|e| Error::output(&e))?;
    terminal.note("register it with `towpath keys add towpath://NAME@HOST/`, or give the .pub file to the server's administrator");
    Ok(Exit::Success)
}

fn new_passphrase(
    args: &KeysNew,
    common: &Common,
    terminal: &Terminal,
) -> Result<Option<Zeroizing<String>>, Error> {
    if args.no_passphrase {
        return Ok(None);
    }
    let given = match &common.passphrase_file {
        Some(file) => read_secret(file, terminal)?,
        None if terminal.is_interactive() => {
            let first = terminal.secret("Passphrase for the new key (empty: none): ")?;
            if !first.is_empty() && *terminal.secret("The same again: ")? != *first {
                return Err(Error::usage("the two passphrases differ; no key was made"));
            }
            first
        }
        None => {
            return Err(Error::usage(
                "there is no terminal to ask for a passphrase; give --passphrase-file or --no-passphrase",
            ));
        }
    };
    Ok(if given.is_empty() { None } else { Some(given) })
}

fn key_to_add(
    args: &KeysAdd,
    identity: &IdentitySource,
    config_dir: &ConfigDir,
    common: &Common,
    terminal: &Terminal,
) -> Result<Arc<SigningKey>, Error> {
    let source = match &args.key {
        Some(file) => IdentitySource::new(
            config_dir,
            Some(file.clone()),
            common.passphrase_file.clone(),
        ),
        None => identity.clone(),
    };
    source.load(terminal).map(Arc::new)
}

fn connect(
    work: Work,
    needs: Needs,
    common: &Common,
    config_dir: ConfigDir,
    identity: IdentitySource,
    terminal: &Arc<Terminal>,
    umask: u32,
) -> Result<Exit, Error> {
    let user = work.server.user_or(std::env::var("USER").ok().as_deref())?;
    let fingerprint = match &common.fingerprint {
        Some(text) => Some(parse_fingerprint(text).ok_or_else(|| {
            Error::usage(format!(
                "`{}` is not a server's fingerprint: `SHA256:` and 43 characters of base64",
                Escaped(text)
            ))
        })?),
        None => None,
    };
    let login = LoginPlan::choose(
        user,
        &identity,
        common.password_file.as_deref(),
        needs.adding_identity,
        &**terminal,
    );
    let route = common.route();
    let routes = || transport::routes(&work.server, &route);
    let settings = Settings {
        trust: TrustPolicy {
            aliases: work.server.aliases(),
            fingerprint,
            first_use: common.trust_first_use,
        },
        identity,
        password_file: common.password_file.clone(),
        key: needs.key,
        new_key: needs.new_key,
        allowed: Allowed {
            signer: needs.pinned.accept_signer,
            rollback: needs.pinned.accept_rollback,
        },
        umask,
        config_dir,
    };
    let config = SessionConfig {
        login,
        tasks: work.tasks,
        commands: false,
        parallel: needs
            .parallel
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(DEFAULT_PARALLEL),
        addresses: String::new(),
        connect_timeout: Duration::from_secs(common.connect_timeout),
    };
    let interaction: Arc<dyn Interaction> = Arc::clone(terminal) as _;
    let runner = Arc::new(JobRunner::new(settings, interaction, None));
    let outcome = drive(&routes, config, &runner, terminal.progress().counters())?;
    match outcome.fatal {
        Some(failure) => Err(failure),
        None => Ok(Exit::of_all(outcome.succeeded, &outcome.failures)),
    }
}
