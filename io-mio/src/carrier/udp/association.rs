//! What the carrier remembers of one association beside the endpoint's own state.

use std::collections::VecDeque;
use std::net::SocketAddr;

use towpath_sctp::{
    AssociationHandle, CloseReason, PathId, PathState as SctpState, PathStatistics,
};

use crate::carrier::{Inbound, LostReason, PathInfo, PathState};
use crate::limits::PATH_CHANGES;

pub(super) struct Association {
    pub(super) handle: AssociationHandle,
    /// The transport addresses that we were to connect to.
    pub(super) remotes: Vec<SocketAddr>,
    pub(super) phase: Phase,
    /// The endpoint knows the handle still.
    pub(super) live: bool,
    pub(super) up: Up,
    /// Paths that changed since the session heard of them.
    changed: VecDeque<PathId>,
    /// Its end, to be reported behind what has arrived.
    pub(super) end: Option<Inbound>,
    /// A `Ready` is in the queue of events already.
    pub(super) announced: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// The session has heard of the end.
    Ended,
    /// Closing in order; what still comes is discarded.
    Closing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Up {
    NotYet,
    /// With so many streams; the session has not heard it.
    News(u16),
    Told,
}

impl Association {
    pub(super) fn new(handle: AssociationHandle, remotes: Vec<SocketAddr>) -> Self {
        Self {
            handle,
            remotes,
            phase: Phase::Open,
            live: true,
            up: Up::NotYet,
            changed: VecDeque::new(),
            end: None,
            announced: false,
        }
    }

    /// Notes that a path changed; how it is by then is looked up when the session hears of it.
    pub(super) fn note_change(&mut self, path: PathId) {
        // What a path is before the association is up is no change.
        if self.up != Up::NotYet
            && !self.changed.contains(&path)
            && self.changed.len() < PATH_CHANGES
        {
            self.changed.push_back(path);
        }
    }

    pub(super) fn next_change(&mut self) -> Option<PathId> {
        self.changed.pop_front()
    }

    /// How the endpoint's last word reads for a session.
    pub(super) fn ended_by(&self, reason: CloseReason) -> Inbound {
        let forming = self.up == Up::NotYet;
        let lost = match reason {
            CloseReason::Shutdown => return Inbound::PeerClosed,
            CloseReason::AbortedByPeer { .. } if forming => {
                LostReason::Unreachable("the peer refuses".to_owned())
            }
            CloseReason::SetupTimeout => {
                LostReason::Unreachable("the peer does not answer".to_owned())
            }
            CloseReason::AbortedByPeer { .. } => LostReason::Aborted,
            CloseReason::Unreachable => LostReason::TimedOut,
            CloseReason::Restarted => LostReason::Restarted,
            CloseReason::Violation(what) => LostReason::Protocol(what),
            other => LostReason::Socket(other.to_string()),
        };
        Inbound::Lost(lost)
    }
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
