//! Which servers this client trusts: `known_servers`, one line for each store.
//!
//! ```text
//! <store id> SHA256:<server key> <address>,<address>…
//! ```
//! The store id identifies the server; the addresses are those it was reached at. A store with
//! another key, or an address with another store, is a hard failure: only the user may remove a
//! line.

use std::path::{Path, PathBuf};

use towpath_protocol::channel::ServerFingerprint;
use towpath_protocol::signed::StoreId;

use crate::error::{Error, ErrorKind};
use crate::limits::MAX_KNOWN_SERVERS;
use crate::local::config_dir::{self, ConfigDir};

const FILE: &str = "known_servers";

/// The server that answered: its store id and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerId {
    /// Random id of the store.
    pub(crate) store: StoreId,
    /// Fingerprint of its public key.
    pub(crate) key: ServerFingerprint,
}

/// The status of a server according to the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Known, with this key.
    Known,
    /// Neither the store nor any of the addresses was seen before.
    New,
    /// The store is known with another key.
    KeyChanged {
        /// The recorded key.
        recorded: ServerFingerprint,
        /// The line of the file.
        line: usize,
    },
    /// An address is known to belong to another store.
    OtherStore {
        /// Address, as recorded.
        address: String,
        /// The recorded store.
        recorded: StoreId,
        /// The recorded key.
        recorded_key: ServerFingerprint,
        /// The line of the file.
        line: usize,
    },
}

#[derive(Clone, Debug)]
struct Record {
    identity: ServerId,
    aliases: Vec<String>,
    line: usize,
}

/// The content of the file.
#[derive(Debug)]
pub(crate) struct KnownServers {
    path: PathBuf,
    /// All lines unchanged, so that the user's comments and order are kept.
    lines: Vec<String>,
    records: Vec<Record>,
}

impl KnownServers {
    /// Reads the file; an absent file is empty.
    ///
    /// # Errors
    /// An [`Error`] naming the line that cannot be read: a damaged record must not turn a known
    /// server into a new one.
    pub(crate) fn load(config_dir: &ConfigDir) -> Result<Self, Error> {
        let path = config_dir.path(FILE);
        let text = config_dir::read_text(&path, MAX_KNOWN_SERVERS)?.unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut records = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            let content = line.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let record = parse_line(content, index + 1)
                .ok_or_else(|| Error::new(ErrorKind::Untrusted, format!("{}, line {}: not a server record; repair or remove the line, then try again", path.display(), index + 1)))?;
            records.push(record);
        }
        Ok(Self {
            path,
            lines,
            records,
        })
    }

    /// The file's path, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The status of `shown`, reached at `aliases`.
    pub(crate) fn standing(&self, shown: &ServerId, aliases: &[String]) -> Standing {
        let mut known = false;
        for record in &self.records {
            if record.identity.store == shown.store {
                if record.identity.key != shown.key {
                    return Standing::KeyChanged {
                        recorded: record.identity.key,
                        line: record.line,
                    };
                }
                known = true;
            } else if let Some(address) = record.aliases.iter().find(|a| aliases.contains(a)) {
                return Standing::OtherStore {
                    address: address.clone(),
                    recorded: record.identity.store,
                    recorded_key: record.identity.key,
                    line: record.line,
                };
            }
        }
        if known {
            Standing::Known
        } else {
            Standing::New
        }
    }

    /// Records that `shown` is trusted and was reached at `aliases`; reads the file again under its
    /// lock, so that two clients at once both stay recorded.
    ///
    /// # Errors
    /// An [`Error`] when the file cannot be written, or contradicts this since it was read.
    pub(crate) fn remember(
        config_dir: &ConfigDir,
        shown: &ServerId,
        aliases: &[String],
    ) -> Result<(), Error> {
        let _lock = config_dir.lock(FILE)?;
        let mut now = Self::load(config_dir)?;
        if !matches!(
            now.standing(shown, aliases),
            Standing::Known | Standing::New
        ) {
            return Err(Error::new(
                ErrorKind::Untrusted,
                format!(
                    "{} changed meanwhile and now contradicts this server; try again",
                    now.path.display()
                ),
            ));
        }
        match now.records.iter_mut().find(|r| r.identity == *shown) {
            Some(record) => {
                let before = record.aliases.len();
                record.aliases.extend(
                    aliases
                        .iter()
                        .filter(|a| !record.aliases.contains(a))
                        .cloned()
                        .collect::<Vec<_>>(),
                );
                if record.aliases.len() == before {
                    return Ok(());
                }
                let line = format_line(&record.identity, &record.aliases);
                now.lines[record.line - 1] = line;
            }
            None => now.lines.push(format_line(shown, aliases)),
        }
        let mut text = now.lines.join("\n");
        text.push('\n');
        config_dir::replace(&now.path, text.as_bytes())
    }
}

fn parse_line(content: &str, line: usize) -> Option<Record> {
    let mut words = content.split_ascii_whitespace();
    let store = words.next()?.parse().ok()?;
    let key = parse_fingerprint(words.next()?)?;
    let aliases = words
        .next()
        .unwrap_or("")
        .split(',')
        .filter(|a| !a.is_empty())
        .map(str::to_owned)
        .collect();
    words.next().is_none().then_some(Record {
        identity: ServerId { store, key },
        aliases,
        line,
    })
}

fn format_line(identity: &ServerId, aliases: &[String]) -> String {
    format!("{} {} {}", identity.store, identity.key, aliases.join(","))
}

/// Reads a server's fingerprint: `SHA256:` and 43 base64 characters.
pub(crate) fn parse_fingerprint(text: &str) -> Option<ServerFingerprint> {
    let looks_right = text
        .strip_prefix("SHA256:")
        .is_some_and(|b| b.len() == 43 && b.is_ascii());
    if looks_right { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(store: u8, key: u8) -> ServerId {
        ServerId {
            store: StoreId::from_bytes([store; 16]),
            key: ServerFingerprint::from_bytes([key; 32]),
        }
    }

    fn aliases(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    fn config_dir() -> (tempfile::TempDir, ConfigDir) {
        let dir = tempfile::tempdir().unwrap();
        let config_dir = ConfigDir::open(Some(dir.path())).unwrap();
        (dir, config_dir)
    }

    #[test]
    fn new_then_known_then_contradicted() {
        let (_dir, config_dir) = config_dir();
        let here = aliases(&["a:1", "b:1"]);
        assert_eq!(
            KnownServers::load(&config_dir)
                .unwrap()
                .standing(&identity(1, b'A'), &here),
            Standing::New
        );
        KnownServers::remember(&config_dir, &identity(1, b'A'), &here).unwrap();
        let known = KnownServers::load(&config_dir).unwrap();
        assert_eq!(known.standing(&identity(1, b'A'), &here), Standing::Known);
        assert_eq!(
            known.standing(&identity(1, b'A'), &aliases(&["c:1"])),
            Standing::Known
        );
        assert!(matches!(
            known.standing(&identity(1, b'B'), &aliases(&["c:1"])),
            Standing::KeyChanged { line: 1, .. }
        ));
        assert!(matches!(
            known.standing(&identity(2, b'A'), &aliases(&["c:1", "b:1"])),
            Standing::OtherStore { line: 1, .. }
        ));
        assert_eq!(
            known.standing(&identity(2, b'A'), &aliases(&["c:1"])),
            Standing::New
        );
    }

    #[test]
    fn a_known_store_at_another_stores_address_is_refused() {
        let (_dir, config_dir) = config_dir();
        KnownServers::remember(&config_dir, &identity(1, b'A'), &aliases(&["a:1"])).unwrap();
        KnownServers::remember(&config_dir, &identity(2, b'B'), &aliases(&["b:1"])).unwrap();
        let known = KnownServers::load(&config_dir).unwrap();
        assert!(matches!(
            known.standing(&identity(1, b'A'), &aliases(&["b:1"])),
            Standing::OtherStore { .. }
        ));
    }

    #[test]
    fn comments_stay_and_aliases_grow() {
        let (_dir, config_dir) = config_dir();
        std::fs::write(config_dir.path(FILE), "# mine\n\n").unwrap();
        KnownServers::remember(&config_dir, &identity(1, b'A'), &aliases(&["a:1"])).unwrap();
        KnownServers::remember(&config_dir, &identity(1, b'A'), &aliases(&["b:1", "a:1"])).unwrap();
        let text = std::fs::read_to_string(config_dir.path(FILE)).unwrap();
        assert!(text.starts_with("# mine\n\n"), "{text}");
        assert!(text.ends_with(" a:1,b:1\n"), "{text}");
    }

    #[test]
    fn a_damaged_line_is_an_error_not_a_new_server() {
        let (_dir, config_dir) = config_dir();
        for bad in [
            "garbage",
            "00 SHA256:x a",
            &format!("{} MD5:aa a:1", StoreId::from_bytes([1; 16])),
            &format!(
                "{} {} a:1 more",
                StoreId::from_bytes([1; 16]),
                identity(1, b'A').key
            ),
        ] {
            std::fs::write(config_dir.path(FILE), format!("# ok\n{bad}\n")).unwrap();
            let error = KnownServers::load(&config_dir).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Untrusted);
            assert!(error.message.contains("line 2"), "{error}");
        }
    }

    #[test]
    fn two_clients_at_once_both_stay_recorded() {
        let (_dir, config_dir) = config_dir();
        std::thread::scope(|scope| {
            for store in 0..8u8 {
                let config_dir = &config_dir;
                scope.spawn(move || {
                    KnownServers::remember(
                        config_dir,
                        &identity(store, b'A'),
                        &[format!("h{store}:1")],
                    )
                    .unwrap()
                });
            }
        });
        let known = KnownServers::load(&config_dir).unwrap();
        for store in 0..8u8 {
            assert_eq!(known.standing(&identity(store, b'A'), &[]), Standing::Known);
        }
    }
}
