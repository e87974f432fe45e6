//! The download of one file.

use std::collections::VecDeque;
use std::mem;

use towpath_protocol::Escaped;
use towpath_protocol::channel::{CHUNK_LEN, Chunk};
use towpath_protocol::client::TransferEvent;
use towpath_protocol::signed::{Content, FilePath, SignedManifest};
use towpath_protocol::{RefusalCode, TransferId};

use crate::error::{Error, ErrorKind};
use crate::limits::BATCH_CHUNKS;
use crate::local::download::{Receiving, Target};
use crate::session::job::{Job, Output};
use crate::session::meter::{Direction, Meter};
use crate::session::task::{Context, Step, Task, unexpected};

/// Gets one file.
#[derive(Debug)]
pub(crate) struct Get {
    path: FilePath,
    target: Target,
    state: State,
    /// The manifest, once all data has arrived.
    downloaded: Option<SignedManifest>,
}

#[derive(Debug)]
enum State {
    New,
    /// A job opens the target.
    Opening,
    /// No stream is free.
    Waiting {
        file: Receiving,
    },
    /// The request was sent.
    Asked {
        flow: Flow,
        file: Receiving,
    },
    /// A job checks the manifest and holds the file.
    Checking {
        flow: Flow,
        signed: SignedManifest,
    },
    /// Data arrives; the file is `None` while a job writes to it.
    Flowing {
        flow: Flow,
        signed: SignedManifest,
        file: Option<Receiving>,
    },
    /// All data has arrived; a job verifies and renames.
    Publishing,
    /// Failed while a job holds the file.
    Failing {
        failure: Error,
        keep: bool,
    },
    /// Failed; a job closes or removes the partial file.
    Abandoning {
        failure: Error,
    },
    Over,
}

#[derive(Debug)]
struct Flow {
    transfer: TransferId,
    queue: VecDeque<Chunk>,
    /// Whether the peer has sent the end.
    complete: bool,
    meter: Meter,
}

impl Get {
    /// Creates a task that gets `path` to `target`.
    pub(crate) fn new(path: FilePath, target: Target) -> Self {
        Self {
            path,
            target,
            state: State::New,
            downloaded: None,
        }
    }

    fn ask(&mut self, file: Receiving, cx: &mut Context<'_>) -> Step {
        let (offset, manifest) = file.resume();
        match cx.get(&self.path, offset, manifest) {
            Ok(Some(transfer)) => {
                let flow = Flow {
                    transfer,
                    queue: VecDeque::new(),
                    complete: false,
                    meter: Meter::new(cx.now),
                };
                self.state = State::Asked { flow, file };
                Step::Running
            }
            Ok(None) => {
                self.state = State::Waiting { file };
                Step::NoStream
            }
            Err(failure) => self.abandon(file, failure, true, cx),
        }
    }

    /// Queues received data for a worker, or finishes.
    fn pump(&mut self, cx: &mut Context<'_>) -> Step {
        let State::Flowing { flow, signed, file } = &mut self.state else {
            return Step::Running;
        };
        let Some(held) = file.take() else {
            return Step::Running;
        };
        if !flow.queue.is_empty() {
            let count = flow.queue.len().min(BATCH_CHUNKS);
            let chunks: Vec<Chunk> = flow.queue.drain(..count).collect();
            cx.job(Job::Receive {
                file: held,
                chunks,
                signed: signed.clone(),
            });
        } else if flow.complete {
            let mut report = flow
                .meter
                .report(Direction::Get, self.path.as_str(), cx.link);
            report.to_output = !matches!(self.target, Target::File { .. });
            self.downloaded = Some(signed.clone());
            cx.job(Job::Publish {
                file: held,
                signed: signed.clone(),
                report,
            });
            self.state = State::Publishing;
        } else {
            *file = Some(held);
        }
        Step::Running
    }

    /// Fails in any state: at once, or when the job that holds the file returns.
    fn fail(&mut self, failure: Error, keep: bool, cx: &mut Context<'_>) -> Step {
        match mem::replace(&mut self.state, State::Over) {
            State::Waiting { file } => self.abandon(file, failure, keep, cx),
            State::Asked { flow, file }
            | State::Flowing {
                flow,
                file: Some(file),
                ..
            } => {
                cx.abort(flow.transfer, "the client gave up");
                self.abandon(file, failure, keep, cx)
            }
            State::Checking { flow, .. }
            | State::Flowing {
                flow, file: None, ..
            } => {
                cx.abort(flow.transfer, "the client gave up");
                self.state = State::Failing { failure, keep };
                Step::Running
            }
            State::Opening | State::Publishing => {
                self.state = State::Failing { failure, keep };
                Step::Running
            }
            State::Failing { failure, keep } => {
                self.state = State::Failing { failure, keep };
                Step::Running
            }
            State::Abandoning { failure } => {
                self.state = State::Abandoning { failure };
                Step::Running
            }
            State::New | State::Over => Step::failed(failure),
        }
    }

    fn abandon(
        &mut self,
        file: Receiving,
        failure: Error,
        keep: bool,
        cx: &mut Context<'_>,
    ) -> Step {
        // Data that does not verify is removed, so that the next get does not continue it.
        let keep = keep && failure.kind != ErrorKind::Verification;
        cx.job(Job::Abandon { file, keep });
        self.state = State::Abandoning { failure };
        Step::Running
    }

    fn accepted(&mut self, signed: SignedManifest, offset: u64, cx: &mut Context<'_>) -> Step {
        match mem::replace(&mut self.state, State::Over) {
            State::Asked { mut flow, file } => {
                flow.meter.progress(0, cx.now);
                cx.job(Job::CheckManifest {
                    file,
                    signed: signed.clone(),
                    path: self.path.clone(),
                    offset,
                    store: cx.login.store,
                });
                if let Content::File { size, .. } = signed.manifest().content {
                    cx.counters().want_bytes(size.saturating_sub(offset));
                }
                self.state = State::Checking { flow, signed };
                Step::Running
            }
            other => {
                self.state = other;
                self.fail(unexpected(&self.label()), true, cx)
            }
        }
    }
}

impl Task for Get {
    fn label(&self) -> String {
        Escaped(self.path.as_str()).to_string()
    }

    fn manifest(&self) -> Option<&SignedManifest> {
        self.downloaded.as_ref()
    }

    fn start(&mut self, cx: &mut Context<'_>) -> Step {
        cx.counters().want_file();
        cx.job(Job::OpenTarget(self.target.clone()));
        self.state = State::Opening;
        Step::Running
    }

    fn retry(&mut self, cx: &mut Context<'_>) -> Step {
        match mem::replace(&mut self.state, State::Over) {
            State::Waiting { file } => self.ask(file, cx),
            other => {
                self.state = other;
                Step::Running
            }
        }
    }

    fn handle_output(&mut self, output: Output, cx: &mut Context<'_>) -> Step {
        match (mem::replace(&mut self.state, State::Over), output) {
            (State::Opening, Output::Target(Ok(file))) => self.ask(file, cx),
            (State::Opening, Output::Target(Err(failure))) => Step::failed(failure),
            (
                State::Checking { flow, signed },
                Output::Received {
                    file,
                    result: Ok(()),
                    ..
                },
            ) => {
                self.state = State::Flowing {
                    flow,
                    signed,
                    file: Some(file),
                };
                self.pump(cx)
            }
            (
                State::Checking { flow, .. },
                Output::Received {
                    file,
                    result: Err(failure),
                    ..
                },
            ) => {
                cx.abort(flow.transfer, "the client does not accept the manifest");
                self.abandon(file, failure, false, cx)
            }
            (
                State::Flowing {
                    flow,
                    signed,
                    file: None,
                },
                Output::Received {
                    file,
                    result: Ok(()),
                    bytes,
                },
            ) => {
                let transfer = flow.transfer;
                self.state = State::Flowing {
                    flow,
                    signed,
                    file: Some(file),
                };
                cx.connection().consumed(transfer, bytes);
                self.pump(cx)
            }
            (
                State::Flowing { flow, .. },
                Output::Received {
                    file,
                    result: Err(failure),
                    ..
                },
            ) => {
                cx.abort(flow.transfer, "the client cannot take the data");
                self.abandon(file, failure, true, cx)
            }
            (State::Publishing, Output::Done(result)) => {
                cx.counters().end_file();
                Step::Done(result)
            }
            (State::Failing { failure, .. }, Output::Target(Err(_)) | Output::Done(_)) => {
                Step::failed(failure)
            }
            (
                State::Failing { failure, keep },
                Output::Target(Ok(file)) | Output::Received { file, .. },
            ) => self.abandon(file, failure, keep, cx),
            (State::Abandoning { failure }, _) => Step::failed(failure),
            (_, _) => Step::failed(unexpected(&self.label())),
        }
    }

    fn handle_transfer(&mut self, event: TransferEvent, cx: &mut Context<'_>) -> Step {
        match event {
            TransferEvent::GetAccepted { signed, offset } => self.accepted(signed, offset, cx),
            TransferEvent::Data(chunk) => {
                let (State::Checking { flow, .. } | State::Flowing { flow, .. }) = &mut self.state
                else {
                    return self.fail(unexpected(&self.label()), true, cx);
                };
                flow.meter.progress(chunk.len() as u64, cx.now);
                cx.counters().add_bytes(chunk.len() as u64);
                flow.queue.push_back(chunk);
                self.pump(cx)
            }
            TransferEvent::Finished => {
                let (State::Checking { flow, .. } | State::Flowing { flow, .. }) = &mut self.state
                else {
                    return self.fail(unexpected(&self.label()), true, cx);
                };
                flow.complete = true;
                flow.meter.progress(0, cx.now);
                self.pump(cx)
            }
            TransferEvent::Aborted(refusal) => {
                let keep = refusal.code != RefusalCode::Corrupt;
                self.fail(Error::refused(self.path.as_str(), &refusal), keep, cx)
            }
            TransferEvent::PutAccepted { .. }
            | TransferEvent::Writable
            | TransferEvent::ProofWanted { .. }
            | TransferEvent::Truncated => self.fail(unexpected(&self.label()), true, cx),
        }
    }

    fn handle_closed(&mut self, failure: &Error, cx: &mut Context<'_>) -> Step {
        let arrived = match &self.state {
            State::Checking { flow, .. } | State::Flowing { flow, .. } => flow.complete,
            State::Publishing => true,
            _ => false,
        };
        if arrived {
            return Step::Running;
        }
        let resumable = matches!(&self.state, State::Flowing { .. })
            && matches!(self.target, Target::File { .. });
        let advice = if resumable {
            format!(
                "; run the command again to continue (whole pieces of {} kB are kept)",
                CHUNK_LEN / 1000
            )
        } else {
            String::new()
        };
        let failure = Error::new(
            failure.kind,
            format!("{}: {}{advice}", self.label(), failure.message),
        );
        self.fail(failure, true, cx)
    }
}
