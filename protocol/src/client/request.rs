//! Requests of the client and their replies.

use super::event::Event;
use super::state::{Client, Server, Stage};
use crate::connection::Connection;
use crate::error::{ProtocolError, UsageError};
use crate::ids::RequestId;
use crate::limits::{MAX_PASSWORD_LEN, MAX_PATH_LEN, MAX_PENDING_REQUESTS, MAX_REQUEST_LEN};
use crate::request::{Refusal, Reply, Request, RequestKind};
use crate::wire::control::ClientMessage;

impl Connection<Client> {
    /// Sends a request; its answer is an [`Event::Reply`].
    ///
    /// # Errors
    /// `WrongState` before login, `Closed`, `TooManyRequests`, `TooLong` for a list prefix longer
    /// than any path, or for a password longer than [`MAX_PASSWORD_LEN`].
    pub fn request(&mut self, request: Request) -> Result<RequestId, UsageError> {
        self.ready()?;
        if self.requests.len() >= MAX_PENDING_REQUESTS {
            return Err(UsageError::TooManyRequests);
        }
        let too_long = match &request {
            Request::List { prefix, .. } => prefix.len() > MAX_PATH_LEN,
            Request::AddUser {
                password: Some(password),
                ..
            } => password.as_str().len() > MAX_PASSWORD_LEN,
            _ => false,
        };
        if too_long {
            return Err(UsageError::TooLong);
        }
        let id = RequestId(self.side.next_request);
        let message = ClientMessage::request(id.0, &request);
        debug_assert!(message.len() <= MAX_REQUEST_LEN);
        // Four thousand million requests later the old ones are long answered.
        self.side.next_request = self.side.next_request.wrapping_add(1);
        self.requests.insert(id, request.kind());
        self.send(&message);
        Ok(id)
    }

    pub(super) fn ready(&self) -> Result<&Server, UsageError> {
        if self.is_over() {
            return Err(UsageError::Closed);
        }
        match (&self.side.stage, &self.side.server) {
            (Stage::Ready, Some(server)) => Ok(server),
            _ => Err(UsageError::WrongState),
        }
    }

    pub(super) fn handle_reply(
        &mut self,
        id: RequestId,
        result: Result<Reply, Refusal>,
    ) -> Result<(), ProtocolError> {
        let asked = self.requests.remove(&id).ok_or(ProtocolError::Unexpected)?;
        if let Ok(reply) = &result {
            if !asked.fits(reply) {
                return Err(ProtocolError::Unexpected);
            }
            if let (
                RequestKind::Stat(path),
                Reply::Stat {
                    current: Some(signed),
                },
            ) = (&asked, reply)
            {
                let server = self.side.server.as_ref().ok_or(ProtocolError::Unexpected)?;
                if !signed.is_of(server.store, path) {
                    return Err(ProtocolError::Manifest);
                }
            }
        }
        self.push(Event::Reply(id, result));
        Ok(())
    }
}
