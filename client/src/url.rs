//! URLs of files on a server:
//! `towpath://alice@10.0.0.1,10.0.1.1:9260/dir/file`.
//!
//! Several addresses are addresses of the same server: one connection uses them all. A port after
//! the last address applies to all; otherwise each address has its own, or all use
//! [`DEFAULT_PORT`]. IPv6 addresses are in brackets. In the path only `%` is special: `%20` is a
//! space.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use towpath_protocol::Escaped;
use towpath_protocol::limits::DEFAULT_PORT;
use towpath_protocol::signed::{FilePath, PathError, UserName};

use crate::error::{Error, ErrorKind};
use crate::limits::MAX_ADDRESSES;

/// Scheme of a URL.
pub(crate) const SCHEME: &str = "towpath://";

/// One address of a server, as in the URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// An IP address (IPv6 without brackets) or a host name.
    pub host: String,
    /// The SCTP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A parsed URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// User name; `None` when the URL has none.
    pub user: Option<UserName>,
    /// The server's addresses, at least one.
    pub addresses: Vec<Address>,
    /// The decoded path, without its leading `/`; empty for the whole store.
    pub path: String,
}

/// Errors of parsing; each names the invalid part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message is its documentation")]
pub enum UrlError {
    #[error("it must start with `towpath://`")]
    Scheme,
    #[error("user `{0}`: {1}")]
    User(String, String),
    #[error("there is no address between `towpath://` and the path")]
    NoAddress,
    #[error("an address is empty: look for a doubled or trailing comma")]
    EmptyAddress,
    #[error("address `{0}`: an IPv6 address stands in brackets, as in `[2001:db8::1]:9260`")]
    Brackets(String),
    #[error("address `{0}`: not an IPv6 address between the brackets")]
    Ipv6(String),
    #[error("address `{0}`: not a host name or an IP address")]
    Host(String),
    #[error("address `{0}`: the port must be a number from 1 to 65535")]
    Port(String),
    #[error(
        "some addresses have a port and some have not: give a port behind each, or one behind the last for all"
    )]
    MixedPorts,
    #[error("more than {MAX_ADDRESSES} addresses")]
    TooMany,
    #[error(
        "path: `%` must be followed by two hexadecimal digits, at `{0}` (write `%25` for a percent sign)"
    )]
    Percent(String),
    #[error("path: its percent-encoded bytes are not UTF-8")]
    Utf8,
}

impl Url {
    /// Parses a URL.
    ///
    /// # Errors
    /// [`UrlError`] naming the invalid part.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let rest = text.strip_prefix(SCHEME).ok_or(UrlError::Scheme)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = match authority.split_once('@') {
            Some((user, hosts)) => {
                let name = UserName::parse(user)
                    .map_err(|e| UrlError::User(Escaped(user).to_string(), e.to_string()))?;
                (Some(name), hosts)
            }
            None => (None, authority),
        };
        Ok(Self {
            user,
            addresses: parse_addresses(hosts)?,
            path: percent_decode(path)?,
        })
    }

    /// Whether the path names a directory: empty, or ending in `/`.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.path.is_empty() || self.path.ends_with('/')
    }

    /// The path as the name of a stored file.
    ///
    /// # Errors
    /// [`PathError`] when no stored file can have this name.
    pub fn file(&self) -> Result<FilePath, PathError> {
        FilePath::parse(&self.path)
    }

    /// User name for the login: that of the URL, else of the local user (`USER`).
    ///
    /// # Errors
    /// A usage [`Error`] when neither gives a valid name.
    pub(crate) fn user_or(&self, session_user: Option<&str>) -> Result<UserName, Error> {
        if let Some(user) = &self.user {
            return Ok(user.clone());
        }
        let advice = "name the user in the URL: towpath://NAME@HOST/";
        let name = session_user.ok_or_else(|| Error::usage(format!("no user: {advice}")))?;
        UserName::parse(name).map_err(|e| {
            Error::usage(format!(
                "your local user name `{}` cannot be a Towpath user ({e}); {advice}",
                Escaped(name)
            ))
        })
    }

    /// All socket addresses of the server, in the order typed, without duplicates. Host names are
    /// resolved by the system.
    ///
    /// # Errors
    /// An [`Error`] with [`ErrorKind::Unreachable`] naming the host that does not resolve.
    pub(crate) fn resolve(&self) -> Result<Vec<SocketAddr>, Error> {
        let mut found: Vec<SocketAddr> = Vec::new();
        for address in &self.addresses {
            let resolved = (address.host.as_str(), address.port)
                .to_socket_addrs()
                .map_err(|e| {
                    Error::new(
                        ErrorKind::Unreachable,
                        format!("cannot find the host `{}`: {e}", Escaped(&address.host)),
                    )
                })?;
            for socket in resolved {
                if !found.contains(&socket) && found.len() < MAX_ADDRESSES {
                    found.push(socket);
                }
            }
        }
        if found.is_empty() {
            return Err(Error::new(
                ErrorKind::Unreachable,
                format!("no host in `{self}` has an address"),
            ));
        }
        Ok(found)
    }

    /// The addresses as recorded in `known_servers`.
    pub(crate) fn aliases(&self) -> Vec<String> {
        self.addresses
            .iter()
            .map(|a| {
                Address {
                    host: a.host.to_ascii_lowercase(),
                    port: a.port,
                }
                .to_string()
            })
            .collect()
    }

    /// Whether both URLs have the same user and server.
    #[must_use]
    pub fn same_server(&self, other: &Self) -> bool {
        self.user == other.user && self.addresses == other.addresses
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        for (i, address) in self.addresses.iter().enumerate() {
            write!(f, "{}{address}", if i == 0 { "" } else { "," })?;
        }
        write!(f, "/{}", Escaped(&self.path))
    }
}

fn parse_addresses(hosts: &str) -> Result<Vec<Address>, UrlError> {
    if hosts.is_empty() {
        return Err(UrlError::NoAddress);
    }
    let typed = hosts
        .split(',')
        .map(split_port)
        .collect::<Result<Vec<_>, _>>()?;
    if typed.len() > MAX_ADDRESSES {
        return Err(UrlError::TooMany);
    }
    let with_port = typed.iter().filter(|(_, port)| port.is_some()).count();
    let common = match typed.last() {
        Some((_, Some(port))) if with_port == 1 => *port,
        _ if with_port == 0 || with_port == typed.len() => DEFAULT_PORT,
        _ => return Err(UrlError::MixedPorts),
    };
    Ok(typed
        .into_iter()
        .map(|(host, port)| Address {
            host,
            port: port.unwrap_or(common),
        })
        .collect())
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_port(typed: &str) -> Result<(String, Option<u16>), UrlError> {
    let shown = || Escaped(typed).to_string();
    if typed.is_empty() {
        return Err(UrlError::EmptyAddress);
    }
    if let Some(rest) = typed.strip_prefix('[') {
        let (inner, after) = rest
            .split_once(']')
            .ok_or_else(|| UrlError::Brackets(shown()))?;
        let ip: Ipv6Addr = inner.parse().map_err(|_| UrlError::Ipv6(shown()))?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(parse_port(port).ok_or_else(|| UrlError::Port(shown()))?),
            None if after.is_empty() => None,
            None => return Err(UrlError::Brackets(shown())),
        };
        return Ok((ip.to_string(), port));
    }
    let (host, port) = match typed.split_once(':') {
        Some((_, rest)) if rest.contains(':') => return Err(UrlError::Brackets(shown())),
        Some((host, port)) => (
            host,
            Some(parse_port(port).ok_or_else(|| UrlError::Port(shown()))?),
        ),
        None => (typed, None),
    };
    if host.parse::<IpAddr>().is_err() && !is_host_name(host) {
        return Err(UrlError::Host(shown()));
    }
    Ok((host.to_owned(), port))
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&port| digits && port != 0)
}

/// RFC 1123 §2.1 host names. Four dotted numbers that are not an IP address are an error, not a
/// host name.
fn is_host_name(host: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let trimmed = host.strip_suffix('.').unwrap_or(host);
    trimmed.len() <= 253
        && trimmed.split('.').all(label)
        && !trimmed.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

fn percent_decode(path: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let after = &rest[at + 1..];
        let wrong = || {
            UrlError::Percent(Escaped(&rest[at..].chars().take(3).collect::<String>()).to_string())
        };
        let digits = after
            .get(..2)
            .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))
            .ok_or_else(wrong)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| UrlError::Utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<String> {
        Url::parse(text)
            .unwrap()
            .addresses
            .iter()
            .map(Address::to_string)
            .collect()
    }

    #[test]
    fn the_full_form() {
        let d = Url::parse("towpath://alice@10.0.0.1,10.0.1.1:9261/dir/a%20b%2f.txt").unwrap();
        assert_eq!(
            d.user.as_ref().map(ToString::to_string).as_deref(),
            Some("alice")
        );
        assert_eq!(d.aliases(), ["10.0.0.1:9261", "10.0.1.1:9261"]);
        assert_eq!(d.path, "dir/a b/.txt");
        assert!(!d.is_directory());
        assert_eq!(
            d.to_string(),
            "towpath://alice@10.0.0.1:9261,10.0.1.1:9261/dir/a b/.txt"
        );
    }

    #[test]
    fn ports() {
        assert_eq!(addresses("towpath://h"), ["h:9260"]);
        assert_eq!(addresses("towpath://a,b/"), ["a:9260", "b:9260"]);
        assert_eq!(addresses("towpath://a:1,b:2/"), ["a:1", "b:2"]);
        assert_eq!(
            addresses("towpath://[::1],[2001:DB8:0::1]:77/"),
            ["[::1]:77", "[2001:db8::1]:77"]
        );
        assert_eq!(
            Url::parse("towpath://a:1,b,c:2/"),
            Err(UrlError::MixedPorts)
        );
        assert_eq!(Url::parse("towpath://a:1,b/"), Err(UrlError::MixedPorts));
        for bad in ["0", "65536", "x", "", "+1", "-1"] {
            assert!(
                matches!(
                    Url::parse(&format!("towpath://a:{bad}/")),
                    Err(UrlError::Port(_))
                ),
                "{bad}"
            );
        }
    }

    #[test]
    fn directories() {
        assert!(Url::parse("towpath://h").unwrap().is_directory());
        assert!(Url::parse("towpath://h/").unwrap().is_directory());
        assert!(Url::parse("towpath://h/x/").unwrap().is_directory());
        assert!(!Url::parse("towpath://h/x").unwrap().is_directory());
    }

    #[test]
    fn each_error_names_its_part() {
        let error = |text: &str| Url::parse(text).unwrap_err();
        assert_eq!(error("alice@host/x"), UrlError::Scheme);
        assert!(matches!(
            error("towpath://Alice Liddell@h/"),
            UrlError::User(..)
        ));
        assert_eq!(error("towpath:///x"), UrlError::NoAddress);
        assert_eq!(error("towpath://a,,b/"), UrlError::EmptyAddress);
        assert!(matches!(error("towpath://::1/"), UrlError::Brackets(_)));
        assert!(matches!(error("towpath://[::1/"), UrlError::Brackets(_)));
        assert!(matches!(error("towpath://[1.2.3.4]/"), UrlError::Ipv6(_)));
        assert!(matches!(error("towpath://1.2.3.400/"), UrlError::Host(_)));
        assert!(matches!(error("towpath://-x/"), UrlError::Host(_)));
        assert_eq!(
            error("towpath://1,2,3,4,5,6,7,8,9/")
                .to_string()
                .split(':')
                .next(),
            Some("address `1`")
        );
        assert_eq!(error("towpath://a,b,c,d,e,f,g,h,i/"), UrlError::TooMany);
        assert_eq!(error("towpath://h/100%"), UrlError::Percent("%".into()));
        assert_eq!(error("towpath://h/%é1"), UrlError::Percent("%é1".into()));
        assert_eq!(error("towpath://h/%ff"), UrlError::Utf8);
    }

    #[test]
    fn question_marks_and_hashes_are_ordinary() {
        assert_eq!(
            Url::parse("towpath://h/what?#1@x:y").unwrap().path,
            "what?#1@x:y"
        );
    }

    #[test]
    fn the_session_user_is_the_default_when_valid() {
        let d = Url::parse("towpath://h/").unwrap();
        assert_eq!(d.user_or(Some("bob")).unwrap().as_str(), "bob");
        assert_eq!(
            d.user_or(Some("CORP\\bob")).unwrap_err().kind,
            ErrorKind::Usage
        );
        assert_eq!(d.user_or(None).unwrap_err().kind, ErrorKind::Usage);
    }

    #[test]
    fn literal_addresses_resolve_to_themselves_once() {
        let d = Url::parse("towpath://127.0.0.1,127.0.0.1,[::1]/").unwrap();
        let expected: Vec<SocketAddr> = vec![
            "127.0.0.1:9260".parse().unwrap(),
            "[::1]:9260".parse().unwrap(),
        ];
        assert_eq!(d.resolve().unwrap(), expected);
    }
}
