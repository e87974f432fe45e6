//! Hostile peers (RFC 5062): what they can cause is bounded in memory, in work and in packets to
//! others.

mod data;
mod peer;
mod strangers;
mod tags;
