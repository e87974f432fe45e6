//! The user's key: its file, unlocking and generating it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use towpath_protocol::signed::{PublicKey, SigningKey};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::interaction::Interaction;
use crate::limits::{MAX_ATTEMPTS, MAX_KEY_FILE};
use crate::local::config_dir::{self, ConfigDir};
use crate::local::secret::read_secret;

const FILE: &str = "id_ed25519";

/// The file of the key and the source of its passphrase.
#[derive(Clone, Debug)]
pub(crate) struct IdentitySource {
    /// File of the private key, in OpenSSH format.
    pub(crate) path: PathBuf,
    /// Whether the user named it: then its absence is an error.
    pub(crate) explicit: bool,
    /// File whose first line is the passphrase.
    pub(crate) passphrase_file: Option<PathBuf>,
}

impl IdentitySource {
    /// The key named by `--identity`, else the configuration directory's own.
    pub(crate) fn new(
        config_dir: &ConfigDir,
        named: Option<PathBuf>,
        passphrase_file: Option<PathBuf>,
    ) -> Self {
        Self {
            explicit: named.is_some(),
            path: named.unwrap_or_else(|| config_dir.path(FILE)),
            passphrase_file,
        }
    }

    /// Whether there is a key file, or the user named one.
    pub(crate) fn is_present(&self) -> bool {
        self.explicit || self.path.exists()
    }

    /// Reads and decrypts the key; asks for the passphrase when it has one.
    ///
    /// # Errors
    /// A local [`Error`]: no such file, readable by others, not an Ed25519 key, wrong passphrase,
    /// or no terminal to ask at.
    pub(crate) fn load(&self, interaction: &dyn Interaction) -> Result<SigningKey, Error> {
        let shown = self.path.display();
        let Some(pem) = config_dir::read_text(&self.path, MAX_KEY_FILE)?.map(Zeroizing::new) else {
            return Err(no_key(&self.path));
        };
        let meta = std::fs::metadata(&self.path).map_err(|e| Error::io("read", &shown, &e))?;
        if meta.mode() & 0o077 != 0 {
            return Err(Error::local(format!(
                "the private key {shown} can be read by others (mode {:o}); run `chmod 600 {shown}`",
                meta.mode() & 0o777
            )));
        }
        let encrypted =
            SigningKey::is_encrypted(&pem).map_err(|e| Error::local(format!("{shown}: {e}")))?;
        if !encrypted {
            return SigningKey::from_openssh(&pem, None)
                .map_err(|e| Error::local(format!("{shown}: {e}")));
        }
        if let Some(file) = &self.passphrase_file {
            let passphrase = read_secret(file, interaction)?;
            return SigningKey::from_openssh(&pem, Some(&passphrase))
                .map_err(|e| Error::local(format!("{shown}: {e}")));
        }
        if !interaction.is_interactive() {
            return Err(Error::local(format!(
                "{shown} has a passphrase and there is no terminal to ask on; give --passphrase-file"
            )));
        }
        let mut last = None;
        for _ in 0..MAX_ATTEMPTS {
            let passphrase = interaction.secret(&format!("Passphrase of {shown}: "))?;
            match SigningKey::from_openssh(&pem, Some(&passphrase)) {
                Ok(key) => return Ok(key),
                Err(e) => {
                    interaction.warn(&format!("{shown}: {e}"));
                    last = Some(e);
                }
            }
        }
        Err(Error::local(last.map_or_else(
            || format!("{shown}: no passphrase"),
            |e| format!("{shown}: {e}"),
        )))
    }
}

/// The message when there is no key.
fn no_key(path: &Path) -> Error {
    Error::local(format!(
        "there is no key at {}: files are signed by the user who uploads or deletes them. Generate one with `towpath keys new` and register it with `towpath keys add towpath://NAME@HOST/`, or name one with --identity",
        path.display()
    ))
}

/// Generates an Ed25519 key at `path`, which must not exist, in OpenSSH's format with mode 0600,
/// and writes its public half beside it (`.pub`). Returns the public key.
///
/// # Errors
/// A local [`Error`]; an existing key is never overwritten.
pub fn generate_key(
    path: &Path,
    comment: &str,
    passphrase: Option<&str>,
) -> Result<PublicKey, Error> {
    let mut seed = Zeroizing::new([0u8; 32]);
    getrandom::fill(seed.as_mut_slice())
        .map_err(|e| Error::local(format!("the system gives no randomness: {e}")))?;
    let key = SigningKey::from_seed(&seed);
    let pem = match passphrase {
        Some(passphrase) => {
            let mut random = [0u8; 20];
            getrandom::fill(&mut random)
                .map_err(|e| Error::local(format!("the system gives no randomness: {e}")))?;
            key.to_openssh_encrypted(comment, passphrase, &random)
                .map_err(|e| Error::local(format!("cannot encrypt the key: {e}")))?
        }
        None => key.to_openssh(comment),
    };
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)
            .map_err(|e| Error::io("create the directory", parent.display(), &e))?;
    }
    write_new(path, 0o600, pem.as_bytes()).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => Error::local(format!(
            "{} exists already and is kept; choose another place with --identity",
            path.display()
        )),
        _ => Error::io("write", path.display(), &e),
    })?;
    let public = key.public();
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    let line = format!("{} {comment}\n", public.to_openssh());
    write_new(Path::new(&name), 0o644, line.as_bytes())
        .map_err(|e| Error::io("write", Path::new(&name).display(), &e))?;
    Ok(public)
}

fn write_new(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::interaction::NonInteractive;

    #[test]
    fn a_new_key_is_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/key");
        let public = generate_key(&path, "me", None).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            std::fs::read_to_string(dir.path().join("sub/key.pub")).unwrap(),
            format!("{} me\n", public.to_openssh())
        );
        assert!(
            generate_key(&path, "me", None)
                .unwrap_err()
                .message
                .contains("exists already")
        );
        let source = IdentitySource {
            path: path.clone(),
            explicit: true,
            passphrase_file: None,
        };
        assert_eq!(source.load(&NonInteractive).unwrap().public(), public);

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(
            source
                .load(&NonInteractive)
                .unwrap_err()
                .message
                .contains("chmod 600")
        );
    }

    #[test]
    fn a_passphrase_is_needed_and_must_be_right() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let public = generate_key(&path, "", Some("open sesame")).unwrap();
        let passphrase = dir.path().join("passphrase");
        let mut source = IdentitySource {
            path,
            explicit: false,
            passphrase_file: None,
        };
        assert!(
            source
                .load(&NonInteractive)
                .unwrap_err()
                .message
                .contains("--passphrase-file")
        );
        source.passphrase_file = Some(passphrase.clone());
        std::fs::write(&passphrase, "wrong\n").unwrap();
        assert!(source.load(&NonInteractive).is_err());
        std::fs::write(&passphrase, "open sesame\n").unwrap();
        assert_eq!(source.load(&NonInteractive).unwrap().public(), public);
    }
}
