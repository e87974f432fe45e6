//! Statements of a user's key log: which keys are theirs, as canonical signed text.

use std::fmt::{self, Write as _};

use crate::limits::{MAX_KEPT_MANIFESTS, MAX_STATEMENT_LEN};
use crate::signed::canonical::{BadLine, Lines, number, or_none};
use crate::signed::hex::hex_type;
use crate::signed::key::{PublicKey, SigningKey};
use crate::signed::manifest::ManifestHash;
use crate::signed::name::{StoreId, UserId, UserName};
use crate::signed::sshsig::{Namespace, SignatureError, signer_of};

hex_type!(
    /// The BLAKE3 hash of a statement's canonical text, by which the next statement names it: 64
    /// hexadecimal digits as text.
    StatementHash,
    32
);

/// What a statement does with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyAction {
    /// The key is the user's from here on.
    Add,
    /// The key signs nothing new; what it signed stays good.
    Retire,
    /// The key is in other hands: of what it signed only these manifests stay good, and those a
    /// client has pinned. Strictly ascending, at most 256.
    Compromise {
        /// The manifests that stay good.
        keep: Vec<ManifestHash>,
    },
}

/// One entry of a user's key log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatement {
    /// The store that the log belongs to.
    pub store: StoreId,
    /// Whose log it is.
    pub uid: UserId,
    /// Their name at that time.
    pub name: UserName,
    /// 1 for the first statement of the log, then one more each time.
    pub sequence: u64,
    /// The statement before this one; none exactly in sequence 1.
    pub previous: Option<StatementHash>,
    /// What happens to the key.
    pub action: KeyAction,
    /// The key in question.
    pub key: PublicKey,
}

/// Why a text is no statement, or a statement cannot be written or signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// The text is longer than any statement.
    #[error("the statement is longer than {MAX_STATEMENT_LEN} bytes")]
    TooLong,
    /// A line is missing, out of place, or not in its one spelling.
    #[error("the statement's `{0}` is missing, misplaced or malformed")]
    Line(&'static str),
    /// Sequence 1 names a previous statement, a later one names none, or sequence 1 does not add a
    /// key.
    #[error("the statement's sequence, action and previous statement contradict each other")]
    History,
    /// An `add` is not signed by the key that it adds.
    #[error("a key is added without a signature by that key")]
    NoPossession,
    /// The signature is refused.
    #[error("the statement's signature is refused: {0}")]
    Signature(#[from] SignatureError),
}

impl From<BadLine> for StatementError {
    fn from(BadLine(keyword): BadLine) -> Self {
        Self::Line(keyword)
    }
}

const FORMAT: &str = "towpath key statement";

impl KeyStatement {
    /// The canonical text. Whatever [`Self::parse`] accepts comes out as it went in.
    pub fn emit(&self) -> String {
        let mut text = String::with_capacity(384);
        self.write(&mut text)
            .expect("writing into a String has no way to fail");
        text
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        writeln!(text, "{FORMAT} 1")?;
        writeln!(text, "store {}", self.store)?;
        writeln!(text, "uid {}", self.uid)?;
        writeln!(text, "user {}", self.name)?;
        writeln!(text, "sequence {}", self.sequence)?;
        match self.previous {
            Some(hash) => writeln!(text, "previous {hash}")?,
            None => writeln!(text, "previous none")?,
        }
        let (action, keep): (_, &[_]) = match &self.action {
            KeyAction::Add => ("add", &[]),
            KeyAction::Retire => ("retire", &[]),
            KeyAction::Compromise { keep } => ("compromise", keep),
        };
        writeln!(text, "action {action}")?;
        writeln!(text, "key {}", self.key)?;
        for hash in keep {
            writeln!(text, "keep {hash}")?;
        }
        Ok(())
    }

    /// Reads a canonical text: every line in its place, every value in its one spelling, nothing
    /// more.
    pub fn parse(text: &str) -> Result<Self, StatementError> {
        if text.len() > MAX_STATEMENT_LEN {
            return Err(StatementError::TooLong);
        }
        let mut lines = Lines::new(text);
        lines.read(
            FORMAT,
            |version| if version == "1" { Ok(()) } else { Err(()) },
        )?;
        let store = lines.read("store", str::parse)?;
        let uid = lines.read("uid", str::parse)?;
        let name = lines.read("user", UserName::parse)?;
        let sequence = lines.read("sequence", number)?;
        let previous = lines.read("previous", or_none)?;
        let action = lines.value("action")?;
        let key = lines.read("key", public_key)?;
        let action = match action {
            "add" => KeyAction::Add,
            "retire" => KeyAction::Retire,
            "compromise" => KeyAction::Compromise {
                keep: kept(&mut lines)?,
            },
            _ => return Err(StatementError::Line("action")),
        };
        lines.end()?;
        let statement = Self {
            store,
            uid,
            name,
            sequence,
            previous,
            action,
            key,
        };
        statement.check_history()?;
        Ok(statement)
    }

    fn check_history(&self) -> Result<(), StatementError> {
        match (self.sequence, self.previous, &self.action) {
            (1, None, KeyAction::Add) | (2.., Some(_), _) => Ok(()),
            _ => Err(StatementError::History),
        }
    }

    /// BLAKE3 of the canonical text.
    pub fn hash(&self) -> StatementHash {
        StatementHash::from_bytes(*blake3::hash(self.emit().as_bytes()).as_bytes())
    }
}

/// A public key without comment, in the one spelling.
fn public_key(text: &str) -> Result<PublicKey, ()> {
    let key = PublicKey::parse_openssh(text).map_err(|_| ())?;
    if key.to_openssh() == text {
        Ok(key)
    } else {
        Err(())
    }
}

/// The `keep` lines, which ascend so that each set has one spelling.
fn kept(lines: &mut Lines<'_>) -> Result<Vec<ManifestHash>, BadLine> {
    let mut keep: Vec<ManifestHash> = Vec::new();
    while let Some(value) = lines.optional("keep") {
        let hash = value.parse().map_err(|_| BadLine("keep"))?;
        if keep.len() == MAX_KEPT_MANIFESTS || keep.last().is_some_and(|last| *last >= hash) {
            return Err(BadLine("keep"));
        }
        keep.push(hash);
    }
    Ok(keep)
}

/// A statement with a signature (`key@towpath`) that verified; an `add` is signed by the key that
/// it adds.
///
/// Whether the signer may make the statement is for the log to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedStatement {
    statement: KeyStatement,
    text: String,
    signature: String,
    signer: PublicKey,
}

impl SignedStatement {
    /// Signs `statement`; an `add` with the key that it adds.
    pub fn sign(statement: KeyStatement, key: &SigningKey) -> Result<Self, StatementError> {
        let text = statement.emit();
        // The fields are public: only what reads back is signed.
        KeyStatement::parse(&text)?;
        let signature = key.sign(Namespace::Key, text.as_bytes());
        Self::check(statement, text, signature, key.public())
    }

    /// Reads a statement and its armored signature, and verifies them.
    pub fn parse(text: &str, signature: &str) -> Result<Self, StatementError> {
        let statement = KeyStatement::parse(text)?;
        let signer = signer_of(signature)?;
        signer.verify(Namespace::Key, text.as_bytes(), signature)?;
        Self::check(statement, text.to_owned(), signature.to_owned(), signer)
    }

    fn check(
        statement: KeyStatement,
        text: String,
        signature: String,
        signer: PublicKey,
    ) -> Result<Self, StatementError> {
        if statement.action == KeyAction::Add && statement.key != signer {
            return Err(StatementError::NoPossession);
        }
        Ok(Self {
            statement,
            text,
            signature,
            signer,
        })
    }

    /// The statement.
    pub fn statement(&self) -> &KeyStatement {
        &self.statement
    }

    /// The canonical text, which is what was signed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The armored signature.
    pub fn signature(&self) -> &str {
        &self.signature
    }

    /// BLAKE3 of the canonical text.
    pub fn hash(&self) -> StatementHash {
        self.statement.hash()
    }

    /// The key that signed.
    pub fn signer(&self) -> &PublicKey {
        &self.signer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_seed(&[7; 32])
    }

    fn statement() -> KeyStatement {
        KeyStatement {
            store: StoreId::from_bytes([0x11; 16]),
            uid: UserId::from_bytes([0x33; 16]),
            name: UserName::parse("alice").unwrap(),
            sequence: 1,
            previous: None,
            action: KeyAction::Add,
            key: key().public(),
        }
    }

    #[test]
    fn canonical_text() {
        let text = format!(
            "towpath key statement 1\nstore {}\nuid {}\nuser alice\nsequence 1\nprevious none\naction add\nkey {}\n",
            "11".repeat(16),
            "33".repeat(16),
            key().public().to_openssh(),
        );
        assert_eq!(statement().emit(), text);
        assert_eq!(KeyStatement::parse(&text), Ok(statement()));
        let next = KeyStatement {
            sequence: 2,
            previous: Some(statement().hash()),
            action: KeyAction::Compromise {
                keep: vec![
                    ManifestHash::from_bytes([1; 32]),
                    ManifestHash::from_bytes([2; 32]),
                ],
            },
            ..statement()
        };
        assert_eq!(KeyStatement::parse(&next.emit()), Ok(next));
    }

    #[test]
    fn a_key_is_added_by_itself_only() {
        let signed = SignedStatement::sign(statement(), &key()).unwrap();
        let read = SignedStatement::parse(signed.text(), signed.signature()).unwrap();
        assert_eq!(read, signed);
        let other = SigningKey::from_seed(&[8; 32]);
        assert_eq!(
            SignedStatement::sign(statement(), &other),
            Err(StatementError::NoPossession)
        );
        let theirs = other.sign(Namespace::Key, signed.text().as_bytes());
        assert_eq!(
            SignedStatement::parse(signed.text(), &theirs),
            Err(StatementError::NoPossession)
        );
        let retire = KeyStatement {
            sequence: 2,
            previous: Some(statement().hash()),
            action: KeyAction::Retire,
            ..statement()
        };
        assert!(SignedStatement::sign(retire, &other).is_ok());
    }
}
