//! Development tasks of Towpath.

fn main() {}
