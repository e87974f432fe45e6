//! Puts and gets over a pair of connections.

use std::collections::{BTreeMap, VecDeque};

use super::pair::{Pair, chunks, content, path, signed};
use crate::client::Event as C;
use crate::server::Event as S;
use crate::{Chunk, FilePath, Refusal, RefusalCode, SignedManifest, TransferId, WriteError};

/// A store in memory, and a client that uploads and downloads as credit allows.
struct Apps {
    pair: Pair,
    files: BTreeMap<FilePath, (SignedManifest, Vec<u8>)>,
    serving: BTreeMap<TransferId, VecDeque<Chunk>>,
    uploads: BTreeMap<TransferId, (FilePath, Vec<u8>)>,
    sending: BTreeMap<TransferId, (VecDeque<Chunk>, SignedManifest)>,
    fetched: BTreeMap<TransferId, Vec<u8>>,
    finished: Vec<TransferId>,
    refused: Vec<(TransferId, Refusal)>,
    /// Gets whose data is never consumed.
    stalled: Vec<TransferId>,
}

impl Apps {
    fn new(seed: u64) -> Self {
        Self {
            pair: Pair::logged_in(seed),
            files: BTreeMap::new(),
            serving: BTreeMap::new(),
            uploads: BTreeMap::new(),
            sending: BTreeMap::new(),
            fetched: BTreeMap::new(),
            finished: Vec::new(),
            refused: Vec::new(),
            stalled: Vec::new(),
        }
    }

    fn put(&mut self, name: &str, data: &[u8]) -> TransferId {
        let transfer = self.pair.client.put(path(name), data.len() as u64).unwrap();
        self.sending
            .insert(transfer, (chunks(data), signed(name, data)));
        transfer
    }

    fn get(&mut self, name: &str) -> TransferId {
        self.pair.client.get(path(name), 0, None).unwrap()
    }

    fn run(&mut self) {
        loop {
            let stepped = self.pair.step();
            let mut handled = false;
            while let Some(event) = self.pair.client_events.pop_front() {
                self.client_event(event);
                handled = true;
            }
            while let Some(event) = self.pair.server_events.pop_front() {
                self.server_event(event);
                handled = true;
            }
            if !stepped && !handled {
                return;
            }
        }
    }

    fn client_event(&mut self, event: C) {
        let client = &mut self.pair.client;
        match event {
            C::PutAccepted { transfer, .. } => assert!(self.sending.contains_key(&transfer)),
            C::Writable { transfer } => {
                let (chunks, signed) = self.sending.get_mut(&transfer).unwrap();
                while let Some(chunk) = chunks.pop_front() {
                    match client.write(transfer, chunk) {
                        Ok(()) => {}
                        Err(WriteError::Blocked(chunk)) => {
                            chunks.push_front(chunk);
                            return;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                client.finish_put(transfer, signed).unwrap();
            }
            C::GetAccepted {
                transfer,
                signed,
                offset,
            } => {
                assert_eq!(offset, 0);
                assert_eq!(signed, self.files[&signed.manifest().path].0);
                self.fetched.insert(transfer, Vec::new());
            }
            C::Data { transfer, chunk } => {
                self.fetched
                    .get_mut(&transfer)
                    .unwrap()
                    .extend_from_slice(&chunk);
                if !self.stalled.contains(&transfer) {
                    client.consumed(transfer, chunk.len());
                }
            }
            C::Finished { transfer } => self.finished.push(transfer),
            C::Refused { transfer, refusal } => self.refused.push((transfer, refusal)),
            other => panic!("unexpected {other:?}"),
        }
    }

    fn server_event(&mut self, event: S) {
        let server = &mut self.pair.server;
        match event {
            S::Put { transfer, path, .. } => {
                let current = self.files.get(&path).map(|(signed, _)| signed);
                server.accept_put(transfer, current).unwrap();
                self.uploads.insert(transfer, (path, Vec::new()));
            }
            S::Data { transfer, chunk } => {
                self.uploads
                    .get_mut(&transfer)
                    .unwrap()
                    .1
                    .extend_from_slice(&chunk);
                server.consumed(transfer, chunk.len());
            }
            S::Proof { transfer, signed } => {
                let (path, data) = self.uploads.remove(&transfer).unwrap();
                self.files.insert(path, (signed, data));
                server.committed(transfer).unwrap();
            }
            S::Get { transfer, path, .. } => match self.files.get(&path) {
                Some((signed, data)) => {
                    self.serving.insert(transfer, chunks(data));
                    server.accept_get(transfer, signed, 0).unwrap();
                }
                None => server.abort(
                    transfer,
                    Refusal::new(RefusalCode::NotFound, "no such file"),
                ),
            },
            S::Writable { transfer } => {
                let chunks = self.serving.get_mut(&transfer).unwrap();
                while let Some(chunk) = chunks.pop_front() {
                    match server.write(transfer, chunk) {
                        Ok(()) => {}
                        Err(WriteError::Blocked(chunk)) => {
                            chunks.push_front(chunk);
                            return;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                server.finish_get(transfer).unwrap();
            }
            S::Finished { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[test]
fn what_is_put_can_be_got() {
    for (seed, len) in [0, 1, 65_535, 65_536, 65_537, 6_000_000]
        .into_iter()
        .enumerate()
    {
        let data = content(len);
        let mut apps = Apps::new(seed as u64);
        let put = apps.put("docs/a.bin", &data);
        apps.run();
        assert_eq!(apps.finished, [put]);
        assert!(
            apps.files[&path("docs/a.bin")].1 == data,
            "{len} bytes came out different"
        );
        let get = apps.get("docs/a.bin");
        assert_eq!(get.stream(), put.stream(), "the stream is free again");
        assert_eq!(get.generation(), put.generation() + 1);
        apps.run();
        assert_eq!(apps.finished, [put, get]);
        assert!(
            apps.fetched[&get] == data,
            "{len} bytes came back different"
        );
    }
}
