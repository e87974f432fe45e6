//! `towpathd run`: opens the server directory, listens, and serves until told to stop.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustls::time_provider::DefaultTimeProvider;
use towpath_io_mio::carrier::udp::{self, LinkFaults, UdpConfig, UdpSctp};
use towpath_io_mio::carrier::{kernel, unix};
use towpath_io_mio::{Carrier, Driver, LoopConfig, Peer, Stopper};
use towpath_protocol::Limits;
use towpath_protocol::channel::{ServerFingerprint, tls_server_config};
use towpath_protocol::server::ServerConfig;
use towpath_store::log::{LogError, ServerLog};
use towpath_store::{Recipient, StorageKey, Store};
use tracing::level_filters::LevelFilter;

use super::admin::{self, AdminError};
use super::admission::SessionQuota;
use super::config::{Config, Transport};
use super::directory::ServerDirectory;
use super::limits;
use super::services::Services;
use super::session::ServerSession;
use super::tls_identity::TlsIdentity;

/// Where to listen.
#[derive(Debug, Clone)]
pub enum Listen {
    /// SCTP.
    Sctp(ListenOptions),
    /// A UNIX socket, for tests on hosts without SCTP.
    Unix(PathBuf),
}

/// Where and how to listen for SCTP; what is not said here is as configured.
#[derive(Debug, Clone, Default)]
pub struct ListenOptions {
    /// Local addresses.
    pub addresses: Vec<IpAddr>,
    /// SCTP port.
    pub port: Option<u16>,
    /// The kernel's SCTP, that in user space, or both.
    pub transport: Option<Transport>,
    /// UDP port of SCTP in user space; 0 lets the kernel choose.
    pub udp_port: Option<u16>,
    /// Cuts addresses of SCTP in user space, for the demo.
    pub link_faults: Option<LinkFaults>,
}

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The server directory is unusable.
    #[error(transparent)]
    Setup(#[from] AdminError),
    /// Listening failed.
    #[error("cannot listen on {place}: {source}{}", hint(source))]
    Listen {
        /// The address and transport.
        place: String,
        /// The error of the system call.
        source: io::Error,
    },
    /// The host has no SCTP.
    #[error("{0}; `modprobe sctp` as root loads the module, and `--transport udp` needs none")]
    NoSctp(io::Error),
    /// TLS could not be set up with this certificate and key.
    #[error("cannot use cert.pem with key.pem: {0}")]
    Tls(String),
    /// A configured recovery recipient is not one.
    #[error("towpathd.toml: recipient {text:?}: {reason}")]
    Recipient {
        /// What is configured.
        text: String,
        /// Description of the problem.
        reason: String,
    },
    /// `server.log` cannot be written.
    #[error("cannot write the log: {0}")]
    Log(#[from] LogError),
    /// The event loop failed.
    #[error("the event loop failed: {0}")]
    Loop(#[from] io::Error),
}

/// What to do about a socket that does not open.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program has the port (--port and --udp-port choose others)"
        }
        io::ErrorKind::AddrNotAvailable => "; it is no address of this host",
        _ => "",
    }
}

impl RunError {
    /// The exit code of `towpathd` for this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Setup(error) => error.exit_code(),
            Self::Tls(_) | Self::Recipient { .. } | Self::Log(_) => 3,
            Self::Listen { .. } | Self::NoSctp(_) | Self::Loop(_) => 1,
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
    key: ServerFingerprint,
}

/// A server that listens, and serves as soon as it is run.
pub struct Listening {
    driver: Driver<ServerSession>,
    services: Arc<Services>,
    session: ServerConfig,
    quota: Arc<SessionQuota>,
    places: String,
    udp_port: Option<u16>,
}

impl Server {
    /// Opens the server directory `dir`, and sends the process's log to its `server.log`.
    ///
    /// # Errors
    /// When a part of the directory is missing, damaged or in use.
    pub fn open(dir: &Path) -> Result<Self, RunError> {
        let directory = ServerDirectory::new(dir);
        let registry = admin::open_registry(dir)?;
        let config = Config::load(&directory.config()).map_err(AdminError::from)?;
        start_log(&directory, &config)?;
        let identity = TlsIdentity::load(&directory).map_err(AdminError::from)?;
        let key = admin::fingerprint(&directory, &identity)?;
        let store = open_store(&directory, &config)?;
        let tls = tls_server_config(identity.chain, identity.key, Arc::new(DefaultTimeProvider))
            .map_err(|error| RunError::Tls(error.to_string()))?;
        let session = ServerConfig {
            tls,
            store: store.id(),
            limits: Limits::default(),
        };
        Ok(Self {
            config,
            services: Arc::new(Services::new(store, registry)),
            session,
            key,
        })
    }

    /// Fingerprint of the server's key.
    pub fn key(&self) -> ServerFingerprint {
        self.key
    }

    /// Opens the sockets and starts the workers.
    ///
    /// # Errors
    /// When nothing can be listened on.
    pub fn listen(self, listen: Listen) -> Result<Listening, RunError> {
        let listeners = open_carriers(&self.config, listen)?;
        let places = listeners.places.join("; ");
        let config = LoopConfig {
            max_sessions: all_sessions(&self.config),
            workers: self.config.worker_threads(),
            drain: limits::DRAIN,
            ..LoopConfig::default()
        };
        let mut driver = Driver::new(config, Arc::clone(&self.services))?;
        for carrier in listeners.carriers {
            driver.add_carrier(carrier)?;
        }
        let (store, key) = (self.session.store, self.key);
        let version = env!("CARGO_PKG_VERSION");
        tracing::info!(%store, fingerprint = %key, listening = places, version, "ready");
        Ok(Listening {
            driver,
            services: self.services,
            session: self.session,
            quota: SessionQuota::new(self.config.max_sessions),
            places,
            udp_port: listeners.udp_port,
        })
    }
}

impl Listening {
    /// The UDP port of SCTP in user space, if it listens there.
    pub fn udp_port(&self) -> Option<u16> {
        self.udp_port
    }

    /// The addresses it listens on, for display.
    pub fn places(&self) -> &str {
        &self.places
    }

    /// A handle that stops it from another thread.
    pub fn stopper(&self) -> Stopper {
        self.driver.stopper()
    }

    /// Serves until stopped; running transfers get time to finish.
    ///
    /// # Errors
    /// When the event loop itself fails.
    pub fn run(self) -> Result<(), RunError> {
        let Self {
            mut driver,
            services,
            session,
            quota,
            ..
        } = self;
        let mut accept = |peer: Peer| {
            let peer_name = peer.to_string();
            let address = peer.addresses.first().map(|address| address.ip());
            let now = Instant::now();
            let Ok(permit) = quota.admit(address, now) else {
                tracing::warn!(
                    peer = peer_name,
                    "too many sessions of one network before login: turned away"
                );
                return None;
            };
            let services = Arc::clone(&services);
            match ServerSession::new(&session, services, peer, permit, now) {
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

fn open_store(directory: &ServerDirectory, config: &Config) -> Result<Store, RunError> {
    let key = StorageKey::load(&directory.storage_key()).map_err(AdminError::from)?;
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
    let (store, report) =
        Store::open(&directory.files(), key, recipients).map_err(AdminError::from)?;
    if let Some(reserve) = config.reserve_mib {
        store.set_reserve(reserve << 20);
    }
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
            directory.log().display()
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

fn start_log(directory: &ServerDirectory, config: &Config) -> Result<(), RunError> {
    let level = config.log_level.parse().unwrap_or(LevelFilter::INFO);
    let log = ServerLog::open(&directory.log())?;
    log.rotated_at(config.log_mib << 20).install(level)?;
    Ok(())
}

/// Listening carriers, and their addresses for display.
#[derive(Default)]
struct Listeners {
    carriers: Vec<Box<dyn Carrier>>,
    places: Vec<String>,
    /// The UDP port of SCTP in user space, if it listens.
    udp_port: Option<u16>,
}

/// Maximum of concurrent sessions: logged in, before login, and as many again that are closing.
fn all_sessions(config: &Config) -> usize {
    config.max_sessions + 2 * limits::STRANGERS
}

fn open_carriers(config: &Config, listen: Listen) -> Result<Listeners, RunError> {
    let mut listeners = Listeners::default();
    let options = match listen {
        Listen::Unix(path) => {
            let place = path.display().to_string();
            let carrier = unix::listen(&path);
            listeners.add(place, carrier)?;
            return Ok(listeners);
        }
        Listen::Sctp(options) => options,
    };
    let addresses = match (options.addresses.is_empty(), config.listen.is_empty()) {
        (false, _) => options.addresses,
        (true, false) => config.listen.clone(),
        (true, true) => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
    };
    let port = options.port.unwrap_or(config.port);
    let at = |port| -> Vec<SocketAddr> {
        addresses
            .iter()
            .map(|ip| SocketAddr::new(*ip, port))
            .collect()
    };
    let choice = options.transport.unwrap_or(config.transport);
    match (choice, kernel::supported()) {
        (Transport::Udp, _) => {}
        (Transport::Auto, Err(reason)) => tracing::info!(%reason, "no SCTP of the kernel"),
        (Transport::Kernel, Err(reason)) => return Err(RunError::NoSctp(reason)),
        (Transport::Auto | Transport::Kernel, Ok(())) => {
            let carrier = kernel::listen(&at(port), &kernel::KernelConfig::default());
            listeners.add(format!("{} (kernel SCTP)", shown(&at(port))), carrier)?;
        }
    }
    if choice == Transport::Kernel {
        return Ok(listeners);
    }
    let udp_port = options.udp_port.unwrap_or(config.udp_port);
    let udp = UdpConfig {
        max_associations: all_sessions(config),
        link_faults: options.link_faults,
        ..UdpConfig::default()
    };
    match udp::listen(&at(udp_port), port, &udp) {
        Ok(carrier) => {
            let bound = carrier.udp_addresses();
            listeners.udp_port = bound.first().map(SocketAddr::port);
            let place = format!("{} (SCTP port {port} over UDP)", shown(&bound));
            listeners.add(place, Ok(carrier))?;
        }
        // The kernel may use the port for its own SCTP over UDP.
        Err(error) if !listeners.carriers.is_empty() => {
            tracing::warn!(%error, udp_port, "cannot listen for SCTP over UDP; the kernel's SCTP alone serves");
        }
        Err(error) => {
            let place = format!("{} over UDP", shown(&at(udp_port)));
            listeners.add::<UdpSctp>(place, Err(error))?;
        }
    }
    Ok(listeners)
}

impl Listeners {
    fn add<C: Carrier + 'static>(
        &mut self,
        place: String,
        carrier: io::Result<C>,
    ) -> Result<(), RunError> {
        match carrier {
            Ok(carrier) => {
                self.carriers.push(Box::new(carrier));
                self.places.push(place);
                Ok(())
            }
            Err(source) => Err(RunError::Listen { place, source }),
        }
    }
}

fn shown(addresses: &[SocketAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    texts.join(", ")
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
