//! Passwords: bcrypt hashes, and a check that costs the same for everybody.

use std::fmt;
use std::str::FromStr;

use crate::limits::{MAX_BCRYPT_COST, MAX_PASSWORD, MIN_BCRYPT_COST};

/// Why a password is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// It has no characters.
    #[error("the password is empty")]
    Empty,
    /// bcrypt would truncate it.
    #[error("the password is longer than {MAX_PASSWORD} bytes")]
    TooLong,
    /// bcrypt would end it there.
    #[error("the password contains a NUL")]
    Nul,
}

/// Checks what a password must be to be hashed.
pub(super) fn check(password: &[u8]) -> Result<(), PasswordError> {
    match password {
        [] => Err(PasswordError::Empty),
        password if password.len() > MAX_PASSWORD => Err(PasswordError::TooLong),
        password if password.contains(&0) => Err(PasswordError::Nul),
        _ => Ok(()),
    }
}

/// A bcrypt hash in its usual text, `$2b$12$…`, with a cost between [`MIN_BCRYPT_COST`] and
/// [`MAX_BCRYPT_COST`].
#[derive(Clone, PartialEq, Eq)]
pub(super) struct PasswordHash {
    text: String,
    cost: u32,
}

/// The text is not a bcrypt hash.
#[derive(Debug, thiserror::Error)]
#[error(
    "not a bcrypt hash ($2b$…, 60 characters) of a cost from {MIN_BCRYPT_COST} to {MAX_BCRYPT_COST}"
)]
pub(super) struct PasswordHashError;

impl FromStr for PasswordHash {
    type Err = PasswordHashError;

    fn from_str(text: &str) -> Result<Self, PasswordHashError> {
        let parts: bcrypt::HashParts = text.parse().map_err(|_| PasswordHashError)?;
        let cost = parts.get_cost();
        if !(MIN_BCRYPT_COST..=MAX_BCRYPT_COST).contains(&cost) {
            return Err(PasswordHashError);
        }
        let text = text.to_owned();
        Ok(Self { text, cost })
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash(cost {})", self.cost)
    }
}

impl PasswordHash {
    /// Hashes a password that was [checked](check), with a fresh salt.
    ///
    /// # Errors
    /// When the system has no randomness, or `cost` is outside its bounds.
    pub(super) fn new(password: &[u8], cost: u32) -> Result<Self, bcrypt::BcryptError> {
        let text = bcrypt::non_truncating_hash(password, cost)?;
        Ok(Self { text, cost })
    }

    pub(super) fn cost(&self) -> u32 {
        self.cost
    }
}

/// Compares a password with a hash, or with nothing when there is none, in the time of one hash of
/// cost `cost`, which no hash in the registry exceeds.
pub(super) fn verify(hash: Option<&PasswordHash>, password: &[u8], cost: u32) -> bool {
    verify_counted(hash, password, cost, &mut Rounds::default())
}

fn verify_counted(
    hash: Option<&PasswordHash>,
    password: &[u8],
    cost: u32,
    rounds: &mut Rounds,
) -> bool {
    if check(password).is_err() {
        return false; // for every user alike
    }
    let matches = hash.is_some_and(|hash| rounds.verify(hash, password));
    for cost in missing(hash.map(PasswordHash::cost), cost) {
        rounds.spend(cost);
    }
    matches
}

/// bcrypt, and how many rounds of it were run; a round takes the same time for every input.
#[derive(Debug, Default)]
struct Rounds(u64);

impl Rounds {
    fn verify(&mut self, hash: &PasswordHash, password: &[u8]) -> bool {
        self.0 += 1 << hash.cost;
        bcrypt::non_truncating_verify(password, &hash.text).unwrap_or(false)
    }

    fn spend(&mut self, cost: u32) {
        self.0 += 1 << cost;
        std::hint::black_box(bcrypt::bcrypt(cost, [0; 16], b"nobody's password\0"));
    }
}

/// The costs of the further hashes that bring the work for a hash of cost `done` up to that of
/// `wanted`: with all of them, 2^wanted rounds.
fn missing(done: Option<u32>, wanted: u32) -> std::ops::Range<u32> {
    match done {
        Some(done) => done..wanted,
        None => wanted..wanted + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_nul() {
        assert_eq!(check(b""), Err(PasswordError::Empty));
        assert_eq!(check(&[b'x'; 71]), Ok(()));
        assert_eq!(check(&[b'x'; 72]), Err(PasswordError::TooLong));
        assert_eq!(check(b"a\0b"), Err(PasswordError::Nul));
    }

    #[test]
    fn the_last_byte_counts() {
        let mut password = [b'x'; 71];
        let hash = PasswordHash::new(&password, 4).unwrap();
        assert!(verify(Some(&hash), &password, 4));
        password[70] = b'y';
        assert!(!verify(Some(&hash), &password, 4));
        assert!(!verify(Some(&hash), &[b'x'; 72], 4));
        assert!(!verify(None, b"anything", 4));
    }

    #[test]
    fn the_work_is_the_same_for_every_hash_and_for_none() {
        let work = |costs: std::ops::Range<u32>| costs.map(|cost| 1_u64 << cost).sum::<u64>();
        for wanted in 4..=16 {
            assert_eq!(work(missing(None, wanted)), 1 << wanted);
            for done in 4..=wanted {
                assert_eq!((1 << done) + work(missing(Some(done), wanted)), 1 << wanted);
            }
        }
    }

    #[test]
    fn every_login_runs_the_same_number_of_rounds() {
        const COST: u32 = 6;
        for hash in [None, Some(4), Some(5), Some(COST)] {
            let hash = hash.map(|cost| PasswordHash::new(b"right", cost).unwrap());
            for password in [&b"right"[..], b"wrong"] {
                let mut rounds = Rounds::default();
                let matches = verify_counted(hash.as_ref(), password, COST, &mut rounds);
                assert_eq!(matches, hash.is_some() && password == b"right");
                assert_eq!(rounds.0, 1 << COST, "{hash:?}");
            }
        }
    }

    #[test]
    fn hashes_of_mad_costs_are_refused() {
        let hash = PasswordHash::new(b"a", 4).unwrap().to_string();
        assert!(hash.parse::<PasswordHash>().is_ok());
        for text in [
            hash.replace("$04$", "$31$"),
            hash.replace("$04$", "$03$"),
            hash.replace("$2b$", "$1b$"),
            hash[..59].to_owned(),
            "!".to_owned(),
            String::new(),
        ] {
            assert!(text.parse::<PasswordHash>().is_err(), "{text}");
        }
        assert!(!format!("{:?}", hash.parse::<PasswordHash>().unwrap()).contains(&hash[7..]));
    }
}
