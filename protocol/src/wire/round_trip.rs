//! Decoding and encoding again, for the tests and the fuzz targets: what is accepted must encode to
//! the same bytes.

use super::control::{ClientMessage, ServerMessage, split_frame};
use super::record::{Open, TransferReply, decode_abort, decode_proof, encode_abort, encode_proof};
use crate::channel::kind::{RecordKind, decode_credit, encode_credit};
use crate::error::ProtocolError;
use crate::limits::{MAX_LIST_ENTRIES, MAX_REPLY_LEN};
use crate::request::Request;

/// Who sends the bytes, and as what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Client,
    Server,
    Record,
}

/// What decoding came to.
#[derive(Debug, PartialEq)]
pub(crate) enum Decoded {
    /// Accepted; the bytes that encoding it gives.
    Canonical(Vec<u8>),
    /// Well formed, but refused or brought into range, so that encoding cannot give the same bytes.
    Normalized,
}

/// Decodes type and body, or kind and body, and encodes it again.
pub(crate) fn decode(origin: Origin, bytes: &[u8]) -> Result<Decoded, ProtocolError> {
    let canonical = match origin {
        Origin::Client => rewrite_client(ClientMessage::decode(bytes)?),
        Origin::Server => Some(rewrite_server(ServerMessage::decode(bytes)?)),
        Origin::Record => rewrite_record(bytes)?,
    };
    Ok(canonical.map_or(Decoded::Normalized, Decoded::Canonical))
}

pub(crate) fn unframed(frame: &[u8]) -> Vec<u8> {
    split_frame(frame, MAX_REPLY_LEN)
        .ok()
        .flatten()
        .expect("a frame that we have just written is whole")
        .to_vec()
}

fn rewrite_client(message: ClientMessage) -> Option<Vec<u8>> {
    let frame = match message {
        ClientMessage::Hello { streams } => ClientMessage::hello(streams),
        ClientMessage::User(name) => ClientMessage::user(&name),
        ClientMessage::Password(password) => ClientMessage::password(&password),
        ClientMessage::Key(signature) => ClientMessage::key(&signature),
        ClientMessage::Request {
            request: Ok(Request::List { limit, .. }),
            ..
        } if limit == MAX_LIST_ENTRIES => {
            return None;
        }
        ClientMessage::Request { id, request } => ClientMessage::request(id, &request.ok()?),
        ClientMessage::Common(common) => common.encode(),
    };
    Some(unframed(&frame))
}

fn rewrite_server(message: ServerMessage) -> Vec<u8> {
    let frame = match message {
        ServerMessage::Hello { streams, store } => ServerMessage::hello(streams, store),
        ServerMessage::AskUser => ServerMessage::ask_user(),
        ServerMessage::AskCredential { attempts_left } => {
            ServerMessage::ask_credential(attempts_left)
        }
        ServerMessage::LoggedIn { uid, role } => ServerMessage::logged_in(uid, role),
        ServerMessage::LoginRefused {
            attempts_left,
            retry_after,
        } => ServerMessage::login_refused(attempts_left, retry_after),
        ServerMessage::Reply { id, result } => ServerMessage::reply(id, result.as_ref()),
        ServerMessage::Common(common) => common.encode(),
    };
    unframed(&frame)
}

fn rewrite_record(bytes: &[u8]) -> Result<Option<Vec<u8>>, ProtocolError> {
    let (kind, body) = bytes.split_first().ok_or(ProtocolError::Malformed)?;
    let chunk = match RecordKind::from_byte(*kind).ok_or(ProtocolError::Malformed)? {
        RecordKind::Open => Open::decode(body)?.ok().map(|open| open.encode()),
        RecordKind::Reply => Some(TransferReply::decode(body)?.encode()),
        RecordKind::Proof => decode_proof(body)?.ok().map(|signed| encode_proof(&signed)),
        RecordKind::Credit => Some(encode_credit(decode_credit(body)?)),
        RecordKind::Abort => Some(encode_abort(&decode_abort(body)?)),
        // Their bodies are not coded.
        RecordKind::Data | RecordKind::End => return Ok(None),
    };
    Ok(chunk.map(|chunk| [&[*kind][..], &chunk[..]].concat()))
}
