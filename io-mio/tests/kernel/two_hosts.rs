//! Between two hosts with two networks between them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use towpath_io_mio::Carrier;
use towpath_io_mio::carrier::kernel::{self, KernelConfig};
use towpath_io_mio::limits::{MAX_MESSAGE, SEND_QUEUE};

use crate::common::hosts::{self, Hosts, Over, cut, left, run};
use crate::common::{Peer, Role, pattern, turn_until, wait_until};

const KERNEL: Over = Over { listen, client };

fn listen(addresses: &[SocketAddr]) -> Box<dyn Carrier> {
    Box::new(kernel::listen(addresses, &KernelConfig::default()).unwrap())
}

fn client(locals: &[SocketAddr]) -> Box<dyn Carrier> {
    Box::new(kernel::client(locals, &KernelConfig::default()).unwrap())
}

#[test]
fn both_networks_are_gone_for_a_while() {
    hosts::both_networks_are_gone_for_a_while(KERNEL);
}

#[test]
fn a_path_that_comes_back_is_used_again() {
    hosts::a_path_that_comes_back_is_used_again(KERNEL);
}

#[test]
fn the_client_loses_a_link() {
    cut(KERNEL, "link down at the sender", "", 3_000, |hosts| {
        run(&format!("ip -n {} link set dev net1 down", hosts.a))
    });
}

#[test]
fn the_server_loses_a_link() {
    cut(KERNEL, "link down at the receiver", "", 3_000, |hosts| {
        run(&format!("ip -n {} link set dev net1 down", hosts.b))
    });
}

#[test]
fn a_network_swallows_everything() {
    cut(
        KERNEL,
        "a network that swallows everything",
        "",
        3_000,
        |hosts| {
            for host in [&hosts.a, &hosts.b] {
                run(&format!(
                    "tc -n {host} qdisc add dev net1 root netem loss 100%"
                ));
            }
        },
    );
}

#[test]
fn one_percent_of_the_packets_is_lost() {
    cut(
        KERNEL,
        "1 % loss and 1 ms delay, link down at the sender",
        "loss 1% delay 1ms",
        600,
        |hosts| run(&format!("ip -n {} link set dev net1 down", hosts.a)),
    );
}

/// The client ends without an ABORT, and a new client uses the same addresses and port.
#[test]
fn a_restart_is_a_loss() {
    let hosts = Hosts::new(KERNEL);
    let (server, at) = hosts.serve(|| Role::Echo { jobs: false });
    let hello = || {
        let mut client = Peer::client(vec![(1, pattern(100, 1))]);
        client.role = Role::Client { expected: 2 };
        client
    };
    let (mut driver, id) = hosts.connect(7_000, &at, hello());
    turn_until(&mut driver, "the echo", |driver| {
        driver.session(id).unwrap().received.len() == 1
    });
    for net in [1, 2] {
        run(&format!("ip -n {} link set dev net{net} down", hosts.b));
    }
    // The ABORT does not arrive.
    drop(driver.take_session(id));
    drop(driver);
    for net in [1, 2] {
        run(&format!("ip -n {} link set dev net{net} up", hosts.b));
    }
    assert_eq!(server.counters.ended.load(Ordering::SeqCst), 0);
    let (mut driver, id) = hosts.connect(7_000, &at, hello());
    turn_until(&mut driver, "the loss", |driver| driver.is_over(id));
    assert!(driver.session(id).unwrap().is_lost());
    wait_until("the old session ends", || {
        server.counters.ended.load(Ordering::SeqCst) == 1
    });
    // The second try finds nothing in its way.
    let (mut driver, id) = hosts.connect(7_000, &at, hello());
    turn_until(&mut driver, "the echo", |driver| {
        driver.session(id).unwrap().received.len() == 1
    });
    drop(driver);
    server.stop();
}

/// A slow network: what waits unsent stays below the limit, or a command would wait behind it.
#[test]
fn little_waits_in_the_kernel() {
    let hosts = Hosts::new(KERNEL);
    hosts.shape("rate 80mbit delay 5ms");
    let (server, at) = hosts.serve(|| Role::Sink);
    let source = Role::Source {
        length: 65_553,
        left: 400,
        streams: 8,
    };
    let (mut driver, id) = hosts.connect(0, &at, Peer::new(source, &Arc::default()));
    let mut most = 0;
    // What is in flight is bounded by the largest window so far: after a timeout the window is one
    // packet, and what was sent under the old one is still on its way.
    let mut windows = BTreeMap::new();
    let start = Instant::now();
    turn_until(&mut driver, "the source ends", |driver| {
        for path in driver.paths(id) {
            let window = windows.entry(path.remote).or_insert(0);
            *window = path.cwnd.max(*window);
        }
        if left(driver, id) > 0 {
            let taken = (400 - left(driver, id)) * 65_553;
            let arrived = server.counters.bytes.load(Ordering::SeqCst);
            let in_flight = windows.values().sum::<u32>() as usize;
            most = most.max((taken - arrived).saturating_sub(in_flight));
        }
        driver.is_over(id)
    });
    turn_until(&mut driver, "all arrive", |_| {
        server.counters.messages.load(Ordering::SeqCst) == 400
    });
    let rate = (400 * 65_553) as f64 / start.elapsed().as_secs_f64() / 1e6;
    // Half a message may be counted on either side while the numbers are read one after the other.
    assert!(
        most < SEND_QUEUE + 4 * MAX_MESSAGE,
        "{most} bytes waited beyond the window"
    );
    println!("80 Mbit/s: {rate:.1} MB/s, at most {most} bytes waited beyond the window");
    server.stop();
}
