//! The bodies of transfer records.

use super::cursor::{Reader, Writer};
use super::parts::{
    Signed, read_manifest, read_raw_path, read_refusal, refuse_path, write_refusal,
};
use crate::channel::chunk::Chunk;
use crate::error::ProtocolError;
use crate::request::Refusal;
use crate::signed::manifest::{ManifestHash, SignedManifest};
use crate::signed::name::FilePath;

/// The first record of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Open {
    Get {
        path: FilePath,
        offset: u64,
        manifest: Option<ManifestHash>,
        window: u32,
    },
    Put {
        path: FilePath,
        size_hint: u64,
        replace_damaged: bool,
    },
}

/// What the server says in a transfer beside data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TransferReply {
    GetAccepted {
        signed: SignedManifest,
        offset: u64,
    },
    PutAccepted {
        current: Option<SignedManifest>,
        window: u32,
    },
    Committed,
    Conflict {
        current: Option<SignedManifest>,
    },
}

impl Open {
    pub(crate) fn encode(&self) -> Chunk {
        let mut writer = Writer::with_capacity(256);
        match self {
            Self::Get {
                path,
                offset,
                manifest,
                window,
            } => {
                writer.u8(1);
                writer.string(path.as_str());
                writer.u64(*offset);
                writer.option(manifest.as_ref(), |writer, hash| {
                    writer.bytes(hash.as_bytes())
                });
                writer.u32(*window);
            }
            Self::Put {
                path,
                size_hint,
                replace_damaged,
            } => {
                writer.u8(2);
                writer.string(path.as_str());
                writer.u64(*size_hint);
                writer.flag(*replace_damaged);
            }
        }
        chunk(writer)
    }

    /// Decodes; the inner error is the refusal for an Open that is well formed but names no path.
    pub(crate) fn decode(body: &[u8]) -> Result<Result<Self, Refusal>, ProtocolError> {
        let mut reader = Reader::new(body);
        match reader.u8()? {
            1 => {
                let path = read_raw_path(&mut reader)?;
                let offset = reader.u64()?;
                let manifest =
                    reader.option(|reader| reader.array().map(ManifestHash::from_bytes))?;
                let window = reader.u32()?;
                reader.end()?;
                Ok(FilePath::parse(path)
                    .map_err(refuse_path)
                    .map(|path| Self::Get {
                        path,
                        offset,
                        manifest,
                        window,
                    }))
            }
            2 => {
                let path = read_raw_path(&mut reader)?;
                let size_hint = reader.u64()?;
                let replace_damaged = reader.flag()?;
                reader.end()?;
                Ok(FilePath::parse(path)
                    .map_err(refuse_path)
                    .map(|path| Self::Put {
                        path,
                        size_hint,
                        replace_damaged,
                    }))
            }
            _ => Err(ProtocolError::Malformed),
        }
    }
}

impl TransferReply {
    pub(crate) fn encode(&self) -> Chunk {
        let mut writer = Writer::with_capacity(1_024);
        match self {
            Self::GetAccepted { signed, offset } => {
                writer.u8(1);
                Signed::write_manifest(&mut writer, signed);
                writer.u64(*offset);
            }
            Self::PutAccepted { current, window } => {
                writer.u8(2);
                writer.option(current.as_ref(), Signed::write_manifest);
                writer.u32(*window);
            }
            Self::Committed => writer.u8(3),
            Self::Conflict { current } => {
                writer.u8(4);
                writer.option(current.as_ref(), Signed::write_manifest);
            }
        }
        chunk(writer)
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(body);
        let reply = match reader.u8()? {
            1 => Self::GetAccepted {
                signed: read_manifest(&mut reader)?,
                offset: reader.u64()?,
            },
            2 => Self::PutAccepted {
                current: reader.option(read_manifest)?,
                window: reader.u32()?,
            },
            3 => Self::Committed,
            4 => Self::Conflict {
                current: reader.option(read_manifest)?,
            },
            _ => return Err(ProtocolError::Malformed),
        };
        reader.end()?;
        Ok(reply)
    }
}

pub(crate) fn encode_proof(signed: &SignedManifest) -> Chunk {
    let mut writer = Writer::with_capacity(1_024);
    Signed::write_manifest(&mut writer, signed);
    chunk(writer)
}

/// The manifest, or the refusal to answer with.
pub(crate) fn decode_proof(body: &[u8]) -> Result<Result<SignedManifest, Refusal>, ProtocolError> {
    let mut reader = Reader::new(body);
    let signed = Signed::read(&mut reader)?;
    reader.end()?;
    Ok(signed.manifest())
}

pub(crate) fn encode_abort(refusal: &Refusal) -> Chunk {
    let mut writer = Writer::with_capacity(64);
    write_refusal(&mut writer, refusal);
    chunk(writer)
}

pub(crate) fn decode_abort(body: &[u8]) -> Result<Refusal, ProtocolError> {
    let mut reader = Reader::new(body);
    let refusal = read_refusal(&mut reader)?;
    reader.end()?;
    Ok(refusal)
}

fn chunk(writer: Writer) -> Chunk {
    Chunk::from_slice(&writer.finish())
}
