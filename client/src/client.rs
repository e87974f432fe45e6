//! A blocking client for programs: one connection for all its operations.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use towpath_protocol::ListEntry;
use towpath_protocol::channel::ServerFingerprint;
use towpath_protocol::signed::{FilePath, SignedManifest};

use crate::drive::drive;
use crate::error::{Error, ErrorKind};
use crate::interaction::{Interaction, NonInteractive};
use crate::limits::{CONNECT_TIMEOUT, DEFAULT_PARALLEL};
use crate::local::config_dir::ConfigDir;
use crate::local::identity::IdentitySource;
use crate::local::pins::Allowed;
use crate::local::trust::TrustPolicy;
use crate::session::SessionConfig;
use crate::session::command::{Answer, Command, Commands};
use crate::session::counters::Counters;
use crate::session::login::LoginPlan;
use crate::session::runner::{JobRunner, Settings};
use crate::session::tasks::answered;
use crate::transport::{self, RouteOptions, Transport};
use crate::url::Url;

/// Options of [`Client::connect`]. The default is that of `towpath` without options, but without
/// prompts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// Configuration directory, with keys, known servers and pins; `~/.config/towpath` when
    /// `None`.
    pub config_dir: Option<PathBuf>,
    /// The only accepted fingerprint of the server, which is then trusted.
    pub fingerprint: Option<ServerFingerprint>,
    /// Trust an unknown server without a fingerprint, and remember it.
    pub trust_first_use: bool,
    /// Private key to log in and to sign with; `id_ed25519` in the configuration directory when
    /// `None`.
    pub identity: Option<PathBuf>,
    /// File whose first line is the key's passphrase.
    pub passphrase_file: Option<PathBuf>,
    /// File whose first line is the password to log in with.
    pub password_file: Option<PathBuf>,
    /// Transport of the connection.
    pub transport: Transport,
    /// The server's UDP port, for SCTP in user space.
    pub udp_port: u16,
    /// Local addresses to use; all when empty.
    pub bind: Vec<IpAddr>,
    /// Time for the connection to come up.
    pub connect_timeout: Duration,
    /// Permission bits that downloaded files do not get.
    pub umask: u32,
    /// Handler of questions and messages.
    pub interaction: Arc<dyn Interaction>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            config_dir: None,
            fingerprint: None,
            trust_first_use: false,
            identity: None,
            passphrase_file: None,
            password_file: None,
            transport: Transport::Auto,
            udp_port: towpath_io_mio::carrier::udp::UDP_PORT,
            bind: Vec::new(),
            connect_timeout: CONNECT_TIMEOUT,
            umask: 0o077,
            interaction: Arc::new(NonInteractive),
        }
    }
}

/// A connection to a server, with a user logged in.
///
/// Every call blocks until its operation is done; calls from several threads run at the same time.
/// A background thread serves the connection, so it stays open between calls.
/// The server ends a connection without requests after 15 minutes; then every call fails with
/// [`ErrorKind::Unreachable`], and the program connects again.
///
/// ```no_run
/// use std::path::Path;
/// use towpath_client::{Client, ConnectOptions, FilePath, Url};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut options = ConnectOptions::default();
/// options.fingerprint = Some("SHA256:…".parse()?);
/// let url = Url::parse("towpath://alice@10.0.0.1,10.0.1.1/")?;
/// let client = Client::connect(&url, &options)?;
/// client.put(Path::new("report.pdf"), &FilePath::parse("q3/report.pdf")?)?;
/// for entry in client.list("q3/")? {
///     println!("{} {} bytes, by {}", entry.path, entry.size, entry.owner);
/// }
/// let signed = client.get(&FilePath::parse("q3/report.pdf")?, Path::new("copy.pdf"))?;
/// println!("signed by {}", signed.manifest().name);
/// client.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Client {
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    /// How the connection ended.
    ended: Mutex<Receiver<Result<(), Error>>>,
}

impl Client {
    /// Connects to the server that `url` names and logs in as its user, or as the user of the
    /// environment (`USER`). The path of `url` is ignored.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`], [`ErrorKind::Untrusted`], [`ErrorKind::LoginRefused`];
    /// [`ErrorKind::Local`] for a configuration directory, key or password that cannot be used;
    /// [`ErrorKind::Usage`] when there is no user name.
    pub fn connect(url: &Url, options: &ConnectOptions) -> Result<Self, Error> {
        let user = url.user_or(std::env::var("USER").ok().as_deref())?;
        let config_dir = ConfigDir::open(options.config_dir.as_deref())?;
        let identity = IdentitySource::new(
            &config_dir,
            options.identity.clone(),
            options.passphrase_file.clone(),
        );
        let password_file = options.password_file.as_deref();
        let interaction = &options.interaction;
        let login = LoginPlan::choose(user, &identity, password_file, false, &**interaction);
        let settings = Settings {
            trust: TrustPolicy {
                aliases: url.aliases(),
                fingerprint: options.fingerprint,
                first_use: options.trust_first_use,
            },
            config_dir,
            identity,
            password_file: options.password_file.clone(),
            key: None,
            #[cfg(feature = "cli")]
            new_key: None,
            allowed: Allowed::default(),
            umask: options.umask,
        };
        let (answer, ready) = mpsc::channel();
        let config = SessionConfig {
            login,
            tasks: VecDeque::from([answered::task(Command::Ready(answer))]),
            commands: true,
            parallel: DEFAULT_PARALLEL,
            addresses: String::new(),
            connect_timeout: options.connect_timeout,
        };
        let route = RouteOptions {
            transport: options.transport,
            udp_port: options.udp_port,
            bind: options.bind.clone(),
            unix: None,
        };
        let (commands, receiver) = mpsc::channel();
        let runner = JobRunner::new(
            settings,
            Arc::clone(interaction),
            Some(Commands::new(receiver)),
        );
        let (send_end, ended) = mpsc::channel();
        let url = url.clone();
        let thread = std::thread::Builder::new()
            .name("towpath-client".into())
            .spawn(move || {
                let result = serve(&url, &route, config, runner);
                // The client may have been dropped.
                send_end.send(result).unwrap_or(());
            })
            .map_err(|e| Error::io("start", "a thread", &e))?;
        let client = Self {
            commands: Some(commands),
            thread: Some(thread),
            ended: Mutex::new(ended),
        };
        client.wait(&ready)?;
        Ok(client)
    }

    /// Lists the files at or below `prefix`: a directory, a file, or everything when it is empty.
    /// The paths ascend. A listing is not signed; [`get`](Self::get) verifies the files that it
    /// names.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`], [`ErrorKind::Unreachable`], [`ErrorKind::Server`].
    pub fn list(&self, prefix: &str) -> Result<Vec<ListEntry>, Error> {
        self.run(|answer| Command::List {
            prefix: prefix.to_owned(),
            answer,
        })
    }

    /// Downloads a file to `local`, which is replaced when it is a regular file. The file appears
    /// there when size, hash, signature and signer are verified. An interrupted download leaves a
    /// partial file beside it, which the next call continues.
    ///
    /// Returns the signed manifest.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Denied`], [`ErrorKind::Verification`],
    /// [`ErrorKind::Unreachable`], [`ErrorKind::Local`], [`ErrorKind::Server`].
    pub fn get(&self, path: &FilePath, local: &Path) -> Result<SignedManifest, Error> {
        self.run(|answer| Command::Get {
            path: path.clone(),
            local: local.to_owned(),
            answer,
        })
    }

    /// Uploads the regular file `local`, signed with the user's key, and publishes it at `path`.
    ///
    /// Returns the signed manifest.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`], [`ErrorKind::Conflict`], [`ErrorKind::Verification`],
    /// [`ErrorKind::Unreachable`], [`ErrorKind::Local`], [`ErrorKind::Server`]. With
    /// [`ErrorKind::Unreachable`] the message says whether the file may have been published.
    pub fn put(&self, local: &Path, path: &FilePath) -> Result<SignedManifest, Error> {
        self.run(|answer| Command::Put {
            local: local.to_owned(),
            path: path.clone(),
            answer,
        })
    }

    /// Closes the connection. Dropping a client does the same without reporting errors.
    ///
    /// # Errors
    /// The error that had ended the connection before.
    pub fn close(mut self) -> Result<(), Error> {
        self.join();
        self.end_result().unwrap_or(Ok(()))
    }

    /// Sends a command and waits for its result.
    fn run<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, Error> {
        let (answer, result) = mpsc::channel();
        let sent = match &self.commands {
            Some(commands) => commands.send(command(answer)).is_ok(),
            None => false,
        };
        if sent {
            return self.wait(&result);
        }
        Err(self.ended())
    }

    /// Waits for a result, or for the end of the connection.
    fn wait<T>(&self, result: &Receiver<Result<T, Error>>) -> Result<T, Error> {
        result.recv().unwrap_or_else(|_| Err(self.ended()))
    }

    /// The error of a call after the connection has ended.
    fn ended(&self) -> Error {
        match self.end_result() {
            Some(Err(error)) => error,
            Some(Ok(())) | None => Error::new(ErrorKind::Unreachable, "the connection is closed"),
        }
    }

    /// How the connection ended; returned once, after the session's thread has finished.
    fn end_result(&self) -> Option<Result<(), Error>> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.recv().ok()
    }

    /// Ends the session and waits for it.
    fn join(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of a client panicked");
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.join();
    }
}

/// Serves the connection until the last command is done or it is lost.
fn serve(
    url: &Url,
    route: &RouteOptions,
    config: SessionConfig,
    runner: JobRunner,
) -> Result<(), Error> {
    let outcome = drive(
        &|| transport::routes(url, route),
        config,
        &Arc::new(runner),
        &Arc::new(Counters::default()),
    )?;
    outcome.fatal.map_or(Ok(()), Err)
}
