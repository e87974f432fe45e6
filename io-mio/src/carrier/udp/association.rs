//! What the carrier keeps of one association beside the endpoint's own state.

use std::net::SocketAddr;

use towpath_sctp::{
    AssociationHandle, CloseReason, PathId, PathState as SctpState, PathStatistics,
};

use crate::carrier::{Inbound, LostReason, PathInfo, PathState};
use crate::limits::PATH_CHANGES;
use crate::ready::ReadyQueue;

pub(super) struct Association {
    pub(super) handle: AssociationHandle,
    /// The transport addresses to connect to.
    pub(super) remotes: Vec<SocketAddr>,
    state: State,
    /// Paths that changed since the session was told of them.
    changed: ReadyQueue<PathId>,
}

/// Where an association is, and what its session has still to be told.
#[derive(Debug)]
enum State {
    /// Being set up.
    Connecting,
    /// Established.
    Up {
        /// The number of streams, until the session has been told.
        news: Option<u16>,
        /// The peer has begun a shutdown; the session is told behind what has arrived.
        peer_closing: bool,
    },
    /// The endpoint has ended it; the session is told behind what has arrived.
    Ended {
        /// As in `Up`.
        news: Option<u16>,
        end: Inbound,
    },
    /// The session was told of the end; the endpoint may still be at its shutdown.
    Told { live: bool },
    /// Being shut down for the session; what still arrives is discarded.
    Closing,
}

impl Association {
    pub(super) fn new(handle: AssociationHandle, remotes: Vec<SocketAddr>) -> Self {
        Self {
            handle,
            remotes,
            state: State::Connecting,
            changed: ReadyQueue::default(),
        }
    }

    /// Whether the session has not been told of an end, nor asked for one.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, State::Told { .. } | State::Closing)
    }

    /// Whether the endpoint still has it.
    pub(super) fn is_live(&self) -> bool {
        !matches!(
            self.state,
            State::Ended { .. } | State::Told { live: false }
        )
    }

    pub(super) fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing)
    }

    /// Whether the session may send.
    pub(super) fn is_writable(&self) -> bool {
        matches!(
            self.state,
            State::Connecting
                | State::Up {
                    peer_closing: false,
                    ..
                }
        )
    }

    /// It is established, with so many streams.
    pub(super) fn handle_connected(&mut self, streams: u16) {
        self.state = State::Up {
            news: Some(streams),
            peer_closing: false,
        };
    }

    /// The peer has begun a shutdown.
    pub(super) fn handle_peer_closing(&mut self) {
        if let State::Up { peer_closing, .. } = &mut self.state {
            *peer_closing = true;
        }
    }

    /// A path changed; its state is looked up when the session is told. A session that has not been
    /// told of `Up` yet gets the states of all paths with it.
    pub(super) fn handle_path(&mut self, path: PathId) {
        let is_told = !matches!(
            self.state,
            State::Connecting | State::Up { news: Some(_), .. }
        );
        if is_told && self.changed.len() < PATH_CHANGES {
            self.changed.insert(path);
        }
    }

    /// The endpoint has ended it. This also takes the place of a shutdown by the peer that had
    /// begun and failed: messages may be missing.
    pub(super) fn handle_closed(&mut self, reason: CloseReason) {
        let forming = matches!(self.state, State::Connecting);
        self.end(end_for(reason, forming));
    }

    /// Ends it, unless the session has been told of an end already.
    pub(super) fn end(&mut self, end: Inbound) {
        self.state = match self.state {
            State::Connecting => State::Ended { news: None, end },
            State::Up { news, .. } | State::Ended { news, .. } => State::Ended { news, end },
            State::Told { .. } | State::Closing => State::Told { live: false },
        };
    }

    /// The session asked for its end.
    pub(super) fn close(&mut self) {
        self.state = State::Closing;
    }

    /// The number of streams, once, when it is established.
    pub(super) fn take_news(&mut self) -> Option<u16> {
        match &mut self.state {
            State::Up { news, .. } | State::Ended { news, .. } => news.take(),
            State::Connecting | State::Told { .. } | State::Closing => None,
        }
    }

    /// The next path to tell the session of.
    pub(super) fn next_change(&mut self) -> Option<PathId> {
        self.changed.pop()
    }

    /// The end, once, when there is one and all that arrived has been taken.
    pub(super) fn take_end(&mut self) -> Option<Inbound> {
        let live = self.is_live();
        match std::mem::replace(&mut self.state, State::Told { live }) {
            State::Up {
                peer_closing: true, ..
            } => Some(Inbound::PeerClosed),
            State::Ended { end, .. } => Some(end),
            other => {
                self.state = other;
                None
            }
        }
    }
}

/// What a session is told for the endpoint's reason; `forming`: before the association was up.
fn end_for(reason: CloseReason, forming: bool) -> Inbound {
    let lost = match reason {
        CloseReason::Shutdown => return Inbound::PeerClosed,
        CloseReason::AbortedByPeer { .. } if forming => {
            LostReason::Unreachable("the peer refuses".to_owned())
        }
        CloseReason::SetupTimeout => LostReason::Unreachable("the peer does not answer".to_owned()),
        CloseReason::AbortedByPeer { .. } => LostReason::Aborted,
        CloseReason::Unreachable => LostReason::TimedOut,
        CloseReason::Restarted => LostReason::Restarted,
        CloseReason::Violation(what) => LostReason::Protocol(what),
        other => LostReason::Socket(other.to_string()),
    };
    Inbound::Lost(lost)
}

/// A path as sessions see it.
pub(super) fn path_info(path: &PathStatistics) -> PathInfo {
    let clamp = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    PathInfo {
        remote: path.path.remote,
        local: Some(path.path.local),
        state: match path.state {
            SctpState::Unconfirmed => PathState::Unconfirmed,
            SctpState::Active => PathState::Active,
            SctpState::PotentiallyFailed | SctpState::Inactive => PathState::Inactive,
        },
        primary: path.primary,
        srtt: path.srtt.unwrap_or_default(),
        rto: path.rto,
        cwnd: clamp(path.cwnd),
        mtu: clamp(path.mtu),
    }
}
