//! The one buffer between disk and wire.

use std::fmt;
use std::io::{self, Read};
use std::ops::{Deref, DerefMut};

use bytes::{BufMut, Bytes, BytesMut};

/// Most file data that one record carries, in bytes: the chunk of the `age` format, so record i of
/// a transfer is chunk i of the stored file.
pub const CHUNK_LEN: usize = 65_536;

/// Bytes before the data: the kind of a record.
pub(crate) const HEADROOM: usize = 1;

/// Bytes after the data: an authentication tag, of a record or of a stored chunk.
pub const TAILROOM: usize = 16;

/// Up to [`CHUNK_LEN`] bytes of a file, in a buffer that is sealed and opened in place.
///
/// One byte lies free before the data and [`TAILROOM`] bytes after it, so that neither a record nor
/// an `age` chunk moves a byte. The buffer is owned alone: a chunk out of a received record is as
/// good for writing as a new one. Between calls the data may grow into the tailroom (a stored chunk
/// is read with its tag); only what a connection is asked to send must be [`CHUNK_LEN`] at most.
pub struct Chunk {
    /// Headroom, then data.
    buffer: BytesMut,
}

impl Chunk {
    /// Most bytes of data and tag together.
    pub const CAPACITY: usize = CHUNK_LEN + TAILROOM;

    /// An empty chunk with room for [`Chunk::CAPACITY`] bytes.
    pub fn new() -> Self {
        Self::with_capacity(CHUNK_LEN)
    }

    /// An empty chunk with room for `data` bytes and a tag.
    pub(crate) fn with_capacity(data: usize) -> Self {
        let mut buffer = BytesMut::with_capacity(HEADROOM + data + TAILROOM);
        buffer.put_u8(0);
        Self { buffer }
    }

    /// A copy of `data`.
    ///
    /// # Panics
    /// When `data` is longer than [`Chunk::CAPACITY`].
    pub fn from_slice(data: &[u8]) -> Self {
        let mut chunk = Self::with_capacity(data.len());
        chunk.extend_from_slice(data);
        chunk
    }

    /// Takes over a buffer whose first byte is headroom.
    pub(crate) fn from_buffer(buffer: BytesMut) -> Self {
        debug_assert!(!buffer.is_empty());
        Self { buffer }
    }

    /// The buffer with its headroom.
    pub(crate) fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The whole buffer, headroom included, for the carrier.
    pub(crate) fn freeze(self) -> Bytes {
        self.buffer.freeze()
    }

    /// Number of bytes of data.
    pub fn len(&self) -> usize {
        self.buffer.len() - HEADROOM
    }

    /// Whether there is no data.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets the data, keeps the memory.
    pub fn clear(&mut self) {
        self.buffer.truncate(HEADROOM);
    }

    /// Keeps the first `len` bytes; does nothing when there are fewer.
    pub fn truncate(&mut self, len: usize) {
        self.buffer.truncate(HEADROOM.saturating_add(len));
    }

    /// Cuts or fills with zeros to `len` bytes.
    ///
    /// # Panics
    /// When `len` is more than [`Chunk::CAPACITY`].
    pub fn resize(&mut self, len: usize) {
        assert!(
            len <= Self::CAPACITY,
            "a chunk holds {} bytes, not {len}",
            Self::CAPACITY
        );
        self.buffer.resize(HEADROOM + len, 0);
    }

    /// Appends `data`.
    ///
    /// # Panics
    /// When the chunk would become longer than [`Chunk::CAPACITY`].
    pub fn extend_from_slice(&mut self, data: &[u8]) {
        let len = self.len() + data.len();
        assert!(
            len <= Self::CAPACITY,
            "a chunk holds {} bytes, not {len}",
            Self::CAPACITY
        );
        self.buffer.extend_from_slice(data);
    }

    /// Replaces the data with the next [`CHUNK_LEN`] bytes of `source`; fewer only at its end.
    ///
    /// Returns the number of bytes read, 0 at the end.
    ///
    /// # Errors
    /// What `source` gives, except interruption, which is retried. The chunk is then empty.
    pub fn fill_from(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.resize(CHUNK_LEN);
        let mut filled = 0;
        while filled < CHUNK_LEN {
            match source.read(&mut self[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.clear();
                    return Err(error);
                }
            }
        }
        self.truncate(filled);
        Ok(filled)
    }
}

impl Default for Chunk {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[HEADROOM..]
    }
}

impl DerefMut for Chunk {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[HEADROOM..]
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_data_and_tag_without_moving() {
        let mut chunk = Chunk::new();
        let start = chunk.as_ptr();
        chunk.resize(Chunk::CAPACITY);
        assert_eq!(chunk.as_ptr(), start);
        assert_eq!(chunk.len(), 65_552);
        chunk.truncate(CHUNK_LEN);
        assert_eq!(chunk.len(), CHUNK_LEN);
        chunk.clear();
        assert!(chunk.is_empty());
    }

    #[test]
    #[should_panic(expected = "a chunk holds 65552 bytes")]
    fn never_grows_beyond_its_capacity() {
        Chunk::new().resize(Chunk::CAPACITY + 1);
    }

    #[test]
    fn fills_from_short_reads() {
        struct OneByOne(usize);
        impl Read for OneByOne {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                if self.0 == 0 || buf.is_empty() {
                    return Ok(0);
                }
                self.0 -= 1;
                buf[0] = 7;
                Ok(1)
            }
        }
        let mut source = OneByOne(CHUNK_LEN + 3);
        let mut chunk = Chunk::new();
        assert_eq!(chunk.fill_from(&mut source).unwrap(), CHUNK_LEN);
        assert_eq!(chunk.fill_from(&mut source).unwrap(), 3);
        assert_eq!(&chunk[..], [7, 7, 7]);
        assert_eq!(chunk.fill_from(&mut source).unwrap(), 0);
    }
}
