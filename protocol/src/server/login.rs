//! From the handshake to the login, at the server.
//!
//! Every user name goes through the same dialogue: whether a user exists, or could exist, shows in
//! nothing that is sent.

use std::time::{Duration, Instant};

use super::event::{ClaimedUser, Credential, Event, LoginTicket, Verdict};
use super::state::{Attempt, Server, Stage};
use crate::channel::keys::Direction;
use crate::channel::tls::Established;
use crate::connection::Connection;
use crate::error::{CloseReason, Deadline, ProtocolError};
use crate::signed::key::PublicKey;
use crate::signed::login::login_text;
use crate::signed::sshsig::{Namespace, signer_of};
use crate::wire::control::{ClientMessage, ServerMessage};

impl Connection<Server> {
    /// Decides a login attempt. A verdict on an attempt that is no longer open is ignored.
    pub fn login(&mut self, ticket: LoginTicket, verdict: Verdict, now: Instant) {
        let stage = std::mem::replace(&mut self.side.stage, Stage::Handshake);
        match stage {
            Stage::Deciding(attempt) if attempt.ticket == ticket && self.is_up() => match verdict {
                Verdict::Accepted { uid, role } => {
                    self.send(&ServerMessage::logged_in(uid, role));
                    self.deadlines.set(None);
                    self.deadlines.start_keepalive(now);
                    self.side.stage = Stage::Ready;
                }
                Verdict::Refused => self.refuse(attempt, 0, now),
                Verdict::TooManyAttempts { retry_after } => {
                    self.refuse(attempt, whole_seconds(retry_after), now);
                }
            },
            stage => self.side.stage = stage,
        }
    }

    /// `retry_after` is in seconds; 0 for an attempt that was looked at.
    fn refuse(&mut self, mut attempt: Attempt, retry_after: u16, now: Instant) {
        attempt.left -= 1;
        self.send(&ServerMessage::login_refused(attempt.left, retry_after));
        if attempt.left == 0 {
            self.shut(CloseReason::LoginFailed, now);
            return;
        }
        attempt.ticket.0 += 1;
        self.send(&ServerMessage::ask_credential(attempt.left));
        self.side.stage = Stage::AwaitCredential(attempt);
    }

    /// The handshake is over: says hello first.
    pub(super) fn greet(&mut self, established: Established) {
        let hello = ServerMessage::hello(self.offered_streams(), self.side.store);
        self.send(&hello);
        self.side.stage = Stage::Hello(Box::new(established));
    }

    pub(super) fn handle_login(
        &mut self,
        message: ClientMessage,
        now: Instant,
    ) -> Result<(), CloseReason> {
        let stage = std::mem::replace(&mut self.side.stage, Stage::Handshake);
        self.side.stage = match (stage, message) {
            (Stage::Hello(established), ClientMessage::Hello { streams }) => {
                let binding = established.binding;
                self.agree(*established, Direction::ServerToClient, streams);
                let deadline = now + self.limits.login_timeout;
                self.deadlines.set(Some((deadline, Deadline::Login)));
                self.send(&ServerMessage::ask_user());
                Stage::AwaitUser { binding }
            }
            (Stage::AwaitUser { binding }, ClientMessage::User(name)) => {
                let left = self.limits.login_attempts;
                self.send(&ServerMessage::ask_credential(left));
                Stage::AwaitCredential(Attempt {
                    binding,
                    user: ClaimedUser::new(&name),
                    ticket: LoginTicket(0),
                    left,
                })
            }
            (Stage::AwaitCredential(attempt), ClientMessage::Password(password)) => {
                self.ask(attempt, Credential::Password(password))
            }
            (Stage::AwaitCredential(attempt), ClientMessage::Key(signature)) => {
                let key = self.verify(&attempt, &signature)?;
                self.ask(attempt, Credential::Key(key))
            }
            _ => return Err(CloseReason::Protocol(ProtocolError::Unexpected)),
        };
        Ok(())
    }

    fn ask(&mut self, attempt: Attempt, credential: Credential) -> Stage {
        self.push(Event::Login {
            ticket: attempt.ticket,
            user: attempt.user.clone(),
            credential,
        });
        Stage::Deciding(attempt)
    }

    /// The key that has signed this login.
    ///
    /// An honest client never sends a signature that does not verify, unless it was relayed from
    /// another connection: the connection ends.
    fn verify(&self, attempt: &Attempt, signature: &str) -> Result<PublicKey, CloseReason> {
        let refused = CloseReason::Protocol(ProtocolError::LoginSignature);
        let text = login_text(self.side.store, &attempt.binding, attempt.user.as_str());
        let Ok(key) = signer_of(signature) else {
            return Err(refused);
        };
        match key.verify(Namespace::Login, text.as_bytes(), signature) {
            Ok(()) => Ok(key),
            Err(_) => Err(refused),
        }
    }
}

/// At least 1, so that it never looks like an attempt that was looked at.
fn whole_seconds(wait: Duration) -> u16 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u16::try_from(seconds.max(1)).unwrap_or(u16::MAX)
}

#[cfg(any(test, feature = "fuzzing"))]
impl Connection<Server> {
    /// A connection that is logged in, without a handshake: its transfers have these keys.
    pub(crate) fn with_streams(
        config: super::ServerConfig,
        established: Established,
        now: Instant,
    ) -> Result<Self, crate::channel::TlsConfigError> {
        let mut connection = Self::new(config, now)?;
        connection.handle_link(crate::channel::LinkChange::Up { streams: u16::MAX }, now);
        connection.deadlines.set(None);
        connection.agree(established, Direction::ServerToClient, u16::MAX);
        connection.side.stage = Stage::Ready;
        Ok(connection)
    }
}
