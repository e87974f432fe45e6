//! Runs a session on the event loop, over the first transport that reaches the server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use towpath_io_mio::{Driver, LoopConfig};
use towpath_protocol::Limits;
use towpath_protocol::channel::tls_client_config;
use towpath_protocol::client::{ClientConfig, Connection};

use crate::error::{Error, ErrorKind};
use crate::limits::{MAX_WINDOW, MIN_WINDOW, QUEUED_JOBS, RECEIVE_MEMORY, WORKERS};
use crate::session::counters::Counters;
use crate::session::runner::JobRunner;
use crate::session::{ClientSession, NotBegun, Outcome, SessionConfig};
use crate::transport::Route;

/// Time for the kernel's SCTP to connect before SCTP in user space is tried: three round trips over
/// a satellite, and the first retransmission.
const OTHER_TRANSPORT_AFTER: Duration = Duration::from_secs(3);

/// First pause before a server that was busy is tried again; it doubles.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// Runs a session until it is over; each of the routes that `routes` makes is tried until one
/// reaches the server. A server that has no place for another session is tried again until
/// `config.connect_timeout` has passed.
///
/// # Errors
/// Sockets, threads or TLS that cannot be set up, and those of `routes`. Why the session failed is
/// in its outcome.
pub(crate) fn drive(
    routes: &dyn Fn() -> Result<Vec<Route>, Error>,
    mut config: SessionConfig,
    runner: &Arc<JobRunner>,
    counters: &Arc<Counters>,
) -> Result<Outcome, Error> {
    let timeout = config.connect_timeout;
    let give_up = Instant::now() + timeout;
    let mut pause = BUSY_PAUSE;
    loop {
        let routes = routes()?;
        let last = routes.len().saturating_sub(1);
        let mut end = None;
        for (index, route) in routes.into_iter().enumerate() {
            config.addresses.clone_from(&route.shown);
            config.connect_timeout = if index == last {
                timeout
            } else {
                timeout.min(OTHER_TRANSPORT_AFTER)
            };
            let (outcome, not_begun) = attempt(route, config, runner, counters)?;
            match not_begun {
                None => return Ok(outcome),
                Some(NotBegun::Unreached(unchanged)) => {
                    config = unchanged;
                    end = Some((outcome, false));
                }
                Some(NotBegun::TurnedAway(unchanged)) => {
                    config = unchanged;
                    end = Some((outcome, true));
                    break;
                }
            }
        }
        match end {
            Some((_, true)) if Instant::now() + pause < give_up => {}
            Some((outcome, _)) => return Ok(outcome),
            None => return Ok(Outcome::default()),
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
}

/// Runs a session over one route until it is over; its configuration comes back if nothing of it
/// has begun.
fn attempt(
    route: Route,
    config: SessionConfig,
    runner: &Arc<JobRunner>,
    counters: &Arc<Counters>,
) -> Result<(Outcome, Option<NotBegun>), Error> {
    let now = Instant::now();
    let tls = tls_client_config(Arc::new(SystemClock))
        .map_err(|e| Error::local(format!("TLS cannot be set up: {e}")))?;
    let share = RECEIVE_MEMORY / u32::try_from(config.parallel.max(1)).unwrap_or(u32::MAX);
    let limits = Limits {
        window: share.clamp(MIN_WINDOW, MAX_WINDOW),
        link_timeout: config.connect_timeout + Duration::from_secs(1),
        ..Limits::default()
    };
    let connection = Connection::new(ClientConfig { tls, limits }, now)
        .map_err(|e| Error::local(format!("TLS cannot be set up: {e}")))?;
    // One more worker waits for the commands of a `Client`.
    let workers = WORKERS + usize::from(config.commands);
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    let session = ClientSession::new(
        connection,
        config,
        route.name,
        Arc::clone(counters),
        Arc::clone(&outcome),
        now,
    );
    let fail = |e: std::io::Error| {
        Error::new(
            ErrorKind::Unreachable,
            format!("cannot connect to {}: {e}", route.shown),
        )
    };
    let loop_config = LoopConfig {
        workers,
        jobs: QUEUED_JOBS,
        ..LoopConfig::default()
    };
    let mut driver = Driver::new(loop_config, Arc::clone(runner)).map_err(fail)?;
    let carrier = driver.add_carrier(route.carrier).map_err(fail)?;
    let id = driver
        .connect(carrier, &route.remotes, session)
        .map_err(fail)?;
    let result = driver.run(&mut |_| None, &mut |driver| driver.is_over(id));
    let not_begun = driver
        .take_session(id)
        .and_then(ClientSession::into_not_begun);
    // A worker may still wait for the user or for standard input.
    driver.detach();
    result.map_err(|e| Error::local(format!("the event loop failed: {e}")))?;
    let outcome = outcome
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    Ok((outcome, not_begun))
}

/// The system's clock, for TLS; no certificate is judged by it. A time before 1970 counts as 1970,
/// where rustls' own clock panics.
#[derive(Debug)]
struct SystemClock;

impl TimeProvider for SystemClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(SystemTime::now()))
    }
}

fn unix_time(time: SystemTime) -> UnixTime {
    let since = time.duration_since(UNIX_EPOCH);
    UnixTime::since_unix_epoch(since.unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_1970_is_no_panic() {
        let second = Duration::from_secs(1);
        assert_eq!(unix_time(UNIX_EPOCH - second).as_secs(), 0);
        assert_eq!(unix_time(UNIX_EPOCH + second).as_secs(), 1);
    }
}
