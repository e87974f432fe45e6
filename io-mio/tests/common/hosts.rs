//! Two hosts with two networks between them: two namespaces and two pairs of veth. Needs root, `ip`
//! and `tc`.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use towpath_io_mio::{Carrier, Driver, Inbound, PathInfo, PathState, SessionId};

use super::{Counters, Peer, Role, Server, client_loop, impatient, turn_until, wait_until};

/// The carrier under test.
#[derive(Clone, Copy)]
pub(crate) struct Over {
    pub(crate) listen: fn(&[SocketAddr]) -> Box<dyn Carrier>,
    pub(crate) client: fn(&[SocketAddr]) -> Box<dyn Carrier>,
}

/// Two hosts, `a` and `b`; network n has 10.n.0.1 at `a` and 10.n.0.2 at `b`.
pub(crate) struct Hosts {
    pub(crate) a: String,
    pub(crate) b: String,
    over: Over,
}

impl Hosts {
    pub(crate) fn new(over: Over) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let tag = format!(
            "{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::SeqCst)
        );
        let hosts = Self {
            a: format!("towpath-a-{tag}"),
            b: format!("towpath-b-{tag}"),
            over,
        };
        for host in [&hosts.a, &hosts.b] {
            run(&format!("ip netns add {host}"));
            run(&format!("ip -n {host} link set dev lo up"));
        }
        hosts.wire(1);
        hosts.wire(2);
        hosts
    }

    /// Connects the hosts by a network.
    pub(crate) fn wire(&self, net: u8) {
        let (a, b) = (&self.a, &self.b);
        run(&format!(
            "ip -n {a} link add dev net{net} type veth peer name net{net} netns {b}"
        ));
        for (host, number) in [(a, 1), (b, 2)] {
            run(&format!(
                "ip -n {host} address add 10.{net}.0.{number}/24 dev net{net}"
            ));
            run(&format!("ip -n {host} link set dev net{net} up"));
        }
        // The link comes up a moment after it was asked to.
        for host in [a, b] {
            wait_until("the link", || {
                ask(&format!("ip -n {host} -brief link show dev net{net}")).contains("LOWER_UP")
            });
        }
    }

    /// Degrades both networks, in both directions (`netem`).
    pub(crate) fn shape(&self, quality: &str) {
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

    /// Makes a network drop everything from now on, without an error: both ends send to a
    /// link-layer address that does not exist.
    pub(crate) fn swallow(&self, net: u8) {
        for (host, peer) in [(&self.a, 2), (&self.b, 1)] {
            for address in [1, 2].map(|of| format!("10.{of}.0.{peer}")) {
                run(&format!(
                    "ip -n {host} neighbour replace {address} lladdr 02:00:00:00:00:99 dev net{net} nud permanent"
                ));
            }
        }
    }

    pub(crate) fn addresses(number: u8, port: u16) -> Vec<SocketAddr> {
        [1, 2]
            .map(|net| SocketAddr::from(([10, net, 0, number], port)))
            .to_vec()
    }

    /// Moves this thread to a host; the sockets it makes stay there.
    pub(crate) fn enter(host: &str) {
        let namespace = std::fs::File::open(format!("/run/netns/{host}")).unwrap();
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
    }

    /// A server at `b`, started from this thread, which stays there.
    pub(crate) fn serve(&self, role: fn() -> Role) -> (Server, Vec<SocketAddr>) {
        Self::enter(&self.b);
        let at = Self::addresses(2, 9260);
        let carrier = (self.over.listen)(&at);
        (Server::start(carrier, impatient(), role), at)
    }

    /// Moves this thread to `a` and starts a session there.
    pub(crate) fn connect(
        &self,
        port: u16,
        remotes: &[SocketAddr],
        session: Peer,
    ) -> (Driver<Peer>, SessionId) {
        Self::enter(&self.a);
        let mut driver = client_loop();
        let carrier = (self.over.client)(&Self::addresses(1, port));
        let carrier = driver.add_carrier(carrier).unwrap();
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

pub(crate) fn run(command: &str) {
    ask(command);
}

/// Runs a command and gives what it printed.
fn ask(command: &str) -> String {
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
    String::from_utf8(output.stdout).unwrap()
}

/// Sends messages of 65,553 bytes from `a` to `b` and cuts network 1 when a quarter of `total` has
/// arrived; returns how long nothing came. Until the cut is made the source does not end, so that
/// at least half of `total` follows it, however long the cut takes.
pub(crate) fn cut(
    over: Over,
    what: &str,
    quality: &str,
    total: usize,
    cut: impl FnOnce(&Hosts) + Send,
) -> Duration {
    let hosts = Hosts::new(over);
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
    let mut sent = total;
    let is_cut = AtomicBool::new(false);
    thread::scope(|scope| {
        let (hosts, is_cut) = (&hosts, &is_cut);
        scope.spawn(move || {
            wait_until("a quarter", || {
                counters.messages.load(Ordering::SeqCst) > total / 4
            });
            cut(hosts);
            is_cut.store(true, Ordering::SeqCst);
        });
        turn_until(&mut driver, "the source ends", |driver| {
            let paths = driver.paths(id);
            if !paths.is_empty() && paths.iter().all(|path| path.state == PathState::Active) {
                rto = paths.iter().map(|path| path.rto).collect();
            }
            if !is_cut.load(Ordering::SeqCst) && left(driver, id) < total / 2 {
                sent += total / 2;
                add(driver, id, total / 2);
            }
            left(driver, id) == 0
        });
    });
    turn_until(&mut driver, "all arrive", |_| {
        counters.messages.load(Ordering::SeqCst) == sent
    });
    let (_, stall) = counters.gap.lock().unwrap().unwrap();
    let rate = (sent * 65_553) as f64 / start.elapsed().as_secs_f64() / 1e6;
    println!("{what}: stalled for {stall:?}, {rate:.0} MB/s in all (timeouts before: {rto:?})");
    assert!(stall < Duration::from_secs(3));
    server.stop();
    stall
}

/// How many of the two networks work.
pub(crate) fn active(driver: &Driver<Peer>, id: SessionId) -> usize {
    direct(driver, id)
        .filter(|path| path.state == PathState::Active)
        .count()
}

/// The paths within one network; a carrier may have others, from an address in one to an address in
/// the other.
pub(crate) fn direct(driver: &Driver<Peer>, id: SessionId) -> impl Iterator<Item = PathInfo> {
    let net = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => v4.ip().octets()[1],
        SocketAddr::V6(_) => unreachable!("the networks are IPv4"),
    };
    let within = move |path: &PathInfo| {
        path.local
            .is_none_or(|local| net(local) == net(path.remote))
    };
    driver.paths(id).into_iter().filter(within)
}

pub(crate) fn left(driver: &Driver<Peer>, id: SessionId) -> usize {
    match driver.session(id).unwrap().role {
        Role::Source { left, .. } => left,
        _ => unreachable!("only sources are asked"),
    }
}

/// Lets a source send more.
fn add(driver: &mut Driver<Peer>, id: SessionId, messages: usize) {
    match &mut driver.session_mut(id).unwrap().role {
        Role::Source { left, .. } => *left += messages,
        _ => unreachable!("only sources are asked"),
    }
}

/// Both networks are cut for three seconds: the association continues when one is restored.
pub(crate) fn both_networks_are_gone_for_a_while(over: Over) {
    let hosts = Hosts::new(over);
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
    // The timeouts have grown to two seconds each, and the first may go to the network that is
    // still down.
    assert!(stall < Duration::from_secs(3 + 10));
    server.stop();
}

/// The first path fails and is restored.
pub(crate) fn a_path_that_comes_back_is_used_again(over: Over) {
    let hosts = Hosts::new(over);
    let (server, at) = hosts.serve(|| Role::Echo { jobs: false });
    let mut patient = Peer::client(Vec::new());
    patient.role = Role::Client {
        expected: usize::MAX,
    };
    let (mut driver, id) = hosts.connect(0, &at, patient);
    turn_until(&mut driver, "both paths", |driver| active(driver, id) == 2);
    let primary = direct(&driver, id).find(|path| path.primary).unwrap();
    assert_eq!(primary.remote.ip(), at[0].ip());
    run(&format!("ip -n {} link set dev net1 down", hosts.b));
    turn_until(&mut driver, "the first path is lost", |driver| {
        direct(driver, id)
            .all(|path| (path.state == PathState::Active) == (path.remote.ip() == at[1].ip()))
    });
    let start = Instant::now();
    run(&format!("ip -n {} link set dev net1 up", hosts.b));
    turn_until(&mut driver, "the first path is back", |driver| {
        active(driver, id) == 2
    });
    println!("a path came back after {:?}", start.elapsed());
    // The session was notified of the failure and of the recovery.
    turn_until(&mut driver, "the reports", |driver| {
        let changes = &driver.session(id).unwrap().changes;
        let states: Vec<PathState> = changes
            .iter()
            .filter_map(|change| match change {
                Inbound::PathChanged(path) if path.remote.ip() == at[0].ip() => Some(path.state),
                _ => None,
            })
            .collect();
        let lost = states.iter().position(|at| *at == PathState::Inactive);
        lost.is_some_and(|lost| states[lost..].contains(&PathState::Active))
    });
    drop(driver);
    server.stop();
}
