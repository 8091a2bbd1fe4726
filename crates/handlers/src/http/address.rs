use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// To which addresses a delivery may connect, beyond the public ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct AddressPolicy {
    /// Private networks: RFC 1918, shared (CGNAT), benchmarking, IPv6 unique local.
    pub(super) private: bool,
    /// This machine itself: 127.0.0.0/8 and `::1`.
    pub(super) loopback: bool,
}

/// Why an address is refused. The text names no address: what a name resolves to is not for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    /// A setting could allow it.
    #[error("this server does not deliver to private addresses")]
    Private,
    /// A setting could allow it.
    #[error("this server does not deliver to loopback addresses")]
    Loopback,
    /// Serves one link only, cloud metadata among it.
    #[error("link-local addresses are never delivered to")]
    LinkLocal,
    /// Hands credentials to whoever asks.
    #[error("cloud metadata addresses are never delivered to")]
    Metadata,
    /// Names no single host of a network: unspecified, multicast, documentation, reserved.
    #[error("special-purpose addresses are never delivered to")]
    Special,
}

/// Whether `policy` allows a connection to `ip`. An address that carries an IPv4 address inside (mapped,
/// compatible, translated, NAT64, 6to4, Teredo) is judged by that.
pub(super) fn allowed(ip: IpAddr, policy: AddressPolicy) -> Result<(), Denied> {
    let class = match ip {
        IpAddr::V4(ip) => classify_v4(ip),
        IpAddr::V6(ip) => classify_v6(ip),
    };
    match class {
        Err(Denied::Private) if policy.private => Ok(()),
        Err(Denied::Loopback) if policy.loopback => Ok(()),
        other => other,
    }
}

/// A block of addresses: those whose leading `prefix` bits are those of `base`.
struct Block<T> {
    base: T,
    prefix: u32,
    why: Denied,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u32, why: Denied) -> Block<u32> {
    Block { base: u32::from_be_bytes([a, b, c, d]), prefix, why }
}

/// A block whose base has these first four groups and zeros after them.
const fn v6(groups: [u16; 4], prefix: u32, why: Denied) -> Block<u128> {
    let [a, b, c, d] = groups;
    Block { base: Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).to_bits(), prefix, why }
}

/// IPv4 blocks that are not public, the first match counts. IANA IPv4 Special-Purpose Address Registry,
/// and the metadata services of clouds that live outside 169.254.0.0/16.
const V4_BLOCKS: &[Block<u32>] = &[
    v4(100, 100, 100, 200, 32, Denied::Metadata), // Alibaba Cloud
    v4(168, 63, 129, 16, 32, Denied::Metadata),   // Azure's wire server
    v4(192, 0, 0, 192, 32, Denied::Metadata),     // Oracle Cloud Classic
    v4(169, 254, 0, 0, 16, Denied::LinkLocal),
    v4(127, 0, 0, 0, 8, Denied::Loopback),
    v4(10, 0, 0, 0, 8, Denied::Private),
    v4(172, 16, 0, 0, 12, Denied::Private),
    v4(192, 168, 0, 0, 16, Denied::Private),
    v4(100, 64, 0, 0, 10, Denied::Private), // shared address space, RFC 6598
    v4(198, 18, 0, 0, 15, Denied::Private), // benchmarking, RFC 2544
    v4(0, 0, 0, 0, 8, Denied::Special),     // "this network": 0.0.0.0 reaches the machine itself
    v4(192, 0, 0, 0, 24, Denied::Special),  // IETF protocol assignments
    v4(192, 0, 2, 0, 24, Denied::Special),  // documentation, RFC 5737
    v4(198, 51, 100, 0, 24, Denied::Special),
    v4(203, 0, 113, 0, 24, Denied::Special),
    v4(192, 88, 99, 0, 24, Denied::Special), // 6to4 relays, RFC 7526
    v4(224, 0, 0, 0, 4, Denied::Special),    // multicast
    v4(240, 0, 0, 0, 4, Denied::Special),    // reserved, and broadcast
];

/// IPv6 blocks that are not public, the first match counts. IANA IPv6 Special-Purpose Address Registry,
/// and the metadata services of clouds inside fd00::/8. Outside these, only 2000::/3 is global unicast.
const V6_BLOCKS: &[Block<u128>] = &[
    v6([0xfd00, 0xec2, 0, 0], 32, Denied::Metadata), // Amazon's instance services
    v6([0xfd20, 0xce, 0, 0], 32, Denied::Metadata),  // Google Cloud
    v6([0xfd00, 0x42, 0, 0], 32, Denied::Metadata),  // Scaleway
    v6([0xfe80, 0, 0, 0], 10, Denied::LinkLocal),
    v6([0xfec0, 0, 0, 0], 10, Denied::Private), // site-local, deprecated by RFC 3879
    v6([0xfc00, 0, 0, 0], 7, Denied::Private),  // unique local, RFC 4193
    v6([0x2001, 0, 0, 0], 23, Denied::Special), // IETF protocol assignments
    v6([0x2001, 0xdb8, 0, 0], 32, Denied::Special), // documentation, RFC 3849
    v6([0x3fff, 0, 0, 0], 20, Denied::Special), // documentation, RFC 9637
];

/// 2000::/3.
const GLOBAL_UNICAST: Block<u128> = v6([0x2000, 0, 0, 0], 3, Denied::Special);

fn classify_v4(ip: Ipv4Addr) -> Result<(), Denied> {
    let within = |block: &&Block<u32>| (ip.to_bits() ^ block.base) >> (u32::BITS - block.prefix) == 0;
    V4_BLOCKS.iter().find(within).map_or(Ok(()), |block| Err(block.why))
}

fn classify_v6(ip: Ipv6Addr) -> Result<(), Denied> {
    match ip {
        Ipv6Addr::LOCALHOST => return Err(Denied::Loopback),
        Ipv6Addr::UNSPECIFIED => return Err(Denied::Special),
        _ => {}
    }
    let inside = embedded(ip);
    if let [Some(_), _] = inside {
        return inside.into_iter().flatten().try_for_each(classify_v4);
    }
    let within = |block: &Block<u128>| (ip.to_bits() ^ block.base) >> (u128::BITS - block.prefix) == 0;
    match V6_BLOCKS.iter().find(|block| within(block)) {
        Some(block) => Err(block.why),
        None if within(&GLOBAL_UNICAST) => Ok(()),
        None => Err(Denied::Special),
    }
}

/// The IPv4 addresses that packets to `ip` may end at, if it is a wrapping.
fn embedded(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match ip.segments() {
        // Compatible (RFC 4291 section 2.5.5.1), mapped (2.5.5.2), translated (RFC 2765 section 2.1).
        [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low] => [v4(high, low), None],
        // NAT64, RFC 6052 section 2.1.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => [v4(high, low), None],
        // 6to4, RFC 3056.
        [0x2002, high, low, ..] => [v4(high, low), None],
        // Teredo, RFC 4380 section 4: the server, and the client with all its bits turned.
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            [v4(server_high, server_low), v4(!high, !low)]
        }
        _ => [None, None],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: AddressPolicy = AddressPolicy { private: false, loopback: false };
    const EVERYTHING: AddressPolicy = AddressPolicy { private: true, loopback: true };

    fn judge(ip: &str, policy: AddressPolicy) -> Result<(), Denied> {
        allowed(ip.parse().unwrap(), policy)
    }

    fn denied_always(ips: &[&str], why: Denied) {
        for ip in ips {
            assert_eq!(judge(ip, NOTHING), Err(why), "{ip}");
            assert_eq!(judge(ip, EVERYTHING), Err(why), "{ip} under the widest policy");
        }
    }

    fn denied_unless(ips: &[&str], policy: AddressPolicy, why: Denied) {
        let others = AddressPolicy { private: !policy.private, loopback: !policy.loopback };
        for ip in ips {
            assert_eq!(judge(ip, NOTHING), Err(why), "{ip}");
            assert_eq!(judge(ip, others), Err(why), "{ip} under another permission");
            assert_eq!(judge(ip, policy), Ok(()), "{ip} under its permission");
        }
    }

    #[test]
    fn public_addresses_need_no_permission() {
        for ip in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001:81b::200e",
            "2001:200::1",
            "2620:4f:8000::1",
            "3ffe:ffff::1",
        ] {
            assert_eq!(judge(ip, NOTHING), Ok(()), "{ip}");
        }
    }

    #[test]
    fn link_local_is_never_allowed() {
        denied_always(
            &["169.254.0.0", "169.254.169.254", "169.254.170.2", "169.254.255.255", "fe80::1", "febf::1"],
            Denied::LinkLocal,
        );
    }

    #[test]
    fn cloud_metadata_is_never_allowed_even_inside_private_ranges() {
        denied_always(
            &[
                "100.100.100.200",
                "168.63.129.16",
                "192.0.0.192",
                "fd00:ec2::254",
                "fd00:ec2::23",
                "fd20:ce::254",
                "fd00:42::42",
            ],
            Denied::Metadata,
        );
    }

    #[test]
    fn private_networks_need_their_permission() {
        denied_unless(
            &[
                "10.0.0.0",
                "10.255.255.255",
                "172.16.0.1",
                "172.31.255.255",
                "192.168.0.1",
                "192.168.255.255",
                "100.64.0.1",
                "100.127.255.255",
                "198.18.0.1",
                "198.19.255.255",
                "fc00::1",
                "fd12:3456:789a::1",
                "fdff::1",
                "fec0::1",
            ],
            AddressPolicy { private: true, loopback: false },
            Denied::Private,
        );
    }

    #[test]
    fn loopback_needs_its_permission() {
        denied_unless(
            &["127.0.0.1", "127.0.0.0", "127.255.255.255", "::1"],
            AddressPolicy { private: false, loopback: true },
            Denied::Loopback,
        );
    }

    #[test]
    fn what_names_no_host_is_never_allowed() {
        denied_always(
            &[
                "0.0.0.0",
                "0.1.2.3",
                "192.0.0.8",
                "192.0.2.1",
                "192.88.99.1",
                "198.51.100.7",
                "203.0.113.9",
                "224.0.0.1",
                "239.255.255.255",
                "240.0.0.1",
                "255.255.255.255",
                "::",
                "100::1",
                "64:ff9b:1::a00:1",
                "2001:2::1",
                "2001:20::1",
                "2001:db8::1",
                "3fff:fff::1",
                "4000::1",
                "5f00::1",
                "ff02::1",
            ],
            Denied::Special,
        );
    }

    #[test]
    fn an_ipv4_address_in_any_wrapping_is_judged_by_itself() {
        let wrappings: [fn(Ipv4Addr) -> Ipv6Addr; 6] = [
            |ip| ip.to_ipv6_mapped(),
            |ip| Ipv6Addr::from_bits(ip.to_bits().into()),
            |ip| Ipv6Addr::from_bits(0xffff_0000_0000 << 16 | u128::from(ip.to_bits())),
            |ip| Ipv6Addr::from_bits(0x64_ff9b << 96 | u128::from(ip.to_bits())),
            |ip| Ipv6Addr::from_bits(0x2002 << 112 | u128::from(ip.to_bits()) << 80 | 1),
            |ip| Ipv6Addr::from_bits(0x2001 << 112 | 0x0808_0808 << 64 | u128::from(!ip.to_bits())),
        ];
        for ip in ["8.8.8.8", "127.0.0.1", "10.1.2.3", "169.254.169.254", "100.100.100.200", "224.0.0.1"] {
            let ip: Ipv4Addr = ip.parse().unwrap();
            for (n, wrap) in wrappings.iter().enumerate() {
                let wrapped = wrap(ip);
                for policy in [NOTHING, EVERYTHING] {
                    let judged = allowed(wrapped.into(), policy);
                    assert_eq!(judged, allowed(ip.into(), policy), "{ip} in wrapping {n}: {wrapped}");
                }
            }
        }
    }

    #[test]
    fn a_teredo_address_is_judged_by_its_server_too() {
        // The server is 10.0.0.1, the client 8.8.8.8.
        assert_eq!(judge("2001:0:a00:1::f7f7:f7f7", NOTHING), Err(Denied::Private));
    }
}
