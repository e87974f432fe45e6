//! The upload of one file.

use std::collections::VecDeque;
use std::mem;
use std::path::PathBuf;

use towpath_protocol::Escaped;
use towpath_protocol::channel::Chunk;
use towpath_protocol::client::TransferEvent;
use towpath_protocol::signed::{Content, FilePath, SignedManifest};
use towpath_protocol::{TransferId, WriteError};

use crate::error::{Error, ErrorKind};
use crate::limits::{BATCH_CHUNKS, MAX_RESIGN, READ_AHEAD_CHUNKS};
use crate::local::upload::Source;
use crate::session::job::{Job, Output};
use crate::session::meter::{Direction, Meter};
use crate::session::task::{Context, Step, Task, unexpected};

/// Puts one file.
#[derive(Debug)]
pub(crate) struct Put {
    source: PathBuf,
    path: FilePath,
    replace_damaged: bool,
    state: State,
    /// The manifest, once it is published.
    uploaded: Option<SignedManifest>,
}

#[derive(Debug)]
enum State {
    New,
    /// A job opens the source.
    Opening,
    /// No stream is free.
    Waiting(Source),
    /// Data is sent.
    Sending(Sending),
    /// All data is sent; a job signs.
    Signing {
        sent: Sent,
    },
    /// The signature is sent; the server commits.
    Committing {
        sent: Sent,
        signed: SignedManifest,
    },
    /// Published; a job pins it.
    Recording,
    Over,
}

#[derive(Debug)]
struct Sending {
    transfer: TransferId,
    meter: Meter,
    reader: Reader,
    queue: VecDeque<Chunk>,
    /// The current version at the path, once the server has sent it.
    accepted: Option<Option<SignedManifest>>,
}

#[derive(Debug)]
enum Reader {
    Idle(Source),
    /// A job reads.
    Busy,
    /// The end is reached; size, hash and metadata of the content.
    Ended(Content),
}

/// A file whose data is completely sent.
#[derive(Debug)]
struct Sent {
    transfer: TransferId,
    meter: Meter,
    content: Content,
    signatures: u32,
}

impl Put {
    /// Creates a task that puts `source` (`-` is standard input) at `path`; with `replace_damaged`
    /// also over a damaged file without a readable manifest.
    pub(crate) fn new(source: PathBuf, path: FilePath, replace_damaged: bool) -> Self {
        Self {
            source,
            path,
            replace_damaged,
            state: State::New,
            uploaded: None,
        }
    }

    fn ask(&mut self, source: Source, cx: &mut Context<'_>) -> Step {
        match cx.put(&self.path, source.size_hint(), self.replace_damaged) {
            Ok(Some(transfer)) => {
                cx.counters().want_bytes(source.size_hint());
                self.state = State::Sending(Sending {
                    transfer,
                    meter: Meter::new(cx.now),
                    reader: Reader::Idle(source),
                    queue: VecDeque::new(),
                    accepted: None,
                });
                self.pump(cx)
            }
            Ok(None) => {
                self.state = State::Waiting(source);
                Step::NoStream
            }
            Err(failure) => Step::failed(failure),
        }
    }

    /// Sends as much as the peer's credit allows, reads more, and signs at the end.
    fn pump(&mut self, cx: &mut Context<'_>) -> Step {
        let State::Sending(sending) = &mut self.state else {
            return Step::Running;
        };
        // Data can be sent only after the server has accepted.
        while sending.accepted.is_some()
            && let Some(chunk) = sending.queue.pop_front()
        {
            let length = chunk.len() as u64;
            match cx.connection().write(sending.transfer, chunk) {
                Ok(()) => {
                    sending.meter.progress(length, cx.now);
                    cx.counters().add_bytes(length);
                }
                Err(WriteError::Blocked(chunk)) => {
                    sending.queue.push_front(chunk);
                    break;
                }
                Err(WriteError::Unknown(_) | WriteError::TooLong(_)) => {
                    // Caused by a refusal or the end of the connection, whose event follows; no
                    // chunk is too long.
                    sending.queue.clear();
                    return Step::Running;
                }
            }
        }
        match mem::replace(&mut sending.reader, Reader::Busy) {
            Reader::Idle(source) if sending.queue.len() + BATCH_CHUNKS <= READ_AHEAD_CHUNKS => {
                cx.job(Job::Read(source))
            }
            Reader::Ended(content) if sending.queue.is_empty() => match sending.accepted.take() {
                Some(current) => {
                    let sent = Sent {
                        transfer: sending.transfer,
                        meter: sending.meter.clone(),
                        content,
                        signatures: 0,
                    };
                    return self.sign(sent, current, cx);
                }
                None => sending.reader = Reader::Ended(content),
            },
            other => sending.reader = other,
        }
        Step::Running
    }

    fn sign(
        &mut self,
        mut sent: Sent,
        current: Option<SignedManifest>,
        cx: &mut Context<'_>,
    ) -> Step {
        if sent.signatures == MAX_RESIGN {
            return self.fail(
                Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "{}: others keep changing it; it was not published, put it again later",
                        self.label()
                    ),
                ),
                cx,
            );
        }
        sent.signatures += 1;
        cx.job(Job::SignFile {
            path: self.path.clone(),
            content: sent.content,
            current,
            login: cx.login.clone(),
            again: sent.signatures > 1,
            replace_damaged: self.replace_damaged,
        });
        self.state = State::Signing { sent };
        Step::Running
    }

    fn fail(&mut self, failure: Error, cx: &mut Context<'_>) -> Step {
        let transfer = match mem::replace(&mut self.state, State::Over) {
            State::Sending(sending) => Some(sending.transfer),
            State::Signing { sent } | State::Committing { sent, .. } => Some(sent.transfer),
            State::New | State::Opening | State::Waiting(_) | State::Recording | State::Over => {
                None
            }
        };
        if let Some(transfer) = transfer {
            cx.abort(transfer, "the client gave up");
        }
        Step::failed(failure)
    }
}

impl Task for Put {
    fn label(&self) -> String {
        Escaped(self.path.as_str()).to_string()
    }

    fn manifest(&self) -> Option<&SignedManifest> {
        self.uploaded.as_ref()
    }

    fn start(&mut self, cx: &mut Context<'_>) -> Step {
        cx.counters().want_file();
        cx.job(Job::OpenSource(self.source.clone()));
        self.state = State::Opening;
        Step::Running
    }

    fn retry(&mut self, cx: &mut Context<'_>) -> Step {
        match mem::replace(&mut self.state, State::Over) {
            State::Waiting(source) => self.ask(source, cx),
            other => {
                self.state = other;
                Step::Running
            }
        }
    }

    fn handle_output(&mut self, output: Output, cx: &mut Context<'_>) -> Step {
        match (mem::replace(&mut self.state, State::Over), output) {
            (State::Opening, Output::Source(Ok(source))) => self.ask(source, cx),
            (State::Opening, Output::Source(Err(failure))) => Step::failed(failure),
            (
                State::Sending(mut sending),
                Output::Read {
                    source,
                    result: Ok((chunks, content)),
                },
            ) => {
                sending.queue.extend(chunks);
                sending.reader = content.map_or(Reader::Idle(source), Reader::Ended);
                self.state = State::Sending(sending);
                self.pump(cx)
            }
            (
                state @ State::Sending(_),
                Output::Read {
                    result: Err(failure),
                    ..
                },
            )
            | (state @ State::Signing { .. }, Output::Signed(Err(failure))) => {
                self.state = state;
                self.fail(failure, cx)
            }
            (State::Signing { sent }, Output::Signed(Ok(signed))) => {
                if let Err(e) = cx.connection().finish_put(sent.transfer, &signed) {
                    return Step::failed(Error::new(
                        ErrorKind::Unreachable,
                        format!("{}: cannot be finished: {e}", self.label()),
                    ));
                }
                self.state = State::Committing { sent, signed };
                Step::Running
            }
            (State::Recording, Output::Done(result)) => {
                cx.counters().end_file();
                Step::Done(result)
            }
            (_, _) => Step::failed(unexpected(&self.label())),
        }
    }

    fn handle_transfer(&mut self, event: TransferEvent, cx: &mut Context<'_>) -> Step {
        match (mem::replace(&mut self.state, State::Over), event) {
            (State::Sending(mut sending), TransferEvent::PutAccepted { current }) => {
                sending.accepted = Some(current);
                self.state = State::Sending(sending);
                self.pump(cx)
            }
            (state, TransferEvent::Writable) => {
                self.state = state;
                self.pump(cx)
            }
            (State::Committing { sent, .. }, TransferEvent::ProofWanted { current }) => {
                self.sign(sent, current, cx)
            }
            (State::Committing { mut sent, signed }, TransferEvent::Finished) => {
                sent.meter.progress(0, cx.now);
                let name = self.path.as_str();
                let report = sent.meter.report(Direction::Put, name, cx.link);
                self.uploaded = Some(signed.clone());
                cx.job(Job::Published {
                    signed,
                    report: Some(report),
                });
                self.state = State::Recording;
                Step::Running
            }
            (_, TransferEvent::Aborted(refusal)) => {
                Step::failed(Error::refused(self.path.as_str(), &refusal))
            }
            (state, _) => {
                self.state = state;
                self.fail(unexpected(&self.label()), cx)
            }
        }
    }

    fn handle_closed(&mut self, failure: &Error, _cx: &mut Context<'_>) -> Step {
        match &self.state {
            State::Recording => Step::Running,
            State::Committing { .. } => {
                let unknown = "it may or may not have been published; `towpath ls` shows";
                Step::failed(Error::new(
                    failure.kind,
                    format!("{}: {}; {unknown}", self.label(), failure.message),
                ))
            }
            _ => Step::failed(Error::new(
                failure.kind,
                format!(
                    "{}: {}; it was not published",
                    self.label(),
                    failure.message
                ),
            )),
        }
    }
}
