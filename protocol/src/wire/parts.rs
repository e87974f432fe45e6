//! Pieces that several messages have in common.

use zeroize::Zeroizing;

use super::cursor::{Reader, Writer};
use crate::error::ProtocolError;
use crate::limits::{
    MAX_COMMENT_LEN, MAX_MESSAGE_LEN, MAX_PASSWORD_LEN, MAX_PATH_LEN, MAX_SIGNATURE_LEN,
    MAX_STATEMENT_LEN, MAX_USER_NAME_LEN, MODE_MASK,
};
use crate::request::{KeyEntry, ListEntry, Refusal, RefusalCode, UserEntry};
use crate::role::Role;
use crate::signed::key::{Fingerprint, PublicKey};
use crate::signed::manifest::{ManifestHash, SignedManifest, SignedManifestError};
use crate::signed::name::{FilePath, PathError, UserId, UserName, UserNameError};
use crate::signed::statement::{SignedStatement, StatementError};
use crate::signed::timestamp::Timestamp;

/// Canonical text and armored signature, not yet verified.
pub(crate) struct Signed<'a> {
    text: &'a str,
    signature: &'a str,
}

impl<'a> Signed<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
        // A statement is the longer of the two kinds of text; the parser of each kind has the
        // closer bound.
        let text = reader.string(MAX_STATEMENT_LEN)?;
        let signature = reader.string(MAX_SIGNATURE_LEN)?;
        Ok(Self { text, signature })
    }

    pub(super) fn write_manifest(writer: &mut Writer, signed: &SignedManifest) {
        writer.string(signed.text());
        writer.string(signed.signature());
    }

    pub(super) fn write_statement(writer: &mut Writer, signed: &SignedStatement) {
        writer.string(signed.text());
        writer.string(signed.signature());
    }

    /// The manifest, or the refusal to answer with.
    pub(crate) fn manifest(&self) -> Result<SignedManifest, Refusal> {
        SignedManifest::parse(self.text, self.signature).map_err(|error| refuse_manifest(&error))
    }

    /// The statement, or the refusal to answer with.
    pub(crate) fn statement(&self) -> Result<SignedStatement, Refusal> {
        SignedStatement::parse(self.text, self.signature).map_err(|error| refuse_statement(&error))
    }
}

fn refuse_manifest(error: &SignedManifestError) -> Refusal {
    let code = match error {
        SignedManifestError::Manifest(_) => RefusalCode::BadManifest,
        _ => RefusalCode::BadSignature,
    };
    Refusal::new(code, error.to_string())
}

fn refuse_statement(error: &StatementError) -> Refusal {
    let code = match error {
        StatementError::Signature(_) => RefusalCode::BadSignature,
        _ => RefusalCode::BadRequest,
    };
    Refusal::new(code, error.to_string())
}

pub(super) fn refuse_path(error: PathError) -> Refusal {
    Refusal::new(RefusalCode::BadRequest, error.to_string())
}

pub(super) fn refuse_user(error: UserNameError) -> Refusal {
    Refusal::new(RefusalCode::BadRequest, error.to_string())
}

/// A path as received, not yet parsed. One that is too long even for a refusal is malformed.
pub(super) fn read_raw_path<'a>(reader: &mut Reader<'a>) -> Result<&'a str, ProtocolError> {
    reader.string(4 * MAX_PATH_LEN)
}

pub(super) fn read_manifest(reader: &mut Reader<'_>) -> Result<SignedManifest, ProtocolError> {
    Signed::read(reader)?
        .manifest()
        .map_err(|_| ProtocolError::Manifest)
}

pub(super) fn read_path(reader: &mut Reader<'_>) -> Result<FilePath, ProtocolError> {
    FilePath::parse(reader.string(MAX_PATH_LEN)?).map_err(|_| ProtocolError::Malformed)
}

pub(super) fn read_user(reader: &mut Reader<'_>) -> Result<UserName, ProtocolError> {
    UserName::parse(reader.string(MAX_USER_NAME_LEN)?).map_err(|_| ProtocolError::Malformed)
}

pub(super) fn read_uid(reader: &mut Reader<'_>) -> Result<UserId, ProtocolError> {
    reader.array().map(UserId::from_bytes)
}

pub(super) fn read_role(reader: &mut Reader<'_>) -> Result<Role, ProtocolError> {
    match reader.u8()? {
        1 => Ok(Role::Admin),
        2 => Ok(Role::Maintainer),
        3 => Ok(Role::Guest),
        _ => Err(ProtocolError::Malformed),
    }
}

pub(super) fn write_role(writer: &mut Writer, role: Role) {
    writer.u8(match role {
        Role::Admin => 1,
        Role::Maintainer => 2,
        Role::Guest => 3,
    });
}

pub(super) fn read_refusal(reader: &mut Reader<'_>) -> Result<Refusal, ProtocolError> {
    let code = RefusalCode::from_byte(reader.u8()?).ok_or(ProtocolError::Malformed)?;
    Ok(Refusal::new(code, reader.string(MAX_MESSAGE_LEN)?))
}

pub(super) fn write_refusal(writer: &mut Writer, refusal: &Refusal) {
    writer.u8(refusal.code.byte());
    writer.text(&refusal.message, MAX_MESSAGE_LEN);
}

pub(super) fn read_list_entry(reader: &mut Reader<'_>) -> Result<ListEntry, ProtocolError> {
    let entry = ListEntry {
        path: read_path(reader)?,
        size: reader.u64()?,
        mtime: Timestamp {
            seconds: reader.i64()?,
            nanos: reader.u32()?,
        },
        mode: reader.u32()?,
        version: reader.u64()?,
        owner: read_user(reader)?,
        uid: read_uid(reader)?,
        signer: Fingerprint::from_bytes(reader.array()?),
        manifest: ManifestHash::from_bytes(reader.array()?),
        damaged: reader.flag()?,
    };
    if !entry.mtime.is_valid() || entry.mode & !MODE_MASK != 0 {
        return Err(ProtocolError::Malformed);
    }
    Ok(entry)
}

pub(super) fn write_list_entry(writer: &mut Writer, entry: &ListEntry) {
    writer.string(entry.path.as_str());
    writer.u64(entry.size);
    writer.i64(entry.mtime.seconds);
    writer.u32(entry.mtime.nanos);
    writer.u32(entry.mode);
    writer.u64(entry.version);
    writer.string(entry.owner.as_str());
    writer.bytes(entry.uid.as_bytes());
    writer.bytes(entry.signer.as_bytes());
    writer.bytes(entry.manifest.as_bytes());
    writer.flag(entry.damaged);
}

pub(super) fn read_user_entry(reader: &mut Reader<'_>) -> Result<UserEntry, ProtocolError> {
    Ok(UserEntry {
        name: read_user(reader)?,
        uid: read_uid(reader)?,
        role: read_role(reader)?,
        keys: reader.u32()?,
    })
}

pub(super) fn write_user_entry(writer: &mut Writer, entry: &UserEntry) {
    writer.string(entry.name.as_str());
    writer.bytes(entry.uid.as_bytes());
    write_role(writer, entry.role);
    writer.u32(entry.keys);
}

/// A key and what it is called.
pub(super) fn read_public_key(
    reader: &mut Reader<'_>,
) -> Result<(PublicKey, String), ProtocolError> {
    let key = PublicKey::from_bytes(reader.array()?).map_err(|_| ProtocolError::Malformed)?;
    let comment = reader.string(MAX_COMMENT_LEN)?.to_owned();
    Ok((key, comment))
}

pub(super) fn write_public_key(writer: &mut Writer, key: &PublicKey, comment: &str) {
    writer.bytes(key.as_bytes());
    writer.text(comment, MAX_COMMENT_LEN);
}

/// A password is padded to a multiple of this, so that a message's length tells little of it.
const PASSWORD_BLOCK: usize = 256;

/// `password` has at most [`MAX_PASSWORD_LEN`] bytes.
pub(super) fn write_password(writer: &mut Writer, password: &str) {
    let end = writer.len() + (2 + password.len()).next_multiple_of(PASSWORD_BLOCK);
    writer.string(password);
    writer.pad(end);
}

pub(super) fn read_password(reader: &mut Reader<'_>) -> Result<Zeroizing<String>, ProtocolError> {
    let password = Zeroizing::new(reader.string(MAX_PASSWORD_LEN)?.to_owned());
    let len = 2 + password.len();
    let padding = reader.bytes(len.next_multiple_of(PASSWORD_BLOCK) - len)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(ProtocolError::Malformed);
    }
    Ok(password)
}

pub(super) fn read_key_entry(reader: &mut Reader<'_>) -> Result<KeyEntry, ProtocolError> {
    let (key, comment) = read_public_key(reader)?;
    let statement = reader.option(|reader| {
        Signed::read(reader)?
            .statement()
            .map_err(|_| ProtocolError::Manifest)
    })?;
    Ok(KeyEntry {
        key,
        comment,
        statement,
    })
}

pub(super) fn write_key_entry(writer: &mut Writer, entry: &KeyEntry) {
    write_public_key(writer, &entry.key, &entry.comment);
    writer.option(entry.statement.as_ref(), Signed::write_statement);
}
