//! Client and server against each other, in virtual time.

mod pair;
mod transfers;
