//! The Towpath server.

fn main() {}
