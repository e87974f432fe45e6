//! Between two hosts with two networks between them: two namespaces and two pairs of veth.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{Counters, Peer, Role, Server, client_loop, pattern, turn_until, wait_until};
use nix::sched::{CloneFlags, setns};
use towpath_io_mio::kernel::{KernelConfig, KernelSctp};
use towpath_io_mio::limits::{MAX_MESSAGE, SEND_QUEUE};
use towpath_io_mio::{Driver, LoopConfig, PathState, SessionId};
use towpath_protocol::LinkChange;

/// Two hosts, `a` and `b`; network n has 10.n.0.1 at `a` and 10.n.0.2 at `b`.
struct Hosts {
    a: String,
    b: String,
}

impl Hosts {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let tag = format!(
            "{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::SeqCst)
        );
        let hosts = Self {
            a: format!("towpath-a-{tag}"),
            b: format!("towpath-b-{tag}"),
        };
        for host in [&hosts.a, &hosts.b] {
            run(&format!("ip netns add {host}"));
            run(&format!("ip -n {host} link set dev lo up"));
        }
        for net in [1, 2] {
            let (a, b) = (&hosts.a, &hosts.b);
            run(&format!(
                "ip -n {a} link add dev net{net} type veth peer name net{net} netns {b}"
            ));
            for (host, number) in [(a, 1), (b, 2)] {
                run(&format!(
                    "ip -n {host} address add 10.{net}.0.{number}/24 dev net{net}"
                ));
                run(&format!("ip -n {host} link set dev net{net} up"));
            }
        }
        hosts
    }

    /// Makes both networks worse, in both directions (`netem`).
    fn shape(&self, quality: &str) {
        if quality.is_empty() {
            return;
        }
        for host in [&self.a, &self.b] {
            for net in [1, 2] {
                run(&format!(
                    "tc -n {host} qdisc add dev net{net} root netem limit 10000 {quality}"
                ));
            }
        }
    }

    fn addresses(number: u8, port: u16) -> Vec<SocketAddr> {
        [1, 2]
            .map(|net| SocketAddr::from(([10, net, 0, number], port)))
            .to_vec()
    }

    /// Moves this thread to a host; the sockets it makes stay there.
    fn enter(host: &str) {
        let namespace = std::fs::File::open(format!("/run/netns/{host}")).unwrap();
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
    }

    /// A server at `b`, started from this thread, which stays there.
    fn serve(&self, role: fn() -> Role) -> (Server, Vec<SocketAddr>) {
        Self::enter(&self.b);
        let carrier =
            KernelSctp::listen(&Self::addresses(2, 9260), &KernelConfig::default()).unwrap();
        (
            Server::start(Box::new(carrier), LoopConfig::default(), role),
            Self::addresses(2, 9260),
        )
    }

    /// Moves this thread to `a` and starts a session there.
    fn connect(
        &self,
        port: u16,
        remotes: &[SocketAddr],
        session: Peer,
    ) -> (Driver<Peer>, SessionId) {
        Self::enter(&self.a);
        let mut driver = client_loop();
        let carrier =
            KernelSctp::client(&Self::addresses(1, port), &KernelConfig::default()).unwrap();
        let carrier = driver.add_carrier(Box::new(carrier)).unwrap();
        let id = driver.connect(carrier, remotes, session).unwrap();
        (driver, id)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in [&self.a, &self.b] {
            run(&format!("ip netns delete {host}"));
        }
    }
}

fn run(command: &str) {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Sends messages of 65,553 bytes from `a` to `b` and cuts network 1 when a quarter has arrived; says how long nothing came.
fn cut(what: &str, quality: &str, total: usize, cut: impl FnOnce(&Hosts) + Send) {
    let hosts = Hosts::new();
    hosts.shape(quality);
    let (server, at) = hosts.serve(|| Role::Sink);
    let source = Role::Source {
        length: 65_553,
        left: total,
        streams: 32,
    };
    let (mut driver, id) = hosts.connect(0, &at, Peer::new(source, &Arc::default()));
    let counters: &Counters = &server.counters;
    turn_until(&mut driver, "both paths", |driver| active(driver, id) == 2);
    let start = Instant::now();
    let mut rto = Vec::new();
    thread::scope(|scope| {
        let hosts = &hosts;
        scope.spawn(move || {
            wait_until("a quarter", || {
                counters.messages.load(Ordering::SeqCst) > total / 4
            });
            cut(hosts);
            assert!(
                counters.messages.load(Ordering::SeqCst) < total,
                "all arrived before the cut"
            );
        });
        turn_until(&mut driver, "the source ends", |driver| {
            let paths = driver.paths(id);
            if !paths.is_empty() && paths.iter().all(|path| path.state == PathState::Active) {
                rto = paths.iter().map(|path| path.rto).collect();
            }
            left(driver, id) == 0
        });
    });
    turn_until(&mut driver, "all arrive", |_| {
        counters.messages.load(Ordering::SeqCst) == total
    });
    let (_, stall) = counters.gap.lock().unwrap().unwrap();
    let rate = (total * 65_553) as f64 / start.elapsed().as_secs_f64() / 1e6;
    println!("{what}: stalled for {stall:?}, {rate:.0} MB/s in all (timeouts before: {rto:?})");
    assert!(stall < Duration::from_secs(3));
    server.stop();
}

fn active(driver: &Driver<Peer>, id: SessionId) -> usize {
    driver
        .paths(id)
        .iter()
        .filter(|path| path.state == PathState::Active)
        .count()
}

fn left(driver: &Driver<Peer>, id: SessionId) -> usize {
    match driver.session(id).unwrap().role {
        Role::Source { left, .. } => left,
        _ => unreachable!("only sources are asked"),
    }
}

#[test]
fn the_client_loses_a_link() {
    cut("link down at the sender", "", 3_000, |hosts| {
        run(&format!("ip -n {} link set dev net1 down", hosts.a))
    });
}

#[test]
fn the_server_loses_a_link() {
    cut("link down at the receiver", "", 3_000, |hosts| {
        run(&format!("ip -n {} link set dev net1 down", hosts.b))
    });
}

#[test]
fn a_network_swallows_everything() {
    cut("a network that swallows everything", "", 3_000, |hosts| {
        for host in [&hosts.a, &hosts.b] {
            run(&format!(
                "tc -n {host} qdisc add dev net1 root netem loss 100%"
            ));
        }
    });
}

#[test]
fn one_percent_of_the_packets_is_lost() {
    cut(
        "1 % loss and 1 ms delay, link down at the sender",
        "loss 1% delay 1ms",
        600,
        |hosts| run(&format!("ip -n {} link set dev net1 down", hosts.a)),
    );
}

/// Everything is gone for three seconds: the association waits, and goes on when a network is back.
#[test]
fn both_networks_are_gone_for_a_while() {
    let hosts = Hosts::new();
    let (server, at) = hosts.serve(|| Role::Sink);
    let total = 400;
    let source = Role::Source {
        length: 65_553,
        left: total,
        streams: 8,
    };
    let (mut driver, id) = hosts.connect(0, &at, Peer::new(source, &Arc::default()));
    let messages = &server.counters.messages;
    turn_until(&mut driver, "a quarter", |_| {
        messages.load(Ordering::SeqCst) > total / 4
    });
    for net in [1, 2] {
        run(&format!("ip -n {} link set dev net{net} down", hosts.b));
    }
    let start = Instant::now();
    turn_until(&mut driver, "three seconds", |_| {
        start.elapsed() > Duration::from_secs(3)
    });
    let before = messages.load(Ordering::SeqCst);
    run(&format!("ip -n {} link set dev net2 up", hosts.b));
    turn_until(&mut driver, "the source ends", |driver| driver.is_over(id));
    turn_until(&mut driver, "all arrive", |_| {
        messages.load(Ordering::SeqCst) == total
    });
    assert!(before < total);
    let (_, stall) = server.counters.gap.lock().unwrap().unwrap();
    println!("both networks gone for 3 s: nothing came for {stall:?}");
    // The timeouts have grown to two seconds each, and the first may go to the network that is still down.
    assert!(stall < Duration::from_secs(3 + 10));
    server.stop();
}

#[test]
fn a_path_that_comes_back_is_used_again() {
    let hosts = Hosts::new();
    let (server, at) = hosts.serve(|| Role::Echo { jobs: false });
    let mut patient = Peer::client(Vec::new());
    patient.role = Role::Client {
        expected: usize::MAX,
    };
    let (mut driver, id) = hosts.connect(0, &at, patient);
    turn_until(&mut driver, "both paths", |driver| active(driver, id) == 2);
    let primary = driver
        .paths(id)
        .into_iter()
        .find(|path| path.primary)
        .unwrap()
        .remote;
    assert_eq!(primary, at[0]);
    run(&format!("ip -n {} link set dev net1 down", hosts.b));
    turn_until(&mut driver, "the first path is lost", |driver| {
        driver
            .paths(id)
            .iter()
            .all(|path| (path.state == PathState::Active) == (path.remote == at[1]))
    });
    let start = Instant::now();
    run(&format!("ip -n {} link set dev net1 up", hosts.b));
    turn_until(&mut driver, "the first path is back", |driver| {
        active(driver, id) == 2
    });
    println!("a path came back after {:?}", start.elapsed());
    let changes = &driver.session(id).unwrap().changes;
    assert!(
        changes
            .iter()
            .filter(|change| **change == LinkChange::PathChanged)
            .count()
            >= 2,
        "{changes:?}"
    );
    drop(driver);
    server.stop();
}

/// The client dies without a word and its successor has the same addresses and port.
#[test]
fn a_restart_is_a_loss() {
    let hosts = Hosts::new();
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
    assert_eq!(
        driver.session(id).unwrap().changes.last(),
        Some(&LinkChange::Lost)
    );
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
    let hosts = Hosts::new();
    hosts.shape("rate 80mbit delay 5ms");
    let (server, at) = hosts.serve(|| Role::Sink);
    let source = Role::Source {
        length: 65_553,
        left: 400,
        streams: 8,
    };
    let (mut driver, id) = hosts.connect(0, &at, Peer::new(source, &Arc::default()));
    let mut most = 0;
    let start = Instant::now();
    turn_until(&mut driver, "the source ends", |driver| {
        if let Some(path) = driver.paths(id).first()
            && left(driver, id) > 0
        {
            let taken = (400 - left(driver, id)) * 65_553;
            let arrived = server.counters.bytes.load(Ordering::SeqCst);
            most = most.max((taken - arrived).saturating_sub(path.cwnd as usize));
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
