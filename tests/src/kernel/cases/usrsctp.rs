//! Our SCTP and usrsctp on either side of each other, two paths between them.

use std::thread;

use crate::kernel::net::{Cut, Link, Network};
use crate::kernel::peers::{self, Make, Peers, Traffic};
use crate::kernel::report::Report;
use crate::kernel::{CaseError, Programs, demand, limits};

/// Server and client stack.
const DIRECTIONS: [(Make, Make); 2] = [(Make::Ours, Make::Usrsctp), (Make::Usrsctp, Make::Ours)];

/// Many in one packet, some in one packet, one in many packets.
const SIZES: [Traffic; 3] = [
    Traffic {
        messages: 10_000,
        size: 20,
        streams: 1_000,
        window: 4_000,
    },
    Traffic {
        messages: 2_000,
        size: 1_001,
        streams: 7,
        window: 100,
    },
    Traffic {
        messages: 100,
        size: 262_144,
        streams: 3,
        window: 8,
    },
];

/// Traffic in progress when one side ends the association.
const SOME: Traffic = Traffic {
    messages: 1_000,
    size: 10_000,
    streams: 4,
    window: 32,
};

/// Traffic in progress when a path fails.
const LONG: Traffic = Traffic {
    messages: 600,
    size: 65_553,
    streams: 4,
    window: 16,
};

/// Bytes that the networks carry for `LONG`: there and back.
const LONG_BYTES: u64 = 2 * LONG.messages * LONG.size;

/// Set-up, transfer, graceful shutdown.
pub(super) fn transfer(programs: &Programs, report: &mut Report) -> Result<(), CaseError> {
    for (server, client) in DIRECTIONS {
        let network = Network::new(1500)?;
        let mut peers = Peers::new(programs, &network, (server, client), &[])?;
        for (done, traffic) in SIZES.into_iter().enumerate() {
            let running = peers.client(traffic, &[])?;
            let ended = peers.ended(running, 0)?;
            says(&ended.output, "end shut down")?;
            peers.await_line("shutdown complete", done + 1)?;
            peers.await_line(&format!("end after {} messages", traffic.messages), 1)?;
            let seconds = number(&ended.output, "seconds")?;
            report.say(format!(
                "  server {server}, client {client}: {traffic}, echoed in {seconds:.2} s, shut down"
            ));
        }
    }
    Ok(())
}

/// Aborts from both sides, and a shutdown that the server begins.
pub(super) fn ends(programs: &Programs, report: &mut Report) -> Result<(), CaseError> {
    for pair in DIRECTIONS {
        let (server, client) = pair;
        let network = Network::new(1500)?;
        let mut peers = Peers::new(programs, &network, pair, &[])?;
        let running = peers.client(SOME, &["--end", "abort"])?;
        says(&peers.ended(running, 0)?.output, "end aborted")?;
        peers.await_line("lost ", 1)?;
        // It serves the next one.
        let running = peers.client(SOME, &[])?;
        peers.ended(running, 0)?;
        peers.await_line("shutdown complete", 1)?;
        report.say(format!(
            "  server {server}, client {client}: aborted by the client, the server goes on"
        ));
        drop(peers);

        let mut peers = Peers::new(programs, &network, pair, &["--abort-after", "100"])?;
        let running = peers.client(SOME, &[])?;
        says(&peers.ended(running, 1)?.output, "lost ")?;
        peers.await_line("end", 1)?;
        report.say(format!(
            "  server {server}, client {client}: aborted by the server"
        ));
        drop(peers);

        let mut peers = Peers::new(programs, &network, pair, &["--shutdown-after", "100"])?;
        let running = peers.client(SOME, &[])?;
        let ended = peers.ended(running, 1)?;
        says(&ended.output, "shutdown begun by the peer")?;
        says(&ended.output, "shutdown complete")?;
        peers.await_line("shutdown complete", 1)?;
        report.say(format!(
            "  server {server}, client {client}: shut down by the server"
        ));
    }
    Ok(())
}

/// The path in use drops all packets during a transfer.
pub(super) fn cut(programs: &Programs, report: &mut Report) -> Result<(), CaseError> {
    for pair in DIRECTIONS {
        let (server, client) = pair;
        let mut network = Network::new(1500)?;
        network.shape(&["delay", "5ms", "rate", "100mbit"])?;
        let network = network;
        let mut peers = Peers::new(programs, &network, pair, &[])?;
        let bytes = |link: Link| network.bytes(link);
        let start = [bytes(Link::First)?, bytes(Link::Second)?];
        let mut running = peers.client(LONG, &[])?;
        let (link, before) = loop {
            let carried = [
                bytes(Link::First)? - start[0],
                bytes(Link::Second)? - start[1],
            ];
            if carried[0] + carried[1] > LONG_BYTES / 3 {
                let link = if carried[0] > carried[1] {
                    Link::First
                } else {
                    Link::Second
                };
                break (link, carried[0] + carried[1]);
            }
            if running.ended()?.is_some() || running.elapsed() > limits::PEER {
                peers.ended(running, 0)?;
                return Err(CaseError::Wrong("it ended before the cut".to_owned()));
            }
            thread::sleep(limits::POLL);
        };
        network.cut(link, Cut::BlackHole)?;
        let other = bytes(link.other())?;
        let ended = peers.ended(running, 0)?;
        says(&ended.output, "end shut down")?;
        peers.await_line("shutdown complete", 1)?;
        let stall = number(&ended.output, "longest_stall_ms")?;
        report.say(format!(
            "  server {server}, client {client}: {LONG}, the {link} network lost after {} MiB, longest stall {stall} ms",
            before >> 20
        ));
        let carried = bytes(link.other())? - other;
        let rest = LONG_BYTES.saturating_sub(before);
        demand!(
            carried > rest / 5 * 4,
            "only {carried} bytes of {rest} went over the other network"
        );
        demand!(
            stall <= limits::PEER_STALL.as_secs_f64() * 1e3,
            "a stall of {stall} ms"
        );
    }
    Ok(())
}

fn says(output: &str, start: &str) -> Result<(), CaseError> {
    demand!(
        output.lines().any(|line| line.starts_with(start)),
        "the client did not say `{start}`:\n{output}"
    );
    Ok(())
}

fn number(output: &str, name: &str) -> Result<f64, CaseError> {
    peers::number(output, name)
        .ok_or_else(|| CaseError::Wrong(format!("no number {name} in:\n{output}")))
}
