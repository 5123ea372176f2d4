//! What network an address is of, and which of them a name may lead to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Endings of names that are of a private network, and of nobody's on the internet: RFC 6761 (`localhost`), RFC 6762
/// (`local`, and what its appendix G says is used likewise), RFC 8375 (`home.arpa`), ICANN's `internal`, Kubernetes' `svc`.
const PRIVATE_NAMES: [&str; 10] =
    ["localhost", "local", "home.arpa", "internal", "svc", "lan", "intranet", "corp", "home", "private"];

/// Where clouds tell machines their credentials, besides link-local addresses: AWS, Google Cloud, Alibaba, Oracle, Azure.
const METADATA: [IpAddr; 5] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// Which addresses a host may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reach {
    /// Those of the internet: a name of the internet that leads into a private network is somebody's attack, or a mistake.
    Internet,
    /// Those of private networks too.
    Private,
}

impl Reach {
    /// What a host may have of which nothing else is said: an address itself is what was meant, and so is a private name.
    pub(crate) fn usual(host: &str) -> Self {
        let host = host.to_ascii_lowercase();
        let is_private_name = PRIVATE_NAMES.iter().any(|&ending| {
            host.strip_suffix(ending).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        });
        let is_public = literal(&host).is_none() && host.contains('.') && !is_private_name;
        if is_public { Self::Internet } else { Self::Private }
    }

    /// Whether it may have this address.
    pub(crate) fn allows(self, address: IpAddr) -> bool {
        !is_metadata(address) && (self == Self::Private || !is_private(address))
    }
}

/// The address that a host is, if it is one.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Addresses that no provider has, but the metadata service of a cloud does.
pub(crate) fn is_metadata(address: IpAddr) -> bool {
    let address = innermost(address);
    METADATA.contains(&address)
        || address.is_unspecified()
        || match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        }
}

/// Addresses of this machine, of a private network or of nobody, which no host of the internet has (RFC 6890).
fn is_private(address: IpAddr) -> bool {
    match innermost(address) {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => is_private_v6(address),
    }
}

/// The IPv4 address that one of IPv6 leads to: mapped or compatible (RFC 4291), through NAT64 (RFC 6052), by 6to4 (RFC 3056).
fn innermost(address: IpAddr) -> IpAddr {
    let IpAddr::V6(outer) = address.to_canonical() else { return address.to_canonical() };
    let of = |high: u16, low: u16| Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)).into();
    match outer.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => of(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if (high, low) > (0, 1) => of(high, low),
        _ => outer.into(),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    let is_shared = first == 100 && (64..128).contains(&second);
    let is_for_protocols = [first, second, third] == [192, 0, 0];
    let is_for_benchmarks = first == 198 && (18..20).contains(&second);
    address.is_private()
        || address.is_loopback()
        || first == 0
        || first >= 224
        || is_shared
        || is_for_protocols
        || is_for_benchmarks
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    // NAT64 of one's own, addresses whose packets are discarded, Teredo, site-local ones of old.
    let is_special = matches!(
        address.segments(),
        [0x64, 0xff9b, 1, ..] | [0x100, 0, 0, 0, ..] | [0x2001, 0, ..] | [0xfec0..=0xfeff, ..]
    );
    is_special || address.is_loopback() || address.is_unique_local() || address.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &[&str] = &[
        "169.254.169.254",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "0.0.0.0",
        "::",
        "fe80::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::1",
    ];
    const PRIVATE: &[&str] = &[
        "127.0.0.1",
        "10.0.0.1",
        "172.31.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "192.0.0.8",
        "198.19.0.1",
        "224.0.0.1",
        "0.1.2.3",
        "::1",
        "fd00::1",
        "fec0::1",
        "ff02::1",
        "2001::1",
        "64:ff9b:1::1",
        "100::1",
        "::ffff:10.0.0.1",
        "::10.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:0a00:0001::1",
    ];
    const PUBLIC: &[&str] = &[
        "8.8.8.8",
        "100.128.0.1",
        "172.32.0.1",
        "198.20.0.1",
        "2606:4700::1111",
        "2001:4860::8888",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
    ];

    #[test]
    fn x01_names_of_the_internet_do_not_lead_into_private_networks() {
        for (addresses, of_internet, of_private) in
            [(METADATA, false, false), (PRIVATE, false, true), (PUBLIC, true, true)]
        {
            for address in addresses {
                let address = address.parse().unwrap();
                assert_eq!(Reach::Internet.allows(address), of_internet, "{address}");
                assert_eq!(Reach::Private.allows(address), of_private, "{address}");
            }
        }
    }

    #[test]
    fn x01_private_names_are_told_from_those_of_the_internet() {
        for host in
            ["localhost", "vllm", "gpu.local", "llm.ns.svc", "a.INTERNAL", "10.0.0.1", "[::1]", "8.8.8.8"]
        {
            assert_eq!(Reach::usual(host), Reach::Private, "{host}");
        }
        for host in
            ["api.openai.com", "evil-internal.com", "notlocal.example", "mylocalhost.com", "x.internal.evil"]
        {
            assert_eq!(Reach::usual(host), Reach::Internet, "{host}");
        }
    }
}
