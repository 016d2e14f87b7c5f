//! Frames against hand-made ones. That real kernels answer them is shown by the lab's own suites.

use super::*;

const NODE: Mac = Mac([2, 0x4c, 1, 0, 0, 1]);
const OWN: Mac = Mac([2, 0x4c, 1, 0, 0, 4]);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 100);

#[test]
fn hardware_addresses_are_read_strictly() {
    assert_eq!(Mac::parse("02:4c:01:00:00:04").unwrap(), OWN);
    for bad in [
        "",
        "02:4c:01:00:00",
        "02:4c:01:00:00:04:05",
        "02:4c:01:00:00:xx",
    ] {
        assert!(Mac::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_arp_reply_is_attributed_to_the_tick_in_its_target_hardware_address() {
    let question = arp_question(NODE, OWN, Ipv4Addr::new(10, 77, 1, 250), VIP, 0x0102_0304);
    assert_eq!(question.len(), 42);
    assert_eq!(read(&question), None, "a question is no answer");
    // What a kernel makes of it: operation 2, sender and target exchanged.
    let mut reply = question[22..28].to_vec();
    reply.extend_from_slice(&NODE.0);
    reply.extend_from_slice(&question[12..20]);
    reply.extend_from_slice(&[0, 2]);
    reply.extend_from_slice(&NODE.0);
    reply.extend_from_slice(&VIP.octets());
    reply.extend_from_slice(&question[22..32]);
    assert_eq!(
        read(&reply),
        Some((
            NODE,
            Heard::Arp {
                address: VIP,
                tick: 0x0102_0304
            }
        ))
    );
}

#[test]
fn echo_checksums_verify_and_the_payload_names_the_tick() {
    let frame = echo_question(NODE, OWN, Ipv4Addr::new(10, 77, 1, 4), VIP, 77);
    assert_eq!(checksum(&[&frame[14..34]]), [0, 0]);
    assert_eq!(checksum(&[&frame[34..]]), [0, 0]);
    let mut reply = frame.clone();
    reply[6..12].copy_from_slice(&NODE.0);
    reply[26..30].copy_from_slice(&VIP.octets());
    reply[34] = 0;
    assert_eq!(
        read(&reply),
        Some((
            NODE,
            Heard::Echo {
                address: VIP,
                id: JUDGE_ECHO_ID,
                tick: 77
            }
        ))
    );
}

#[test]
fn a_solicitation_names_its_tick_in_the_source_address() {
    let client: Ipv6Addr = "2001:db8:77:1::4".parse().unwrap();
    let vip: Ipv6Addr = "2001:db8:77:1::100".parse().unwrap();
    let frame = solicit_question(NODE, OWN, client, vip, 130);
    let from = solicit_source(client, 130);
    assert_eq!(from, solicit_source(client, 2));
    assert_eq!(
        checksum(&[&pseudo_header(from, vip, 32), &frame[54..]]),
        [0, 0]
    );
    let mut reply = frame6(OWN, NODE, vip, from, &{
        let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
        message.extend_from_slice(&vip.octets());
        message
    });
    assert_eq!(
        read(&reply),
        Some((
            NODE,
            Heard::Advertise {
                address: vip,
                slot: 2
            }
        ))
    );
    reply[54] = 135;
    assert_eq!(read(&reply), None);
}

#[test]
fn truncated_frames_are_ignored() {
    let frame = echo6_question(NODE, OWN, Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST, 1);
    let mut reply = frame.clone();
    reply[54] = 129;
    assert!(read(&reply).is_some());
    for length in 0..reply.len() {
        assert_eq!(read(&reply[..length]), None, "{length}");
    }
}
