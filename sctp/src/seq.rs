//! Serial numbers: 32-bit TSNs widened to 64 bits, and 16-bit stream sequence numbers (RFC 9260
//! §1.6, RFC 1982).

/// A TSN that never wraps: its low 32 bits are the number on the wire.
///
/// Only these are compared within the crate, so that wrap-around is handled once, where a packet is
/// read.
pub(crate) type Tsn = u64;

/// Widens the initial TSN. Starting one epoch up leaves room below it for late packets.
pub(crate) fn initial(wire: u32) -> Tsn {
    (1 << 32) | Tsn::from(wire)
}

/// Widens a TSN from the wire to the value nearest to `reference`.
pub(crate) fn widen(wire: u32, reference: Tsn) -> Tsn {
    let distance = wire.wrapping_sub(wire_of(reference)).cast_signed();
    reference.wrapping_add_signed(i64::from(distance))
}

/// The number on the wire.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is the number on the wire"
)]
pub(crate) fn wire_of(tsn: Tsn) -> u32 {
    tsn as u32
}

/// Whether stream sequence number `a` comes before `b` (RFC 1982).
pub(crate) fn ssn_before(a: u16, b: u16) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widening_crosses_the_wrap_in_both_directions() {
        let top = initial(u32::MAX);
        assert_eq!(widen(0, top), top + 1);
        assert_eq!(widen(5, top), top + 6);
        assert_eq!(widen(u32::MAX, top + 3), top);
        assert_eq!(wire_of(top + 1), 0);
        let low = initial(0);
        assert_eq!(widen(u32::MAX, low), low - 1);
    }

    #[test]
    fn sequence_numbers_compare_across_the_wrap() {
        assert!(ssn_before(65_535, 0));
        assert!(ssn_before(0, 1));
        assert!(!ssn_before(0, 0));
        assert!(!ssn_before(1, 65_535));
    }
}
