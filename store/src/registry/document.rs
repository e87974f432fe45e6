//! The text of `users.json`, version 1.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use towpath_protocol::Role;
use towpath_protocol::signed::{
    PublicKey, SignedStatement, StatementError, Timestamp, UserId, UserName,
};

use super::password::PasswordHash;
use super::user::{RetiredUser, User, UserKey};
use crate::limits::{MAX_COMMENT, MAX_KEYS};

const FORMAT: &str = "towpath-users";
const VERSION: u64 = 1;

/// Users in the order of the file, and who was one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Users {
    pub(super) users: Vec<User>,
    pub(super) retired: Vec<RetiredUser>,
}

/// Why a text is not a registry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// At a line and a column, from 1.
    At(usize, usize, String),
    /// Another version of the format.
    Version(u64),
    /// The parts contradict each other.
    Invalid(String),
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        let text = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let reason = text.strip_suffix(&place).unwrap_or(&text).to_owned();
        Self::At(error.line(), error.column(), reason)
    }
}

impl Users {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        // The version first: a later one may have fields that this one does not know.
        let head: Head = serde_json::from_slice(bytes)?;
        if head.format != FORMAT {
            return Err(Fault::Invalid(format!("`format` is not {FORMAT:?}")));
        }
        if head.version != VERSION {
            return Err(Fault::Version(head.version));
        }
        let document: Document = serde_json::from_slice(bytes)?;
        let users = Self {
            users: document.users.into_iter().map(User::from).collect(),
            retired: document
                .retired
                .into_iter()
                .map(RetiredUser::from)
                .collect(),
        };
        users.check().map_err(Fault::Invalid)?;
        Ok(users)
    }

    pub(super) fn emit(&self) -> Result<Vec<u8>, serde_json::Error> {
        let document = Document {
            format: FORMAT.to_owned(),
            version: VERSION,
            users: self.users.iter().map(UserRecord::from).collect(),
            retired: self.retired.iter().map(RetiredRecord::from).collect(),
        };
        let mut bytes = serde_json::to_vec_pretty(&document)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// What must hold between the records, whoever wrote them.
    fn check(&self) -> Result<(), String> {
        let (mut names, mut uids, mut keys) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for retired in &self.retired {
            if !uids.insert(retired.uid) {
                return Err(format!("the uid {} occurs twice", retired.uid));
            }
        }
        for user in &self.users {
            let name = &user.name;
            if !names.insert(name) {
                return Err(format!("the user {name} occurs twice"));
            }
            if !uids.insert(user.uid) {
                return Err(format!(
                    "the uid of {name} is also that of another user, or of a removed one"
                ));
            }
            if user.keys.len() > MAX_KEYS {
                return Err(format!("{name} has more than {MAX_KEYS} keys"));
            }
            for key in &user.keys {
                if !keys.insert(key.key.as_bytes()) {
                    return Err(format!(
                        "a key of {name} occurs twice: {}",
                        key.key.fingerprint()
                    ));
                }
                if !comment_is_fine(&key.comment) {
                    return Err(format!(
                        "a key of {name} has a comment that is too long or has control characters"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// At most [`MAX_COMMENT`] bytes, no control characters.
pub(super) fn comment_is_fine(comment: &str) -> bool {
    comment.len() <= MAX_COMMENT && !comment.chars().any(char::is_control)
}

#[derive(Deserialize)]
struct Head {
    format: String,
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    version: u64,
    users: Vec<UserRecord>,
    retired: Vec<RetiredRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UserRecord {
    #[serde(with = "text")]
    name: UserName,
    #[serde(with = "text")]
    uid: UserId,
    #[serde(with = "text")]
    role: Role,
    /// A bcrypt hash; null for a user who logs in by key only.
    #[serde(with = "optional_text")]
    password: Option<PasswordHash>,
    keys: Vec<KeyRecord>,
    #[serde(with = "text")]
    added: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRecord {
    #[serde(with = "openssh")]
    key: PublicKey,
    comment: String,
    #[serde(with = "text")]
    added: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    statement: Option<StatementRecord>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "StatementText", into = "StatementText")]
struct StatementRecord(SignedStatement);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StatementText {
    text: String,
    signature: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetiredRecord {
    #[serde(with = "text")]
    uid: UserId,
    #[serde(with = "text")]
    name: UserName,
    #[serde(with = "text")]
    removed: Timestamp,
}

impl TryFrom<StatementText> for StatementRecord {
    type Error = StatementError;

    fn try_from(record: StatementText) -> Result<Self, StatementError> {
        SignedStatement::parse(&record.text, &record.signature).map(StatementRecord)
    }
}

impl From<StatementRecord> for StatementText {
    fn from(record: StatementRecord) -> Self {
        Self {
            text: record.0.text().to_owned(),
            signature: record.0.signature().to_owned(),
        }
    }
}

impl From<KeyRecord> for UserKey {
    fn from(record: KeyRecord) -> Self {
        Self {
            key: record.key,
            comment: record.comment,
            added: record.added,
            statement: record.statement.map(|record| record.0),
        }
    }
}

impl From<&UserKey> for KeyRecord {
    fn from(key: &UserKey) -> Self {
        Self {
            key: key.key,
            comment: key.comment.clone(),
            added: key.added,
            statement: key.statement.clone().map(StatementRecord),
        }
    }
}

impl From<UserRecord> for User {
    fn from(record: UserRecord) -> Self {
        Self {
            name: record.name,
            uid: record.uid,
            role: record.role,
            keys: record.keys.into_iter().map(UserKey::from).collect(),
            added: record.added,
            password: record.password,
        }
    }
}

impl From<&User> for UserRecord {
    fn from(user: &User) -> Self {
        Self {
            name: user.name.clone(),
            uid: user.uid,
            role: user.role,
            password: user.password.clone(),
            keys: user.keys.iter().map(KeyRecord::from).collect(),
            added: user.added,
        }
    }
}

impl From<RetiredRecord> for RetiredUser {
    fn from(RetiredRecord { uid, name, removed }: RetiredRecord) -> Self {
        Self { uid, name, removed }
    }
}

impl From<&RetiredUser> for RetiredRecord {
    fn from(retired: &RetiredUser) -> Self {
        Self {
            uid: retired.uid,
            name: retired.name.clone(),
            removed: retired.removed,
        }
    }
}

/// Values that have one spelling as text.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The same, or null. The field must be there: a password that was lost in editing is not "no
/// password".
mod optional_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(ToString::to_string).serialize(to)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(serde::de::Error::custom))
            .transpose()
    }
}

/// Public keys in the format of `authorized_keys`.
mod openssh {
    use serde::{Deserialize, Deserializer, Serializer};
    use towpath_protocol::signed::PublicKey;

    pub(super) fn serialize<S: Serializer>(key: &PublicKey, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&key.to_openssh())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PublicKey, D::Error> {
        PublicKey::parse_openssh(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}
