//! Programs that speak bare SCTP over UDP: ours, and usrsctp.

use std::path::Path;
use std::thread;
use std::time::Instant;

use super::net::{Link, Network};
use super::process::{self, Ended, Running};
use super::{CaseError, Programs, demand, limits};

/// The stack of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// `towpath-sctp`.
    Ours,
    /// `usrsctp`, the stack of FreeBSD as a library.
    Usrsctp,
}

impl Make {
    fn program(self, programs: &Programs) -> &Path {
        match self {
            Self::Ours => &programs.sctp_peer,
            Self::Usrsctp => &programs.usrsctp_peer,
        }
    }
}

impl std::fmt::Display for Make {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ours => "ours",
            Self::Usrsctp => "usrsctp",
        })
    }
}

/// What a client sends, in the form of its command line.
#[derive(Debug, Clone, Copy)]
pub struct Traffic {
    /// Number of messages.
    pub messages: u64,
    /// Bytes of each.
    pub size: u64,
    /// Streams that they take in turn.
    pub streams: u64,
    /// Messages in flight.
    pub window: u64,
}

impl std::fmt::Display for Traffic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            messages,
            size,
            streams,
            ..
        } = self;
        write!(
            f,
            "{messages} messages of {size} bytes on {streams} streams"
        )
    }
}

/// A running server and what is needed to send clients to it.
#[derive(Debug)]
pub struct Peers<'a> {
    programs: &'a Programs,
    network: &'a Network,
    directory: tempfile::TempDir,
    server: Running,
    client: Make,
    commands: usize,
}

impl<'a> Peers<'a> {
    /// Starts a server with `options` on both networks.
    pub fn new(
        programs: &'a Programs,
        network: &'a Network,
        (server, client): (Make, Make),
        options: &[&str],
    ) -> Result<Self, CaseError> {
        let directory = super::hosts::directory()?;
        let mut command = network.on_server(server.program(programs));
        command.arg("server").args(options);
        for link in Link::BOTH {
            command.args(["--local", &link.server()]);
        }
        let server = Running::start(&mut command, directory.path(), "server")?;
        let mut peers = Self {
            programs,
            network,
            directory,
            server,
            client,
            commands: 0,
        };
        peers.await_line("ready", 1)?;
        Ok(peers)
    }

    /// Starts a client with `options` that sends `traffic`.
    pub fn client(&mut self, traffic: Traffic, options: &[&str]) -> Result<Running, CaseError> {
        let mut command = self.network.on_client(self.client.program(self.programs));
        command.arg("client").args(options);
        for link in Link::BOTH {
            command.args(["--local", &link.client(), "--peer", &link.server()]);
        }
        let Traffic {
            messages,
            size,
            streams,
            window,
        } = traffic;
        for (name, value) in [
            ("--messages", messages),
            ("--size", size),
            ("--streams", streams),
            ("--window", window),
        ] {
            command.args([name, &value.to_string()]);
        }
        self.commands += 1;
        let name = format!("client-{}", self.commands);
        Ok(Running::start(&mut command, self.directory.path(), &name)?)
    }

    /// Waits for the end of a client, which has to have the exit status `code`.
    pub fn ended(&self, client: Running, code: i32) -> Result<Ended, CaseError> {
        let ended = client
            .wait(limits::PEER)
            .and_then(|ended| ended.expect_code(code));
        ended.map_err(|error| {
            let server = process::tail(&self.server.said().0);
            CaseError::Wrong(format!("{error}\n  the server said:\n{server}"))
        })
    }

    /// Waits until the server has printed `count` lines that begin with `start`.
    pub fn await_line(&mut self, start: &str, count: usize) -> Result<(), CaseError> {
        let waiting = Instant::now();
        loop {
            let (output, errors) = self.server.said();
            if output
                .lines()
                .filter(|line| line.starts_with(start))
                .count()
                >= count
            {
                return Ok(());
            }
            let said = process::tail(&format!("{output}{errors}"));
            demand!(
                self.server.ended()?.is_none(),
                "the server has ended before it said `{start}`:\n{said}"
            );
            demand!(
                waiting.elapsed() < limits::SERVER_STOP,
                "the server did not say `{start}` {count} times:\n{said}"
            );
            thread::sleep(limits::POLL);
        }
    }

    /// The server's output so far.
    #[must_use]
    pub fn server_said(&self) -> String {
        self.server.said().0
    }
}

/// A number in `done … NAME=NUMBER …`.
#[must_use]
pub fn number(output: &str, name: &str) -> Option<f64> {
    let line = output.lines().find(|line| line.starts_with("done "))?;
    line.split(' ')
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_line_that_has_them() {
        let output = "up in=1 out=1\ndone messages=5 seconds=0.250 longest_stall_ms=12\n";
        assert_eq!(number(output, "seconds"), Some(0.25));
        assert_eq!(number(output, "longest_stall_ms"), Some(12.0));
        assert_eq!(number(output, "in"), None);
        assert_eq!(number(output, "stall"), None);
    }
}
