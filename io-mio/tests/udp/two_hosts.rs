//! Between two hosts with two networks between them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use towpath_io_mio::carrier::udp::{self, UDP_PORT, UdpConfig};
use towpath_io_mio::limits::{MAX_MESSAGE, SEND_QUEUE};
use towpath_io_mio::{Carrier, Driver, PathState, SessionId};

use crate::common::hosts::{self, Hosts, Over, cut, left, run};
use crate::common::{Peer, Role, Server, client_loop, impatient, pattern, turn_until};

const UDP: Over = Over { listen, client };

fn listen(addresses: &[SocketAddr]) -> Box<dyn Carrier> {
    let udp: Vec<_> = addresses
        .iter()
        .map(|address| SocketAddr::new(address.ip(), UDP_PORT))
        .collect();
    Box::new(udp::listen(&udp, addresses[0].port(), &UdpConfig::default()).unwrap())
}

fn client(locals: &[SocketAddr]) -> Box<dyn Carrier> {
    Box::new(udp::client(locals, &UdpConfig::default()).unwrap())
}

/// Whether hosts can be made here.
fn privileged(what: &str) -> bool {
    if !geteuid().is_root() {
        println!("{what}: not tested, for want of root");
    }
    geteuid().is_root()
}

#[test]
fn the_client_loses_a_link() {
    if privileged("a cut link") {
        cut(UDP, "link down at the sender", "", 2_000, |hosts| {
            run(&format!("ip -n {} link set dev net1 down", hosts.a))
        });
    }
}

#[test]
fn the_server_loses_a_link() {
    if privileged("a cut link") {
        cut(UDP, "link down at the receiver", "", 2_000, |hosts| {
            run(&format!("ip -n {} link set dev net1 down", hosts.b))
        });
    }
}

#[test]
fn a_network_swallows_everything() {
    if privileged("a network that swallows everything") {
        let what = "a network that swallows everything";
        let stall = cut(UDP, what, "", 2_000, |hosts| hosts.swallow(1));
        // Half a second is the aim; the rest is for a busy machine.
        assert!(stall < Duration::from_secs(1), "{stall:?}");
    }
}

#[test]
fn both_networks_are_gone_for_a_while() {
    if privileged("two cut links") {
        hosts::both_networks_are_gone_for_a_while(UDP);
    }
}

#[test]
fn a_path_that_comes_back_is_used_again() {
    if privileged("a link that comes back") {
        hosts::a_path_that_comes_back_is_used_again(UDP);
    }
}

/// Where the server has one address, and `a` reaches it by either network, rather by the first.
const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));

fn give_one_address(hosts: &Hosts) {
    run(&format!("ip -n {} address add {ONE}/32 dev lo", hosts.b));
    for net in [1, 2] {
        route(hosts, net);
    }
}

fn route(hosts: &Hosts, net: u8) {
    run(&format!(
        "ip -n {} route replace {ONE}/32 via 10.{net}.0.2 dev net{net} metric {net}",
        hosts.a
    ));
}

const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1));
const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 1));

/// A server at the one address, and a client at `a` that was told nothing of its own addresses and
/// sends without end.
fn start(hosts: &Hosts) -> (Server, Driver<Peer>, SessionId) {
    Hosts::enter(&hosts.b);
    let at = [SocketAddr::new(ONE, 9260)];
    let server = Server::start(listen(&at), impatient(), || Role::Sink);
    Hosts::enter(&hosts.a);
    let mut driver = client_loop();
    let carrier = driver.add_carrier(client(&[])).unwrap();
    let source = Role::Source {
        length: 65_536,
        left: usize::MAX,
        streams: 8,
    };
    let session = Peer::new(source, &Arc::default());
    let id = driver.connect(carrier, &at, session).unwrap();
    (server, driver, id)
}

/// Turns until another 32 MiB have arrived.
fn more(driver: &mut Driver<Peer>, server: &Server) {
    let messages = &server.counters.messages;
    let before = messages.load(Ordering::SeqCst);
    turn_until(driver, "more", |_| {
        messages.load(Ordering::SeqCst) > before + 512
    });
}

fn works_from(driver: &Driver<Peer>, id: SessionId, local: IpAddr) -> bool {
    driver.paths(id).iter().any(|path| {
        path.state == PathState::Active && path.local.is_some_and(|at| at.ip() == local)
    })
}

#[test]
fn two_interfaces_are_two_paths_to_a_server_with_one_address() {
    if !privileged("two interfaces") {
        return;
    }
    let hosts = Hosts::new(UDP);
    give_one_address(&hosts);
    let (server, mut driver, id) = start(&hosts);
    turn_until(&mut driver, "both paths", |driver| {
        works_from(driver, id, FIRST) && works_from(driver, id, SECOND)
    });
    let primary = driver
        .paths(id)
        .into_iter()
        .find(|path| path.primary)
        .unwrap();
    assert_eq!(primary.local.unwrap().ip(), FIRST, "as the routes prefer");
    more(&mut driver, &server);
    hosts.swallow(1);
    more(&mut driver, &server);
    let (_, stall) = server.counters.gap.lock().unwrap().unwrap();
    println!("two interfaces to one address, one is cut: stalled for {stall:?}");
    // Half a second is the aim; the rest is for a busy machine.
    assert!(stall < Duration::from_secs(1), "{stall:?}");
    drop(driver);
    server.stop();
}

/// A link comes up while the transfer runs, and then the other one goes down; and the same in
/// reverse.
#[test]
fn an_interface_that_comes_up_later_is_used() {
    if !privileged("an interface that comes up later") {
        return;
    }
    let hosts = Hosts::new(UDP);
    give_one_address(&hosts);
    run(&format!("ip -n {} link set dev net2 down", hosts.a));
    let (server, mut driver, id) = start(&hosts);
    more(&mut driver, &server);
    let paths = driver.paths(id);
    assert!(
        paths.iter().all(|path| path.local.unwrap().ip() == FIRST),
        "{paths:?}"
    );

    run(&format!("ip -n {} link set dev net2 up", hosts.a));
    route(&hosts, 2);
    turn_until(&mut driver, "the second path", |driver| {
        works_from(driver, id, SECOND)
    });
    run(&format!("ip -n {} link set dev net1 down", hosts.a));
    more(&mut driver, &server);

    // The first interface is taken out, and put back under its old name.
    run(&format!("ip -n {} link delete dev net1", hosts.a));
    hosts.wire(1);
    route(&hosts, 1);
    turn_until(&mut driver, "the first path again", |driver| {
        works_from(driver, id, FIRST)
    });
    run(&format!("ip -n {} link set dev net2 down", hosts.a));
    more(&mut driver, &server);
    drop(driver);
    server.stop();
}

/// The only link takes smaller packets from now on: what was cut for larger ones must still arrive.
#[test]
fn a_link_whose_packets_become_smaller_goes_on() {
    if !privileged("a link with smaller packets") {
        return;
    }
    let hosts = Hosts::new(UDP);
    give_one_address(&hosts);
    run(&format!("ip -n {} link set dev net2 down", hosts.a));
    let (server, mut driver, id) = start(&hosts);
    let mtu = |driver: &Driver<Peer>| driver.paths(id).first().map(|path| path.mtu);
    turn_until(&mut driver, "full packets", |driver| {
        mtu(driver) == Some(1_472)
    });
    more(&mut driver, &server);
    for host in [&hosts.a, &hosts.b] {
        run(&format!("ip -n {host} link set dev net1 mtu 1320"));
    }
    more(&mut driver, &server);
    let found = mtu(&driver).unwrap();
    assert!(found <= 1_292, "{found}");
    let (_, stall) = server.counters.gap.lock().unwrap().unwrap();
    println!("packets became smaller: stalled for {stall:?}");
    drop(driver);
    server.stop();
}

/// A slow network is filled, and what waits beyond it stays below the limit, or a command would
/// wait behind it.
#[test]
fn a_slow_network_is_filled_and_little_waits() {
    if !privileged("a slow network") {
        return;
    }
    let hosts = Hosts::new(UDP);
    give_one_address(&hosts);
    for net in [1, 2] {
        run(&format!(
            "tc -n {} qdisc add dev net{net} root tbf rate 80mbit burst 64kb limit 300kb",
            hosts.a
        ));
    }
    let (server, mut driver, id) = start(&hosts);
    turn_until(&mut driver, "full packets", |driver| {
        driver.paths(id).iter().any(|path| path.mtu == 1_472)
    });
    let (start, arrived) = (Instant::now(), &server.counters.bytes);
    let (before, mut most) = (arrived.load(Ordering::SeqCst), 0);
    turn_until(&mut driver, "two seconds", |driver| {
        let taken = (usize::MAX - left(driver, id)) * 65_536;
        // In the queue of the network, and in flight.
        let under_way = 300_000 + 65_536;
        most = most.max((taken - arrived.load(Ordering::SeqCst)).saturating_sub(under_way));
        start.elapsed() > Duration::from_secs(2)
    });
    let rate = (arrived.load(Ordering::SeqCst) - before) as f64 / start.elapsed().as_secs_f64();
    println!(
        "80 Mbit/s: {:.1} MB/s, at most {most} bytes waited beyond the network",
        rate / 1e6
    );
    assert!(rate > 6e6, "{rate} bytes a second");
    assert!(most < SEND_QUEUE + 4 * MAX_MESSAGE, "{most} bytes waited");
    drop(driver);
    server.stop();
}

/// The server is on this very host, by an address of an interface: packets go through loopback all
/// the same.
#[test]
fn a_server_on_the_same_host_is_reached_by_its_interfaces_address() {
    if !privileged("an interface's address") {
        return;
    }
    let hosts = Hosts::new(UDP);
    Hosts::enter(&hosts.b);
    let at = Hosts::addresses(2, 9260);
    let server = Server::start(listen(&at), impatient(), || Role::Echo { jobs: false });
    let messages = vec![(1, pattern(50_000, 1))];
    let mut driver = client_loop();
    let carrier = driver.add_carrier(client(&[])).unwrap();
    let id = driver
        .connect(carrier, &at, Peer::client(messages.clone()))
        .unwrap();
    turn_until(&mut driver, "the echo", |driver| driver.is_over(id));
    assert!(driver.take_session(id).unwrap().received == messages);
    drop(driver);
    server.stop();
}
