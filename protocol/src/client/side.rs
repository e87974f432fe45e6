//! What a client does where the sides differ.

use std::time::Instant;

use super::event::{Event, TransferEvent};
use super::state::{Client, Phase, Stage};
use crate::channel::kind::RecordKind;
use crate::connection::{Connection, Progress, Side};
use crate::error::{CloseReason, ProtocolError};
use crate::ids::{RequestId, TransferId};
use crate::limits::{MAX_LOGIN_LEN, MAX_REPLY_LEN};
use crate::request::Refusal;
use crate::wire::control::ServerMessage;

impl Side for Client {
    type Event = Event;
    type Phase = Phase;

    const NAME: &'static str = "client";

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
            Stage::Ready => MAX_REPLY_LEN,
            _ => MAX_LOGIN_LEN,
        };
        let message = connection
            .next_message(longest, ServerMessage::decode)
            .map_err(CloseReason::Protocol)?;
        match message {
            None => return Ok(false),
            Some(ServerMessage::Common(common)) => connection.handle_common(common)?,
            Some(ServerMessage::Reply { id, result }) => connection
                .handle_reply(RequestId(id), result)
                .map_err(CloseReason::Protocol)?,
            Some(message) => connection
                .handle_login(message, now)
                .map_err(CloseReason::Protocol)?,
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
            RecordKind::Reply => connection.handle_transfer_reply(transfer, body),
            _ => Err(ProtocolError::UnexpectedRecord),
        }
    }

    fn is_committed(phase: &Phase) -> bool {
        matches!(phase, Phase::Committed)
    }

    fn check_data(phase: &mut Phase, len: u64) -> Result<(), ProtocolError> {
        let Phase::Getting { left } = phase else {
            return Err(ProtocolError::UnexpectedRecord);
        };
        *left = left.checked_sub(len).ok_or(ProtocolError::Size)?;
        Ok(())
    }

    fn check_end(phase: &Phase, _ended: bool) -> Result<(), ProtocolError> {
        match phase {
            Phase::Getting { left: 0 } | Phase::Committed => Ok(()),
            Phase::Getting { .. } => Err(ProtocolError::Size),
            _ => Err(ProtocolError::UnexpectedRecord),
        }
    }

    fn handle_abort(phase: &Phase, refusal: Refusal) -> Result<Progress, ProtocolError> {
        match phase {
            // The server has already said that the file is published.
            Phase::Committed => Err(ProtocolError::UnexpectedRecord),
            _ => Ok(Progress::Aborted(refusal)),
        }
    }
}
