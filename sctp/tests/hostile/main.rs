//! Hostile peers, after RFC 5062: bounded in memory, in work and in what others can be made to
//! suffer.

mod data;
mod peer;
mod strangers;
mod tags;
