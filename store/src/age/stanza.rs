//! Header stanzas (age v1, "Header"): `-> type argument…` and a body in base64 lines of 64
//! characters, the last of them shorter.

use base64ct::{Base64Unpadded, Encoding};

use crate::limits::{MAX_STANZA_ARGS, MAX_STANZAS};

/// First line of a header.
pub(super) const VERSION_LINE: &str = "age-encryption.org/v1";
const COLUMNS: usize = 64;

/// Why a header does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    /// Not the text of an age v1 header.
    #[error("not a readable age header: {0}")]
    Malformed(&'static str),
    /// None of the identities is a recipient.
    #[error("encrypted for another storage key")]
    NotForUs,
    /// The MAC or the seal of the proof is wrong.
    #[error("the header was changed")]
    Changed,
    /// An age file, but not of a Towpath store.
    #[error("an age file without a Towpath proof")]
    NoProof,
    /// The proof is not authenticated with the storage key, for this store and path.
    #[error("its proof was not made by this server for this path")]
    Foreign,
}

/// One stanza with its body decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stanza<'a> {
    pub(super) kind: &'a str,
    pub(super) args: Vec<&'a str>,
    pub(super) body: Vec<u8>,
}

/// Appends a stanza to `out`.
pub(super) fn emit(out: &mut String, arguments: &[&str], body: &[u8]) {
    out.push_str("->");
    for argument in arguments {
        out.push(' ');
        out.push_str(argument);
    }
    out.push('\n');
    let text = base64(body);
    let mut rest = text.as_str();
    while rest.len() >= COLUMNS {
        let (line, next) = rest.split_at(COLUMNS);
        out.push_str(line);
        out.push('\n');
        rest = next;
    }
    out.push_str(rest);
    out.push('\n');
}

/// The parts of a header's text.
pub(super) struct Parts<'a> {
    pub(super) stanzas: Vec<Stanza<'a>>,
    /// What the MAC covers: everything to the three dashes.
    pub(super) covered: &'a str,
    pub(super) mac: [u8; 32],
    /// Bytes of the whole header, with its last line feed.
    pub(super) len: usize,
}

#[cfg(any(test, feature = "fuzzing"))]
impl Parts<'_> {
    /// The header again.
    pub(super) fn emit(&self) -> String {
        let mut text = format!("{}\n", VERSION_LINE);
        for stanza in &self.stanzas {
            let arguments: Vec<&str> = [stanza.kind].iter().chain(&stanza.args).copied().collect();
            emit(&mut text, &arguments, &stanza.body);
        }
        text + "--- " + &base64(&self.mac) + "\n"
    }
}

/// Splits a header that starts at the first byte of `bytes`; what follows it is not looked at.
pub(super) fn parse(bytes: &[u8]) -> Result<Parts<'_>, HeaderError> {
    let mut lines = Lines { bytes, at: 0 };
    if lines.next()? != VERSION_LINE {
        return Err(HeaderError::Malformed(
            "it does not begin with the line of age v1",
        ));
    }
    let mut stanzas = Vec::new();
    loop {
        let start = lines.at;
        let line = lines.next()?;
        if let Some(mac) = line.strip_prefix("--- ") {
            let covered = &bytes[..start + 3];
            return Ok(Parts {
                stanzas,
                covered: std::str::from_utf8(covered)
                    .map_err(|_| HeaderError::Malformed("it is not ASCII"))?,
                mac: fixed(mac)
                    .ok_or(HeaderError::Malformed("its MAC is not 32 bytes of base64"))?,
                len: lines.at,
            });
        }
        if stanzas.len() == MAX_STANZAS {
            return Err(HeaderError::Malformed("it has too many stanzas"));
        }
        stanzas.push(stanza(line, &mut lines)?);
    }
}

fn stanza<'a>(line: &'a str, lines: &mut Lines<'a>) -> Result<Stanza<'a>, HeaderError> {
    let arguments = line.strip_prefix("-> ").ok_or(HeaderError::Malformed(
        "a stanza does not begin with an arrow",
    ))?;
    let mut args: Vec<&str> = arguments.splitn(MAX_STANZA_ARGS + 1, ' ').collect();
    let printable = |arg: &&str| !arg.is_empty() && arg.bytes().all(|byte| byte.is_ascii_graphic());
    if args.len() > MAX_STANZA_ARGS || !args.iter().all(printable) {
        return Err(HeaderError::Malformed("a stanza has bad arguments"));
    }
    let kind = args.remove(0);
    let mut body = Vec::new();
    loop {
        let line = lines.next()?;
        if line.len() > COLUMNS {
            return Err(HeaderError::Malformed(
                "a stanza has a line of over 64 columns",
            ));
        }
        let decoded = Base64Unpadded::decode_vec(line).map_err(|_| {
            HeaderError::Malformed("a stanza is not canonical base64 without padding")
        })?;
        body.extend_from_slice(&decoded);
        if line.len() < COLUMNS {
            return Ok(Stanza { kind, args, body });
        }
    }
}

/// Canonical base64 without padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    Base64Unpadded::encode_string(bytes)
}

/// Decodes exactly `N` bytes of canonical base64 without padding.
pub(super) fn fixed<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    let decoded = Base64Unpadded::decode(text, &mut out).ok()?;
    if decoded.len() != N {
        return None;
    }
    Some(out)
}

struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a str, HeaderError> {
        let rest = &self.bytes[self.at..];
        let end = rest
            .iter()
            .position(|&byte| byte == b'\n')
            .ok_or(HeaderError::Malformed("it does not end"))?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| HeaderError::Malformed("it is not ASCII"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(stanzas: &str) -> Vec<u8> {
        format!("age-encryption.org/v1\n{stanzas}--- {}\n", base64(&[0; 32])).into_bytes()
    }

    #[test]
    fn bodies_at_the_line_boundary_end_with_a_short_line() {
        for len in [0, 1, 47, 48, 49, 95, 96, 97] {
            let mut text = String::new();
            emit(&mut text, &["kind", "arg"], &vec![0xa5; len]);
            let lines: Vec<&str> = text.lines().skip(1).collect();
            assert!(lines.last().unwrap().len() < COLUMNS, "{len} bytes");
            let bytes = header(&text);
            let parts = parse(&bytes).unwrap();
            assert_eq!(
                parts.stanzas,
                [Stanza {
                    kind: "kind",
                    args: vec!["arg"],
                    body: vec![0xa5; len]
                }]
            );
            assert_eq!(parts.len, bytes.len());
        }
    }

    #[test]
    fn refuses_what_is_not_canonical() {
        for (stanza, why) in [
            ("-> a\nAB\n", "trailing bits set"),
            ("-> a\nAA==\n", "padding"),
            ("-> a\nAA\r\n", "carriage return"),
            ("-> a  b\n\n", "two spaces"),
            ("-> a \n\n", "space at the end"),
            ("-> \n\n", "no type"),
            ("->a\n\n", "no space"),
            ("-> \u{e9}\n\n", "not ASCII"),
            ("-> a\nA\n", "impossible length"),
            ("-> a b c d e f g h i\n\n", "too many arguments"),
        ] {
            assert!(parse(&header(stanza)).is_err(), "{why}");
        }
        let long = format!("-> a\n{}\n\n", "A".repeat(65));
        assert!(parse(&header(&long)).is_err());
        let missing = format!("-> a\n{}\n", "A".repeat(64));
        assert!(parse(&header(&missing)).is_err(), "a full last line");
        assert!(parse(&header(&"-> a\n\n".repeat(MAX_STANZAS))).is_ok());
        assert!(parse(&header(&"-> a\n\n".repeat(MAX_STANZAS + 1))).is_err());
        assert!(parse(b"age-encryption.org/v2\n--- \n").is_err());
    }

    proptest! {
        #[test]
        fn never_panics_and_never_takes_a_cut_header(bytes: Vec<u8>, cut in 0_usize..200) {
            prop_assert!(parse(&bytes).is_err());
            let mut stanza = String::new();
            emit(&mut stanza, &["x"], &bytes);
            let whole = header(&stanza);
            let cut = cut.min(whole.len() - 1);
            prop_assert!(parse(&whole[..whole.len() - 1 - cut]).is_err());
        }
    }
}
