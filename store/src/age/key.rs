//! Recipients and the storage identity, in age's own text formats.

use std::fmt::{self, Write as _};
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::bech32;
use crate::limits::{MAX_IDENTITIES, MAX_KEY_FILE};

const RECIPIENT: &str = "age";
const SECRET: &str = "age-secret-key-";

/// The public half of an age identity, `age1…`: whom a file is encrypted for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipient(PublicKey);

impl Recipient {
    pub(crate) fn public(&self) -> &PublicKey {
        &self.0
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32::encode(RECIPIENT, self.0.as_bytes()))
    }
}

/// The text is not an age X25519 recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an age recipient (age1… and 58 characters, as age-keygen prints it)")]
pub struct RecipientError;

impl FromStr for Recipient {
    type Err = RecipientError;

    fn from_str(text: &str) -> Result<Self, RecipientError> {
        // Recipients are lower case, identities upper case: the other case is legal Bech32 but
        // nothing that age prints.
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(RecipientError);
        }
        let bytes = bech32::decode(RECIPIENT, text).ok_or(RecipientError)?;
        let public = PublicKey::from(*bytes);
        // With a point of low order every secret gives the same shared secret, so one shows it.
        let shared = StaticSecret::from([1; 32]).diffie_hellman(&public);
        if shared.was_contributory() {
            Ok(Self(public))
        } else {
            Err(RecipientError)
        }
    }
}

/// One secret with its public half.
pub(crate) struct Identity {
    secret: StaticSecret,
    recipient: Recipient,
}

impl Identity {
    fn new(secret: StaticSecret) -> Self {
        let recipient = Recipient(PublicKey::from(&secret));
        Self { secret, recipient }
    }

    fn parse(text: &str) -> Option<Self> {
        if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return None;
        }
        bech32::decode(SECRET, text).map(|bytes| Self::new(StaticSecret::from(*bytes)))
    }

    pub(crate) fn secret(&self) -> &StaticSecret {
        &self.secret
    }

    pub(crate) fn recipient(&self) -> &Recipient {
        &self.recipient
    }
}

/// `storage.key`: the identity that opens every stored file, in the format of `age-keygen`.
///
/// The first identity is the current one; further ones are older identities of files that were not
/// rekeyed yet. Secrets are zeroized when it is dropped, and are not in its `Debug`.
pub struct StorageKey {
    current: Identity,
    older: Vec<Identity>,
}

/// Why a `storage.key` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read, or made (it is never overwritten).
    #[error("{path}: {error}")]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// The error of the system call.
        #[source]
        error: io::Error,
    },
    /// Others than its owner have rights on it.
    #[error("{path}: mode {mode:03o} lets others than its owner at it; run: chmod 600 {path}")]
    TooOpen {
        /// Path of the file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A line is neither a comment nor an identity, or there is none, or too many.
    #[error("{path}:{line}: {reason}")]
    Malformed {
        /// Path of the file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it; never its text.
        reason: &'static str,
    },
}

impl StorageKey {
    /// A new identity from the system's randomness.
    ///
    /// # Panics
    /// When the system has no randomness.
    #[must_use]
    pub fn generate() -> Self {
        let secret = random_secret().expect("a system that runs this has getrandom(2)");
        Self {
            current: Identity::new(secret),
            older: Vec::new(),
        }
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`KeyFileError`]: unreadable, malformed, or with rights for others than its owner.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let io = |error| KeyFileError::Io {
            path: path.into(),
            error,
        };
        let file = fs::File::open(path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::TooOpen {
                path: path.into(),
                mode,
            });
        }
        let mut text = Zeroizing::new(String::with_capacity(MAX_KEY_FILE + 1));
        file.take(MAX_KEY_FILE as u64 + 1)
            .read_to_string(&mut text)
            .map_err(io)?;
        parse_key_file(&text).map_err(|(line, reason)| KeyFileError::Malformed {
            path: path.into(),
            line,
            reason,
        })
    }

    /// Writes the identity to a new file of mode 0600 and syncs it; an existing file is not
    /// changed.
    ///
    /// # Errors
    /// [`KeyFileError::Io`]; `AlreadyExists` when there is a file.
    pub fn save_new(&self, path: &Path) -> Result<(), KeyFileError> {
        let io = |error| KeyFileError::Io {
            path: path.into(),
            error,
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        let written = file
            .write_all(self.emit().as_bytes())
            .and_then(|()| file.sync_all());
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        written
            .and_then(|()| fs::File::open(parent)?.sync_all())
            .map_err(io)
    }

    /// The public half of the current identity.
    #[must_use]
    pub fn recipient(&self) -> &Recipient {
        &self.current.recipient
    }

    /// The identity that encrypts and authenticates new files.
    pub(crate) fn current(&self) -> &Identity {
        &self.current
    }

    /// The current identity, then the older ones.
    pub(crate) fn identities(&self) -> impl Iterator<Item = &Identity> {
        std::iter::once(&self.current).chain(&self.older)
    }

    /// A second one, for a store that is opened again.
    #[cfg(test)]
    pub(crate) fn copy(&self) -> Self {
        parse_key_file(&self.emit()).expect("what was written is read")
    }

    pub(super) fn emit(&self) -> Zeroizing<String> {
        // Allocated once: a buffer that grows leaves copies of a secret in memory.
        let mut text = Zeroizing::new(String::with_capacity(1024 * (1 + self.older.len())));
        text.push_str("# Towpath storage key. Whoever loses it loses every stored file; whoever has it can read them.\n");
        for identity in self.identities() {
            let mut secret = bech32::encode(SECRET, identity.secret.as_bytes());
            secret.make_ascii_uppercase();
            writeln!(text, "# public key: {}\n{}", identity.recipient, *secret)
                .expect("a String takes everything");
        }
        text
    }
}

impl fmt::Debug for StorageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorageKey")
            .field("recipient", &self.current.recipient)
            .finish_non_exhaustive()
    }
}

/// A fresh secret, for an identity or for one stanza.
pub(super) fn random_secret() -> Result<StaticSecret, getrandom::Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)?;
    Ok(StaticSecret::from(*bytes))
}

pub(super) fn parse_key_file(text: &str) -> Result<StorageKey, (usize, &'static str)> {
    if text.len() > MAX_KEY_FILE {
        return Err((1, "the file is larger than any key file"));
    }
    let mut identities = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if identities.len() == MAX_IDENTITIES {
            return Err((index + 1, "too many identities"));
        }
        let identity = Identity::parse(line).ok_or((
            index + 1,
            "neither a comment nor an identity (AGE-SECRET-KEY-1…)",
        ))?;
        identities.push(identity);
    }
    let mut identities = identities.into_iter();
    let current = identities
        .next()
        .ok_or((1, "the file has no identity (AGE-SECRET-KEY-1…)"))?;
    Ok(StorageKey {
        current,
        older: identities.collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_saved_key_loads_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("storage.key");
        let key = StorageKey::generate();
        key.save_new(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let loaded = StorageKey::load(&path).unwrap();
        assert_eq!(loaded.recipient(), key.recipient());
        assert_eq!(
            loaded.current.secret.as_bytes(),
            key.current.secret.as_bytes()
        );

        let error = StorageKey::generate().save_new(&path).unwrap_err();
        assert!(
            matches!(error, KeyFileError::Io { error, .. } if error.kind() == io::ErrorKind::AlreadyExists)
        );
        assert_eq!(
            StorageKey::load(&path).unwrap().recipient(),
            key.recipient()
        );
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("storage.key");
        StorageKey::generate().save_new(&path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                matches!(StorageKey::load(&path), Err(KeyFileError::TooOpen { mode: m, .. }) if m == mode)
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        StorageKey::load(&path).unwrap();
    }

    #[test]
    fn several_identities_and_comments() {
        let (one, two) = (StorageKey::generate(), StorageKey::generate());
        let key = parse_key_file(&format!("{}\n\n# older\n{}", *one.emit(), *two.emit())).unwrap();
        assert_eq!(key.recipient(), one.recipient());
        let all: Vec<&Recipient> = key.identities().map(Identity::recipient).collect();
        assert_eq!(all, [one.recipient(), two.recipient()]);
    }

    #[test]
    fn malformed_files_name_the_line_and_not_the_secret() {
        let key = StorageKey::generate();
        let text = key.emit();
        let broken = text.replace("AGE-SECRET-KEY-1", "AGE-SECRET-KEY-2");
        for (text, line) in [
            ("", 1),
            ("# nothing\n", 1),
            (broken.as_str(), 3),
            (&text.to_lowercase(), 3),
        ] {
            assert_eq!(parse_key_file(text).unwrap_err().0, line, "{text:?}");
        }
        assert!(parse_key_file(&key.emit().repeat(MAX_IDENTITIES + 1)).is_err());
        assert!(!format!("{key:?}").contains("SECRET"));
    }

    #[test]
    fn recipients_are_lower_case_text() {
        let text = StorageKey::generate().recipient().to_string();
        assert_eq!(text.parse::<Recipient>().unwrap().to_string(), text);
        assert_eq!(
            text.to_uppercase().parse::<Recipient>(),
            Err(RecipientError)
        );
        assert_eq!("age1".parse::<Recipient>(), Err(RecipientError));
    }

    /// Anyone can compute the secret shared with such a recipient, and so read every file.
    #[test]
    fn a_recipient_of_low_order_is_refused() {
        let order_8 = [
            0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83,
            0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd,
            0xd0, 0x9f, 0x11, 0xd7,
        ];
        let mut one = [0; 32];
        one[0] = 1;
        for bytes in [[0; 32], one, order_8] {
            let text = bech32::encode(RECIPIENT, &bytes);
            assert_eq!(text.parse::<Recipient>(), Err(RecipientError), "{}", *text);
        }
    }
}
