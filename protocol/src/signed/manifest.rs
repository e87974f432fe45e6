//! Manifests: what a file is and who signed it, as canonical text.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use crate::limits::{MAX_FILE_SIZE, MAX_MANIFEST_LEN, MODE_MASK};
use crate::signed::canonical::{BadLine, Lines, number, or_none};
use crate::signed::hex::hex_type;
use crate::signed::key::{Fingerprint, PublicKey, SigningKey};
use crate::signed::name::{FilePath, PathError, StoreId, UserId, UserName};
use crate::signed::sshsig::{Namespace, SignatureError, signer_of};
use crate::signed::timestamp::Timestamp;

hex_type!(
    /// The BLAKE3 hash of a file's content, as `b3sum` prints it: 64 hexadecimal digits as text.
    Blake3Hash,
    32
);

hex_type!(
    /// The BLAKE3 hash of a manifest's canonical text, by which the next version names it: 64
    /// hexadecimal digits as text.
    ManifestHash,
    32
);

/// What a manifest says is at its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A file.
    File {
        /// Length in bytes, at most `i64::MAX`.
        size: u64,
        /// BLAKE3 of the content.
        hash: Blake3Hash,
        /// When the content last changed, by the uploader's file system.
        mtime: Timestamp,
        /// Permission bits, at most `0o777`.
        mode: u32,
    },
    /// Nothing any more; versions continue from here.
    Deleted,
}

/// One version of what is at a path, and who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The store that the version belongs to.
    pub store: StoreId,
    /// Where the file is in the store.
    pub path: FilePath,
    /// The file, or that it is deleted.
    pub content: Content,
    /// 1 for the first manifest at the path, then one more each time.
    pub version: u64,
    /// The manifest that this one replaces; none exactly in version 1.
    pub previous: Option<ManifestHash>,
    /// Who signed.
    pub uid: UserId,
    /// Their name at that time.
    pub name: UserName,
    /// The key that they signed with.
    pub key: Fingerprint,
    /// When they say that they signed: a claim that decides nothing.
    pub signed_at: Timestamp,
}

/// Why a text is no manifest, or a manifest cannot be written or signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The text has more than 2,048 bytes.
    #[error("the manifest is longer than {MAX_MANIFEST_LEN} bytes")]
    TooLong,
    /// A line is missing, out of place, or not in its one spelling; or a field has a value without
    /// a spelling.
    #[error("the manifest's `{0}` is missing, misplaced or malformed")]
    Line(&'static str),
    /// The path is refused.
    #[error("the manifest's path is refused: {0}")]
    Path(#[from] PathError),
    /// Version 1 names a previous manifest, a later version names none, or version 1 is a deletion.
    #[error("the manifest's version, kind and previous manifest contradict each other")]
    History,
    /// The signing key is not the one that the manifest names.
    #[error("the manifest names another key")]
    OtherKey,
}

impl From<BadLine> for ManifestError {
    fn from(BadLine(keyword): BadLine) -> Self {
        Self::Line(keyword)
    }
}

const FORMAT: &str = "towpath manifest";

impl Manifest {
    /// The canonical text. Whatever [`Self::parse`] accepts comes out as it went in.
    ///
    /// Fields outside their ranges are written too, as a text that `parse` refuses.
    pub fn emit(&self) -> String {
        let mut text = String::with_capacity(640);
        self.write(&mut text)
            .expect("writing into a String has no way to fail");
        text
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        writeln!(text, "{FORMAT} 1")?;
        let kind = match self.content {
            Content::File { .. } => "file",
            Content::Deleted => "deleted",
        };
        writeln!(text, "kind {kind}")?;
        writeln!(text, "store {}", self.store)?;
        writeln!(text, "path {}", self.path)?;
        if let Content::File {
            size,
            hash,
            mtime,
            mode,
        } = self.content
        {
            writeln!(text, "size {size}")?;
            writeln!(text, "blake3 {hash}")?;
            writeln!(text, "mtime {mtime}")?;
            writeln!(text, "mode {mode:04o}")?;
        }
        writeln!(text, "version {}", self.version)?;
        match self.previous {
            Some(hash) => writeln!(text, "previous {hash}")?,
            None => writeln!(text, "previous none")?,
        }
        writeln!(text, "uid {}", self.uid)?;
        writeln!(text, "user {}", self.name)?;
        writeln!(text, "key {}", self.key)?;
        writeln!(text, "signed {}", self.signed_at)
    }

    /// Reads a canonical text: every line in its place, every value in its one spelling, nothing
    /// more.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        if text.len() > MAX_MANIFEST_LEN {
            return Err(ManifestError::TooLong);
        }
        let mut lines = Lines::new(text);
        lines.read(FORMAT, exactly("1"))?;
        let is_file = lines.read("kind", |kind| match kind {
            "file" => Ok(true),
            "deleted" => Ok(false),
            _ => Err(()),
        })?;
        let store = lines.read("store", str::parse)?;
        let path = FilePath::parse(lines.value("path")?)?;
        let content = match is_file {
            true => Content::File {
                size: lines.read("size", size)?,
                hash: lines.read("blake3", str::parse)?,
                mtime: lines.read("mtime", str::parse)?,
                mode: lines.read("mode", mode)?,
            },
            false => Content::Deleted,
        };
        let manifest = Self {
            store,
            path,
            content,
            version: lines.read("version", number)?,
            previous: lines.read("previous", or_none)?,
            uid: lines.read("uid", str::parse)?,
            name: lines.read("user", UserName::parse)?,
            key: lines.read("key", str::parse)?,
            signed_at: lines.read("signed", str::parse)?,
        };
        lines.end()?;
        manifest.check_history()?;
        Ok(manifest)
    }

    fn check_history(&self) -> Result<(), ManifestError> {
        match (self.version, self.previous, self.content) {
            (1, None, Content::File { .. }) | (2.., Some(_), _) => Ok(()),
            _ => Err(ManifestError::History),
        }
    }

    /// BLAKE3 of the canonical text.
    pub fn hash(&self) -> ManifestHash {
        hash(&self.emit())
    }
}

fn hash(text: &str) -> ManifestHash {
    ManifestHash::from_bytes(*blake3::hash(text.as_bytes()).as_bytes())
}

fn exactly(expected: &'static str) -> impl Fn(&str) -> Result<(), ()> {
    move |text| if text == expected { Ok(()) } else { Err(()) }
}

fn size(text: &str) -> Result<u64, ()> {
    number(text).and_then(|n| if n <= MAX_FILE_SIZE { Ok(n) } else { Err(()) })
}

/// Four octal digits, the first 0.
fn mode(text: &str) -> Result<u32, ()> {
    if text.len() != 4 || !text.bytes().all(|c| matches!(c, b'0'..=b'7')) {
        return Err(());
    }
    let mode = u32::from_str_radix(text, 8).map_err(|_| ())?;
    if mode & !MODE_MASK == 0 {
        Ok(mode)
    } else {
        Err(())
    }
}

/// A manifest with a signature (`file@towpath`) that verified, by the key that the manifest names.
///
/// Whether that key is the user's is not said here. Cloning is cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedManifest(Arc<Signed>);

#[derive(PartialEq, Eq)]
struct Signed {
    manifest: Manifest,
    text: Box<str>,
    signature: Box<str>,
    signer: PublicKey,
    hash: ManifestHash,
}

/// Why a manifest with its signature was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedManifestError {
    /// The text is no manifest, or the signer is not the key it names.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The signature is refused.
    #[error("the manifest's signature is refused: {0}")]
    Signature(#[from] SignatureError),
}

impl SignedManifest {
    /// Whether this is a manifest of this store and path.
    pub(crate) fn is_of(&self, store: StoreId, path: &FilePath) -> bool {
        let manifest = self.manifest();
        manifest.store == store && &manifest.path == path
    }

    /// Signs `manifest`, which must name `key` and have every field within its range.
    pub fn sign(manifest: Manifest, key: &SigningKey) -> Result<Self, ManifestError> {
        let signer = key.public();
        if manifest.key != signer.fingerprint() {
            return Err(ManifestError::OtherKey);
        }
        let text = manifest.emit();
        // The fields are public: only what reads back is signed.
        Manifest::parse(&text)?;
        let signature = key.sign(Namespace::File, text.as_bytes());
        Ok(Self::new(manifest, &text, &signature, signer))
    }

    /// Reads a manifest and its armored signature, and verifies them.
    pub fn parse(text: &str, signature: &str) -> Result<Self, SignedManifestError> {
        let manifest = Manifest::parse(text)?;
        let signer = signer_of(signature)?;
        if manifest.key != signer.fingerprint() {
            return Err(ManifestError::OtherKey.into());
        }
        signer.verify(Namespace::File, text.as_bytes(), signature)?;
        Ok(Self::new(manifest, text, signature, signer))
    }

    fn new(manifest: Manifest, text: &str, signature: &str, signer: PublicKey) -> Self {
        Self(Arc::new(Signed {
            manifest,
            hash: hash(text),
            text: text.into(),
            signature: signature.into(),
            signer,
        }))
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// The canonical text, which is what was signed.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The armored signature, as `ssh-keygen -Y verify` takes it.
    pub fn signature(&self) -> &str {
        &self.0.signature
    }

    /// BLAKE3 of the canonical text.
    pub fn hash(&self) -> ManifestHash {
        self.0.hash
    }

    /// The key that signed.
    pub fn signer(&self) -> &PublicKey {
        &self.0.signer
    }
}

impl fmt::Debug for SignedManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SignedManifest")
            .field(self.manifest())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_seed(&[7; 32])
    }

    fn manifest() -> Manifest {
        Manifest {
            store: StoreId::from_bytes([0x11; 16]),
            path: FilePath::parse("docs/résumé 1.pdf").unwrap(),
            content: Content::File {
                size: 12_345,
                hash: Blake3Hash::from_bytes([0x22; 32]),
                mtime: "2026-01-02T03:04:05.000000006Z".parse().unwrap(),
                mode: 0o644,
            },
            version: 1,
            previous: None,
            uid: UserId::from_bytes([0x33; 16]),
            name: UserName::parse("alice").unwrap(),
            key: key().public().fingerprint(),
            signed_at: "2026-01-02T03:04:06.000000000Z".parse().unwrap(),
        }
    }

    #[test]
    fn canonical_text() {
        let text = format!(
            "towpath manifest 1\nkind file\nstore {}\npath docs/résumé 1.pdf\nsize 12345\nblake3 {}\n\
             mtime 2026-01-02T03:04:05.000000006Z\nmode 0644\nversion 1\nprevious none\nuid {}\nuser alice\nkey {}\n\
             signed 2026-01-02T03:04:06.000000000Z\n",
            "11".repeat(16),
            "22".repeat(32),
            "33".repeat(16),
            key().public().fingerprint(),
        );
        assert_eq!(manifest().emit(), text);
        assert_eq!(Manifest::parse(&text), Ok(manifest()));
        let next = Manifest {
            content: Content::Deleted,
            version: 2,
            previous: Some(manifest().hash()),
            ..manifest()
        };
        assert_eq!(Manifest::parse(&next.emit()), Ok(next));
    }

    #[test]
    fn signed_manifests() {
        let signed = SignedManifest::sign(manifest(), &key()).unwrap();
        let read = SignedManifest::parse(signed.text(), signed.signature()).unwrap();
        assert_eq!(read, signed);
        assert_eq!(read.manifest(), &manifest());
        assert_eq!(read.hash(), manifest().hash());
        let other = SigningKey::from_seed(&[8; 32]);
        assert_eq!(
            SignedManifest::sign(manifest(), &other),
            Err(ManifestError::OtherKey)
        );
        let theirs = other.sign(Namespace::File, signed.text().as_bytes());
        assert_eq!(
            SignedManifest::parse(signed.text(), &theirs),
            Err(ManifestError::OtherKey.into())
        );
    }
}
