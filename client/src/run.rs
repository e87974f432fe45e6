//! Runs a command: settings, connection, loop, and how it ended.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use towpath_io_mio::{Driver, LoopConfig, PathInfo, PathState};
use towpath_protocol::channel::tls_client_config;
use towpath_protocol::client::{ClientConfig, Connection};
use towpath_protocol::signed::{SigningKey, UserName};
use towpath_protocol::{Escaped, Limits};
use zeroize::Zeroizing;

use crate::cli::{self, Cli, Command, Common, Keys, KeysAdd, KeysNew, Pinned};
use crate::exit::{Exit, Failure};
use crate::limits::{MAX_WINDOW, MIN_WINDOW, QUEUED_JOBS, RECEIVE_MEMORY, WORKERS};
use crate::local::config_dir::{ConfigDir, HOME_VARIABLE};
use crate::local::identity::{self, IdentitySource};
use crate::local::known_servers::parse_fingerprint;
use crate::local::pins::Allowed;
use crate::local::trust::TrustPolicy;
use crate::local::upload::STANDARD;
use crate::plan::{self, Work};
use crate::session::jobs::{Settings, Workshop};
use crate::session::tasks;
use crate::session::{ClientSession, Credential, Outcome, Plan};
use crate::terminal::{self, Terminal};
use crate::transport::{self, Route};

/// How long the kernel's SCTP may take to reach the server before that in user space is tried:
/// three round trips of a satellite, and the first retransmission.
const OTHER_CARRIER_AFTER: Duration = Duration::from_secs(3);

/// How often the loop's view of the paths is noted for the figures.
const LINK_SAMPLE: Duration = Duration::from_millis(200);

/// How often while not every path is proven yet, so that the figures of a short transfer are right
/// too.
const FIRST_LINK_SAMPLES: Duration = Duration::from_millis(5);

/// What a command needs beyond its tasks.
#[derive(Debug, Default)]
struct Needs {
    signing: bool,
    stats: bool,
    parallel: Option<u64>,
    pinned: Pinned,
    key: Option<Arc<SigningKey>>,
    new_key: Option<Arc<SigningKey>>,
    /// That key is the identity, which the server does not know yet.
    adding_identity: bool,
}

/// Runs the command to its end.
///
/// # Errors
/// The [`Failure`] to show; tasks that failed by themselves were shown already, and only count in
/// the exit.
pub fn run(cli: &Cli, terminal: &Arc<Terminal>, umask: u32) -> Result<Exit, Failure> {
    let common = &cli.common;
    let from_environment = std::env::var_os(HOME_VARIABLE)
        .filter(|home| !home.is_empty())
        .map(Into::into);
    let config_dir = ConfigDir::open(common.home.clone().or(from_environment).as_deref())?;
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
                stats: args.transfers.stats,
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
                stats: args.transfers.stats,
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
        Command::Whoami(args) => plan::single(plan::parse_url(&args.url)?, tasks::Whoami),
        Command::Users(args) => {
            if let cli::Users::Add(add) = args {
                let file = add.new_password_file.as_deref();
                check_input(common, file == Some(std::path::Path::new(STANDARD)))?;
            }
            plan::users(args, terminal)?
        }
        Command::Export(args) => {
            needs.pinned = args.pinned;
            plan::export(args)?
        }
        Command::Demo => {
            return Err(Failure::usage(
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
                .map_err(|e| Failure::usage(format!("not a user name: {e}")))?;
            plan::single(plan::parse_url(&args.url)?, tasks::ListKeys::new(user))
        }
        Command::Keys(Keys::Add(args)) => {
            let server = plan::parse_url(&args.url)?;
            let key = key_to_add(args, &identity, &config_dir, common, terminal)?;
            let task = tasks::AddKey::new(key.public());
            needs.new_key = Some(key);
            needs.adding_identity = args.key.as_ref().is_none_or(|file| *file == identity.path);
            plan::single(server, task)
        }
    };
    check_input(common, false)?;
    if needs.signing {
        // Unlocked before anything else: nobody wants to be asked at the end of a long transfer.
        needs.key = Some(identity.load(terminal).map(Arc::new)?);
    }
    connect(work, needs, common, config_dir, identity, terminal, umask)
}

/// Standard input can be only one thing.
fn check_input(common: &Common, data: bool) -> Result<(), Failure> {
    let secrets = [&common.password_file, &common.passphrase_file];
    let uses = secrets
        .iter()
        .filter(|file| {
            file.as_deref()
                .is_some_and(|f| f == std::path::Path::new(STANDARD))
        })
        .count();
    if uses + usize::from(data) > 1 {
        return Err(Failure::usage(
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
) -> Result<Exit, Failure> {
    let user = std::env::var("USER").unwrap_or_else(|_| "user".to_owned());
    let comment = args
        .comment
        .clone()
        .unwrap_or_else(|| format!("{user}@towpath"));
    if comment.chars().any(char::is_control) {
        return Err(Failure::usage(
            "a comment is one line without control characters",
        ));
    }
    let passphrase = new_passphrase(args, common, terminal)?;
    let public = identity::create(
        &identity.path,
        &comment,
        passphrase.as_ref().map(|p| p.as_str()),
    )?;
    let text = format!("{} in {}\n", public.fingerprint(), identity.path.display());
    terminal
        .print(text.as_bytes())
        .map_err(|e| Failure::output(&e))?;
    terminal.note("register it with `towpath keys add towpath://NAME@HOST/`, or give the .pub file to the server's administrator");
    Ok(Exit::Success)
}

fn new_passphrase(
    args: &KeysNew,
    common: &Common,
    terminal: &Terminal,
) -> Result<Option<Zeroizing<String>>, Failure> {
    if args.no_passphrase {
        return Ok(None);
    }
    let given = match &common.passphrase_file {
        Some(file) => terminal::read_secret(file, terminal)?,
        None if terminal.is_interactive() => {
            let first = terminal.secret("Passphrase for the new key (empty: none): ")?;
            if !first.is_empty() && *terminal.secret("The same again: ")? != *first {
                return Err(Failure::usage(
                    "the two passphrases differ; no key was made",
                ));
            }
            first
        }
        None => {
            return Err(Failure::usage(
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
) -> Result<Arc<SigningKey>, Failure> {
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

/// The ways to log in, in their order: a password file that was named goes before a key that was
/// not.
fn credentials(
    common: &Common,
    identity: &IdentitySource,
    adding_identity: bool,
    terminal: &Terminal,
) -> VecDeque<Credential> {
    let password = match &common.password_file {
        Some(_) => Some(Credential::PasswordFile),
        None if terminal.is_interactive() => Some(Credential::AskedPassword),
        None => None,
    };
    let key = identity.is_present()
        && (common.password_file.is_none() || identity.explicit)
        && !(adding_identity && password.is_some());
    key.then_some(Credential::Key)
        .into_iter()
        .chain(password)
        .collect()
}

fn connect(
    work: Work,
    needs: Needs,
    common: &Common,
    config_dir: ConfigDir,
    identity: IdentitySource,
    terminal: &Arc<Terminal>,
    umask: u32,
) -> Result<Exit, Failure> {
    let user = work.server.user_or(std::env::var("USER").ok().as_deref())?;
    let fingerprint = match &common.fingerprint {
        Some(text) => Some(parse_fingerprint(text).ok_or_else(|| {
            Failure::usage(format!(
                "`{}` is not a server's fingerprint: `SHA256:` and 43 characters of base64",
                Escaped(text)
            ))
        })?),
        None => None,
    };
    let credentials = credentials(common, &identity, needs.adding_identity, terminal);
    let routes = transport::routes(common, &work.server)?;
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
        stats: needs.stats,
        umask,
        config_dir,
    };
    let plan = Plan {
        user,
        credentials,
        tasks: work.tasks,
        parallel: needs
            .parallel
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(crate::limits::DEFAULT_PARALLEL),
        addresses: String::new(),
        connect_timeout: Duration::from_secs(common.connect_timeout),
    };
    let outcome = drive(routes, plan, settings, terminal)?;
    match outcome.fatal {
        Some(failure) => Err(failure),
        None => Ok(Exit::of_all(outcome.succeeded, &outcome.failures)),
    }
}

/// Runs the plan over the first carrier that reaches the server.
fn drive(
    routes: Vec<Route>,
    mut plan: Plan,
    settings: Settings,
    terminal: &Arc<Terminal>,
) -> Result<Outcome, Failure> {
    let link = Arc::new(Mutex::new(String::new()));
    let workshop = Arc::new(Workshop::new(
        settings,
        Arc::clone(terminal),
        Arc::clone(&link),
    ));
    let timeout = plan.connect_timeout;
    let last = routes.len().saturating_sub(1);
    let mut outcome = Outcome::default();
    for (index, route) in routes.into_iter().enumerate() {
        plan.addresses.clone_from(&route.shown);
        plan.connect_timeout = if index == last {
            timeout
        } else {
            timeout.min(OTHER_CARRIER_AFTER)
        };
        let unreached;
        (outcome, unreached) = attempt(route, plan, &workshop, &link, terminal)?;
        match unreached {
            Some(unchanged) => plan = unchanged,
            None => break,
        }
    }
    Ok(outcome)
}

/// Runs a session over one carrier until it is over; the plan comes back if the server was not
/// reached.
fn attempt(
    route: Route,
    plan: Plan,
    workshop: &Arc<Workshop>,
    link: &Mutex<String>,
    terminal: &Terminal,
) -> Result<(Outcome, Option<Plan>), Failure> {
    let now = Instant::now();
    let tls = tls_client_config(Arc::new(rustls::time_provider::DefaultTimeProvider))
        .map_err(|e| Failure::local(format!("TLS cannot be set up: {e}")))?;
    let share = RECEIVE_MEMORY / u32::try_from(plan.parallel.max(1)).unwrap_or(u32::MAX);
    let limits = Limits {
        window: share.clamp(MIN_WINDOW, MAX_WINDOW),
        link_timeout: plan.connect_timeout + Duration::from_secs(1),
        ..Limits::default()
    };
    let connection = Connection::new(ClientConfig { tls, limits }, now)
        .map_err(|e| Failure::local(format!("TLS cannot be set up: {e}")))?;
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    *link.lock().unwrap_or_else(PoisonError::into_inner) = transport::link_text(route.name, &[]);
    let session = ClientSession::new(
        connection,
        plan,
        Arc::clone(terminal.progress().counters()),
        Arc::clone(&outcome),
        now,
    );
    let fail = |e: std::io::Error| {
        Failure::new(
            Exit::Unreachable,
            format!("cannot connect to {}: {e}", route.shown),
        )
    };

    let config = LoopConfig {
        workers: WORKERS,
        jobs: QUEUED_JOBS,
        ..LoopConfig::default()
    };
    let mut driver = Driver::new(config, Arc::clone(workshop)).map_err(fail)?;
    let carrier = driver.add_carrier(route.carrier).map_err(fail)?;
    let id = driver
        .connect(carrier, &route.remotes, session)
        .map_err(fail)?;
    let (mut sampled, mut pause) = (None, FIRST_LINK_SAMPLES);
    let result = driver.run(&mut |_| None, &mut |driver| {
        if sampled.is_none_or(|at: Instant| at.elapsed() >= pause) {
            let paths = driver.paths(id);
            if !paths.is_empty() {
                sampled = Some(Instant::now());
                let proven = |path: &PathInfo| path.state != PathState::Unconfirmed;
                pause = match paths.iter().all(proven) {
                    true => LINK_SAMPLE,
                    false => FIRST_LINK_SAMPLES,
                };
                *link.lock().unwrap_or_else(PoisonError::into_inner) =
                    transport::link_text(route.name, &paths);
            }
        }
        driver.is_over(id)
    });
    let unreached = driver
        .take_session(id)
        .and_then(ClientSession::into_unreached);
    // A worker may still wait for the person or for standard input: the process ends without it.
    std::mem::forget(driver);
    result.map_err(|e| Failure::local(format!("the event loop failed: {e}")))?;
    let outcome = outcome
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    Ok((outcome, unreached))
}
