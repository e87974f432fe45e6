//! Administration on the server host: creating the server directory and managing its users.

use std::fmt;
use std::fs;
use std::io::{self, IsTerminal, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use towpath_protocol::Role;
use towpath_protocol::channel::ServerFingerprint;
use towpath_protocol::signed::{KeyError, PublicKey, StoreId, UserId, UserName};
use towpath_store::{
    KeyFileError, NewKey, NewUser, OpenError, Registry, RegistryError, StorageKey, Store, User,
};
use zeroize::Zeroizing;

use super::config::{Config, ConfigError};
use super::directory::ServerDirectory;
use super::limits;
use super::tls_identity::{TlsIdentity, TlsIdentityError};

/// Source of a new user's password; never an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// Ask twice at the terminal.
    Ask,
    /// The first line of a file.
    File(PathBuf),
    /// The first line of standard input.
    StandardInput,
    /// The user logs in with a key only.
    None,
}

/// Why an administrator's command failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// `init` on a directory that holds something.
    #[error(
        "{} is not empty: nothing was changed; give a new directory, or `towpathd run` it if it is a server's",
        .0.display()
    )]
    NotEmpty(PathBuf),
    /// The directory was not made by `init`.
    #[error("{} is not a server directory ({missing} is missing); make one with `towpathd init`", dir.display())]
    NoServer {
        /// Path of the directory.
        dir: PathBuf,
        /// The file that is not there.
        missing: &'static str,
    },
    /// The directory is writable by others, who could replace its files.
    #[error(
        "{}: others may write to the server directory (mode {mode:04o}) and so put in their own keys and users; run `chmod go-w` on it",
        dir.display()
    )]
    Exposed {
        /// Path of the directory.
        dir: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// There is no such user.
    #[error("no user is named {0}; `towpathd user list` shows them all")]
    NoUser(UserName),
    /// No usable password was given.
    #[error("no password: {0}")]
    NoPassword(String),
    /// The public key file holds no usable key.
    #[error("{}: not a usable public key: {source}", path.display())]
    Key {
        /// Path of the file.
        path: PathBuf,
        /// Description of the problem.
        source: KeyError,
    },
    /// A private key was given instead of a public one.
    #[error("{}: a private key, which stays with its user; give the public half, {}.pub", .0.display(), .0.display())]
    PrivateKey(PathBuf),
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The certificate or its key is unusable.
    #[error(transparent)]
    Identity(#[from] TlsIdentityError),
    /// The storage key is unusable.
    #[error(transparent)]
    StorageKey(#[from] KeyFileError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The user registry refused.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl AdminError {
    /// The exit code of `towpathd` for this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotEmpty(_)
            | Self::NoServer { .. }
            | Self::Exposed { .. }
            | Self::Config(_)
            | Self::Identity(_)
            | Self::StorageKey(_)
            | Self::Store(_) => 3,
            Self::Io { .. }
            | Self::NoUser(_)
            | Self::NoPassword(_)
            | Self::Key { .. }
            | Self::PrivateKey(_)
            | Self::Registry(_) => 1,
        }
    }
}

/// A new server directory; displays as the store id, the fingerprint and the next steps.
#[derive(Debug)]
pub struct Made {
    /// The store's id.
    pub store: StoreId,
    /// Fingerprint of the server's key.
    pub key: ServerFingerprint,
    directory: ServerDirectory,
    recipient: String,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dir = self.directory.root().display();
        writeln!(f, "made the server directory {dir}")?;
        writeln!(f, "store       {}", self.store)?;
        writeln!(f, "server key  {}", self.key)?;
        writeln!(f, "storage     {}", self.recipient)?;
        writeln!(
            f,
            "\nKeep a copy of {} in a safe place, away from this machine:\nwithout it every stored file is lost, and whoever has it can read them all.",
            self.directory.storage_key().display()
        )?;
        writeln!(
            f,
            "For recovery with another key, put its age recipient into {} before the first upload:\n  recipients = [\"age1…\"]",
            self.directory.config().display()
        )?;
        writeln!(
            f,
            "\nNext:\n  towpathd user add {dir} NAME --role admin\n  towpathd run {dir}"
        )
    }
}

/// Creates a server directory: certificate, storage key, registry and store.
///
/// # Errors
/// When the directory is not empty, or a file cannot be created.
pub fn init(dir: &Path) -> Result<Made, AdminError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io_error(dir))?;
    if fs::read_dir(dir).map_err(io_error(dir))?.next().is_some() {
        return Err(AdminError::NotEmpty(dir.to_owned()));
    }
    check_mode(dir)?;
    let directory = ServerDirectory::new(dir);
    TlsIdentity::create(&directory)?;
    let storage_key = StorageKey::generate();
    storage_key.save_new(&directory.storage_key())?;
    Registry::create(&directory.users())?;
    let store = Store::init(&directory.files(), &storage_key)?;
    let identity = TlsIdentity::load(&directory)?;
    let key = fingerprint(&directory, &identity)?;
    Ok(Made {
        store,
        key,
        directory,
        recipient: storage_key.recipient().to_string(),
    })
}

/// The server key's fingerprint, as clients show and pin it.
pub(super) fn fingerprint(
    directory: &ServerDirectory,
    identity: &TlsIdentity,
) -> Result<ServerFingerprint, AdminError> {
    let certificate = identity.chain.first();
    certificate
        .and_then(|certificate| ServerFingerprint::of_certificate(certificate).ok())
        .ok_or_else(|| {
            AdminError::Identity(TlsIdentityError::Bad {
                path: directory.certificate(),
                reason: "the first certificate cannot be read as X.509".to_owned(),
            })
        })
}

/// Adds a user.
///
/// # Errors
/// When the name is taken, the password or key is not usable, or the registry cannot be written.
pub fn add_user(
    dir: &Path,
    name: UserName,
    role: Role,
    password: Password,
    key: Option<&Path>,
) -> Result<User, AdminError> {
    let registry = open_registry(dir)?;
    let key = key.map(read_key).transpose()?;
    let password = read_password(password, &name)?;
    Ok(registry.add(NewUser {
        name,
        role,
        password: password.as_ref().map(|password| password.as_bytes()),
        keys: key.into_iter().collect(),
    })?)
}

/// Prints the users, one a line: name, role, uid, number of keys, how they can log in.
///
/// # Errors
/// When the registry cannot be read.
pub fn list_users(dir: &Path) -> Result<(), AdminError> {
    for user in open_registry(dir)?.users() {
        let password = if user.has_password() {
            "password"
        } else {
            "no password"
        };
        let keys = match user.keys.len() {
            0 => "no key".to_owned(),
            1 => "1 key".to_owned(),
            n => format!("{n} keys"),
        };
        println!(
            "{:<32} {:<10} {} {password}, {keys}",
            user.name.as_str(),
            user.role.to_string(),
            user.uid
        );
    }
    Ok(())
}

/// Changes a user's role.
///
/// # Errors
/// When the user does not exist, is the last admin, or the registry cannot be written.
pub fn set_role(dir: &Path, name: &UserName, role: Role) -> Result<(), AdminError> {
    let registry = open_registry(dir)?;
    registry.set_role(uid_of(&registry, name)?, role)?;
    println!("{name} is now {role}");
    Ok(())
}

/// Removes a user; the files stay, and the uid is never reused.
///
/// # Errors
/// When the user does not exist, is the last admin, or the registry cannot be written.
pub fn remove_user(dir: &Path, name: &UserName) -> Result<(), AdminError> {
    let registry = open_registry(dir)?;
    registry.remove(uid_of(&registry, name)?)?;
    println!("removed {name}; their files stay");
    Ok(())
}

/// Opens the registry of a server directory, with the configured password cost.
pub(super) fn open_registry(dir: &Path) -> Result<Registry, AdminError> {
    let directory = ServerDirectory::new(dir);
    if !directory.users().exists() {
        return Err(AdminError::NoServer {
            dir: dir.to_owned(),
            missing: "users.json",
        });
    }
    check_mode(dir)?;
    let config = Config::load(&directory.config())?;
    Ok(Registry::open_with_cost(
        &directory.users(),
        config.bcrypt_cost,
    )?)
}

/// Refuses a directory that others may write to.
fn check_mode(dir: &Path) -> Result<(), AdminError> {
    let mode = fs::metadata(dir)
        .map_err(io_error(dir))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o022 == 0 {
        return Ok(());
    }
    let dir = dir.to_owned();
    Err(AdminError::Exposed { dir, mode })
}

fn uid_of(registry: &Registry, name: &UserName) -> Result<UserId, AdminError> {
    let user = registry.find(name);
    user.map(|user| user.uid)
        .ok_or_else(|| AdminError::NoUser(name.clone()))
}

fn read_key(path: &Path) -> Result<NewKey, AdminError> {
    let mut text = String::new();
    let file = fs::File::open(path).map_err(io_error(path))?;
    file.take(limits::CONFIG_BYTES)
        .read_to_string(&mut text)
        .map_err(io_error(path))?;
    let line = text.trim();
    if line.contains("PRIVATE KEY") {
        return Err(AdminError::PrivateKey(path.to_owned()));
    }
    let key = PublicKey::parse_openssh(line).map_err(|source| AdminError::Key {
        path: path.to_owned(),
        source,
    })?;
    let comment = line.splitn(3, ' ').nth(2).unwrap_or_default().trim();
    Ok(NewKey {
        key,
        comment: comment.to_owned(),
        statement: None,
    })
}

fn read_password(
    source: Password,
    name: &UserName,
) -> Result<Option<Zeroizing<String>>, AdminError> {
    match source {
        Password::None => Ok(None),
        Password::File(path) => {
            let file = fs::File::open(&path).map_err(io_error(&path))?;
            first_line(file, &path).map(Some)
        }
        Password::StandardInput => first_line(io::stdin(), Path::new("standard input")).map(Some),
        Password::Ask => {
            if !io::stdin().is_terminal() {
                return Err(AdminError::NoPassword(
                    "standard input is not a terminal; use --password-stdin, --password-file or --key"
                        .to_owned(),
                ));
            }
            let ask = |prompt: String| {
                rpassword::prompt_password(prompt)
                    .map(Zeroizing::new)
                    .map_err(io_error(Path::new("terminal")))
            };
            let first = ask(format!("Password for {name}: "))?;
            let again = ask("Again: ".to_owned())?;
            if *first != *again {
                return Err(AdminError::NoPassword("the two entries differ".to_owned()));
            }
            Ok(Some(first))
        }
    }
}

fn first_line(source: impl Read, path: &Path) -> Result<Zeroizing<String>, AdminError> {
    // Allocated once: a buffer that grows leaves copies of the password in memory.
    let mut text = Zeroizing::new(String::with_capacity(limits::PASSWORD_FILE_BYTES as usize));
    source
        .take(limits::PASSWORD_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(io_error(path))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        let place = path.display();
        return Err(AdminError::NoPassword(format!(
            "the first line of {place} is empty"
        )));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> AdminError {
    let path = path.to_owned();
    |source| AdminError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("server");
        fs::create_dir(&dir).unwrap();
        let set = |mode| fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
        let exposed =
            |result: Result<(), AdminError>| matches!(result, Err(AdminError::Exposed { .. }));
        set(0o775);
        assert!(exposed(init(&dir).map(drop)));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        set(0o755);
        init(&dir).unwrap();
        open_registry(&dir).unwrap();
        for mode in [0o770, 0o702] {
            set(mode);
            assert!(exposed(open_registry(&dir).map(drop)), "{mode:o}");
        }
    }
}
