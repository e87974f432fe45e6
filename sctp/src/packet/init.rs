//! INIT and INIT ACK (RFC 9260 §3.3.2, §3.3.3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::header::{be16, be32};
use super::tlv::{Parameter, Parameters, UnknownAction, parameter};
use crate::limits::{MAX_ADDRESSES, MAX_REPORTS};

/// Bytes of the fixed fields.
const FIXED: usize = 16;

/// The content of an INIT or INIT ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Init<'a> {
    /// Initiate Tag: the verification tag of packets to the sender; never 0 in a valid chunk.
    pub tag: u32,
    /// Advertised receive window in bytes.
    pub window: u32,
    /// Number of outbound streams that the sender requests.
    pub outbound: u16,
    /// Number of inbound streams that the sender accepts.
    pub inbound: u16,
    /// Initial TSN.
    pub tsn: u32,
    parameters: &'a [u8],
}

impl<'a> Init<'a> {
    /// The fixed fields, for [`Writer`](super::Writer), to which parameters are given separately.
    pub fn new(tag: u32, window: u32, outbound: u16, inbound: u16, tsn: u32) -> Self {
        Init {
            tag,
            window,
            outbound,
            inbound,
            tsn,
            parameters: &[],
        }
    }

    pub(super) fn read(value: &'a [u8]) -> Option<Self> {
        if value.len() < FIXED {
            return None;
        }
        Some(Init {
            tag: be32(value, 0),
            window: be32(value, 4),
            outbound: be16(value, 8),
            inbound: be16(value, 10),
            tsn: be32(value, 12),
            parameters: &value[FIXED..],
        })
    }

    /// Iterates over the parameters.
    pub fn parameters(&self) -> Parameters<'a> {
        Parameters::of(self.parameters)
    }

    /// The parameters by type. Unknown ones are handled as their types require (§3.2.1).
    pub fn digest(&self) -> InitParameters<'a> {
        let mut digest = InitParameters::default();
        for item in self.parameters() {
            let value = item.value();
            match item.kind {
                parameter::IPV4 => {
                    if let Ok(octets) = <[u8; 4]>::try_from(value) {
                        digest.addresses.push(Ipv4Addr::from(octets).into());
                    }
                }
                parameter::IPV6 => {
                    if let Ok(octets) = <[u8; 16]>::try_from(value) {
                        digest.addresses.push(Ipv6Addr::from(octets).to_canonical());
                    }
                }
                parameter::COOKIE => digest.cookie = Some(value),
                parameter::COOKIE_PRESERVATIVE => {
                    digest.preservative = value.try_into().ok().map(u32::from_be_bytes);
                }
                parameter::HOST_NAME => digest.host_name = Some(item),
                parameter::UNRECOGNIZED | parameter::SUPPORTED_ADDRESS_TYPES | parameter::PAD => {}
                kind => {
                    let action = UnknownAction::for_parameter(kind);
                    if action.report && digest.reported < MAX_REPORTS {
                        digest.reports[digest.reported] = Some(item);
                        digest.reported += 1;
                    }
                    if !action.proceed {
                        break;
                    }
                }
            }
        }
        digest
    }
}

/// The parameters of an INIT or INIT ACK by type.
#[derive(Debug, Clone, Default)]
pub struct InitParameters<'a> {
    /// The sender's addresses, at most [`MAX_ADDRESSES`]; more are ignored.
    pub addresses: InitAddresses,
    /// The state cookie, mandatory in an INIT ACK.
    pub cookie: Option<&'a [u8]>,
    /// Requested extension of the cookie's life in milliseconds.
    pub preservative: Option<u32>,
    /// A host name, which is to be answered with an ABORT (§5.1.2 B).
    pub host_name: Option<Parameter<'a>>,
    reports: [Option<Parameter<'a>>; MAX_REPORTS],
    reported: usize,
}

impl<'a> InitParameters<'a> {
    /// Unknown parameters that are to be reported to the sender (§3.2.2).
    pub fn unrecognized(&self) -> impl Iterator<Item = Parameter<'a>> + '_ {
        self.reports.iter().flatten().copied()
    }
}

/// A list of at most [`MAX_ADDRESSES`] different addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitAddresses {
    list: [IpAddr; MAX_ADDRESSES],
    len: usize,
}

impl Default for InitAddresses {
    fn default() -> Self {
        Self {
            list: [IpAddr::V4(Ipv4Addr::UNSPECIFIED); MAX_ADDRESSES],
            len: 0,
        }
    }
}

impl InitAddresses {
    /// Adds an address unless it is in the list or the list is full.
    pub fn push(&mut self, address: IpAddr) {
        if self.len < MAX_ADDRESSES && !self.contains(&address) {
            self.list[self.len] = address;
            self.len += 1;
        }
    }
}

impl std::ops::Deref for InitAddresses {
    type Target = [IpAddr];

    fn deref(&self) -> &[IpAddr] {
        &self.list[..self.len]
    }
}

impl FromIterator<IpAddr> for InitAddresses {
    fn from_iter<T: IntoIterator<Item = IpAddr>>(addresses: T) -> Self {
        let mut list = Self::default();
        addresses.into_iter().for_each(|address| list.push(address));
        list
    }
}
