//! A server, users with configuration directories and keys, and what their commands print.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs};

/// The server's addresses; over a test socket they are names only.
pub(crate) const ADDRESSES: [&str; 2] = if crate::OVER_UDP {
    ["127.0.0.1", "127.0.0.2"]
} else {
    ["10.0.0.1", "10.0.1.1"]
};

/// Where the server can be reached too, and no URL says so.
pub(crate) const ELSEWHERE: &str = if crate::OVER_UDP {
    "127.0.0.3"
} else {
    "10.0.9.9"
};

/// Longest that one command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

/// The client under test: cargo's, or that of another build.
fn towpath() -> OsString {
    env::var_os("TOWPATH_TEST_CLIENT").unwrap_or_else(|| env!("CARGO_BIN_EXE_towpath").into())
}

/// The server under test: cargo's, or that of another build.
pub(crate) fn towpathd() -> OsString {
    env::var_os("TOWPATH_TEST_SERVER").unwrap_or_else(|| env!("CARGO_BIN_EXE_towpathd").into())
}

/// A server directory, its users, and the running server.
pub(crate) struct Site {
    root: tempfile::TempDir,
    running: Option<Running>,
    /// The fingerprint that `towpathd run` printed last.
    pub(crate) fingerprint: String,
    directory: AtomicU32,
    pub(crate) udp_port: u16,
}

struct Running {
    child: Child,
    // Kept open: the server must be able to print.
    _output: BufReader<ChildStdout>,
}

/// A user with a password, a configuration directory and usually a key.
pub(crate) struct User {
    /// The user's name.
    pub(crate) name: String,
    /// Where `towpath` keeps keys, known servers and pins.
    pub(crate) config_dir: PathBuf,
    /// Holds the password.
    pub(crate) password_file: PathBuf,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit code.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) output: Vec<u8>,
    /// Standard error.
    pub(crate) errors: String,
    line: String,
}

impl Ran {
    /// Demands an exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            code,
            "{}\nstdout: {}\nstderr: {}",
            self.line,
            self.text(),
            self.errors
        );
        self
    }

    /// Demands success.
    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        self.exits(0)
    }

    /// Demands that standard error says so.
    #[track_caller]
    pub(crate) fn says(self, what: &str) -> Self {
        assert!(
            self.errors.contains(what),
            "{}\nexpected {what:?} in: {}",
            self.line,
            self.errors
        );
        self
    }

    /// Standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }
}

impl Site {
    /// A new server directory with a running server.
    pub(crate) fn new() -> Self {
        let root = tempfile::Builder::new()
            .prefix("towpath-cli-")
            .tempdir()
            .unwrap();
        let mut site = Self {
            root,
            running: None,
            fingerprint: String::new(),
            directory: AtomicU32::new(0),
            udp_port: free_udp_port(),
        };
        run(
            Command::new(towpathd())
                .arg("init")
                .arg(site.server_path("")),
            None,
        )
        .succeeds();
        site.start();
        site
    }

    /// A path in the scratch directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A fresh empty directory.
    pub(crate) fn fresh_directory(&self) -> PathBuf {
        let number = self.directory.fetch_add(1, Ordering::Relaxed);
        let path = self.path(&format!("dir-{number}"));
        fs::create_dir(&path).unwrap();
        path
    }

    /// A path in the server's directory.
    pub(crate) fn server_path(&self, name: &str) -> PathBuf {
        self.root.path().join("server").join(name)
    }

    /// The file that stores `path`.
    pub(crate) fn stored(&self, path: &str) -> PathBuf {
        self.server_path("server_files").join(format!("{path}.age"))
    }

    /// How messages name the place where the server listens.
    pub(crate) fn place(&self) -> &'static str {
        if crate::OVER_UDP {
            ADDRESSES[0]
        } else {
            "socket"
        }
    }

    fn socket(&self) -> PathBuf {
        self.path("socket")
    }

    /// Starts the server.
    pub(crate) fn start(&mut self) {
        let errors = fs::File::create(self.path("towpathd.err")).unwrap();
        let mut command = Command::new(towpathd());
        command.arg("run").arg(self.server_path(""));
        if crate::OVER_UDP {
            command.args(["--transport", "udp", "--udp-port"]);
            command.arg(self.udp_port.to_string());
            for address in ADDRESSES.into_iter().chain([ELSEWHERE]) {
                command.args(["--listen", address]);
            }
        } else {
            command.arg("--unix").arg(self.socket());
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let key = line.split(", ").find_map(|part| part.strip_prefix("key "));
        let key = key.unwrap_or_else(|| {
            panic!(
                "not ready: {line}{}",
                fs::read_to_string(self.path("towpathd.err")).unwrap()
            )
        });
        self.fingerprint = key.to_owned();
        self.running = Some(Running {
            child,
            _output: output,
        });
    }

    /// Ends the server in order.
    pub(crate) fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            terminate(&running.child);
            let status = running.child.wait().unwrap();
            assert!(
                status.success(),
                "towpathd: {status}\n{}",
                fs::read_to_string(self.path("towpathd.err")).unwrap()
            );
        }
    }

    /// Kills the server, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.child.kill().unwrap();
            running.child.wait().unwrap();
        }
    }

    /// A user with a password and a registered key.
    pub(crate) fn user(&self, name: &str, role: &str) -> User {
        let user = self.stranger(name);
        user.make_key();
        let mut add = self.user_add(&user, role);
        add.arg("--key").arg(user.config_dir.join("id_ed25519.pub"));
        run(&mut add, None).succeeds();
        user
    }

    /// A user with a password only.
    pub(crate) fn user_without_key(&self, name: &str, role: &str) -> User {
        let user = self.stranger(name);
        run(&mut self.user_add(&user, role), None).succeeds();
        user
    }

    /// A user with a password whom the server does not know.
    pub(crate) fn stranger(&self, name: &str) -> User {
        let user = User {
            name: name.to_owned(),
            config_dir: self.path(&format!("{name}.config")),
            password_file: self.path(&format!("{name}.password")),
        };
        write_private(
            &user.password_file,
            format!("correct horse {name}\n").as_bytes(),
        );
        user
    }

    fn user_add(&self, user: &User, role: &str) -> Command {
        let mut command = Command::new(towpathd());
        command
            .args(["user", "add"])
            .arg(self.server_path(""))
            .args([&user.name, "--role", role]);
        command.arg("--password-file").arg(&user.password_file);
        command
    }

    /// What names `path` on the server for `user`.
    pub(crate) fn url(&self, user: &User, path: &str) -> String {
        format!("towpath://{}@{}/{path}", user.name, ADDRESSES.join(","))
    }

    /// `towpath ARGUMENTS` with the user's configuration directory, not yet started.
    pub(crate) fn command(&self, user: &User, arguments: &[&str]) -> Command {
        let mut command = Command::new(towpath());
        command.arg("--config-dir").arg(&user.config_dir);
        if crate::OVER_UDP {
            command.args(["--transport", "udp", "--udp-port"]);
            command.arg(self.udp_port.to_string());
        } else {
            command.arg("--unix").arg(self.socket());
        }
        command.args(arguments);
        command
            .env_remove("TOWPATH_CONFIG_DIR")
            .current_dir(self.root.path());
        command
    }

    /// Runs `towpath ARGUMENTS` as it is.
    pub(crate) fn plain(&self, user: &User, arguments: &[&str]) -> Ran {
        run(&mut self.command(user, arguments), None)
    }

    /// Runs `towpath ARGUMENTS` with the right fingerprint; logs in by key.
    pub(crate) fn towpath(&self, user: &User, arguments: &[&str]) -> Ran {
        run(&mut self.trusting(user, arguments), None)
    }

    /// The same with standard input.
    pub(crate) fn towpath_with_input(&self, user: &User, arguments: &[&str], input: &[u8]) -> Ran {
        run(&mut self.trusting(user, arguments), Some(input))
    }

    /// Runs `towpath ARGUMENTS` with the right fingerprint and the user's password.
    pub(crate) fn by_password(&self, user: &User, arguments: &[&str]) -> Ran {
        let mut command = self.trusting(user, arguments);
        command.arg("--password-file").arg(&user.password_file);
        run(&mut command, None)
    }

    /// `towpath ARGUMENTS` with the right fingerprint, not yet run.
    pub(crate) fn trusting(&self, user: &User, arguments: &[&str]) -> Command {
        let mut command = self.command(user, arguments);
        command.arg("--fingerprint").arg(&self.fingerprint);
        command
    }

    /// Puts `content` at `path`.
    #[track_caller]
    pub(crate) fn put(&self, user: &User, path: &str, content: &[u8]) {
        let source = self.fresh_directory().join("source");
        fs::write(&source, content).unwrap();
        self.towpath(user, &["put", text(&source), &self.url(user, path)])
            .succeeds();
    }

    /// Gets `path` and gives what the command did and where the file would be.
    pub(crate) fn get(&self, user: &User, path: &str, options: &[&str]) -> (Ran, PathBuf) {
        let target = self.fresh_directory().join("target");
        let url = self.url(user, path);
        let mut arguments = vec!["get"];
        arguments.extend(options);
        arguments.extend([url.as_str(), text(&target)]);
        (self.towpath(user, &arguments), target)
    }

    /// The server's log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.server_path("server.log")).unwrap_or_default()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("server.log:\n{}", self.log());
            eprintln!(
                "towpathd stderr:\n{}",
                fs::read_to_string(self.path("towpathd.err")).unwrap_or_default()
            );
        }
    }
}

impl User {
    /// Generates the user's key.
    pub(crate) fn make_key(&self) {
        let mut command = Command::new(towpath());
        command
            .arg("--config-dir")
            .arg(&self.config_dir)
            .args(["keys", "new", "--no-passphrase"]);
        run(&mut command, None).succeeds();
    }

    /// The fingerprint of the user's key, as `ssh-keygen` has it.
    pub(crate) fn key(&self) -> String {
        let ran = run(
            Command::new("ssh-keygen")
                .arg("-lf")
                .arg(self.config_dir.join("id_ed25519.pub")),
            None,
        )
        .succeeds();
        ran.text().split_whitespace().nth(1).unwrap().to_owned()
    }
}

/// Runs a command to its end, with an empty or the given standard input, and without a terminal.
pub(crate) fn run(command: &mut Command, input: Option<&[u8]>) -> Ran {
    let line = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{line}: {e}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.map(<[u8]>::to_vec).unwrap_or_default();
    // A command that reads nothing closes the pipe, which is no fault.
    let writer = std::thread::spawn(move || stdin.write_all(&input).is_ok());
    let killer = Watchdog::start(child.id());
    let output = child.wait_with_output().unwrap();
    killer.end();
    writer.join().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        output: output.stdout,
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        line,
    }
}

/// Kills a command that takes too long, so that a test fails instead of hanging.
struct Watchdog {
    done: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Watchdog {
    fn start(pid: u32) -> Self {
        let (done, wait) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            if wait.recv_timeout(COMMAND_TIMEOUT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                signal(pid, nix::sys::signal::Signal::SIGKILL);
            }
        });
        Self { done, thread }
    }

    fn end(self) {
        // The thread has ended when nobody listens.
        self.done.send(()).unwrap_or(());
        self.thread.join().unwrap();
    }
}

fn terminate(child: &Child) {
    signal(child.id(), nix::sys::signal::Signal::SIGTERM);
}

/// Sends a signal to a child.
pub(crate) fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{what} does not happen"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A path as an argument.
#[track_caller]
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Writes a file that only its owner reads.
pub(crate) fn write_private(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Bytes that look random and are always the same.
pub(crate) fn bytes(length: usize, seed: u8) -> Vec<u8> {
    let mut content = vec![0; length];
    blake3::Hasher::new_keyed(&[seed; 32])
        .finalize_xof()
        .fill(&mut content);
    content
}

/// The names in a directory.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A UDP port that is free at all the addresses.
fn free_udp_port() -> u16 {
    if !crate::OVER_UDP {
        return 0;
    }
    for _ in 0..100 {
        let first = UdpSocket::bind((ADDRESSES[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let others = [ADDRESSES[1], ELSEWHERE];
        if others.iter().all(|at| UdpSocket::bind((*at, port)).is_ok()) {
            return port;
        }
    }
    panic!("no UDP port is free at {ADDRESSES:?}")
}
