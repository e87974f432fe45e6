//! The environment of the demo: a directory, a server, and users with configuration directories.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use clap::Parser;
use towpath_client::Interaction;
use towpath_client::cli::Cli;
use towpath_client::exit::Exit;
use towpath_client::terminal::Terminal;
use towpath_io_mio::Stopper;
use towpath_io_mio::carrier::udp::LinkFaults;
use towpath_protocol::Role;
use towpath_protocol::signed::UserName;
use towpath_server::admin::{self, Password};
use towpath_server::config::Transport;
use towpath_server::directory::ServerDirectory;
use towpath_server::run::{Listen, ListenOptions, RunError, Server};

use super::error::DemoError;
use super::statistics::told;

/// The addresses that the server listens at.
const ADDRESSES: [&str; 2] = ["127.0.0.1", "127.0.0.2"];

/// Names of local files that commands use, in the directory of the demo.
const LOCALS: [&str; 9] = [
    "large.bin",
    "large.copy",
    "tree",
    "tree.copy",
    "proof",
    "note.txt",
    "damaged",
    "long.bin",
    "long.copy",
];

/// The file mode mask of what the clients write.
const UMASK: u32 = 0o077;

/// The directory of the demo, removed at its end.
pub(super) struct Stage {
    dir: tempfile::TempDir,
    server: Option<Running>,
}

struct Running {
    thread: JoinHandle<Result<(), RunError>>,
    stopper: Stopper,
    link_faults: LinkFaults,
    udp_port: u16,
    fingerprint: String,
}

/// A user of the server, with a configuration directory.
pub(super) struct User {
    name: UserName,
    config_dir: PathBuf,
}

impl Stage {
    pub(super) fn new() -> Result<Self, DemoError> {
        let dir = tempfile::Builder::new()
            .prefix("towpath-demo-")
            .tempdir()
            .map_err(DemoError::io(std::env::temp_dir()))?;
        println!(
            "A server and its clients in this process, over SCTP in user space: no kernel module, no privilege.\nEverything happens in {}, which is removed at the end.",
            dir.path().display()
        );
        Ok(Self { dir, server: None })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn server_directory(&self) -> ServerDirectory {
        ServerDirectory::new(&self.path("server"))
    }

    /// Where the server keeps a file.
    pub(super) fn stored(&self, path: &str) -> PathBuf {
        self.server_directory().files().join(format!("{path}.age"))
    }

    /// The directory of partial uploads.
    pub(super) fn stored_partials(&self) -> PathBuf {
        self.server_directory().files().join(".towpath/partial")
    }

    pub(super) fn init(&self) -> Result<(), DemoError> {
        println!("  $ towpathd init server");
        let made = admin::init(&self.path("server"))?;
        println!("  store {}, key {}", made.store, made.key);
        println!(
            "  (its storage.key opens every stored file: keep a copy of your own server's elsewhere)"
        );
        Ok(())
    }

    /// Generates a key and adds a user.
    pub(super) fn user(&self, name: &str, role: Role) -> Result<User, DemoError> {
        let parsed = UserName::parse(name).map_err(|e| DemoError::Wrong(e.to_string()))?;
        let user = User {
            name: parsed.clone(),
            config_dir: self.path(name),
        };
        self.run(
            &user,
            &["keys", "new", "--no-passphrase", "-q"],
            Exit::Success,
        )?;
        println!("  $ towpathd user add server {name} --role {role} --key {name}/id_ed25519.pub");
        let key = user.config_dir.join("id_ed25519.pub");
        let dir = self.path("server");
        let added = admin::add_user(&dir, parsed, role, Password::None, Some(&key))?;
        println!("  added {} as {}", added.name, added.role);
        Ok(user)
    }

    /// Starts the server in a thread.
    pub(super) fn serve(&mut self) -> Result<(), DemoError> {
        let addresses: Vec<IpAddr> = ADDRESSES
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect();
        println!(
            "  $ towpathd run server --transport udp --listen {} --listen {}",
            ADDRESSES[0], ADDRESSES[1]
        );
        let server = Server::open(&self.path("server"))?;
        let fingerprint = server.key().to_string();
        let link_faults = LinkFaults::default();
        let listening = server.listen(Listen::Sctp(ListenOptions {
            addresses,
            transport: Some(Transport::Udp),
            udp_port: Some(0),
            link_faults: Some(link_faults.clone()),
            ..ListenOptions::default()
        }))?;
        let udp_port = listening
            .udp_port()
            .ok_or_else(|| DemoError::Wrong("the server does not listen".to_owned()))?;
        println!("  serves at {}", listening.places());
        self.server = Some(Running {
            stopper: listening.stopper(),
            link_faults,
            udp_port,
            fingerprint,
            thread: std::thread::spawn(move || listening.run()),
        });
        Ok(())
    }
}

impl Stage {
    /// Runs a command that must succeed. `URL` at the start of an argument stands for the server.
    pub(super) fn ok(&self, who: &User, words: &[&str]) -> Result<(), DemoError> {
        self.run(who, words, Exit::Success)
    }

    /// Runs a command that must be refused.
    pub(super) fn refused(&self, who: &User, words: &[&str], how: Exit) -> Result<(), DemoError> {
        self.run(who, words, how)?;
        println!("  refused, as expected (exit code {})", how.code());
        Ok(())
    }

    fn run(&self, who: &User, words: &[&str], expected: Exit) -> Result<(), DemoError> {
        println!("  {}$ towpath {}", who.name, words.join(" "));
        let line = format!("towpath {}", words.join(" "));
        let mut arguments = vec!["towpath".to_owned()];
        for word in words {
            arguments.push(match word.strip_prefix("URL/") {
                Some(path) => self.url(who, path),
                None => self.local(word),
            });
        }
        arguments.extend(["--batch".to_owned(), "--config-dir".to_owned()]);
        arguments.push(who.config_dir.display().to_string());
        if let Some(server) = &self.server {
            arguments.extend(["--transport", "udp", "--udp-port"].map(str::to_owned));
            arguments.push(server.udp_port.to_string());
            arguments.extend(["--fingerprint".to_owned(), server.fingerprint.clone()]);
        }
        let cli = Cli::try_parse_from(arguments).map_err(|e| DemoError::Wrong(e.to_string()))?;
        let terminal = Arc::new(Terminal::recording(&cli));
        let found = match towpath_client::run::run(&cli, &terminal, UMASK) {
            Ok(exit) => exit,
            Err(failure) => {
                terminal.warn(&failure.to_string());
                Exit::Failed(failure.kind())
            }
        };
        let root = self.dir.path().display();
        print!("{}", told(&terminal.record(), &format!("{root}/")));
        if found == expected {
            return Ok(());
        }
        Err(DemoError::Command {
            line,
            expected,
            found,
        })
    }
}

impl Stage {
    fn url(&self, who: &User, path: &str) -> String {
        format!("towpath://{}@{}/{path}", who.name, ADDRESSES.join(","))
    }

    /// Expands a name in [`LOCALS`] to its full path; commands are shown with the short name.
    fn local(&self, word: &str) -> String {
        if LOCALS.contains(&word) {
            self.path(word).display().to_string()
        } else {
            word.to_owned()
        }
    }

    /// Creates a file of `size` incompressible bytes.
    pub(super) fn file(&self, name: &str, size: u64) -> Result<(), DemoError> {
        let path = self.path(name);
        let write = || {
            let mut file = fs::File::create(&path)?;
            let mut bytes = blake3::Hasher::new().update(name.as_bytes()).finalize_xof();
            let mut buffer = vec![0; 1 << 20];
            let mut left = size;
            while left > 0 {
                let piece = left.min(buffer.len() as u64) as usize;
                bytes.fill(&mut buffer[..piece]);
                file.write_all(&buffer[..piece])?;
                left -= piece as u64;
            }
            Ok(())
        };
        write().map_err(DemoError::io(&path))
    }

    /// Checks that two files are equal.
    pub(super) fn same(&self, one: &str, other: &str) -> Result<(), DemoError> {
        let hash = hash_of(&self.path(one))?;
        if hash != hash_of(&self.path(other))? {
            return Err(DemoError::Wrong(format!("{one} and {other} differ")));
        }
        println!("  {other} is what {one} was (BLAKE3 {}…)", &hash[..16]);
        Ok(())
    }

    /// Checks that two trees are equal.
    pub(super) fn same_trees(&self, one: &str, other: &str) -> Result<(), DemoError> {
        let (mut files, mut pending) = (0, vec![PathBuf::new()]);
        while let Some(dir) = pending.pop() {
            let here = self.path(one).join(&dir);
            for entry in fs::read_dir(&here).map_err(DemoError::io(&here))? {
                let entry = entry.map_err(DemoError::io(&here))?;
                let name = dir.join(entry.file_name());
                if entry.file_type().map_err(DemoError::io(&here))?.is_dir() {
                    pending.push(name);
                    continue;
                }
                let (a, b) = (self.path(one).join(&name), self.path(other).join(&name));
                if hash_of(&a)? != hash_of(&b)? {
                    return Err(DemoError::Wrong(format!("{} differs", name.display())));
                }
                files += 1;
            }
        }
        println!("  all {files} files are the same");
        Ok(())
    }

    /// Stops the server, and waits until it has stopped.
    pub(super) fn stop(mut self) -> Result<(), DemoError> {
        let Some(server) = self.server.take() else {
            return Ok(());
        };
        server.stopper.stop();
        match server.thread.join() {
            Ok(result) => Ok(result?),
            Err(_) => Err(DemoError::Wrong(
                "the server panicked; this is a bug".to_owned(),
            )),
        }
    }

    /// The control that cuts the server's addresses.
    pub(super) fn link_faults(&self) -> Result<LinkFaults, DemoError> {
        let server = self.server.as_ref();
        let link_faults = server.map(|server| server.link_faults.clone());
        link_faults.ok_or_else(|| DemoError::Wrong("the server does not run".to_owned()))
    }

    /// Checks an exported proof with `ssh-keygen`, if it is installed.
    pub(super) fn check_proof(&self, signer: &User) -> Result<(), DemoError> {
        let dir = self.path("proof");
        let manifest = dir.join("large.bin.manifest");
        let input = fs::File::open(&manifest).map_err(DemoError::io(&manifest))?;
        let verified = Command::new("ssh-keygen")
            .current_dir(&dir)
            .args([
                "-Y",
                "verify",
                "-f",
                "allowed_signers",
                "-I",
                signer.name.as_str(),
            ])
            .args(["-n", "file@towpath", "-s", "large.bin.sig"])
            .stdin(input)
            .stdout(Stdio::null())
            .status();
        match verified {
            Ok(status) if status.success() => {
                println!("  ssh-keygen: a good signature by {}", signer.name);
                Ok(())
            }
            Ok(status) => Err(DemoError::Wrong(format!(
                "ssh-keygen refuses the proof: {status}"
            ))),
            Err(error) => {
                println!("  (not checked here: ssh-keygen does not start: {error})");
                Ok(())
            }
        }
    }
}

/// The BLAKE3 of a file, in hexadecimal.
fn hash_of(path: &Path) -> Result<String, DemoError> {
    let mut hasher = blake3::Hasher::new();
    let mut read = || {
        let mut file = fs::File::open(path)?;
        std::io::copy(&mut file, &mut hasher)
    };
    read().map_err(DemoError::io(path))?;
    Ok(hasher.finalize().to_hex().to_string())
}
