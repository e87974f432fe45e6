//! Big-endian numbers and length-prefixed strings.

use zeroize::Zeroizing;

use crate::error::ProtocolError;

/// Takes a message apart from the front.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `len` bytes.
    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], ProtocolError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(ProtocolError::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(ProtocolError::Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, ProtocolError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ProtocolError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ProtocolError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, ProtocolError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, ProtocolError> {
        self.array().map(i64::from_be_bytes)
    }

    /// A flag: 0 or 1.
    pub(super) fn flag(&mut self) -> Result<bool, ProtocolError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(ProtocolError::Malformed),
        }
    }

    /// A string of at most `longest` bytes after its length in two.
    pub(super) fn string(&mut self, longest: usize) -> Result<&'a str, ProtocolError> {
        let len = usize::from(self.u16()?);
        if len > longest {
            return Err(ProtocolError::Malformed);
        }
        std::str::from_utf8(self.bytes(len)?).map_err(|_| ProtocolError::Malformed)
    }

    /// What a flag says is there.
    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, ProtocolError>,
    ) -> Result<Option<T>, ProtocolError> {
        if self.flag()? {
            read(self).map(Some)
        } else {
            Ok(None)
        }
    }

    /// As many as a count in four bytes says. Nothing is reserved for what has not come.
    pub(super) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, ProtocolError>,
    ) -> Result<Vec<T>, ProtocolError> {
        let count = self.u32()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), ProtocolError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(ProtocolError::Malformed)
        }
    }
}

/// Puts a message together. May hold a password, hence zeroised.
pub(super) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn flag(&mut self, value: bool) {
        self.u8(value.into());
    }

    /// A string after its length in two bytes.
    pub(super) fn string(&mut self, text: &str) {
        let len = u16::try_from(text.len())
            .expect("every type that is sent, and every check before sending, bounds its strings far below 65,536 bytes");
        self.u16(len);
        self.bytes(text.as_bytes());
    }

    /// A string, cut between characters to `longest` bytes.
    pub(super) fn text(&mut self, text: &str, longest: usize) {
        let mut end = text.len().min(longest);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.string(&text[..end]);
    }

    pub(super) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(super) fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        let count =
            u32::try_from(items.len()).expect("four thousand million entries do not fit in memory");
        self.u32(count);
        for item in items {
            write(self, item);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Fills with zeros to `len`.
    pub(super) fn pad(&mut self, len: usize) {
        self.0.resize(len, 0);
    }

    pub(super) fn finish(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    /// Writes a control message's length over the four bytes left for it at the front.
    pub(super) fn finish_frame(mut self) -> Zeroizing<Vec<u8>> {
        let len =
            u32::try_from(self.0.len() - 4).expect("a list of entries stays below four gigabytes");
        self.0[..4].copy_from_slice(&len.to_be_bytes());
        self.0
    }
}
