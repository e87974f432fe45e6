//! A store in memory at the server, and a client program.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::pair::{Pair, chunks, path, signed, signed_on};
use crate::channel::Chunk;
use crate::client::{Event as C, TransferEvent as CT};
use crate::server::{Event as S, TransferEvent as ST};
use crate::signed::{FilePath, ManifestHash, SignedManifest};
use crate::{CloseReason, Refusal, RefusalCode, TransferId, WriteError};

/// Serves, uploads and downloads as fast as credit allows, and notes what happened.
pub(crate) struct Apps {
    pub(crate) pair: Pair,
    pub(crate) files: BTreeMap<FilePath, (SignedManifest, Vec<u8>)>,
    serving: BTreeMap<TransferId, VecDeque<Chunk>>,
    pub(crate) uploads: BTreeMap<TransferId, (FilePath, Vec<u8>)>,
    sending: BTreeMap<TransferId, Sending>,
    pub(crate) fetched: BTreeMap<TransferId, Vec<u8>>,
    /// At the client, in order.
    pub(crate) finished: Vec<TransferId>,
    pub(crate) refused: Vec<(TransferId, Refusal)>,
    pub(crate) truncated: Vec<TransferId>,
    pub(crate) conflicts: usize,
    /// At the server.
    pub(crate) served: Vec<TransferId>,
    /// `None` when the connection ended first.
    pub(crate) aborted: Vec<(TransferId, Option<Refusal>)>,
    /// Client and server.
    pub(crate) closed: [Option<CloseReason>; 2],
    /// Transfers whose data the receiving side does not consume.
    pub(crate) stalled: BTreeSet<TransferId>,
}

struct Sending {
    name: String,
    data: Vec<u8>,
    chunks: VecDeque<Chunk>,
    current: Option<SignedManifest>,
}

impl Apps {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(Pair::logged_in(seed))
    }

    pub(crate) fn with(pair: Pair) -> Self {
        Self {
            pair,
            files: BTreeMap::new(),
            serving: BTreeMap::new(),
            uploads: BTreeMap::new(),
            sending: BTreeMap::new(),
            fetched: BTreeMap::new(),
            finished: Vec::new(),
            refused: Vec::new(),
            truncated: Vec::new(),
            conflicts: 0,
            served: Vec::new(),
            aborted: Vec::new(),
            closed: [None, None],
            stalled: BTreeSet::new(),
        }
    }

    /// Places a file in the store without a transfer.
    pub(crate) fn store(&mut self, name: &str, data: &[u8]) {
        self.files
            .insert(path(name), (signed(name, data), data.to_vec()));
    }

    pub(crate) fn put(&mut self, name: &str, data: &[u8]) -> TransferId {
        let transfer = self.pair.client.put(path(name), data.len() as u64).unwrap();
        let sending = Sending {
            name: name.to_owned(),
            data: data.to_vec(),
            chunks: chunks(data),
            current: None,
        };
        self.sending.insert(transfer, sending);
        transfer
    }

    pub(crate) fn get(&mut self, name: &str) -> TransferId {
        self.get_from(name, 0, None)
    }

    pub(crate) fn get_from(
        &mut self,
        name: &str,
        offset: u64,
        manifest: Option<ManifestHash>,
    ) -> TransferId {
        self.pair.client.get(path(name), offset, manifest).unwrap()
    }

    /// One message, and what follows from it. `false` when all is quiet.
    pub(crate) fn step(&mut self) -> bool {
        let stepped = self.pair.step();
        stepped | self.handle_events()
    }

    pub(crate) fn handle_events(&mut self) -> bool {
        let mut handled = false;
        self.pair.collect();
        while let Some(event) = self.pair.client_events.pop_front() {
            assert!(self.closed[0].is_none(), "an event after Closed");
            self.client_event(event);
            handled = true;
        }
        while let Some(event) = self.pair.server_events.pop_front() {
            assert!(self.closed[1].is_none(), "an event after Closed");
            self.server_event(event);
            handled = true;
        }
        handled
    }

    pub(crate) fn run(&mut self) {
        while self.step() {}
    }

    /// Tells both ends that the link is gone.
    pub(crate) fn lose(&mut self) {
        self.pair.link(crate::channel::LinkChange::Lost);
        self.pair.collect();
        self.pair.to_client.streams.clear();
        self.pair.to_server.streams.clear();
        self.run();
    }

    fn client_event(&mut self, event: C) {
        match event {
            C::Transfer(transfer, CT::PutAccepted { current }) => {
                self.sending.get_mut(&transfer).unwrap().current = current;
            }
            C::Transfer(transfer, CT::Writable) => {
                let chunks = &mut self.sending.get_mut(&transfer).unwrap().chunks;
                let client = &mut self.pair.client;
                if write_all(chunks, |chunk| client.write(transfer, chunk)) {
                    self.prove(transfer);
                }
            }
            C::Transfer(transfer, CT::ProofWanted { current }) => {
                self.conflicts += 1;
                self.sending.get_mut(&transfer).unwrap().current = current;
                self.prove(transfer);
            }
            C::Transfer(transfer, CT::GetAccepted { signed, offset }) => {
                let (stored, data) = &self.files[&signed.manifest().path];
                assert_eq!(&signed, stored);
                let have = usize::try_from(offset).unwrap();
                self.fetched.insert(transfer, data[..have].to_vec());
            }
            C::Transfer(transfer, CT::Data(chunk)) => {
                assert!(!chunk.is_empty());
                self.fetched
                    .get_mut(&transfer)
                    .unwrap()
                    .extend_from_slice(&chunk);
                if !self.stalled.contains(&transfer) {
                    self.pair.client.consumed(transfer, chunk.len());
                }
            }
            C::Transfer(transfer, CT::Finished) => self.finished.push(transfer),
            C::Transfer(transfer, CT::Aborted(refusal)) => self.refused.push((transfer, refusal)),
            C::Transfer(transfer, CT::Truncated) => self.truncated.push(transfer),
            C::Closed(reason) => self.closed[0] = Some(reason),
            other => panic!("unexpected {other:?}"),
        }
    }

    fn prove(&mut self, transfer: TransferId) {
        let sending = &self.sending[&transfer];
        let signed = match &sending.current {
            Some(current) => signed_on(&sending.name, &sending.data, current),
            None => signed(&sending.name, &sending.data),
        };
        self.pair.client.finish_put(transfer, &signed).unwrap();
    }

    fn server_event(&mut self, event: S) {
        let server = &mut self.pair.server;
        match event {
            S::Transfer(transfer, ST::Put { path, .. }) => {
                let current = self.files.get(&path).map(|(signed, _)| signed);
                server.accept_put(transfer, current).unwrap();
                self.uploads.insert(transfer, (path, Vec::new()));
            }
            S::Transfer(transfer, ST::Data(chunk)) => {
                assert!(!chunk.is_empty());
                self.uploads
                    .get_mut(&transfer)
                    .unwrap()
                    .1
                    .extend_from_slice(&chunk);
                if !self.stalled.contains(&transfer) {
                    server.consumed(transfer, chunk.len());
                }
            }
            S::Transfer(transfer, ST::Proof(signed)) => {
                let path = &self.uploads[&transfer].0;
                let current = self.files.get(path).map(|(signed, _)| signed);
                if signed.manifest().previous != current.map(SignedManifest::hash) {
                    server.conflict(transfer, current).unwrap();
                    return;
                }
                let (path, data) = self.uploads.remove(&transfer).unwrap();
                self.files.insert(path, (signed, data));
                server.committed(transfer).unwrap();
            }
            S::Transfer(
                transfer,
                ST::Get {
                    path,
                    offset,
                    manifest,
                },
            ) => match self.files.get(&path) {
                Some((signed, data)) => {
                    let offset = if manifest == Some(signed.hash()) {
                        offset
                    } else {
                        0
                    };
                    let rest = &data[usize::try_from(offset).unwrap()..];
                    self.serving.insert(transfer, chunks(rest));
                    server.accept_get(transfer, signed, offset).unwrap();
                }
                None => server.abort(
                    transfer,
                    Refusal::new(RefusalCode::NotFound, "no such file"),
                ),
            },
            S::Transfer(transfer, ST::Writable) => {
                let chunks = self.serving.get_mut(&transfer).unwrap();
                if write_all(chunks, |chunk| server.write(transfer, chunk)) {
                    server.finish_get(transfer).unwrap();
                }
            }
            S::Transfer(transfer, ST::Finished) => self.served.push(transfer),
            S::Transfer(transfer, ST::Aborted(refusal)) => {
                self.uploads.remove(&transfer);
                self.aborted.push((transfer, Some(refusal)));
            }
            S::Transfer(transfer, ST::Truncated) => {
                self.uploads.remove(&transfer);
                self.aborted.push((transfer, None));
            }
            S::Closed(reason) => self.closed[1] = Some(reason),
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// Writes as much as is taken; `true` when nothing is left.
fn write_all(
    chunks: &mut VecDeque<Chunk>,
    mut write: impl FnMut(Chunk) -> Result<(), WriteError>,
) -> bool {
    while let Some(chunk) = chunks.pop_front() {
        match write(chunk) {
            Ok(()) => {}
            Err(WriteError::Blocked(chunk)) => {
                chunks.push_front(chunk);
                return false;
            }
            // The transfer was given up meanwhile.
            Err(WriteError::Unknown(_)) => return false,
            Err(error @ WriteError::TooLong(_)) => panic!("{error}"),
        }
    }
    true
}
