//! The control messages inside TLS: `length(4) ‖ type(1) ‖ body`, where length counts type and
//! body.

use zeroize::Zeroizing;

use super::cursor::{Reader, Writer};
use super::parts::{
    Signed, read_key_entry, read_list_entry, read_manifest, read_password, read_public_key,
    read_raw_path, read_refusal, read_role, read_uid, read_user, read_user_entry, refuse_path,
    refuse_user, write_key_entry, write_list_entry, write_password, write_public_key,
    write_refusal, write_role, write_user_entry,
};
use crate::error::{CloseCode, ProtocolError};
use crate::limits::{
    MAX_CLAIMED_NAME_LEN, MAX_LIST_ENTRIES, MAX_MESSAGE_LEN, MAX_PATH_LEN, MAX_SIGNATURE_LEN,
    PROTOCOL_VERSION,
};
use crate::request::{NewPassword, Refusal, Reply, Request};
use crate::role::Role;
use crate::signed::name::{FilePath, StoreId, UserId, UserName};

mod kind {
    pub(super) const CLIENT_HELLO: u8 = 0x01;
    pub(super) const SERVER_HELLO: u8 = 0x02;
    pub(super) const ASK_USER: u8 = 0x03;
    pub(super) const USER: u8 = 0x04;
    pub(super) const ASK_CREDENTIAL: u8 = 0x05;
    pub(super) const PASSWORD: u8 = 0x06;
    pub(super) const KEY: u8 = 0x07;
    pub(super) const LOGGED_IN: u8 = 0x08;
    pub(super) const LOGIN_REFUSED: u8 = 0x09;
    pub(super) const REQUEST: u8 = 0x10;
    pub(super) const REPLY: u8 = 0x11;
    pub(super) const PING: u8 = 0x20;
    pub(super) const PONG: u8 = 0x21;
    pub(super) const CLOSE: u8 = 0x22;
}

/// A control message of the client.
#[expect(
    clippy::large_enum_variant,
    reason = "few exist at a time, and not for long"
)]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ClientMessage {
    Hello {
        streams: u16,
    },
    User(String),
    Password(Zeroizing<String>),
    /// An armored signature.
    Key(String),
    /// The request, or the refusal to answer with.
    Request {
        id: u32,
        request: Result<Request, Refusal>,
    },
    Common(Common),
}

/// A control message of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ServerMessage {
    Hello {
        streams: u16,
        store: StoreId,
    },
    AskUser,
    AskCredential {
        attempts_left: u8,
    },
    LoggedIn {
        uid: UserId,
        role: Role,
    },
    LoginRefused {
        attempts_left: u8,
        /// In seconds; 0 when the attempt was looked at.
        retry_after: u16,
    },
    Reply {
        id: u32,
        result: Result<Reply, Refusal>,
    },
    Common(Common),
}

/// A control message that both sides send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Common {
    Ping,
    Pong,
    Close { code: CloseCode, message: String },
}

/// Finds the first message in what has come: its body, type first; `None` when it is not all there
/// yet.
///
/// # Errors
/// `TooLong` beyond `longest`, `Malformed` for one without a type.
pub(crate) fn split_frame(inbox: &[u8], longest: usize) -> Result<Option<&[u8]>, ProtocolError> {
    let Some((len, rest)) = inbox.split_first_chunk() else {
        return Ok(None);
    };
    // A u32 fits in usize on every platform that rustls supports; elsewhere it is too long anyway.
    let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| ProtocolError::TooLong)?;
    if len > longest {
        return Err(ProtocolError::TooLong);
    }
    if len == 0 {
        return Err(ProtocolError::Malformed);
    }
    Ok(rest.get(..len))
}

/// Length of the frame around a body.
pub(crate) const fn frame_len(body: usize) -> usize {
    4 + body
}

fn frame(kind: u8, capacity: usize) -> Writer {
    let mut writer = Writer::with_capacity(5 + capacity);
    writer.u32(0);
    writer.u8(kind);
    writer
}

fn version(reader: &mut Reader<'_>) -> Result<(), ProtocolError> {
    match reader.u16()? {
        PROTOCOL_VERSION => Ok(()),
        _ => Err(ProtocolError::Version),
    }
}

impl Common {
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Ping => frame(kind::PING, 0).finish_frame(),
            Self::Pong => frame(kind::PONG, 0).finish_frame(),
            Self::Close { code, message } => {
                let mut writer = frame(kind::CLOSE, 64);
                writer.u8(code.byte());
                writer.text(message, MAX_MESSAGE_LEN);
                writer.finish_frame()
            }
        }
    }

    fn decode(kind: u8, reader: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        match kind {
            kind::PING => Ok(Self::Ping),
            kind::PONG => Ok(Self::Pong),
            kind::CLOSE => Ok(Self::Close {
                code: CloseCode::from_byte(reader.u8()?).ok_or(ProtocolError::Malformed)?,
                message: reader.string(MAX_MESSAGE_LEN)?.to_owned(),
            }),
            _ => Err(ProtocolError::Malformed),
        }
    }
}

impl ClientMessage {
    pub(crate) fn hello(streams: u16) -> Zeroizing<Vec<u8>> {
        let mut writer = frame(kind::CLIENT_HELLO, 4);
        writer.u16(PROTOCOL_VERSION);
        writer.u16(streams);
        writer.finish_frame()
    }

    pub(crate) fn user(name: &str) -> Zeroizing<Vec<u8>> {
        let mut writer = frame(kind::USER, 2 + name.len());
        writer.string(name);
        writer.finish_frame()
    }

    /// `password` has at most [`MAX_PASSWORD_LEN`] bytes.
    pub(crate) fn password(password: &str) -> Zeroizing<Vec<u8>> {
        let mut writer = frame(kind::PASSWORD, 512);
        write_password(&mut writer, password);
        writer.finish_frame()
    }

    pub(crate) fn key(signature: &str) -> Zeroizing<Vec<u8>> {
        let mut writer = frame(kind::KEY, 2 + signature.len());
        writer.string(signature);
        writer.finish_frame()
    }

    pub(crate) fn request(id: u32, request: &Request) -> Zeroizing<Vec<u8>> {
        // Room for the longest request with a password, of which a growing buffer would leave
        // copies.
        let mut writer = frame(kind::REQUEST, 2_048);
        writer.u32(id);
        match request {
            Request::Whoami => writer.u8(1),
            Request::List {
                prefix,
                after,
                limit,
            } => {
                writer.u8(2);
                writer.string(prefix);
                writer.option(after.as_ref(), |writer, path| writer.string(path.as_str()));
                writer.u32(*limit);
            }
            Request::Stat { path } => {
                writer.u8(3);
                writer.string(path.as_str());
            }
            Request::Delete { signed } => {
                writer.u8(4);
                Signed::write_manifest(&mut writer, signed);
            }
            Request::Users => writer.u8(5),
            Request::Keys { user } => {
                writer.u8(6);
                writer.string(user.as_str());
            }
            Request::AddKey { statement } => {
                writer.u8(7);
                Signed::write_statement(&mut writer, statement);
            }
            Request::AddUser {
                name,
                role,
                password,
                key,
            } => {
                writer.u8(8);
                writer.string(name.as_str());
                write_role(&mut writer, *role);
                writer.option(password.as_ref(), |writer, password| {
                    write_password(writer, password.as_str());
                });
                writer.option(key.as_ref(), |writer, (key, comment)| {
                    write_public_key(writer, key, comment);
                });
            }
            Request::RemoveUser { user } => {
                writer.u8(9);
                writer.string(user.as_str());
            }
            Request::SetRole { user, role } => {
                writer.u8(10);
                writer.string(user.as_str());
                write_role(&mut writer, *role);
            }
        }
        writer.finish_frame()
    }

    /// Decodes type and body.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(body);
        let message = match reader.u8()? {
            kind::CLIENT_HELLO => {
                version(&mut reader)?;
                Self::Hello {
                    streams: reader.u16()?,
                }
            }
            kind::USER => Self::User(reader.string(MAX_CLAIMED_NAME_LEN)?.to_owned()),
            kind::PASSWORD => Self::Password(read_password(&mut reader)?),
            kind::KEY => Self::Key(reader.string(MAX_SIGNATURE_LEN)?.to_owned()),
            kind::REQUEST => {
                let id = reader.u32()?;
                return decode_request(reader).map(|request| Self::Request { id, request });
            }
            other => Self::Common(Common::decode(other, &mut reader)?),
        };
        reader.end()?;
        Ok(message)
    }
}

fn decode_request(mut reader: Reader<'_>) -> Result<Result<Request, Refusal>, ProtocolError> {
    let request = match reader.u8()? {
        1 => Ok(Request::Whoami),
        2 => {
            let prefix = reader.string(MAX_PATH_LEN)?.to_owned();
            let after = reader
                .option(read_raw_path)?
                .map(FilePath::parse)
                .transpose();
            let limit = reader.u32()?.min(MAX_LIST_ENTRIES);
            after.map_err(refuse_path).map(|after| Request::List {
                prefix,
                after,
                limit,
            })
        }
        3 => FilePath::parse(read_raw_path(&mut reader)?)
            .map_err(refuse_path)
            .map(|path| Request::Stat { path }),
        4 => Signed::read(&mut reader)?
            .manifest()
            .map(|signed| Request::Delete { signed }),
        5 => Ok(Request::Users),
        6 => read_claimed(&mut reader)?.map(|user| Request::Keys { user }),
        7 => Signed::read(&mut reader)?
            .statement()
            .map(|statement| Request::AddKey { statement }),
        8 => {
            let name = read_claimed(&mut reader)?;
            let role = read_role(&mut reader)?;
            let password = reader.option(read_password)?.map(NewPassword::new);
            let key = reader.option(read_public_key)?;
            name.map(|name| Request::AddUser {
                name,
                role,
                password,
                key,
            })
        }
        9 => read_claimed(&mut reader)?.map(|user| Request::RemoveUser { user }),
        10 => {
            let user = read_claimed(&mut reader)?;
            let role = read_role(&mut reader)?;
            user.map(|user| Request::SetRole { user, role })
        }
        _ => return Err(ProtocolError::Malformed),
    };
    reader.end()?;
    Ok(request)
}

/// A user name, or the refusal to answer with.
fn read_claimed(reader: &mut Reader<'_>) -> Result<Result<UserName, Refusal>, ProtocolError> {
    Ok(UserName::parse(reader.string(MAX_CLAIMED_NAME_LEN)?).map_err(refuse_user))
}

impl ServerMessage {
    pub(crate) fn hello(streams: u16, store: StoreId) -> Zeroizing<Vec<u8>> {
        let mut writer = frame(kind::SERVER_HELLO, 20);
        writer.u16(PROTOCOL_VERSION);
        writer.u16(streams);
        writer.bytes(store.as_bytes());
        writer.finish_frame()
    }

    pub(crate) fn ask_user() -> Zeroizing<Vec<u8>> {
        frame(kind::ASK_USER, 0).finish_frame()
    }

    pub(crate) fn ask_credential(attempts_left: u8) -> Zeroizing<Vec<u8>> {
        let mut writer = frame(kind::ASK_CREDENTIAL, 1);
        writer.u8(attempts_left);
        writer.finish_frame()
    }

    pub(crate) fn logged_in(uid: UserId, role: Role) -> Zeroizing<Vec<u8>> {
        let mut writer = frame(kind::LOGGED_IN, 17);
        writer.bytes(uid.as_bytes());
        write_role(&mut writer, role);
        writer.finish_frame()
    }

    pub(crate) fn login_refused(attempts_left: u8, retry_after: u16) -> Zeroizing<Vec<u8>> {
        let mut writer = frame(kind::LOGIN_REFUSED, 3);
        writer.u8(attempts_left);
        writer.u16(retry_after);
        writer.finish_frame()
    }

    pub(crate) fn reply(id: u32, result: Result<&Reply, &Refusal>) -> Zeroizing<Vec<u8>> {
        let mut writer = frame(kind::REPLY, 256);
        writer.u32(id);
        match result {
            Err(refusal) => {
                writer.u8(0);
                write_refusal(&mut writer, refusal);
            }
            Ok(reply) => write_reply(&mut writer, reply),
        }
        writer.finish_frame()
    }

    /// Decodes type and body.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(body);
        let message = match reader.u8()? {
            kind::SERVER_HELLO => {
                version(&mut reader)?;
                Self::Hello {
                    streams: reader.u16()?,
                    store: StoreId::from_bytes(reader.array()?),
                }
            }
            kind::ASK_USER => Self::AskUser,
            kind::ASK_CREDENTIAL => Self::AskCredential {
                attempts_left: reader.u8()?,
            },
            kind::LOGGED_IN => Self::LoggedIn {
                uid: read_uid(&mut reader)?,
                role: read_role(&mut reader)?,
            },
            kind::LOGIN_REFUSED => Self::LoginRefused {
                attempts_left: reader.u8()?,
                retry_after: reader.u16()?,
            },
            kind::REPLY => Self::Reply {
                id: reader.u32()?,
                result: read_reply(&mut reader)?,
            },
            other => Self::Common(Common::decode(other, &mut reader)?),
        };
        reader.end()?;
        Ok(message)
    }
}

fn write_reply(writer: &mut Writer, reply: &Reply) {
    match reply {
        Reply::Whoami {
            name,
            uid,
            role,
            by_key,
        } => {
            writer.u8(1);
            writer.string(name.as_str());
            writer.bytes(uid.as_bytes());
            write_role(writer, *role);
            writer.flag(*by_key);
        }
        Reply::List { entries, more } => {
            writer.u8(2);
            writer.list(entries, write_list_entry);
            writer.flag(*more);
        }
        Reply::Stat { current } => {
            writer.u8(3);
            writer.option(current.as_ref(), Signed::write_manifest);
        }
        Reply::Deleted => writer.u8(4),
        Reply::Users(users) => {
            writer.u8(5);
            writer.list(users, write_user_entry);
        }
        Reply::Keys(keys) => {
            writer.u8(6);
            writer.list(keys, write_key_entry);
        }
        Reply::KeyAdded => writer.u8(7),
        Reply::UserAdded { uid } => {
            writer.u8(8);
            writer.bytes(uid.as_bytes());
        }
        Reply::UserRemoved => writer.u8(9),
        Reply::RoleSet => writer.u8(10),
    }
}

fn read_reply(reader: &mut Reader<'_>) -> Result<Result<Reply, Refusal>, ProtocolError> {
    Ok(Ok(match reader.u8()? {
        0 => return read_refusal(reader).map(Err),
        1 => Reply::Whoami {
            name: read_user(reader)?,
            uid: read_uid(reader)?,
            role: read_role(reader)?,
            by_key: reader.flag()?,
        },
        2 => Reply::List {
            entries: reader.list(read_list_entry)?,
            more: reader.flag()?,
        },
        3 => Reply::Stat {
            current: reader.option(read_manifest)?,
        },
        4 => Reply::Deleted,
        5 => Reply::Users(reader.list(read_user_entry)?),
        6 => Reply::Keys(reader.list(read_key_entry)?),
        7 => Reply::KeyAdded,
        8 => Reply::UserAdded {
            uid: read_uid(reader)?,
        },
        9 => Reply::UserRemoved,
        10 => Reply::RoleSet,
        _ => return Err(ProtocolError::Malformed),
    }))
}
