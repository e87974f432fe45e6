//! Sealing and opening of transfer records.
//!
//! A record is `kind(1) ‖ ciphertext(0–65,536) ‖ tag(16)` in one message of the carrier. The nonce
//! is the record number as 96 bits, big-endian, and is not sent: SCTP delivers each stream in
//! order, so both sides count. The associated data is
//! `direction(1) ‖ stream(2) ‖ generation(4) ‖ kind(1)`.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::{Bytes, BytesMut};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Tag};

use crate::channel::chunk::{CHUNK_LEN, Chunk, HEADROOM, TAILROOM};
use crate::channel::keys::{Secret, TransferSecret};
use crate::channel::kind::RecordKind;
use crate::error::ProtocolError;
use crate::limits::MAX_RECORD_LEN;

/// The AEAD that TLS negotiated, which the records use too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Aes256Gcm,
    ChaCha20Poly1305,
}

enum Cipher {
    Aes(Box<LessSafeKey>),
    ChaCha(Box<ChaCha20Poly1305>),
}

impl Cipher {
    fn new(algorithm: Algorithm, key: &Secret) -> Self {
        match algorithm {
            Algorithm::Aes256Gcm => {
                let key = UnboundKey::new(&AES_256_GCM, &key[..]).expect("the key has 32 bytes");
                Self::Aes(Box::new(LessSafeKey::new(key)))
            }
            Algorithm::ChaCha20Poly1305 => {
                Self::ChaCha(Box::new(ChaCha20Poly1305::new((&**key).into())))
            }
        }
    }

    fn seal(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; TAILROOM] {
        match self {
            Self::Aes(key) => {
                let tag = key
                    .seal_in_place_separate_tag(
                        Nonce::assume_unique_for_key(nonce),
                        Aad::from(aad),
                        data,
                    )
                    .expect("a record is shorter than the AEAD's limit of 64 GiB");
                tag.as_ref()
                    .try_into()
                    .expect("the tag of AES-GCM has 16 bytes")
            }
            Self::ChaCha(key) => key
                .encrypt_inout_detached(&nonce.into(), aad, data.into())
                .expect("a record is shorter than the AEAD's limit of 256 GiB")
                .into(),
        }
    }

    /// Opens `data`, which ends in the tag; what it holds after a failure is undefined.
    fn open(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8]) -> Result<(), ProtocolError> {
        match self {
            Self::Aes(key) => {
                key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), data)
                    .map_err(|_| ProtocolError::Record)?;
            }
            Self::ChaCha(key) => {
                let (data, tag) = data
                    .split_last_chunk_mut::<TAILROOM>()
                    .ok_or(ProtocolError::Malformed)?;
                let tag = Tag::from(*tag);
                key.decrypt_inout_detached(&nonce.into(), aad, data.into(), &tag)
                    .map_err(|_| ProtocolError::Record)?;
            }
        }
        Ok(())
    }
}

/// One direction of one transfer: the count of its records and the key of the present one.
struct Half {
    algorithm: Algorithm,
    secret: TransferSecret,
    next: u64,
    block: u64,
    cipher: Cipher,
}

impl Half {
    fn new(algorithm: Algorithm, secret: TransferSecret) -> Self {
        let cipher = Cipher::new(algorithm, &secret.key(0));
        Self {
            algorithm,
            secret,
            next: 0,
            block: 0,
            cipher,
        }
    }

    /// Nonce and cipher of the next record.
    fn step(&mut self) -> ([u8; 12], &Cipher) {
        let number = self.next;
        self.next = number
            .checked_add(1)
            .expect("2^64 records would take ten thousand years at full speed");
        let block = TransferSecret::block(number);
        if block != self.block {
            self.block = block;
            self.cipher = Cipher::new(self.algorithm, &self.secret.key(block));
        }
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&number.to_be_bytes());
        (nonce, &self.cipher)
    }

    fn associated_data(&self, kind: RecordKind) -> [u8; 8] {
        let [s0, s1] = self.secret.stream.to_be_bytes();
        let [g0, g1, g2, g3] = self.secret.generation.to_be_bytes();
        [
            self.secret.direction.byte(),
            s0,
            s1,
            g0,
            g1,
            g2,
            g3,
            kind.byte(),
        ]
    }
}

/// Seals the records that we send in one transfer.
pub(crate) struct Sealer(Half);

impl Sealer {
    pub(crate) fn new(algorithm: Algorithm, secret: TransferSecret) -> Self {
        Self(Half::new(algorithm, secret))
    }

    /// Seals `body` in place into a message.
    pub(crate) fn seal(&mut self, kind: RecordKind, mut body: Chunk) -> Bytes {
        debug_assert!(body.len() <= CHUNK_LEN);
        let aad = self.0.associated_data(kind);
        let (nonce, cipher) = self.0.step();
        let tag = cipher.seal(nonce, &aad, &mut body);
        let buffer = body.buffer_mut();
        buffer[0] = kind.byte();
        buffer.extend_from_slice(&tag);
        body.freeze()
    }
}

/// Opens the records that the peer sends in one transfer.
pub(crate) struct Opener(Half);

impl Opener {
    pub(crate) fn new(algorithm: Algorithm, secret: TransferSecret) -> Self {
        Self(Half::new(algorithm, secret))
    }

    /// Opens a message in place.
    ///
    /// # Errors
    /// Anything but the record that comes next, whole and of this very place, is an error after
    /// which nothing may be opened any more.
    pub(crate) fn open(
        &mut self,
        mut message: BytesMut,
    ) -> Result<(RecordKind, Chunk), ProtocolError> {
        if message.len() < HEADROOM + TAILROOM || message.len() > MAX_RECORD_LEN {
            return Err(ProtocolError::Malformed);
        }
        let kind = RecordKind::from_byte(message[0]).ok_or(ProtocolError::Malformed)?;
        let aad = self.0.associated_data(kind);
        let (nonce, cipher) = self.0.step();
        cipher.open(nonce, &aad, &mut message[HEADROOM..])?;
        let len = message.len() - TAILROOM;
        message.truncate(len);
        Ok((kind, Chunk::from_buffer(message)))
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::channel::keys::{Direction, Root};

    const BOTH: [Algorithm; 2] = [Algorithm::Aes256Gcm, Algorithm::ChaCha20Poly1305];

    fn secret(direction: Direction, stream: u16) -> TransferSecret {
        let root: [u8; 32] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        Root::new(Zeroizing::new(root))
            .chain(direction, stream)
            .advance()
            .unwrap()
    }

    fn ends(algorithm: Algorithm) -> (Sealer, Opener) {
        let there = secret(Direction::ServerToClient, 3);
        let here = secret(Direction::ServerToClient, 3);
        (Sealer::new(algorithm, there), Opener::new(algorithm, here))
    }

    /// The vectors of docs/PROTOCOL.md, which were computed with Python's `cryptography`.
    #[test]
    fn vectors() {
        let expected = [
            "03b68651f42f6115befff1fabcfa849b78868db709a1d260",
            "032cc00965222789c1ee0753614b1453de0917703c7ce4b0",
        ];
        for (algorithm, expected) in BOTH.into_iter().zip(expected) {
            let (mut sealer, _) = ends(algorithm);
            for _ in 0..5 {
                sealer.seal(RecordKind::Credit, Chunk::from_slice(&[0; 8]));
            }
            let record = sealer.seal(RecordKind::Data, Chunk::from_slice(b"towpath"));
            let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected);
        }
    }

    #[test]
    fn opens_in_place_what_was_sealed_in_place() {
        for algorithm in BOTH {
            let (mut sealer, mut opener) = ends(algorithm);
            for len in [0, 1, 15, 16, 17, 65_535, 65_536] {
                let mut chunk = Chunk::new();
                chunk.resize(len);
                chunk.fill(0x5C);
                let start = chunk.as_ptr();
                let message = sealer.seal(RecordKind::Data, chunk);
                assert_eq!(
                    message[HEADROOM..].as_ptr(),
                    start,
                    "sealing moved the data"
                );
                let message = message.try_into_mut().unwrap();
                let (kind, mut opened) = opener.open(message).unwrap();
                assert_eq!(kind, RecordKind::Data);
                assert_eq!(opened.as_ptr(), start, "opening moved the data");
                assert!(opened.len() == len && opened.iter().all(|byte| *byte == 0x5C));
                opened.resize(len + TAILROOM);
                assert_eq!(opened.as_ptr(), start, "there was no room for another tag");
            }
        }
    }

    #[test]
    fn any_flipped_bit_is_found() {
        for algorithm in BOTH {
            let (mut sealer, _) = ends(algorithm);
            let record = sealer.seal(RecordKind::Proof, Chunk::from_slice(b"some bytes"));
            for bit in 0..record.len() * 8 {
                let (_, mut opener) = ends(algorithm);
                let mut wrong = BytesMut::from(&record[..]);
                wrong[bit / 8] ^= 1 << (bit % 8);
                opener.open(wrong).unwrap_err();
            }
            for len in 0..record.len() {
                let (_, mut opener) = ends(algorithm);
                opener.open(BytesMut::from(&record[..len])).unwrap_err();
            }
        }
    }

    #[test]
    fn a_record_opens_in_its_own_place_only() {
        for algorithm in BOTH {
            let records: Vec<_> = {
                let (mut sealer, _) = ends(algorithm);
                (0..3_u8)
                    .map(|i| sealer.seal(RecordKind::Data, Chunk::from_slice(&[i])))
                    .collect()
            };
            let open = |opener: &mut Opener, i: usize| opener.open(BytesMut::from(&records[i][..]));
            // Dropped or reordered.
            let (_, mut opener) = ends(algorithm);
            assert_eq!(open(&mut opener, 1).err(), Some(ProtocolError::Record));
            // Replayed.
            let (_, mut opener) = ends(algorithm);
            open(&mut opener, 0).unwrap();
            assert_eq!(open(&mut opener, 0).err(), Some(ProtocolError::Record));
            // Moved to the other direction, or another stream.
            for (direction, stream) in [
                (Direction::ClientToServer, 3),
                (Direction::ServerToClient, 4),
            ] {
                let mut opener = Opener::new(algorithm, secret(direction, stream));
                assert_eq!(open(&mut opener, 0).err(), Some(ProtocolError::Record));
            }
        }
    }

    #[test]
    fn the_key_changes_after_2_to_the_20_records() {
        for algorithm in BOTH {
            let (mut sealer, mut opener) = ends(algorithm);
            for half in [&mut sealer.0, &mut opener.0] {
                half.next = (1 << 20) - 1;
            }
            for number in [(1_u64 << 20) - 1, 1 << 20, (1 << 20) + 1] {
                let body = number.to_be_bytes();
                let record = sealer.seal(RecordKind::Data, Chunk::from_slice(&body));
                // The same record under the key of the other block.
                let mut stale = Half::new(algorithm, secret(Direction::ServerToClient, 3));
                stale.next = number;
                stale.block = TransferSecret::block(number);
                let opened = Opener(stale).open(BytesMut::from(&record[..]));
                assert_eq!(opened.is_ok(), number < 1 << 20);
                let (_, chunk) = opener.open(BytesMut::from(&record[..])).unwrap();
                assert_eq!(&chunk[..], body);
            }
        }
    }
}
