//! Ethernet frames of the four questions and of their answers, to the byte: ARP (RFC 826), ICMP echo (RFC 792),
//! neighbour solicitation (RFC 4861 section 4.3) and ICMPv6 echo (RFC 4443 section 4.1).
//!
//! Pure: builds and reads byte arrays. It does not know who may answer what.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Reads `02:4c:01:00:00:04`.
    ///
    /// # Errors
    /// Anything but six hexadecimal bytes separated by colons.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut bytes = [0u8; 6];
        let mut count = 0;
        for (slot, part) in bytes.iter_mut().zip(text.split(':')) {
            *slot = u8::from_str_radix(part, 16)?;
            count += 1;
        }
        anyhow::ensure!(
            count == 6 && text.split(':').count() == 6,
            "`{text}` is not a hardware address"
        );
        Ok(Self(bytes))
    }
}

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// First two bytes of the sender hardware address that carries a tick: locally administered, unicast.
const TICK_MAC_PREFIX: [u8; 2] = [0x02, 0x6a];
/// Identifier of the judge's own echo frames.
pub const JUDGE_ECHO_ID: u16 = 0x6a6a;
/// Identifier of the ordinary client's echo requests.
pub const CLIENT_ECHO_ID: u16 = 0x6b6b;
/// Number of IPv6 source addresses over which solicitations rotate.
pub const SOLICIT_SLOTS: u32 = 128;
/// Bytes 8 to 13 of those source addresses; the tail of the interface identifier is the slot.
const SOLICIT_MARK: [u8; 6] = [0x6a, 0x75, 0x64, 0x67, 0x65, 0x00];

/// An answer, as far as its bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// ARP reply about `address` to the question of `tick`.
    Arp {
        /// Whom the answer is about.
        address: Ipv4Addr,
        /// Which question it answers.
        tick: u32,
    },
    /// Echo reply from `address`.
    Echo {
        /// Who answers.
        address: Ipv4Addr,
        /// Judge's or client's question.
        id: u16,
        /// Which question it answers.
        tick: u32,
    },
    /// Neighbour advertisement about `address` to the question of a tick in `slot`.
    Advertise {
        /// Whom the answer is about.
        address: Ipv6Addr,
        /// The tick modulo [`SOLICIT_SLOTS`].
        slot: u32,
    },
    /// ICMPv6 echo reply from `address`.
    Echo6 {
        /// Who answers.
        address: Ipv6Addr,
        /// Judge's or client's question.
        id: u16,
        /// Which question it answers.
        tick: u32,
    },
}

/// The Internet checksum (RFC 1071) over several slices, each of even length but the last.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let folded = u16::try_from(sum).expect("folded above to sixteen bits");
    (!folded).to_be_bytes()
}

/// "Who has `target`? Tell `sender`", to one node alone, with the tick as the hardware address to tell.
#[must_use]
pub fn arp_question(node: Mac, own: Mac, sender: Ipv4Addr, target: Ipv4Addr, tick: u32) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend_from_slice(&node.0);
    frame.extend_from_slice(&own.0);
    frame.extend_from_slice(&ETHERTYPE_ARP);
    frame.extend_from_slice(&[0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    frame.extend_from_slice(&TICK_MAC_PREFIX);
    frame.extend_from_slice(&tick.to_be_bytes());
    frame.extend_from_slice(&sender.octets());
    frame.extend_from_slice(&[0; 6]);
    frame.extend_from_slice(&target.octets());
    frame
}

/// The ICMP message of an echo request, as both the judge and the client send it.
#[must_use]
pub fn echo_message(id: u16, tick: u32) -> Vec<u8> {
    echo(8, id, tick, &[])
}

/// The ICMPv6 message of an echo request with a zero checksum: the kernel fills it in for a raw socket.
#[must_use]
pub fn echo6_message(id: u16, tick: u32) -> Vec<u8> {
    let mut message = echo(128, id, tick, &[]);
    message[2] = 0;
    message[3] = 0;
    message
}

fn echo(kind: u8, id: u16, tick: u32, pseudo: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend_from_slice(&id.to_be_bytes());
    message.extend_from_slice(&tick.to_be_bytes()[2..]);
    message.extend_from_slice(b"judg");
    message.extend_from_slice(&tick.to_be_bytes());
    let sum = checksum(&[pseudo, &message]);
    message[2..4].copy_from_slice(&sum);
    message
}

/// An echo request from `from` to `target`, to one node alone.
#[must_use]
pub fn echo_question(node: Mac, own: Mac, from: Ipv4Addr, target: Ipv4Addr, tick: u32) -> Vec<u8> {
    let message = echo_message(JUDGE_ECHO_ID, tick);
    let total = u16::try_from(20 + message.len()).expect("an echo of sixteen bytes");
    let mut header = vec![0x45, 0];
    header.extend_from_slice(&total.to_be_bytes());
    header.extend_from_slice(&[0, 0, 0x40, 0, 64, 1, 0, 0]);
    header.extend_from_slice(&from.octets());
    header.extend_from_slice(&target.octets());
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum);
    let mut frame = Vec::with_capacity(14 + 20 + message.len());
    frame.extend_from_slice(&node.0);
    frame.extend_from_slice(&own.0);
    frame.extend_from_slice(&ETHERTYPE_IPV4);
    frame.extend_from_slice(&header);
    frame.extend_from_slice(&message);
    frame
}

fn frame6(node: Mac, own: Mac, from: Ipv6Addr, target: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("a few dozen bytes");
    let mut frame = Vec::with_capacity(54 + message.len());
    frame.extend_from_slice(&node.0);
    frame.extend_from_slice(&own.0);
    frame.extend_from_slice(&ETHERTYPE_IPV6);
    frame.extend_from_slice(&[0x60, 0, 0, 0]);
    frame.extend_from_slice(&length.to_be_bytes());
    // Hop limit 255 is what RFC 4861 section 7.1.1 demands of a solicitation.
    frame.extend_from_slice(&[58, 255]);
    frame.extend_from_slice(&from.octets());
    frame.extend_from_slice(&target.octets());
    frame.extend_from_slice(message);
    frame
}

fn pseudo_header(from: Ipv6Addr, target: Ipv6Addr, length: u8) -> Vec<u8> {
    let mut pseudo = from.octets().to_vec();
    pseudo.extend_from_slice(&target.octets());
    pseudo.extend_from_slice(&[0, 0, 0, length, 0, 0, 0, 58]);
    pseudo
}

/// The IPv6 source address that carries a tick: the client's prefix and the slot.
#[must_use]
pub fn solicit_source(client: Ipv6Addr, tick: u32) -> Ipv6Addr {
    let mut octets = client.octets();
    octets[8..14].copy_from_slice(&SOLICIT_MARK);
    let slot = u16::try_from(tick % SOLICIT_SLOTS).expect("below 128");
    octets[14..].copy_from_slice(&slot.to_be_bytes());
    Ipv6Addr::from(octets)
}

/// A neighbour solicitation for `target`, sent to the target address itself and to one node alone.
#[must_use]
pub fn solicit_question(
    node: Mac,
    own: Mac,
    client: Ipv6Addr,
    target: Ipv6Addr,
    tick: u32,
) -> Vec<u8> {
    let from = solicit_source(client, tick);
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&target.octets());
    message.extend_from_slice(&[1, 1]);
    message.extend_from_slice(&own.0);
    let sum = checksum(&[&pseudo_header(from, target, 32), &message]);
    message[2..4].copy_from_slice(&sum);
    frame6(node, own, from, target, &message)
}

/// An ICMPv6 echo request from `from` to `target`, to one node alone.
#[must_use]
pub fn echo6_question(node: Mac, own: Mac, from: Ipv6Addr, target: Ipv6Addr, tick: u32) -> Vec<u8> {
    let message = echo(128, JUDGE_ECHO_ID, tick, &pseudo_header(from, target, 16));
    frame6(node, own, from, target, &message)
}

fn array<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..at + N)?.try_into().ok()
}

/// Reads an answer and the hardware address it came from; anything else is `None`.
#[must_use]
pub fn read(frame: &[u8]) -> Option<(Mac, Heard)> {
    let source = Mac(array(frame, 6)?);
    let heard = match array::<2>(frame, 12)? {
        ETHERTYPE_ARP => read_arp(frame)?,
        ETHERTYPE_IPV4 => read_ipv4(frame)?,
        ETHERTYPE_IPV6 => read_ipv6(frame)?,
        _ => return None,
    };
    Some((source, heard))
}

fn read_arp(frame: &[u8]) -> Option<Heard> {
    let reply = array::<2>(frame, 20)? == [0, 2];
    let target_mac: [u8; 6] = array(frame, 32)?;
    if !reply || target_mac[..2] != TICK_MAC_PREFIX {
        return None;
    }
    let tick = u32::from_be_bytes([target_mac[2], target_mac[3], target_mac[4], target_mac[5]]);
    Some(Heard::Arp {
        address: Ipv4Addr::from(array::<4>(frame, 28)?),
        tick,
    })
}

/// Identifier and tick of an echo message at `at`.
fn read_echo(frame: &[u8], at: usize) -> Option<(u16, u32)> {
    let id = u16::from_be_bytes(array(frame, at + 4)?);
    let ours = frame.get(at + 8..at + 12)? == b"judg";
    ours.then_some(())?;
    Some((id, u32::from_be_bytes(array(frame, at + 12)?)))
}

fn read_ipv4(frame: &[u8]) -> Option<Heard> {
    let header = usize::from(frame.get(14)? & 0x0f) * 4;
    let at = 14 + header;
    if *frame.get(23)? != 1 || *frame.get(at)? != 0 {
        return None;
    }
    let (id, tick) = read_echo(frame, at)?;
    Some(Heard::Echo {
        address: Ipv4Addr::from(array::<4>(frame, 26)?),
        id,
        tick,
    })
}

fn read_ipv6(frame: &[u8]) -> Option<Heard> {
    if *frame.get(20)? != 58 {
        return None;
    }
    let source = Ipv6Addr::from(array::<16>(frame, 22)?);
    match *frame.get(54)? {
        129 => {
            let (id, tick) = read_echo(frame, 54)?;
            Some(Heard::Echo6 {
                address: source,
                id,
                tick,
            })
        }
        136 => {
            let to: [u8; 16] = array(frame, 38)?;
            if to[8..14] != SOLICIT_MARK {
                return None;
            }
            let slot = u32::from(u16::from_be_bytes([to[14], to[15]]));
            Some(Heard::Advertise {
                address: Ipv6Addr::from(array::<16>(frame, 62)?),
                slot,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
