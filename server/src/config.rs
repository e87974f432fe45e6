//! The configuration of the server, `towpathd.toml`.

use std::fs;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Deserialize;
use towpath_io_mio::carrier::udp::UDP_PORT;
use towpath_protocol::limits::DEFAULT_PORT;

use super::limits;

/// The transport: SCTP of the kernel, SCTP in user space over UDP, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// SCTP in user space, and the kernel's SCTP if available.
    Auto,
    /// The kernel's SCTP.
    Kernel,
    /// SCTP in user space, over UDP.
    Udp,
}

/// `towpathd.toml`: everything in it is optional.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Local addresses to listen on; empty means every IPv4 address of the host.
    pub listen: Vec<IpAddr>,
    /// SCTP port.
    pub port: u16,
    /// The transports to listen with.
    pub transport: Transport,
    /// UDP port of SCTP in user space.
    pub udp_port: u16,
    /// Further age recipients (`age1…`) that can open every stored file, for recovery.
    pub recipients: Vec<String>,
    /// MiB of the disk that uploads leave free for deletions, logins and the log; one percent of
    /// it, 1 to 256 MiB, when absent.
    pub reserve_mib: Option<u64>,
    /// MiB of `server.log` before a new file is begun.
    pub log_mib: u64,
    /// bcrypt cost of password hashes, 10 to 16; hashes of another cost are renewed at login.
    pub bcrypt_cost: u32,
    /// Maximum of concurrent sessions; further ones are refused.
    pub max_sessions: usize,
    /// Worker threads for files and password hashes; 0 means one for each processor, at least 2.
    pub workers: usize,
    /// `error`, `warn`, `info` or `debug`.
    pub log_level: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            port: DEFAULT_PORT,
            transport: Transport::Auto,
            udp_port: UDP_PORT,
            recipients: Vec::new(),
            reserve_mib: None,
            log_mib: 64,
            bcrypt_cost: 12,
            max_sessions: 1024,
            workers: 0,
            log_level: "info".to_owned(),
        }
    }
}

impl Config {
    /// Reads the configuration at `path`; an absent file means the defaults.
    ///
    /// # Errors
    /// When the file cannot be read, is too long, is not TOML or has an unknown key or a value out
    /// of range.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let path = path.to_owned();
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        let mut text = String::new();
        let read = file
            .take(limits::CONFIG_BYTES + 1)
            .read_to_string(&mut text);
        if let Err(source) = read {
            return Err(ConfigError::Read { path, source });
        }
        if text.len() as u64 > limits::CONFIG_BYTES {
            return Err(ConfigError::TooLong { path });
        }
        let config: Self = toml::from_str(&text).map_err(|error| ConfigError::Parse {
            path: path.clone(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        config
            .check()
            .map_err(|message| ConfigError::Value { path, message })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if !(10..=16).contains(&self.bcrypt_cost) {
            return Err(format!(
                "bcrypt_cost is {}, and must be from 10 to 16",
                self.bcrypt_cost
            ));
        }
        if self
            .reserve_mib
            .is_some_and(|reserve| reserve > limits::MAX_RESERVE_MIB)
        {
            return Err(format!(
                "reserve_mib must be at most {}",
                limits::MAX_RESERVE_MIB
            ));
        }
        if !(1..=limits::MAX_LOG_MIB).contains(&self.log_mib) {
            return Err(format!(
                "log_mib is {}, and must be from 1 to {}",
                self.log_mib,
                limits::MAX_LOG_MIB
            ));
        }
        if self.max_sessions == 0 {
            return Err("max_sessions is 0: nobody could connect".to_owned());
        }
        if self.workers > 256 {
            return Err(format!(
                "workers is {}, and must be at most 256",
                self.workers
            ));
        }
        for (name, port) in [("port", self.port), ("udp_port", self.udp_port)] {
            if port == 0 {
                return Err(format!("{name} is 0, and must be from 1 to 65535"));
            }
        }
        if self.log_level.parse::<tracing::Level>().is_err() {
            return Err(format!(
                "log_level is {:?}, and must be error, warn, info or debug",
                self.log_level
            ));
        }
        Ok(())
    }

    /// How many worker threads to start.
    pub fn worker_threads(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(2, |n| n.get().max(2)),
            n => n,
        }
    }
}

/// Why `towpathd.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file exists and cannot be read.
    #[error("{}: cannot read the configuration: {source}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The error of the system call.
        source: std::io::Error,
    },
    /// The file is too long.
    #[error("{}: longer than {} bytes; is it a configuration?", path.display(), limits::CONFIG_BYTES)]
    TooLong {
        /// Path of the file.
        path: PathBuf,
    },
    /// Not TOML, or a key this version does not know.
    #[error("{}: {message}", path.display())]
    Parse {
        /// Path of the file.
        path: PathBuf,
        /// Line, column and reason.
        message: String,
    },
    /// A value out of range.
    #[error("{}: {message}", path.display())]
    Value {
        /// Path of the file.
        path: PathBuf,
        /// The value and its allowed range.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("towpathd.toml");
        fs::write(&path, text).unwrap();
        Config::load(&path)
    }

    #[test]
    fn absent_and_empty_files_mean_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("towpathd.toml");
        assert_eq!(Config::load(&absent).unwrap().port, 9260);
        assert_eq!(load("").unwrap().bcrypt_cost, 12);
    }

    #[test]
    fn every_value_is_read() {
        let config = load(
            "listen = [\"10.0.0.1\", \"fd00::1\"]\nport = 9261\nbcrypt_cost = 10\ntransport = \"udp\"\nudp_port = 9900\nmax_sessions = 5\nreserve_mib = 7\nworkers = 3\nlog_level = \"debug\"\n",
        )
        .unwrap();
        assert_eq!(config.listen.len(), 2);
        assert_eq!((config.port, config.workers), (9261, 3));
        assert_eq!(config.udp_port, 9900);
        assert_eq!(config.reserve_mib, Some(7));
        assert_eq!(config.transport, Transport::Udp);
    }

    #[test]
    fn bad_files_are_refused_with_a_reason() {
        for (text, word) in [
            ("bcrypt_cost = 4", "bcrypt_cost"),
            ("bcrypt_cost = 31", "bcrypt_cost"),
            ("prot = 1", "prot"),
            ("port = 0", "port"),
            ("udp_port = 0", "udp_port"),
            ("transport = \"pigeon\"", "line 1"),
            ("port = 70000", "line 1"),
            ("max_sessions = 0", "max_sessions"),
            ("log_mib = 0", "log_mib"),
            ("log_mib = 65537", "log_mib"),
            ("workers = 10000", "workers"),
            ("reserve_mib = 1048577", "reserve_mib"),
            ("reserve_mib = -1", "line 1"),
            ("log_level = \"loud\"", "log_level"),
            ("listen = [\"host name\"]", "line 1"),
            ("= = =", "line 1"),
        ] {
            let message = load(text).unwrap_err().to_string();
            assert!(message.contains(word), "{text}: {message}");
            assert!(message.contains("towpathd.toml"), "{message}");
        }
    }

    #[test]
    fn an_endless_file_is_refused() {
        let long = "#".repeat(limits::CONFIG_BYTES as usize + 1);
        assert!(matches!(load(&long), Err(ConfigError::TooLong { .. })));
    }
}
