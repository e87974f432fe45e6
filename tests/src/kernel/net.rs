//! Two hosts as network namespaces and two networks between them.
//!
//! ```text
//!   client                                  server
//!   10.0.0.2  net0 ── 10.0.0.0/24 ── net0  10.0.0.1
//!   10.0.1.2  net1 ── 10.0.1.0/24 ── net1  10.0.1.1
//! ```

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use super::limits;

/// UDP port of encapsulated SCTP (RFC 6951).
const UDP_PORT: u16 = 9899;

/// Bytes that fit one packet of every network here.
const ONE_PACKET: &str = "1400";

/// The server's address in no network.
const SINGLE_ADDRESS: &str = "10.0.9.1";

/// A network that could not be made, changed or read.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// `ip` or `tc` could not be started.
    #[error("{line}: {source}")]
    NotStarted {
        /// The command.
        line: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// `ip` or `tc` refused.
    #[error("{line}: {reason}")]
    Refused {
        /// The command.
        line: String,
        /// Its output.
        reason: String,
    },
    /// The counters of the devices could not be read.
    #[error("counters of the networks: {0}")]
    Counters(io::Error),
    /// A device has no counters.
    #[error("there are no counters of {0}")]
    NoCounters(&'static str),
    /// A restored link does not come up.
    #[error("{0} does not come up")]
    NoCarrier(&'static str),
}

/// One of the two networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// 10.0.0.0/24, the one named first in every command, so the primary path.
    First,
    /// 10.0.1.0/24.
    Second,
}

impl Link {
    /// Both networks.
    pub const BOTH: [Self; 2] = [Self::First, Self::Second];

    /// The other network.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    fn device(self) -> &'static str {
        match self {
            Self::First => "net0",
            Self::Second => "net1",
        }
    }

    fn third_octet(self) -> u8 {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }

    /// Address of the server in this network.
    #[must_use]
    pub fn server(self) -> String {
        format!("10.0.{}.1", self.third_octet())
    }

    /// Address of the client in this network.
    #[must_use]
    pub fn client(self) -> String {
        format!("10.0.{}.2", self.third_octet())
    }
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::First => "first",
            Self::Second => "second",
        })
    }
}

/// One of the two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one with the addresses that end in 2.
    Client,
    /// The one with the addresses that end in 1.
    Server,
}

/// How a network fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The link goes down: both ends lose the carrier.
    Down,
    /// All packets are dropped, without an error.
    BlackHole,
}

/// A namespace that is removed on drop.
#[derive(Debug)]
struct Namespace(String);

impl Namespace {
    fn new(name: String) -> Result<Self, NetError> {
        ip(&["netns", "add", &name])?;
        let namespace = Self(name);
        ip(&["-n", &namespace.0, "link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    fn command(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).arg(program);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "del", &self.0]) {
            eprintln!("{error}");
        }
    }
}

/// One host alone, with nothing but loopback.
#[derive(Debug)]
pub struct Host(Namespace);

impl Host {
    /// Makes the host.
    pub fn new() -> Result<Self, NetError> {
        Ok(Self(Namespace::new(format!(
            "towpath-host-{}",
            std::process::id()
        ))?))
    }

    /// A command that runs `program` there.
    #[must_use]
    pub fn command(&self, program: &std::path::Path) -> Command {
        self.0.command(program)
    }
}

/// Two hosts and the networks between them.
#[derive(Debug)]
pub struct Network {
    client: Namespace,
    server: Namespace,
    counters: File,
    netem: &'static [&'static str],
    server_addresses: Vec<String>,
}

impl Network {
    /// Makes both hosts and connects them; `mtu` bytes on both networks.
    pub fn new(mtu: u32) -> Result<Self, NetError> {
        let id = std::process::id();
        let client = Namespace::new(format!("towpath-client-{id}"))?;
        let server = Namespace::new(format!("towpath-server-{id}"))?;
        for link in Link::BOTH {
            let device = link.device();
            ip(&[
                "link", "add", "name", device, "netns", &client.0, "type", "veth", "peer", "name",
                device, "netns", &server.0,
            ])?;
            for (host, last) in [(&server, 1), (&client, 2)] {
                let address = format!("10.0.{}.{last}/24", link.third_octet());
                ip(&["-n", &host.0, "address", "add", &address, "dev", device])?;
                ip(&[
                    "-n",
                    &host.0,
                    "link",
                    "set",
                    device,
                    "mtu",
                    &mtu.to_string(),
                    "up",
                ])?;
            }
        }
        let counters = open_counters(&client)?;
        Ok(Self {
            client,
            server,
            counters,
            netem: &["loss", "0%"],
            server_addresses: Link::BOTH.map(Link::server).to_vec(),
        })
    }

    /// A server that has one address, to which both networks lead.
    ///
    /// ```text
    ///   client                                  server
    ///   10.0.0.2  net0 ── 10.0.0.0/24 ── net0 ┐
    ///                                         ├ 10.0.9.1
    ///   10.0.1.2  net1 ── 10.0.1.0/24 ── net1 ┘
    /// ```
    pub fn with_one_server_address(mtu: u32) -> Result<Self, NetError> {
        let mut network = Self::new(mtu)?;
        let server = &network.server.0;
        let address = format!("{SINGLE_ADDRESS}/32");
        ip(&["-n", server, "address", "add", &address, "dev", "lo"])?;
        for link in Link::BOTH {
            let (gateway, metric) = (link.server(), link.third_octet().to_string());
            let (client, device) = (&network.client.0, link.device());
            let route = [
                "-n", client, "route", "add", &address, "via", &gateway, "dev", device, "metric",
                &metric,
            ];
            ip(&route)?;
        }
        network.server_addresses = vec![SINGLE_ADDRESS.to_owned()];
        Ok(network)
    }

    /// The addresses at which the server is to be reached.
    #[must_use]
    pub fn server_addresses(&self) -> &[String] {
        &self.server_addresses
    }

    /// Makes one host's kernel put its SCTP into UDP and take it from there (RFC 6951).
    pub fn encapsulate(&self, side: Side) -> Result<(), NetError> {
        let host = match side {
            Side::Client => &self.client.0,
            Side::Server => &self.server.0,
        };
        for name in ["udp_port", "encap_port"] {
            let setting = format!("echo {UDP_PORT} > /proc/sys/net/sctp/{name}");
            ip(&["netns", "exec", host, "sh", "-c", &setting])?;
        }
        // A veth takes several packets as one, for a card that would cut them up and add their
        // checksums. Nothing here does: a UDP socket would get those of the kernel's SCTP as they
        // are, and the kernel's SCTP panics at those of a UDP socket (`__skb_checksum`, Linux 6.1).
        for host in [&self.client.0, &self.server.0] {
            for link in Link::BOTH {
                let device = link.device();
                let size = ["link", "set", "dev", device, "gso_max_size", ONE_PACKET];
                ip(&[["-n", host].as_slice(), &size].concat())?;
            }
        }
        Ok(())
    }

    /// A command that runs `program` on the client's host.
    #[must_use]
    pub fn on_client(&self, program: &std::path::Path) -> Command {
        self.client.command(program)
    }

    /// A command that runs `program` on the server's host.
    #[must_use]
    pub fn on_server(&self, program: &std::path::Path) -> Command {
        self.server.command(program)
    }

    /// Cuts `link`.
    pub fn cut(&self, link: Link, how: Cut) -> Result<(), NetError> {
        match how {
            Cut::Down => ip(&["-n", &self.server.0, "link", "set", link.device(), "down"]),
            Cut::BlackHole => self.apply(link, &["loss", "100%"]),
        }
    }

    /// Restores `link`; when this returns, packets pass.
    pub fn mend(&self, link: Link, how: Cut) -> Result<(), NetError> {
        match how {
            Cut::Down => {
                ip(&["-n", &self.server.0, "link", "set", link.device(), "up"])?;
                self.await_carrier(link)
            }
            Cut::BlackHole => self.apply(link, self.netem),
        }
    }

    /// Waits until both ends of `link` have seen each other: the kernel takes up to a second.
    fn await_carrier(&self, link: Link) -> Result<(), NetError> {
        for host in [&self.client, &self.server] {
            let started = Instant::now();
            loop {
                let text = tool(
                    "ip",
                    &["-n", &host.0, "-j", "link", "show", "dev", link.device()],
                )?;
                if is_up(&text) {
                    break;
                }
                if started.elapsed() > limits::CARRIER_UP {
                    return Err(NetError::NoCarrier(link.device()));
                }
                thread::sleep(limits::POLL);
            }
        }
        Ok(())
    }

    /// Sets the conditions of both networks, in both directions: parameters of netem.
    pub fn shape(&mut self, netem: &'static [&'static str]) -> Result<(), NetError> {
        self.netem = netem;
        Link::BOTH
            .into_iter()
            .try_for_each(|link| self.apply(link, netem))
    }

    fn apply(&self, link: Link, netem: &[&str]) -> Result<(), NetError> {
        for host in [&self.client, &self.server] {
            let mut arguments = vec![
                "-n",
                host.0.as_str(),
                "qdisc",
                "replace",
                "dev",
                link.device(),
                "root",
                "netem",
            ];
            arguments.extend(netem);
            tool("tc", &arguments)?;
        }
        Ok(())
    }

    /// Bytes that the client's end of `link` has sent and received.
    pub fn bytes(&self, link: Link) -> Result<u64, NetError> {
        let mut text = String::new();
        let mut file = &self.counters;
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.read_to_string(&mut text))
            .map_err(NetError::Counters)?;
        counters(&text, link.device()).ok_or(NetError::NoCounters(link.device()))
    }
}

/// The namespace's `/proc/net/dev`: it shows the namespace of the thread that opened it.
///
/// Reading it costs far less than a run of `ip`, which on a busy processor comes too late.
fn open_counters(namespace: &Namespace) -> Result<File, NetError> {
    let path = format!("/run/netns/{}", namespace.0);
    let open = move || -> io::Result<File> {
        setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?;
        File::open("/proc/thread-self/net/dev")
    };
    // A thread of its own, which ends in that namespace; no other thread changes.
    let opened = thread::spawn(open).join();
    opened
        .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
        .map_err(NetError::Counters)
}

/// Received and sent bytes of `device` in `/proc/net/dev`.
fn counters(text: &str, device: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'))?;
    let mut fields = line.split_whitespace();
    let received: u64 = fields.next()?.parse().ok()?;
    let sent: u64 = fields.nth(7)?.parse().ok()?;
    received.checked_add(sent)
}

/// Whether the first device in `ip -j link` has a carrier.
fn is_up(text: &str) -> bool {
    let answer: Option<Value> = serde_json::from_str(text).ok();
    let state = answer
        .as_ref()
        .and_then(|answer| answer.get(0)?.get("operstate")?.as_str());
    state == Some("UP")
}

fn ip(arguments: &[&str]) -> Result<(), NetError> {
    tool("ip", arguments).map(|_| ())
}

fn tool(program: &str, arguments: &[&str]) -> Result<String, NetError> {
    let line = || format!("{program} {}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| NetError::NotStarted {
            line: line(),
            source,
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(NetError::Refused {
        line: line(),
        reason: format!("{}: {reason}", output.status),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_the_sum_of_both_ways() {
        let text = "Inter-|   Receive\n face |bytes packets\n  net1: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n  net0: 70 1 0 0 0 0 0 0 200 3 0 0 0 0 0 0\n";
        assert_eq!(counters(text, "net0"), Some(270));
        assert_eq!(counters(text, "net"), None);
        assert_eq!(counters("", "net0"), None);
    }

    #[test]
    fn a_device_is_up_when_it_says_so() {
        assert!(is_up(r#"[{"operstate":"UP"}]"#));
        assert!(!is_up(r#"[{"operstate":"DOWN"}]"#) && !is_up("no such device"));
    }
}
