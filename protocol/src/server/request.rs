//! Requests at the server and their replies.

use super::event::Event;
use super::state::Server;
use crate::connection::{Connection, Side};
use crate::error::{ProtocolError, UsageError};
use crate::ids::RequestId;
use crate::limits::{MAX_PENDING_REQUESTS, MAX_REPLY_LEN};
use crate::request::{Refusal, RefusalCode, Reply, Request};
use crate::wire::control::ServerMessage;

impl Connection<Server> {
    /// Answers a request. An answer to a request that is no longer open is ignored; one that no
    /// message holds is refused as too large instead.
    ///
    /// # Errors
    /// `WrongReply` if the reply is not of the kind that was asked for; the request stays open.
    pub fn reply(
        &mut self,
        id: RequestId,
        result: Result<Reply, Refusal>,
    ) -> Result<(), UsageError> {
        let Some(asked) = self.requests.get(&id) else {
            return Ok(());
        };
        if result.as_ref().is_ok_and(|reply| !asked.fits(reply)) {
            return Err(UsageError::WrongReply);
        }
        self.requests.remove(&id);
        let mut message = ServerMessage::reply(id.0, result.as_ref());
        if message.len() > MAX_REPLY_LEN {
            let refusal = Refusal::new(
                RefusalCode::TooLarge,
                "the answer does not fit in a message",
            );
            message = ServerMessage::reply(id.0, Err(&refusal));
        }
        self.send(&message);
        Ok(())
    }

    pub(super) fn handle_request(
        &mut self,
        id: RequestId,
        request: Result<Request, Refusal>,
    ) -> Result<(), ProtocolError> {
        if !self.side.is_ready() || self.requests.contains_key(&id) {
            return Err(ProtocolError::Unexpected);
        }
        if self.requests.len() >= MAX_PENDING_REQUESTS {
            return Err(ProtocolError::Requests);
        }
        match request {
            Ok(request) => {
                self.requests.insert(id, request.kind());
                self.push(Event::Request(id, request));
            }
            Err(refusal) => {
                let message = ServerMessage::reply(id.0, Err(&refusal));
                self.send(&message);
            }
        }
        Ok(())
    }
}
