//! The frames of an announcement, byte by byte.
//!
//! Pure encoding: RFC 826 and RFC 5227 for ARP, RFC 4861 for neighbour advertisements.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Ethernet, ARP and IPv6 lengths.
pub(super) const ARP_FRAME: usize = 42;
pub(super) const ADVERTISEMENT_FRAME: usize = 86;
pub(super) const PROBE_FRAME: usize = 78;

const BROADCAST: [u8; 6] = [0xff; 6];
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
/// All nodes on the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const OVERRIDE: u8 = 0x20;
const ROUTER: u8 = 0x80;

/// The Router flag of an advertisement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Router {
    Forwards,
    Host,
}

/// A gratuitous ARP request: sender and target address are the same, target hardware address zero.
pub(super) fn arp_request(mac: [u8; 6], address: Ipv4Addr) -> [u8; ARP_FRAME] {
    arp(mac, address, REQUEST, [0; 6])
}

/// A gratuitous ARP reply, broadcast, its target hardware address the sender's.
pub(super) fn arp_reply(mac: [u8; 6], address: Ipv4Addr) -> [u8; ARP_FRAME] {
    arp(mac, address, REPLY, mac)
}

fn arp(mac: [u8; 6], address: Ipv4Addr, operation: u8, target_mac: [u8; 6]) -> [u8; ARP_FRAME] {
    let mut frame = [0; ARP_FRAME];
    frame[..6].copy_from_slice(&BROADCAST);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&[0x08, 0x06]);
    // Ethernet, IPv4, address lengths, operation.
    frame[14..22].copy_from_slice(&[0, 1, 0x08, 0, 6, 4, 0, operation]);
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&address.octets());
    frame[32..38].copy_from_slice(&target_mac);
    frame[38..42].copy_from_slice(&address.octets());
    frame
}

/// An unsolicited advertisement to all nodes: Override set, Solicited clear, hop limit 255, with
/// the target's link-layer address.
pub(super) fn neighbour_advertisement(
    mac: [u8; 6],
    address: Ipv6Addr,
    router: Router,
) -> [u8; ADVERTISEMENT_FRAME] {
    let mut frame = [0; ADVERTISEMENT_FRAME];
    frame[..6].copy_from_slice(&ALL_NODES_MAC);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    // Version 6, payload of 32 bytes, ICMPv6, hop limit.
    frame[14..22].copy_from_slice(&[0x60, 0, 0, 0, 0, 32, ICMPV6, 255]);
    frame[22..38].copy_from_slice(&address.octets());
    frame[38..54].copy_from_slice(&ALL_NODES.octets());
    frame[54] = ADVERTISEMENT;
    frame[58] = match router {
        Router::Forwards => OVERRIDE | ROUTER,
        Router::Host => OVERRIDE,
    };
    frame[62..78].copy_from_slice(&address.octets());
    // Option 2, one unit of eight bytes: target link-layer address.
    frame[78..80].copy_from_slice(&[2, 1]);
    frame[80..86].copy_from_slice(&mac);
    let sum = icmp_checksum(address, ALL_NODES, &frame[54..]);
    frame[56..58].copy_from_slice(&sum);
    frame
}

/// The checksum of RFC 1071 over the message and the pseudo header of RFC 8200, 8.1.
fn icmp_checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> [u8; 2] {
    let words = |bytes: &[u8]| -> u32 {
        bytes
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum()
    };
    let length = u32::try_from(message.len()).expect("messages are at most 32 bytes");
    let mut sum = words(&source.octets())
        + words(&destination.octets())
        + length
        + u32::from(ICMPV6)
        + words(message);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [_, _, high, low] = (!sum).to_be_bytes();
    [high, low]
}

/// An ARP probe (RFC 5227, 2.1.1): asks for the address without claiming it.
pub(super) fn arp_probe(mac: [u8; 6], address: Ipv4Addr) -> [u8; ARP_FRAME] {
    let mut frame = arp_request(mac, address);
    frame[28..32].copy_from_slice(&[0; 4]);
    frame
}

/// A solicitation as duplicate address detection sends it (RFC 4862, 5.4.2): from nowhere, to the
/// target's solicited-node group, without a link-layer option.
pub(super) fn neighbour_probe(mac: [u8; 6], address: Ipv6Addr) -> [u8; PROBE_FRAME] {
    let [.., high, middle, low] = address.octets();
    let mut group = [0; 16];
    group[..2].copy_from_slice(&[0xff, 0x02]);
    group[11..].copy_from_slice(&[1, 0xff, high, middle, low]);
    let mut frame = [0; PROBE_FRAME];
    frame[..6].copy_from_slice(&[0x33, 0x33, 0xff, high, middle, low]);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    frame[14..22].copy_from_slice(&[0x60, 0, 0, 0, 0, 24, ICMPV6, 255]);
    frame[38..54].copy_from_slice(&group);
    frame[54] = SOLICITATION;
    frame[62..78].copy_from_slice(&address.octets());
    let sum = icmp_checksum(Ipv6Addr::UNSPECIFIED, group.into(), &frame[54..]);
    frame[56..58].copy_from_slice(&sum);
    frame
}

/// Who claims which address in a frame, if it is an ARP packet or a neighbour advertisement.
pub(super) fn claim(frame: &[u8]) -> Option<(std::net::IpAddr, [u8; 6])> {
    let bytes = |from: usize, to: usize| frame.get(from..to);
    match bytes(12, 14)? {
        [0x08, 0x06] => {
            let octets: [u8; 4] = bytes(28, 32)?.try_into().ok()?;
            Some((octets.into(), bytes(22, 28)?.try_into().ok()?))
        }
        [0x86, 0xdd] if *frame.get(20)? == ICMPV6 && *frame.get(54)? == ADVERTISEMENT => {
            let octets: [u8; 16] = bytes(62, 78)?.try_into().ok()?;
            // The link-layer address option may be absent from a solicited answer; the frame's
            // sender is the claimant then.
            let option = match bytes(78, 86) {
                Some([2, 1, mac @ ..]) => mac.try_into().ok(),
                Some(_) | None => None,
            };
            let mac = option.or_else(|| bytes(6, 12)?.try_into().ok())?;
            Some((octets.into(), mac))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
    const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
    const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);

    #[test]
    fn both_arp_forms_claim_the_address_and_differ_as_receivers_need() {
        let (request, reply) = (arp_request(MAC, V4), arp_reply(MAC, V4));
        assert_eq!((request[21], reply[21]), (1, 2));
        assert_eq!(request[32..38], [0; 6]);
        assert_eq!(reply[32..38], MAC);
        for frame in [request, reply] {
            assert_eq!(frame[28..32], frame[38..42]);
            assert_eq!(claim(&frame), Some((V4.into(), MAC)));
        }
    }

    #[test]
    fn the_advertisement_overrides_and_its_checksum_holds() {
        let frame = neighbour_advertisement(MAC, V6, Router::Host);
        assert_eq!((frame[21], frame[58]), (255, 0x20));
        // Summed over a message that holds its own checksum, the result is zero.
        assert_eq!(icmp_checksum(V6, ALL_NODES, &frame[54..]), [0, 0]);
        assert_eq!(claim(&frame), Some((V6.into(), MAC)));
        assert_eq!(neighbour_advertisement(MAC, V6, Router::Forwards)[58], 0xa0);
    }

    #[test]
    fn truncated_and_foreign_frames_claim_nothing() {
        let frame = neighbour_advertisement(MAC, V6, Router::Host);
        for length in 0..78 {
            assert_eq!(claim(&frame[..length]), None);
        }
        for length in 0..32 {
            assert_eq!(claim(&arp_request(MAC, V4)[..length]), None);
        }
        assert_eq!(claim(&[0; 100]), None);
    }
}
