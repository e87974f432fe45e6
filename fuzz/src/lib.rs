//! What the fuzz targets share.

use pem_rfc7468::LineEnding;

/// Two readings of an input: the text that it is, if it is one, and the armored file whose bytes it
/// is.
///
/// Without the second, the fuzzer would hardly ever find its way through the base64.
pub fn plain_and_armored(label: &'static str, data: &[u8]) -> impl Iterator<Item = String> {
    let plain = str::from_utf8(data).ok().map(str::to_owned);
    let mut armored = vec![0; 2 * data.len() + 256];
    let armored = pem_rfc7468::Encoder::new_wrapped(label, 70, LineEnding::LF, &mut armored)
        .and_then(|mut encoder| {
            encoder.encode(data)?;
            encoder.finish()
        })
        .map(|len| String::from_utf8_lossy(&armored[..len]).into_owned());
    plain.into_iter().chain(armored.ok())
}
