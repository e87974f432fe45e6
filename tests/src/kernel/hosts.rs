//! `towpathd` on one host and `towpath` on the other.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use super::net::{Network, Side};
use super::process::{self, Ended, ProcessError, Running};
use super::{CaseError, Programs, demand, limits};

/// A server, its users, and the two networks that lead to it.
#[derive(Debug)]
pub struct Site {
    programs: Programs,
    // Fields drop in this order: programs end before their network and their files go.
    server: Option<Running>,
    /// The networks.
    pub network: Network,
    root: tempfile::TempDir,
    fingerprint: String,
    carriers: Carriers,
    commands: std::cell::Cell<usize>,
}

/// Transports of a site: the server's and the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carriers {
    /// What `towpathd` listens with.
    pub server: Carrier,
    /// What `towpath` connects with.
    pub client: Carrier,
}

impl Carriers {
    /// The programs' defaults.
    pub const DEFAULT: Self = Self {
        server: Carrier::Default,
        client: Carrier::Default,
    };
}

/// Transport of one end of an association.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// The program's default.
    Default,
    /// The kernel's SCTP, which this host puts into UDP.
    KernelInUdp,
    /// `towpath-sctp`, which is always in UDP.
    Ours,
}

impl Carrier {
    fn choose(self, command: &mut Command) {
        match self {
            Self::Default => {}
            Self::KernelInUdp => {
                command.args(["--transport", "kernel"]);
            }
            Self::Ours => {
                command.args(["--transport", "udp"]);
            }
        }
    }
}

/// A user with a key and a password.
#[derive(Debug, Clone)]
pub struct User {
    /// Name at the server.
    pub name: String,
    config_dir: PathBuf,
    password: PathBuf,
}

impl Site {
    /// Makes the networks, a server and its users, each given with a role, and starts the server.
    pub fn new(
        programs: &Programs,
        mtu: u32,
        users: &[(&str, &str)],
    ) -> Result<(Self, Vec<User>), CaseError> {
        Self::with(programs, Network::new(mtu)?, Carriers::DEFAULT, users)
    }

    /// The same with the given network and transports.
    pub fn with(
        programs: &Programs,
        network: Network,
        carriers: Carriers,
        users: &[(&str, &str)],
    ) -> Result<(Self, Vec<User>), CaseError> {
        if carriers.server == Carrier::KernelInUdp {
            network.encapsulate(Side::Server)?;
        }
        if carriers.client == Carrier::KernelInUdp {
            network.encapsulate(Side::Client)?;
        }
        let mut site = Self {
            programs: programs.clone(),
            server: None,
            network,
            root: directory()?,
            fingerprint: String::new(),
            carriers,
            commands: std::cell::Cell::new(0),
        };
        let mut init = Command::new(&site.programs.towpathd);
        init.arg("init").arg(site.server_path(""));
        site.run(&mut init)?;
        let users = users
            .iter()
            .map(|(name, role)| site.add_user(name, role))
            .collect::<Result<Vec<_>, _>>()?;
        site.start_server()?;
        Ok((site, users))
    }

    fn add_user(&self, name: &str, role: &str) -> Result<User, CaseError> {
        let user = User {
            name: name.to_owned(),
            config_dir: self.path(&format!("{name}.config")),
            password: self.path(&format!("{name}.password")),
        };
        write_private(&user.password, format!("correct horse {name}\n").as_bytes())?;
        let mut key = Command::new(&self.programs.towpath);
        key.arg("--config-dir")
            .arg(&user.config_dir)
            .args(["keys", "new", "--no-passphrase"]);
        self.run(&mut key)?;
        let mut add = Command::new(&self.programs.towpathd);
        add.args(["user", "add"])
            .arg(self.server_path(""))
            .args([name, "--role", role]);
        add.arg("--password-file").arg(&user.password);
        add.arg("--key").arg(user.config_dir.join("id_ed25519.pub"));
        self.run(&mut add)?;
        Ok(user)
    }

    fn start_server(&mut self) -> Result<(), CaseError> {
        let mut command = self.network.on_server(&self.programs.towpathd);
        command.arg("run").arg(self.server_path(""));
        for address in self.network.server_addresses() {
            command.arg("--listen").arg(address);
        }
        self.carriers.server.choose(&mut command);
        let mut running = Running::start(&mut command, self.root.path(), "towpathd")?;
        let started = Instant::now();
        loop {
            let (output, errors) = running.said();
            if let Some(key) = output.lines().find_map(ready_key) {
                self.fingerprint = key.to_owned();
                self.server = Some(running);
                return Ok(());
            }
            let said = process::tail(&format!("{output}{errors}"));
            if let Some(status) = running.ended()? {
                return Err(CaseError::Wrong(format!(
                    "towpathd ended at its start: {status}\n{said}"
                )));
            }
            demand!(
                started.elapsed() < limits::SERVER_START,
                "towpathd does not become ready\n{said}"
            );
            thread::sleep(limits::POLL);
        }
    }

    /// Stops the server with SIGTERM and checks that it exits successfully.
    pub fn stop(&mut self) -> Result<(), CaseError> {
        if let Some(server) = self.server.take() {
            server.terminate()?;
            let ended = server
                .wait(limits::SERVER_STOP)
                .and_then(|ended| ended.expect_code(0));
            ended.map_err(|error| self.with_log(error))?;
        }
        Ok(())
    }

    /// A path in the directory of this case.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A path in the server's directory.
    #[must_use]
    pub fn server_path(&self, name: &str) -> PathBuf {
        self.root.path().join("server").join(name)
    }

    /// URL of `path` for `user`, with all addresses of the server.
    #[must_use]
    pub fn remote(&self, user: &User, path: &str) -> String {
        let addresses = self.network.server_addresses().join(",");
        format!("towpath://{}@{addresses}:9260/{path}", user.name)
    }

    /// Starts `towpath SUBCOMMAND` for `user` on the client's host.
    pub fn start(
        &self,
        user: &User,
        subcommand: &str,
        arguments: &[&str],
    ) -> Result<Running, CaseError> {
        let mut command = self.network.on_client(&self.programs.towpath);
        command
            .arg("--config-dir")
            .arg(&user.config_dir)
            .arg(subcommand);
        command.arg("--fingerprint").arg(&self.fingerprint);
        command.arg("--password-file").arg(&user.password);
        self.carriers.client.choose(&mut command);
        command.args(arguments);
        Ok(Running::start(
            &mut command,
            self.root.path(),
            &self.next_name(),
        )?)
    }

    /// Runs `towpath SUBCOMMAND` for `user` to its end.
    pub fn towpath(
        &self,
        user: &User,
        subcommand: &str,
        arguments: &[&str],
    ) -> Result<Ended, CaseError> {
        Ok(self
            .start(user, subcommand, arguments)?
            .wait(limits::COMMAND)?)
    }

    /// The stored file at `path`, opened with the real `age` and hashed.
    pub fn stored_hash(&self, path: &str) -> Result<blake3::Hash, CaseError> {
        let opened = self.path("opened-by-age");
        let mut age = Command::new("age");
        age.arg("-d")
            .arg("-i")
            .arg(self.server_path("storage.key"))
            .arg("-o")
            .arg(&opened);
        age.arg(self.server_path("server_files").join(format!("{path}.age")));
        self.run(&mut age)?;
        let hash = hash_file(&opened)?;
        fs::remove_file(&opened).map_err(|error| file_error(&opened, error))?;
        Ok(hash)
    }

    /// The end of the server's log, for the report of a failure.
    #[must_use]
    pub fn server_log(&self) -> String {
        let path = self.server_path("server.log");
        fs::read_to_string(&path).unwrap_or_else(|error| format!("{}: {error}", path.display()))
    }

    /// A failed program, with what the server logged.
    #[must_use]
    pub fn with_log(&self, error: ProcessError) -> CaseError {
        CaseError::Wrong(format!(
            "{error}\n  server.log:\n{}",
            process::tail(&self.server_log())
        ))
    }

    fn run(&self, command: &mut Command) -> Result<Ended, ProcessError> {
        Running::start(command, self.root.path(), &self.next_name())?
            .wait(limits::COMMAND)?
            .expect_code(0)
    }

    fn next_name(&self) -> String {
        self.commands.set(self.commands.get() + 1);
        format!("command-{}", self.commands.get())
    }
}

/// The key's fingerprint in `towpathd: ready, store ID, key SHA256:…, listening on …`.
fn ready_key(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("towpathd: ready, ")?;
    rest.split(", ").find_map(|part| part.strip_prefix("key "))
}

/// An empty directory that is removed on drop; in a guest it is in memory.
pub fn directory() -> Result<tempfile::TempDir, CaseError> {
    tempfile::Builder::new()
        .prefix("towpath-suite-")
        .tempdir()
        .map_err(|source| CaseError::File {
            what: "temporary directory".to_owned(),
            source,
        })
}

/// Creates a file of `size` incompressible bytes; returns its hash.
pub fn make_file(path: &Path, size: u64, seed: u8) -> Result<blake3::Hash, CaseError> {
    let mut content = blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof();
    let mut hasher = blake3::Hasher::new();
    let mut write = || -> std::io::Result<()> {
        let mut file = File::create(path)?;
        let mut buffer = vec![0; 1 << 20];
        let mut left = size;
        while left > 0 {
            let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            content.fill(&mut buffer[..length]);
            hasher.update(&buffer[..length]);
            file.write_all(&buffer[..length])?;
            left -= length as u64;
        }
        Ok(())
    };
    write().map_err(|error| file_error(path, error))?;
    Ok(hasher.finalize())
}

/// BLAKE3 of a file.
pub fn hash_file(path: &Path) -> Result<blake3::Hash, CaseError> {
    let mut hasher = blake3::Hasher::new();
    let mut read = || -> std::io::Result<()> {
        let mut file = File::open(path)?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(()),
                length => hasher.update(&buffer[..length]),
            };
        }
    };
    read().map_err(|error| file_error(path, error))?;
    Ok(hasher.finalize())
}

/// Removes a file of the case, to free memory in a guest.
pub fn remove(path: &Path) -> Result<(), CaseError> {
    fs::remove_file(path).map_err(|error| file_error(path, error))
}

/// A path as an argument of a command.
pub fn text(path: &Path) -> Result<&str, CaseError> {
    path.to_str()
        .ok_or_else(|| CaseError::Wrong(format!("not a path for a command: {}", path.display())))
}

fn write_private(path: &Path, content: &[u8]) -> Result<(), CaseError> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(content))
        .map_err(|error| file_error(path, error))
}

fn file_error(path: &Path, source: std::io::Error) -> CaseError {
    CaseError::File {
        what: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_names_the_key() {
        let line = "towpathd: ready, store 00ff, key SHA256:abc+/, listening on 10.0.0.1:9260, 10.0.1.1:9260";
        assert_eq!(ready_key(line), Some("SHA256:abc+/"));
        assert_eq!(ready_key("towpathd: storage.key is missing"), None);
    }

    #[test]
    fn a_made_file_has_its_size_and_hash() {
        let directory = directory().unwrap();
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        let size = (1 << 20) + 7;
        let hash = make_file(&one, size, 1).unwrap();
        assert_eq!(fs::metadata(&one).unwrap().len(), size);
        assert_eq!(hash_file(&one).unwrap(), hash);
        assert_ne!(make_file(&two, size, 2).unwrap(), hash);
    }
}
