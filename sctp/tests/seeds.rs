//! A thousand simulated networks with faults: every message arrives once and in the order of its
//! stream, or the failure is reported.
//!
//! `TOWPATH_SCTP_SEED=17 cargo test -p towpath-sctp --test seeds -- --nocapture` repeats one seed
//! and prints its packets; `TOWPATH_SCTP_SEEDS=50` runs fifty seeds.
#![expect(
    clippy::disallowed_methods,
    reason = "an Instant can be had from nowhere else"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use towpath_sctp::simulator::{Traffic, World};
use towpath_sctp::{AssociationHandle, CloseReason, Config, EndpointConfig, Event};

const PORT: u16 = 9_260;
const STREAMS: u16 = 8;
const SEEDS: u64 = 1_000;

#[test]
fn a_thousand_worlds() {
    let seeds = match std::env::var("TOWPATH_SCTP_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("TOWPATH_SCTP_SEED is a number");
            seed..seed + 1
        }
        Err(_) => match std::env::var("TOWPATH_SCTP_SEEDS") {
            Ok(count) => 0..count.parse().expect("TOWPATH_SCTP_SEEDS is a number"),
            Err(_) => 0..SEEDS,
        },
    };
    let (mut lost, mut failures) = (0, Vec::new());
    for seed in seeds.clone() {
        let show = seeds.end - seeds.start == 1;
        match std::panic::catch_unwind(|| live(seed, show)) {
            Ok(Ok(Outcome::Delivered)) => {}
            Ok(Ok(Outcome::Reported)) => lost += 1,
            Ok(Err(what)) => failures.push(format!("seed {seed}: {what}")),
            Err(_) => failures.push(format!("seed {seed} panicked")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    if seeds.end - seeds.start == SEEDS {
        assert!(
            lost > 0 && lost < SEEDS / 10,
            "a few networks fail for good, most do not: {lost}"
        );
    }
}

enum Outcome {
    Delivered,
    /// All paths have failed for good, and both ends have reported it.
    Reported,
}

/// The addresses of two hosts, one to three each.
fn addresses(world: &mut World) -> [Vec<SocketAddr>; 2] {
    [1u8, 2].map(|host| {
        let count = 1 + world.network.below(3) as u8;
        (0..count)
            .map(|net| SocketAddr::from(([10, net, 0, host], 9_899)))
            .collect()
    })
}

fn live(seed: u64, show: bool) -> Result<Outcome, String> {
    let mut world = World::new(seed, Instant::now());
    world.show = show;
    let hosts = addresses(&mut world);
    let link = &mut world.network.link;
    link.jitter = Duration::ZERO;
    let (delay, jitter) = (world.network.below(60), world.network.below(20));
    let (loss, duplicate) = (
        world.network.below(120) as u32,
        world.network.below(60) as u32,
    );
    let mtu = [1_232, 1_472, 9_000][world.network.below(3) as usize];
    let bandwidth = (world.network.below(3) == 0).then(|| 200_000 + world.network.below(5_000_000));
    let link = &mut world.network.link;
    link.delay = Duration::from_micros(100 + delay * 1_000);
    link.jitter = Duration::from_millis(jitter);
    (link.loss, link.duplicate, link.mtu, link.bandwidth) = (loss, duplicate, mtu, bandwidth);

    let association = Config {
        streams: STREAMS,
        receive_window: 65_536,
        max_receive_window: 1 << 20,
        send_buffer: 128 * 1_024,
        max_message: 40_000,
        association_max_retrans: 8,
        ..Config::default()
    };
    for (host, listen) in hosts.iter().zip([None, Some(PORT)]) {
        let addresses = host.clone();
        world.add(EndpointConfig {
            listen,
            addresses,
            association: association.clone(),
            ..EndpointConfig::default()
        });
    }
    let now = world.now;
    let client = world.nodes[0]
        .endpoint
        .connect(&hosts[1], PORT, now)
        .map_err(|error| error.to_string())?;
    let mut handles = [Some(client), None];
    let count = 20 + world.network.below(60) as usize;
    let mut traffic = [0, 1].map(|_| Traffic::new(&mut world.network, count, STREAMS, 30_000));
    let mut closed: [Option<CloseReason>; 2] = [None, None];
    let hopeless = world.network.below(25) == 0;

    // Faults for a while, then none.
    for _ in 0..world.network.below(8) {
        fault(&mut world, &hosts);
        let span = Duration::from_millis(world.network.below(1_500));
        let mut trouble = None;
        world.run(span, |world| {
            turn(world, &mut handles, &mut traffic, &mut closed);
            trouble = trouble
                .take()
                .or(settle(&mut traffic, world, handles).err());
            trouble.is_some()
        });
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
    }
    if hopeless {
        world.network.link.cut = true;
        for (a, b) in pairs(&hosts) {
            world.network.cut(a.ip(), b.ip(), true);
        }
    } else {
        world.network.heal();
    }
    let mut trouble = None;
    let done = world.run(Duration::from_secs(3_000), |world| {
        turn(world, &mut handles, &mut traffic, &mut closed);
        trouble = trouble
            .take()
            .or(settle(&mut traffic, world, handles).err());
        trouble.is_some()
            || closed[0].is_some() && (closed[1].is_some() || handles[1].is_none())
            || traffic.iter().all(Traffic::is_complete)
    });
    if let Some(trouble) = trouble {
        return Err(trouble);
    }
    let arrived = [traffic[0].arrived(), traffic[1].arrived()];
    if !done {
        let paths: Vec<_> = (0..2)
            .filter_map(|node| Some(world.nodes[node].endpoint.paths(handles[node]?)))
            .collect();
        let elapsed = world.elapsed();
        return Err(format!(
            "stuck at {elapsed:?} with {arrived:?} of {count}, closed: {closed:?}, {paths:#?}"
        ));
    }
    if !traffic.iter().all(Traffic::is_complete) {
        let honest = hopeless
            && matches!(
                closed[0],
                Some(CloseReason::Unreachable | CloseReason::SetupTimeout)
            );
        return if honest {
            Ok(Outcome::Reported)
        } else {
            Err(format!("lost: {closed:?} with {arrived:?} of {count}"))
        };
    }
    if hopeless {
        return Ok(Outcome::Delivered);
    }
    let now = world.now;
    world.nodes[0]
        .endpoint
        .shutdown(client, now)
        .map_err(|error| error.to_string())?;
    world.run(Duration::from_secs(600), |world| {
        turn(world, &mut handles, &mut traffic, &mut closed);
        closed.iter().all(Option::is_some)
    });
    if closed != [Some(CloseReason::Shutdown), Some(CloseReason::Shutdown)] {
        return Err(format!("shutdown ended as {closed:?}"));
    }
    Ok(Outcome::Delivered)
}

fn pairs(hosts: &[Vec<SocketAddr>; 2]) -> Vec<(SocketAddr, SocketAddr)> {
    hosts[0]
        .iter()
        .flat_map(|&a| hosts[1].iter().map(move |&b| (a, b)))
        .collect()
}

/// Cuts a path or several, restores one, or lets a NAT change a port.
fn fault(world: &mut World, hosts: &[Vec<SocketAddr>; 2]) {
    let all = pairs(hosts);
    let (a, b) = all[world.network.below(all.len() as u64) as usize];
    match world.network.below(6) {
        0 | 1 => world.network.cut(a.ip(), b.ip(), true),
        2 => world.network.cut(a.ip(), b.ip(), false),
        3 => world.rebind(0, a),
        // One direction alone.
        4 => world.network.between(a.ip(), b.ip()).cut = true,
        _ => {
            for &(from, to) in all.iter().filter(|(from, _)| *from == a) {
                world.network.cut(from.ip(), to.ip(), true);
            }
        }
    }
}

/// Lets both applications do what they can.
fn turn(
    world: &mut World,
    handles: &mut [Option<AssociationHandle>; 2],
    traffic: &mut [Traffic; 2],
    closed: &mut [Option<CloseReason>; 2],
) {
    for node in 0..2 {
        while let Some((handle, event)) = world.nodes[node].events.pop_front() {
            match event {
                Event::Connected { .. } if handles[node].is_none() => handles[node] = Some(handle),
                Event::Closed(reason) if handles[node] == Some(handle) => {
                    closed[node] = Some(reason)
                }
                _ => {}
            }
        }
        if let Some(handle) = handles[node] {
            traffic[node].send(&mut world.nodes[node].endpoint, handle);
        }
    }
}

/// Reads what has arrived at both.
fn settle(
    traffic: &mut [Traffic; 2],
    world: &mut World,
    handles: [Option<AssociationHandle>; 2],
) -> Result<(), String> {
    for (from, to) in [(0, 1), (1, 0)] {
        if let Some(handle) = handles[to] {
            traffic[from].recv(&mut world.nodes[to].endpoint, handle)?;
        }
    }
    Ok(())
}
