//! The suite on a real kernel: two hosts as network namespaces, two networks between them.
//!
//! - [`init`]: the guest's first process, where a user-mode Linux is needed
//! - [`net`]: hosts, networks, loss, delay, cuts
//! - [`hosts`]: `towpathd` on one host, `towpath` on the other
//! - [`peers`]: bare SCTP over UDP, ours and others'
//! - [`cases`]: the cases
//! - [`report`]: actions, measurements and the verdict

pub mod cases;
pub mod hosts;
pub mod init;
pub mod limits;
pub mod net;
pub mod peers;
pub mod process;
pub mod report;
pub mod stats;

use std::path::PathBuf;

/// Programs under test, built before the suite starts.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The client.
    pub towpath: PathBuf,
    /// The server.
    pub towpathd: PathBuf,
    /// Test program of the kernel carrier.
    pub carrier_test: PathBuf,
    /// Test program of `towpath-sctp`.
    pub sctp_peer: PathBuf,
    /// Test program of usrsctp.
    pub usrsctp_peer: PathBuf,
}

/// Why a case failed.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// The networks could not be made or changed.
    #[error(transparent)]
    Net(#[from] net::NetError),
    /// A program did not start, end or answer as it should.
    #[error(transparent)]
    Process(#[from] process::ProcessError),
    /// A file of the case could not be read or written.
    #[error("{what}: {source}")]
    File {
        /// Name of the file and the operation.
        what: String,
        /// The error of the system call.
        source: std::io::Error,
    },
    /// A check of the case failed.
    #[error("{0}")]
    Wrong(String),
}

/// Fails the case with a formatted reason unless the condition holds.
macro_rules! demand {
    ($condition:expr, $($reason:tt)+) => {
        let held: bool = $condition;
        if !held {
            return Err($crate::kernel::CaseError::Wrong(format!($($reason)+)));
        }
    };
}
pub(crate) use demand;
