//! Client and server against each other, in virtual time.

mod apps;
mod login;
mod pair;
mod transfers;
