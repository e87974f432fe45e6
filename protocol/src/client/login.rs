//! From the handshake to the login, at the client.

use std::time::Instant;

use zeroize::Zeroizing;

use super::{Connection, Event};
use crate::channel::ServerKey;
use crate::channel::keys::Direction;
use crate::channel::tls::Established;
use crate::error::{ProtocolError, UsageError};
use crate::limits::MAX_PASSWORD_LEN;
use crate::signed::login::login_text;
use crate::signed::{Namespace, SigningKey, StoreId, UserName};
use crate::wire::control::{ClientMessage, ServerMessage};

/// Where the dialogue is.
pub(super) enum Stage {
    Handshake,
    /// The server's hello is to come.
    Hello(Box<Established>),
    /// The application is to trust the server.
    Trust,
    /// The same, and the server has asked for the user.
    TrustAsked,
    /// The server is to ask for the user.
    AwaitUserPrompt,
    /// The application is to name the user.
    UserWanted,
    /// The server is to ask for the credential.
    AwaitCredentialPrompt(UserName),
    /// The application is to give the credential.
    CredentialWanted(UserName),
    /// The server is to decide.
    AwaitVerdict(UserName),
    Ready,
}

/// What the handshake and the hello have said about the server.
pub(super) struct Server {
    pub(super) store: StoreId,
    key: ServerKey,
    binding: [u8; 32],
}

impl Connection {
    /// The server is the right one: the login may begin.
    ///
    /// # Errors
    /// `WrongState` unless [`Event::Identified`] has just come, `Closed`.
    pub fn trust(&mut self) -> Result<(), UsageError> {
        self.open()?;
        match self.stage {
            Stage::Trust => self.stage = Stage::AwaitUserPrompt,
            Stage::TrustAsked => {
                self.stage = Stage::UserWanted;
                self.session.events.push_back(Event::UserWanted);
            }
            _ => return Err(UsageError::WrongState),
        }
        Ok(())
    }

    /// Names the user.
    ///
    /// # Errors
    /// `WrongState` unless [`Event::UserWanted`] has just come, `Closed`.
    pub fn login_user(&mut self, user: &UserName) -> Result<(), UsageError> {
        self.open()?;
        if !matches!(self.stage, Stage::UserWanted) {
            return Err(UsageError::WrongState);
        }
        self.session.send(&ClientMessage::user(user.as_str()));
        self.stage = Stage::AwaitCredentialPrompt(user.clone());
        Ok(())
    }

    /// Proves with a password who we are.
    ///
    /// # Errors
    /// `WrongState` unless [`Event::CredentialWanted`] has just come, `Closed`, `TooLong` for a
    /// password that no server takes; one may then try another.
    pub fn login_password(&mut self, password: &Zeroizing<String>) -> Result<(), UsageError> {
        let user = self.credential_wanted()?;
        if password.len() > MAX_PASSWORD_LEN {
            return Err(UsageError::TooLong);
        }
        self.session.send(&ClientMessage::password(password));
        self.stage = Stage::AwaitVerdict(user);
        Ok(())
    }

    /// Proves with a key who we are: signs store, channel binding and user name.
    ///
    /// # Errors
    /// `WrongState` unless [`Event::CredentialWanted`] has just come, `Closed`.
    pub fn login_key(&mut self, key: &SigningKey) -> Result<(), UsageError> {
        let user = self.credential_wanted()?;
        let server = self.server.as_ref().ok_or(UsageError::WrongState)?;
        let text = login_text(server.store, &server.binding, user.as_str());
        let signature = key.sign(Namespace::Login, text.as_bytes());
        self.session.send(&ClientMessage::key(&signature));
        self.stage = Stage::AwaitVerdict(user);
        Ok(())
    }

    /// The key that the server has proved to hold, from [`Event::Identified`] on.
    #[must_use]
    pub fn server_key(&self) -> Option<ServerKey> {
        self.server.as_ref().map(|server| server.key)
    }

    /// The store that the server says it holds, from [`Event::Identified`] on.
    #[must_use]
    pub fn store(&self) -> Option<StoreId> {
        self.server.as_ref().map(|server| server.store)
    }

    fn open(&self) -> Result<(), UsageError> {
        if self.session.is_over() {
            Err(UsageError::Closed)
        } else {
            Ok(())
        }
    }

    fn credential_wanted(&self) -> Result<UserName, UsageError> {
        self.open()?;
        match &self.stage {
            Stage::CredentialWanted(user) => Ok(user.clone()),
            _ => Err(UsageError::WrongState),
        }
    }

    /// The handshake is over: says hello, which tells nothing about the user.
    pub(super) fn greet(&mut self, established: Established) {
        let hello = ClientMessage::hello(self.session.offered_streams());
        self.session.send(&hello);
        self.stage = Stage::Hello(Box::new(established));
    }

    pub(super) fn handle_login(
        &mut self,
        message: ServerMessage,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        let stage = std::mem::replace(&mut self.stage, Stage::Handshake);
        self.stage = match (stage, message) {
            (Stage::Hello(established), ServerMessage::Hello { streams, store }) => {
                self.identify(*established, streams, store, now)?;
                Stage::Trust
            }
            (Stage::Trust, ServerMessage::AskUser) => Stage::TrustAsked,
            (Stage::AwaitUserPrompt, ServerMessage::AskUser) => {
                self.session.events.push_back(Event::UserWanted);
                Stage::UserWanted
            }
            (
                Stage::AwaitCredentialPrompt(user),
                ServerMessage::AskCredential { attempts_left },
            ) => {
                self.session.events.push_back(Event::CredentialWanted {
                    attempts_left: attempts_left.into(),
                });
                Stage::CredentialWanted(user)
            }
            (Stage::AwaitVerdict(_), ServerMessage::LoggedIn { uid, role }) => {
                self.session.events.push_back(Event::LoggedIn { uid, role });
                Stage::Ready
            }
            (Stage::AwaitVerdict(user), ServerMessage::LoginRefused { attempts_left }) => {
                self.session.events.push_back(Event::LoginRefused {
                    attempts_left: attempts_left.into(),
                });
                Stage::AwaitCredentialPrompt(user)
            }
            _ => return Err(ProtocolError::Unexpected),
        };
        Ok(())
    }

    fn identify(
        &mut self,
        established: Established,
        streams: u16,
        store: StoreId,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        let key = self
            .session
            .tls()
            .server_key()
            .ok_or(ProtocolError::Unexpected)?;
        self.server = Some(Server {
            store,
            key,
            binding: established.binding,
        });
        self.session
            .agree(established, Direction::ClientToServer, streams);
        self.session.set_deadline(None);
        self.session.start_keepalive(now);
        self.session.events.push_back(Event::Identified {
            store,
            server_key: key,
        });
        Ok(())
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Connection {
    /// A connection that is logged in, without a handshake: its transfers have these keys.
    pub(crate) fn with_streams(
        config: super::ClientConfig,
        store: StoreId,
        established: Established,
        now: Instant,
    ) -> Result<Self, crate::channel::TlsConfigError> {
        let mut connection = Self::new(config, now)?;
        connection.handle_link(crate::channel::LinkChange::Up { streams: u16::MAX }, now);
        connection.session.set_deadline(None);
        connection.server = Some(Server {
            store,
            key: ServerKey::from_bytes([0; 32]),
            binding: established.binding,
        });
        connection
            .session
            .agree(established, Direction::ClientToServer, u16::MAX);
        connection.stage = Stage::Ready;
        Ok(connection)
    }
}

/// What no client of ours does.
#[cfg(test)]
impl Connection {
    /// Claims to be someone, valid or not.
    pub(crate) fn send_raw_user(&mut self, name: &str) {
        self.session.send(&ClientMessage::user(name));
        self.stage = Stage::AwaitCredentialPrompt(UserName::parse("someone").unwrap());
    }

    /// Sends any signature at all.
    pub(crate) fn send_raw_key(&mut self, signature: &str) {
        let user = self.credential_wanted().unwrap();
        self.session.send(&ClientMessage::key(signature));
        self.stage = Stage::AwaitVerdict(user);
    }

    /// A signature over a login on this connection, to any store, in any namespace.
    pub(crate) fn signature_for(
        &self,
        store: StoreId,
        user: &str,
        namespace: Namespace,
        key: &SigningKey,
    ) -> String {
        let binding = self.server.as_ref().unwrap().binding;
        key.sign(namespace, login_text(store, &binding, user).as_bytes())
    }
}
