//! From the handshake to the login, at the server.
//!
//! Every user name goes through the same dialogue: whether a user exists, or could exist, shows in
//! nothing that is sent.

use std::time::Instant;

use super::{ClaimedUser, Connection, Credential, Event, Ticket, Verdict};
use crate::Role;
use crate::channel::keys::Direction;
use crate::channel::tls::Established;
use crate::error::{CloseReason, Deadline, ProtocolError};
use crate::signed::login::login_text;
use crate::signed::{Namespace, PublicKey, UserId, UserName, signer_of};
use crate::wire::control::{ClientMessage, ServerMessage};

/// Where the dialogue is.
pub(super) enum Stage {
    Handshake,
    /// The client's hello is to come.
    Hello(Box<Established>),
    /// The client is to name the user.
    AwaitUser {
        binding: [u8; 32],
    },
    /// The client is to give the credential.
    AwaitCredential(Attempt),
    /// The application is to decide.
    Deciding(Attempt, Proof),
    Ready(Identity),
}

/// The login under way.
pub(super) struct Attempt {
    binding: [u8; 32],
    user: ClaimedUser,
    /// Counted up with each attempt, so that a late verdict hits no other one.
    ticket: Ticket,
    /// This one included.
    left: u8,
}

/// What kind of credential was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    Password,
    Key,
}

/// Who a connection has been let in as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Name.
    pub name: UserName,
    /// Identity, which outlives the name.
    pub uid: UserId,
    /// Role at the time of login.
    pub role: Role,
    /// Whether the login was with a key.
    pub by_key: bool,
}

impl Connection {
    /// Decides a login attempt. A verdict on an attempt that is no longer open is ignored.
    pub fn login(&mut self, ticket: Ticket, verdict: Verdict, now: Instant) {
        let stage = std::mem::replace(&mut self.stage, Stage::Handshake);
        match stage {
            Stage::Deciding(attempt, proof) if attempt.ticket == ticket && self.session.is_up() => {
                match verdict {
                    Verdict::Accepted { uid, role, name } => {
                        self.session.send(&ServerMessage::logged_in(uid, role));
                        self.session.set_deadline(None);
                        self.session.start_keepalive(now);
                        self.stage = Stage::Ready(Identity {
                            name,
                            uid,
                            role,
                            by_key: proof == Proof::Key,
                        });
                    }
                    Verdict::Refused => self.refuse(attempt, now),
                }
            }
            stage => self.stage = stage,
        }
    }

    /// Who the client is, from the login on.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        match &self.stage {
            Stage::Ready(identity) => Some(identity),
            _ => None,
        }
    }

    fn refuse(&mut self, mut attempt: Attempt, now: Instant) {
        attempt.left -= 1;
        self.session
            .send(&ServerMessage::login_refused(attempt.left));
        if attempt.left == 0 {
            self.shut(CloseReason::LoginFailed, now);
            return;
        }
        attempt.ticket.0 += 1;
        self.session
            .send(&ServerMessage::ask_credential(attempt.left));
        self.stage = Stage::AwaitCredential(attempt);
    }

    /// The handshake is over: says hello first.
    pub(super) fn greet(&mut self, established: Established) {
        let hello = ServerMessage::hello(self.session.offered_streams(), self.store);
        self.session.send(&hello);
        self.stage = Stage::Hello(Box::new(established));
    }

    pub(super) fn handle_login(
        &mut self,
        message: ClientMessage,
        now: Instant,
    ) -> Result<(), CloseReason> {
        let stage = std::mem::replace(&mut self.stage, Stage::Handshake);
        self.stage = match (stage, message) {
            (Stage::Hello(established), ClientMessage::Hello { streams }) => {
                let binding = established.binding;
                self.session
                    .agree(*established, Direction::ServerToClient, streams);
                let deadline = now + self.session.limits.login_timeout;
                self.session.set_deadline(Some((deadline, Deadline::Login)));
                self.session.send(&ServerMessage::ask_user());
                Stage::AwaitUser { binding }
            }
            (Stage::AwaitUser { binding }, ClientMessage::User(name)) => {
                let left = self.session.limits.login_attempts;
                self.session.send(&ServerMessage::ask_credential(left));
                Stage::AwaitCredential(Attempt {
                    binding,
                    user: ClaimedUser::new(&name),
                    ticket: Ticket(0),
                    left,
                })
            }
            (Stage::AwaitCredential(attempt), ClientMessage::Password(password)) => {
                self.ask(attempt, Credential::Password(password), Proof::Password)
            }
            (Stage::AwaitCredential(attempt), ClientMessage::Key(signature)) => {
                let key = self.verify(&attempt, &signature)?;
                self.ask(attempt, Credential::Key(key), Proof::Key)
            }
            _ => return Err(CloseReason::Protocol(ProtocolError::Unexpected)),
        };
        Ok(())
    }

    fn ask(&mut self, attempt: Attempt, credential: Credential, proof: Proof) -> Stage {
        self.session.events.push_back(Event::Login {
            ticket: attempt.ticket,
            user: attempt.user.clone(),
            credential,
        });
        Stage::Deciding(attempt, proof)
    }

    /// The key that has signed this login.
    ///
    /// A client of ours never sends a signature that does not verify, unless someone has relayed
    /// it: the connection ends.
    fn verify(&self, attempt: &Attempt, signature: &str) -> Result<PublicKey, CloseReason> {
        let refused = CloseReason::Protocol(ProtocolError::LoginSignature);
        let text = login_text(self.store, &attempt.binding, attempt.user.as_str());
        let Ok(key) = signer_of(signature) else {
            return Err(refused);
        };
        match key.verify(Namespace::Login, text.as_bytes(), signature) {
            Ok(()) => Ok(key),
            Err(_) => Err(refused),
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Connection {
    /// A connection that is logged in, without a handshake: its transfers have these keys.
    pub(crate) fn with_streams(
        config: super::ServerConfig,
        identity: Identity,
        established: Established,
        now: Instant,
    ) -> Result<Self, crate::channel::TlsConfigError> {
        let mut connection = Self::new(config, now)?;
        connection.handle_link(crate::channel::LinkChange::Up { streams: u16::MAX }, now);
        connection.session.set_deadline(None);
        connection
            .session
            .agree(established, Direction::ServerToClient, u16::MAX);
        connection.stage = Stage::Ready(identity);
        Ok(connection)
    }
}
