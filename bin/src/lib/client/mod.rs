//! The client: what `towpath` does.
