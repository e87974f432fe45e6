//! From the handshake to the login, at the client.

use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::event::Event;
use super::state::{Client, Server, Stage};
use crate::channel::config::ServerFingerprint;
use crate::channel::keys::Direction;
use crate::channel::tls::Established;
use crate::connection::Connection;
use crate::error::{ProtocolError, UsageError};
use crate::limits::MAX_PASSWORD_LEN;
use crate::signed::key::SigningKey;
use crate::signed::login::login_text;
use crate::signed::name::{StoreId, UserName};
use crate::signed::sshsig::Namespace;
use crate::wire::control::{ClientMessage, ServerMessage};

impl Connection<Client> {
    /// Trusts the server: the login may begin.
    ///
    /// # Errors
    /// `WrongState` unless [`Event::Identified`] has just come, `Closed`.
    pub fn trust(&mut self) -> Result<(), UsageError> {
        self.open()?;
        match self.side.stage {
            Stage::Trust => self.side.stage = Stage::AwaitUserPrompt,
            Stage::TrustAsked => {
                self.side.stage = Stage::UserWanted;
                self.push(Event::UserWanted);
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
        if !matches!(self.side.stage, Stage::UserWanted) {
            return Err(UsageError::WrongState);
        }
        self.send(&ClientMessage::user(user.as_str()));
        self.side.stage = Stage::AwaitCredentialPrompt(user.clone());
        Ok(())
    }

    /// Logs in with a password.
    ///
    /// # Errors
    /// `WrongState` unless [`Event::CredentialWanted`] has just come, `Closed`, `TooLong` for a
    /// password that no server takes; one may then try another.
    pub fn login_password(&mut self, password: &Zeroizing<String>) -> Result<(), UsageError> {
        let user = self.credential_wanted()?;
        if password.len() > MAX_PASSWORD_LEN {
            return Err(UsageError::TooLong);
        }
        self.send(&ClientMessage::password(password));
        self.side.stage = Stage::AwaitVerdict(user);
        Ok(())
    }

    /// Logs in with a key: signs store, channel binding and user name.
    ///
    /// # Errors
    /// `WrongState` unless [`Event::CredentialWanted`] has just come, `Closed`.
    pub fn login_key(&mut self, key: &SigningKey) -> Result<(), UsageError> {
        let user = self.credential_wanted()?;
        let server = self.side.server.as_ref().ok_or(UsageError::WrongState)?;
        let text = login_text(server.store, &server.binding, user.as_str());
        let signature = key.sign(Namespace::Login, text.as_bytes());
        self.send(&ClientMessage::key(&signature));
        self.side.stage = Stage::AwaitVerdict(user);
        Ok(())
    }

    /// The fingerprint of the key that the server has proved to hold, from [`Event::Identified`]
    /// on.
    #[must_use]
    pub fn server_fingerprint(&self) -> Option<ServerFingerprint> {
        self.side.server.as_ref().map(|server| server.fingerprint)
    }

    /// The store that the server says it holds, from [`Event::Identified`] on.
    #[must_use]
    pub fn store(&self) -> Option<StoreId> {
        self.side.server.as_ref().map(|server| server.store)
    }

    fn open(&self) -> Result<(), UsageError> {
        if self.is_over() {
            Err(UsageError::Closed)
        } else {
            Ok(())
        }
    }

    fn credential_wanted(&self) -> Result<UserName, UsageError> {
        self.open()?;
        match &self.side.stage {
            Stage::CredentialWanted(user) => Ok(user.clone()),
            _ => Err(UsageError::WrongState),
        }
    }

    /// The handshake is over: sends the hello, which contains nothing about the user.
    pub(super) fn greet(&mut self, established: Established) {
        let hello = ClientMessage::hello(self.offered_streams());
        self.send(&hello);
        self.side.stage = Stage::Hello(Box::new(established));
    }

    pub(super) fn handle_login(
        &mut self,
        message: ServerMessage,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        let stage = std::mem::replace(&mut self.side.stage, Stage::Handshake);
        self.side.stage = match (stage, message) {
            (Stage::Hello(established), ServerMessage::Hello { streams, store }) => {
                self.identify(*established, streams, store, now)?;
                Stage::Trust
            }
            (Stage::Trust, ServerMessage::AskUser) => Stage::TrustAsked,
            (Stage::AwaitUserPrompt, ServerMessage::AskUser) => {
                self.push(Event::UserWanted);
                Stage::UserWanted
            }
            (
                Stage::AwaitCredentialPrompt(user),
                ServerMessage::AskCredential { attempts_left },
            ) => {
                self.push(Event::CredentialWanted {
                    attempts_left: attempts_left.into(),
                });
                Stage::CredentialWanted(user)
            }
            (Stage::AwaitVerdict(_), ServerMessage::LoggedIn { uid, role }) => {
                self.push(Event::LoggedIn { uid, role });
                Stage::Ready
            }
            (
                Stage::AwaitVerdict(user),
                ServerMessage::LoginRefused {
                    attempts_left,
                    retry_after,
                },
            ) => {
                self.push(Event::LoginRefused {
                    attempts_left: attempts_left.into(),
                    retry_after: (retry_after > 0).then(|| Duration::from_secs(retry_after.into())),
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
        let fingerprint = self
            .tls()
            .server_fingerprint()
            .ok_or(ProtocolError::Unexpected)?;
        self.side.server = Some(Server {
            store,
            fingerprint,
            binding: established.binding,
        });
        self.agree(established, Direction::ClientToServer, streams);
        self.deadlines.set(None);
        self.deadlines.start_keepalive(now);
        self.push(Event::Identified { store, fingerprint });
        Ok(())
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Connection<Client> {
    /// A connection that is logged in, without a handshake: its transfers have these keys.
    pub(crate) fn with_streams(
        config: super::ClientConfig,
        store: StoreId,
        established: Established,
        now: Instant,
    ) -> Result<Self, crate::channel::TlsConfigError> {
        let mut connection = Self::new(config, now)?;
        connection.handle_link(crate::channel::LinkChange::Up { streams: u16::MAX }, now);
        connection.deadlines.set(None);
        connection.side.server = Some(Server {
            store,
            fingerprint: ServerFingerprint::from_bytes([0; 32]),
            binding: established.binding,
        });
        connection.agree(established, Direction::ClientToServer, u16::MAX);
        connection.side.stage = Stage::Ready;
        Ok(connection)
    }
}

/// What no client of ours does.
#[cfg(test)]
impl Connection<Client> {
    /// Claims to be someone, valid or not.
    pub(crate) fn send_raw_user(&mut self, name: &str) {
        self.send(&ClientMessage::user(name));
        self.side.stage = Stage::AwaitCredentialPrompt(UserName::parse("someone").unwrap());
    }

    /// Sends any signature at all.
    pub(crate) fn send_raw_key(&mut self, signature: &str) {
        let user = self.credential_wanted().unwrap();
        self.send(&ClientMessage::key(signature));
        self.side.stage = Stage::AwaitVerdict(user);
    }

    /// A signature over a login on this connection, to any store, in any namespace.
    pub(crate) fn signature_for(
        &self,
        store: StoreId,
        user: &str,
        namespace: Namespace,
        key: &SigningKey,
    ) -> String {
        let binding = self.side.server.as_ref().unwrap().binding;
        key.sign(namespace, login_text(store, &binding, user).as_bytes())
    }
}
