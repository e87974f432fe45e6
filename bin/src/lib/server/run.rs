//! `towpathd run`: opens the server directory, listens, and serves until told to stop.

use super::admin::{self, AdminError};
use super::home::{Config, Home};
use super::identity::Identity;
use super::jobs::Services;
use super::limits;
use super::places::Places;
use super::session::ServerSession;
use rustls::time_provider::DefaultTimeProvider;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use towpath_io_mio::{Carrier, Driver, LoopConfig, Peer, Stopper, kernel, seqpacket};
use towpath_protocol::server::ServerConfig;
use towpath_protocol::{Limits, ServerKey, tls_server_config};
use towpath_store::log::{LogError, ServerLog};
use towpath_store::{Recipient, StorageKey, Store};
use tracing::level_filters::LevelFilter;

/// Where to listen.
#[derive(Debug, Clone)]
pub enum Listen {
    /// Kernel SCTP on these local addresses; none means those of the configuration.
    Kernel {
        /// Local addresses.
        addresses: Vec<IpAddr>,
        /// SCTP port; `None` means that of the configuration.
        port: Option<u16>,
    },
    /// A UNIX socket, for tests on hosts without SCTP.
    Unix(PathBuf),
}

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The server directory was not taken.
    #[error(transparent)]
    Setup(#[from] AdminError),
    /// Listening failed.
    #[error("cannot listen on {place}: {source}")]
    Listen {
        /// Where.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// The host has no SCTP.
    #[error("this kernel has no SCTP ({0}); load it with `modprobe sctp` as root")]
    NoSctp(io::Error),
    /// TLS could not be set up with this certificate and key.
    #[error("cannot use cert.pem with key.pem: {0}")]
    Tls(String),
    /// A configured recovery recipient is not one.
    #[error("towpathd.toml: recipient {text:?}: {reason}")]
    Recipient {
        /// What is configured.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `server.log` cannot be written.
    #[error("cannot write the log: {0}")]
    Log(#[from] LogError),
    /// The event loop failed.
    #[error("the event loop failed: {0}")]
    Loop(#[from] io::Error),
}

impl RunError {
    /// The exit code of `towpathd` for this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            RunError::Setup(error) => error.exit_code(),
            RunError::Tls(_) | RunError::Recipient { .. } | RunError::Log(_) => 3,
            RunError::Listen { .. } | RunError::NoSctp(_) | RunError::Loop(_) => 1,
        }
    }
}

/// Serves the server directory `dir` until SIGINT or SIGTERM.
///
/// # Errors
/// When the directory cannot be used or nothing can be listened on.
pub fn run(dir: &Path, listen: Listen) -> Result<(), RunError> {
    let server = Server::open(dir)?;
    let (store, key) = (server.session.store, server.key);
    let listening = server.listen(listen)?;
    stop_on_signals(listening.stopper())?;
    let places = listening.places();
    println!("towpathd: ready, store {store}, key {key}, listening on {places}");
    listening.run()
}

/// An open server directory.
pub struct Server {
    config: Config,
    services: Arc<Services>,
    session: ServerConfig,
    key: ServerKey,
}

/// A server that listens, and serves as soon as it is run.
pub struct Listening {
    driver: Driver<ServerSession>,
    services: Arc<Services>,
    session: ServerConfig,
    shares: Arc<Places>,
    places: String,
}

impl Server {
    /// Opens the server directory `dir`, and sends the process's log to its `server.log`.
    ///
    /// # Errors
    /// When a part of the directory is missing, damaged or in use.
    pub fn open(dir: &Path) -> Result<Server, RunError> {
        let home = Home::new(dir);
        let registry = admin::open_registry(dir)?;
        let config = home.load_config().map_err(AdminError::from)?;
        start_log(&home, &config)?;
        let identity = Identity::load(&home).map_err(AdminError::from)?;
        let key = admin::fingerprint(&home, &identity)?;
        let store = open_store(&home, &config)?;
        let tls = tls_server_config(identity.chain, identity.key, Arc::new(DefaultTimeProvider))
            .map_err(|error| RunError::Tls(error.to_string()))?;
        let session = ServerConfig {
            tls,
            store: store.id(),
            limits: Limits::default(),
        };
        Ok(Server {
            config,
            services: Arc::new(Services::new(store, registry)),
            session,
            key,
        })
    }

    /// The key that clients know this server by.
    pub fn key(&self) -> ServerKey {
        self.key
    }

    /// Opens the sockets and starts the workers.
    ///
    /// # Errors
    /// When nothing can be listened on.
    pub fn listen(self, listen: Listen) -> Result<Listening, RunError> {
        let (carrier, places) = open_carrier(&self.config, listen)?;
        let config = LoopConfig {
            max_sessions: self.config.max_sessions,
            workers: self.config.worker_threads(),
            drain: limits::DRAIN,
            ..LoopConfig::default()
        };
        let mut driver = Driver::new(config, Arc::clone(&self.services))?;
        driver.add_carrier(carrier)?;
        let (store, key) = (self.session.store, self.key);
        let version = env!("CARGO_PKG_VERSION");
        tracing::info!(%store, server_key = %key, listening = places, version, "ready");
        Ok(Listening {
            driver,
            services: self.services,
            session: self.session,
            shares: Places::new((self.config.max_sessions / limits::NETWORK_SHARE).max(1)),
            places,
        })
    }
}

impl Listening {
    /// Where it listens, for people.
    pub fn places(&self) -> &str {
        &self.places
    }

    /// What stops it, from another thread.
    pub fn stopper(&self) -> Stopper {
        self.driver.stopper()
    }

    /// Serves until stopped; transfers under way get time to finish.
    ///
    /// # Errors
    /// When the event loop itself fails.
    pub fn run(self) -> Result<(), RunError> {
        let Listening {
            mut driver,
            services,
            session,
            shares,
            ..
        } = self;
        let mut accept = |peer: Peer| {
            let peer_name = peer.to_string();
            let address = peer.addresses.first().map(|address| address.ip());
            let Some(place) = shares.take(address) else {
                tracing::warn!(
                    peer = peer_name,
                    "too many sessions of one network: turned away"
                );
                return None;
            };
            let services = Arc::clone(&services);
            match ServerSession::new(&session, services, peer, place, Instant::now()) {
                Ok(session) => Some(session),
                Err(error) => {
                    tracing::error!(peer = peer_name, %error, "cannot serve a client");
                    None
                }
            }
        };
        driver.run(&mut accept, &mut |_| false)?;
        tracing::info!("stopped");
        Ok(())
    }
}

fn open_store(home: &Home, config: &Config) -> Result<Store, RunError> {
    let key = StorageKey::load(&home.storage_key()).map_err(AdminError::from)?;
    let recipients = config
        .recipients
        .iter()
        .map(|text| {
            text.parse::<Recipient>()
                .map_err(|error| RunError::Recipient {
                    text: text.clone(),
                    reason: error.to_string(),
                })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let (store, report) = Store::open(&home.files(), key, recipients).map_err(AdminError::from)?;
    for (file, reason) in &report.unreadable {
        tracing::error!(
            file,
            reason,
            "a stored file cannot be read and is not served"
        );
    }
    for file in &report.foreign {
        tracing::warn!(file, "not a stored file; left alone");
    }
    if report.unreadable_count > 0 {
        eprintln!(
            "towpathd: {} stored files cannot be read and are not served; {} says which",
            report.unreadable_count,
            home.log().display()
        );
    }
    tracing::info!(
        files = report.files,
        deleted = report.deleted,
        unreadable = report.unreadable_count,
        leftovers = report.leftovers,
        "store opened"
    );
    Ok(store)
}

fn start_log(home: &Home, config: &Config) -> Result<(), RunError> {
    let level = config.log_level.parse().unwrap_or(LevelFilter::INFO);
    ServerLog::open(&home.log())?.install(level)?;
    Ok(())
}

/// Opens the carrier and says where it listens.
fn open_carrier(config: &Config, listen: Listen) -> Result<(Box<dyn Carrier>, String), RunError> {
    match listen {
        Listen::Unix(path) => {
            let place = path.display().to_string();
            match seqpacket::Seqpacket::listen(&path) {
                Ok(carrier) => Ok((Box::new(carrier), place)),
                Err(source) => Err(RunError::Listen { place, source }),
            }
        }
        Listen::Kernel { addresses, port } => {
            kernel::supported().map_err(RunError::NoSctp)?;
            let port = port.unwrap_or(config.port);
            let addresses = match (addresses.is_empty(), config.listen.is_empty()) {
                (false, _) => addresses,
                (true, false) => config.listen.clone(),
                (true, true) => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
            };
            let sockets: Vec<SocketAddr> = addresses
                .iter()
                .map(|address| SocketAddr::new(*address, port))
                .collect();
            let names: Vec<String> = sockets.iter().map(SocketAddr::to_string).collect();
            let place = names.join(", ");
            match kernel::KernelSctp::listen(&sockets, &kernel::KernelConfig::default()) {
                Ok(carrier) => Ok((Box::new(carrier), place)),
                Err(source) => Err(RunError::Listen { place, source }),
            }
        }
    }
}

fn stop_on_signals(stopper: Stopper) -> Result<(), RunError> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in &mut signals {
                tracing::info!(signal, "asked to stop");
                stopper.stop();
            }
        })?;
    Ok(())
}
