//! Sans-IO SCTP (RFC 9260) with multi-homing.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "the endpoint that uses cookies and serial numbers comes next"
    )
)]

mod cookie;
pub mod limits;
pub mod packet;
mod rng;
mod seq;
#[cfg(test)]
mod testing;
