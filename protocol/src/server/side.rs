//! What a server does where the sides differ.

use std::time::Instant;

use super::event::{Event, TransferEvent};
use super::state::{Phase, Server, Stage};
use crate::channel::kind::RecordKind;
use crate::connection::{Connection, Progress, Side};
use crate::error::{CloseReason, ProtocolError};
use crate::ids::{RequestId, TransferId};
use crate::limits::{MAX_LOGIN_LEN, MAX_REQUEST_LEN};
use crate::request::Refusal;
use crate::wire::control::ClientMessage;

impl Side for Server {
    type Event = Event;
    type Phase = Phase;

    const NAME: &'static str = "server";

    fn transfer_event(transfer: TransferId, progress: Progress) -> Event {
        let event = match progress {
            Progress::Data(chunk) => TransferEvent::Data(chunk),
            Progress::Writable => TransferEvent::Writable,
            Progress::Finished => TransferEvent::Finished,
            Progress::Aborted(refusal) => TransferEvent::Aborted(refusal),
            Progress::Truncated => TransferEvent::Truncated,
        };
        Event::Transfer(transfer, event)
    }

    fn closed_event(reason: CloseReason) -> Event {
        Event::Closed(reason)
    }

    fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready)
    }

    fn handle_next(connection: &mut Connection<Self>, now: Instant) -> Result<bool, CloseReason> {
        let longest = match connection.side.stage {
            Stage::Handshake => {
                let established = connection.tls().established();
                let Some(established) = established.map_err(CloseReason::Protocol)? else {
                    return Ok(false);
                };
                connection.greet(established);
                return Ok(true);
            }
            Stage::Ready => MAX_REQUEST_LEN,
            _ => MAX_LOGIN_LEN,
        };
        let message = connection
            .next_message(longest, ClientMessage::decode)
            .map_err(CloseReason::Protocol)?;
        match message {
            None => return Ok(false),
            Some(ClientMessage::Common(common)) => connection.handle_common(common)?,
            Some(ClientMessage::Request { id, request }) => connection
                .handle_request(RequestId(id), request)
                .map_err(CloseReason::Protocol)?,
            Some(message) => connection.handle_login(message, now)?,
        }
        Ok(true)
    }

    fn handle_body(
        connection: &mut Connection<Self>,
        transfer: TransferId,
        kind: RecordKind,
        body: &[u8],
    ) -> Result<(), ProtocolError> {
        match kind {
            RecordKind::Open => connection.handle_open(transfer, body),
            RecordKind::Proof => connection.handle_proof(transfer, body),
            _ => Err(ProtocolError::UnexpectedRecord),
        }
    }

    fn is_committed(phase: &Phase) -> bool {
        matches!(phase, Phase::Committed)
    }

    fn check_data(phase: &mut Phase, _len: u64) -> Result<(), ProtocolError> {
        match phase {
            Phase::Receiving { .. } => Ok(()),
            _ => Err(ProtocolError::UnexpectedRecord),
        }
    }

    /// The client ends after us, in both directions of data.
    fn check_end(phase: &Phase, ended: bool) -> Result<(), ProtocolError> {
        match phase {
            Phase::Sent | Phase::Committed if ended => Ok(()),
            _ => Err(ProtocolError::UnexpectedRecord),
        }
    }

    fn handle_abort(phase: &Phase, refusal: Refusal) -> Result<Progress, ProtocolError> {
        Ok(match phase {
            // Too late: the file is published.
            Phase::Committed => Progress::Finished,
            _ => Progress::Aborted(refusal),
        })
    }
}
