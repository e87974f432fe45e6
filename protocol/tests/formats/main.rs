//! The signed formats from outside: properties, vectors, and OpenSSH's own `ssh-keygen`.
#![cfg(test)]

mod arbitrary;
mod properties;
mod ssh_keygen;
mod vectors;
