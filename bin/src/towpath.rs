//! The Towpath client.

fn main() {}
