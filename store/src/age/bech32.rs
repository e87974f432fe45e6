//! Bech32 (BIP 173) without its limit of 90 characters, as age encodes keys. Buffers that may hold
//! a secret are zeroized.

use zeroize::Zeroizing;

const CHARSET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const GENERATOR: [u32; 5] = [
    0x3b6a_57b2,
    0x2650_8e6d,
    0x1ea1_19fa,
    0x3d42_33dd,
    0x2a14_62b3,
];
const CHECKSUM: usize = 6;

fn step(checksum: u32, value: u8) -> u32 {
    let top = checksum >> 25;
    let mut next = (checksum & 0x01ff_ffff) << 5 ^ u32::from(value);
    for (bit, generator) in GENERATOR.iter().enumerate() {
        if top >> bit & 1 == 1 {
            next ^= generator;
        }
    }
    next
}

fn start(hrp: &str) -> u32 {
    let high = hrp.bytes().map(|byte| byte >> 5);
    let low = hrp.bytes().map(|byte| byte & 31);
    high.chain([0]).chain(low).fold(1, step)
}

/// Encodes `data` in lower case under `hrp`, which is lower-case ASCII.
pub(super) fn encode(hrp: &str, data: &[u8]) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(
        hrp.len() + 1 + data.len() * 2 + CHECKSUM,
    ));
    out.push_str(hrp);
    out.push('1');
    let mut checksum = start(hrp);
    let mut push = |out: &mut String, value: u8| {
        checksum = step(checksum, value);
        out.push(char::from(CHARSET[usize::from(value)]));
    };
    let (mut bits, mut held) = (0_u32, 0_u16);
    for &byte in data {
        held = held << 8 | u16::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            push(&mut out, (held >> bits & 31) as u8);
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        push(&mut out, (held << (5 - bits) & 31) as u8);
    }
    let checksum = (0..CHECKSUM).fold(checksum, |sum, _| step(sum, 0)) ^ 1;
    for index in (0..CHECKSUM).rev() {
        let value = (checksum >> (5 * index)) & 31;
        out.push(char::from(CHARSET[value as usize]));
    }
    out
}

/// Decodes 32 bytes under exactly `hrp`; all in lower or all in upper case. `None` for anything
/// that [`encode`] would not give.
pub(super) fn decode(hrp: &str, text: &str) -> Option<Zeroizing<[u8; 32]>> {
    const VALUES: usize = 52; // 256 bits in groups of five, the last padded with four zero bits
    let upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
    if upper && text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return None;
    }
    let (prefix, values) = text.split_at_checked(hrp.len() + 1)?;
    if !prefix.strip_suffix('1')?.eq_ignore_ascii_case(hrp) || values.len() != VALUES + CHECKSUM {
        return None;
    }
    let mut data = Zeroizing::new([0; 32]);
    let mut checksum = start(hrp);
    let (mut bits, mut held, mut at) = (0_u32, 0_u16, 0);
    for (index, byte) in values.bytes().enumerate() {
        let value = CHARSET
            .iter()
            .position(|&c| c == byte.to_ascii_lowercase())? as u8;
        checksum = step(checksum, value);
        if index >= VALUES {
            continue;
        }
        held = held << 5 | u16::from(value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            *data.get_mut(at)? = (held >> bits) as u8;
            at += 1;
            held &= (1 << bits) - 1;
        }
    }
    (checksum == 1 && held == 0 && at == data.len()).then_some(data)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Printed by `age-keygen` 1.1.1.
    #[test]
    fn reads_what_age_keygen_prints() {
        let text = "age1rvc0m7dfu3e5k6lavx23zp9tc56j0a5empuh8fdhd3phu2srhyfqvymjft";
        let data = decode("age", text).unwrap();
        assert_eq!(*encode("age", &*data), *text);
    }

    #[test]
    fn refuses_mixed_case_and_other_prefixes() {
        let text = encode("age", &[7; 32]);
        assert!(decode("age", &text).is_some());
        assert!(decode("age", &text.to_uppercase()).is_some());
        assert!(decode("agf", &text).is_none());
        assert!(decode("age", &text.replacen('a', "A", 1)).is_none());
        assert!(decode("age", &text[..text.len() - 1]).is_none());
        assert!(decode("age", "").is_none());
        assert!(decode("age", "äge1").is_none());
    }

    proptest! {
        #[test]
        fn round_trips_and_finds_one_changed_character(data: [u8; 32], at in 4_usize..62, to in 0_usize..32) {
            let text = encode("age", &data);
            prop_assert_eq!(*decode("age", &text).unwrap(), data);
            let mut changed = text.as_bytes().to_vec();
            if changed[at] != CHARSET[to] {
                changed[at] = CHARSET[to];
                prop_assert!(decode("age", std::str::from_utf8(&changed).unwrap()).is_none());
            }
        }

        #[test]
        fn never_panics(text in "\\PC{0,80}") {
            // The answer does not matter here; that there is one does.
            let decoded = decode("age", &text);
            prop_assert!(decoded.is_none());
        }
    }
}
