//! Networks of addresses.

use core::fmt;
use core::net::IpAddr;
use core::ops::RangeInclusive;
use core::str::FromStr;

use ipnet::IpNet;

/// The addresses that begin with the same bits (CIDR, RFC 4632), such as `10.0.0.0/8`. A single address is a network of
/// one. IPv4 addresses are also those of `::ffff:0:0/96`, written either way.
///
/// ```
/// use waypost_rules::Network;
///
/// let office: Network = "192.0.2.0/24".parse()?;
/// assert!(office.contains("192.0.2.77".parse().unwrap()));
/// assert!(office.contains("::ffff:192.0.2.77".parse().unwrap()));
/// assert!("192.0.2.0/33".parse::<Network>().is_err());
/// # Ok::<(), waypost_rules::NetworkError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a network such as `10.0.0.0/8` or an address", waypost_core::excerpt(.text))]
pub struct NetworkError {
    text: String,
}

impl Network {
    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.numbers().contains(&number(address))
    }

    /// Its addresses as numbers of 128 bits.
    pub(crate) fn numbers(&self) -> RangeInclusive<u128> {
        number(self.0.network())..=number(self.0.broadcast())
    }
}

/// An address as a number: IPv4 addresses are mapped into IPv6.
pub(crate) const fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(|network| Self(network.trunc())).map_err(|_| NetworkError { text: text.to_owned() })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}
