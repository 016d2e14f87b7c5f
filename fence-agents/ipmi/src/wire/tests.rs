//! Codecs against bytes written out by hand from the tables, against each other, and against noise.

use proptest::prelude::*;

use super::message::{self, Answer, CompletionCode, Control, Request};
use super::packet::{self, Packet, PayloadKind, Protection};
use super::setup::{self, Opened, Privilege, Rakp2, SetupAnswer, SetupStatus};
use crate::cipher::Suite;

#[test]
fn the_first_request_has_the_bytes_of_the_tables() {
    let request = Request::ChannelCapabilities(Privilege::Administrator).to_bytes(1);
    assert_eq!(
        request,
        [0x20, 0x18, 0xC8, 0x81, 0x04, 0x38, 0x8E, 0x04, 0xB1]
    );
    let datagram = packet::plain(&request);
    let expected = [
        0x06, 0x00, 0xFF, 0x07, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0x09, 0x20, 0x18, 0xC8,
    ];
    assert_eq!(datagram[..17], expected);
}

#[test]
fn the_open_request_names_one_algorithm_each() {
    let payload = setup::open_request(7, Privilege::Operator, 0xA0A2_A3A4, Suite::Three);
    let expected = [
        7, 3, 0, 0, 0xA4, 0xA3, 0xA2, 0xA0, //
        0, 0, 0, 8, 1, 0, 0, 0, 1, 0, 0, 8, 1, 0, 0, 0, 2, 0, 0, 8, 1, 0, 0, 0,
    ];
    assert_eq!(payload, expected);
    let datagram = packet::setup(PayloadKind::OpenRequest, &payload);
    assert_eq!(
        datagram[..16],
        [
            0x06, 0, 0xFF, 7, 0x06, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0x00
        ]
    );
}

#[test]
fn power_commands_are_down_and_up_and_nothing_else() {
    let body = |request: Request| request.to_bytes(0)[6..].to_vec();
    assert_eq!(body(Request::ChassisControl(Control::Down))[0], 0x00);
    assert_eq!(body(Request::ChassisControl(Control::Up))[0], 0x01);
    assert_eq!(Request::ChassisControl(Control::Down).command(), 0x02);
    assert_eq!(Request::ChassisControl(Control::Down).function(), 0x00);
}

#[test]
fn answers_read_back_and_a_wrong_checksum_is_refused() {
    let answer = Answer {
        function: 0,
        command: 1,
        sequence: 63,
        code: CompletionCode(0),
        body: &[0x21, 0x10, 0x40],
    };
    let bytes = message::answer_to_bytes(&answer);
    assert_eq!(message::parse_answer(&bytes), Some(answer));
    for at in 0..bytes.len() {
        let mut broken = bytes.clone();
        broken[at] ^= 0x40;
        assert_eq!(message::parse_answer(&broken), None, "byte {at}");
    }
}

#[test]
fn our_own_request_is_not_an_answer() {
    assert_eq!(
        message::parse_answer(&Request::ChassisStatus.to_bytes(1)),
        None
    );
}

#[test]
fn a_short_status_holds_no_power_state() {
    assert_eq!(message::power_is_on(&[]), None);
    assert_eq!(message::power_is_on(&[0x00]), None);
    assert_eq!(message::power_is_on(&[0x00, 0, 0]), Some(false));
    assert_eq!(message::power_is_on(&[0x61, 0, 0, 0]), Some(true));
}

#[test]
fn the_restore_policy_is_bits_five_and_six() {
    use message::Restore;
    for (first, expected) in [
        (0x01, Some(Restore::AlwaysOff)),
        (0x20, Some(Restore::Previous)),
        (0x41, Some(Restore::AlwaysOn)),
        (0x61, None),
    ] {
        assert_eq!(message::restore_of(&[first, 0, 0]), expected, "{first:#x}");
    }
    assert_eq!(message::restore_of(&[]), None);
    let bytes = Request::SetRestore(Restore::Previous).to_bytes(1);
    assert_eq!((bytes[1] >> 2, bytes[5], bytes[6]), (0x00, 0x06, 0x01));
}

#[test]
fn a_bmc_of_ipmi_1_5_is_recognised() {
    assert!(message::speaks_rmcp_plus(&[
        1, 0x97, 0x04, 0x03, 0, 0, 0, 0
    ]));
    assert!(!message::speaks_rmcp_plus(&[
        1, 0x17, 0x04, 0x03, 0, 0, 0, 0
    ]));
    assert!(!message::speaks_rmcp_plus(&[
        1, 0x97, 0x04, 0x01, 0, 0, 0, 0
    ]));
    assert!(!message::speaks_rmcp_plus(&[1, 0x97]));
}

#[test]
fn every_status_code_has_a_meaning() {
    for code in 0..=0x12 {
        assert_ne!(
            SetupStatus(code).meaning(),
            "reserved status code",
            "{code:#x}"
        );
    }
}

#[test]
fn set_up_answers_read_back() {
    for suite in [Suite::Three, Suite::Seventeen] {
        let opened = setup::parse_open_response(&setup::open_response(9, 0, 5, 6, suite)).unwrap();
        let algorithms = [
            suite.authentication(),
            suite.integrity(),
            suite.confidentiality(),
        ];
        let contents = Opened {
            bmc_session: 6,
            algorithms,
        };
        assert_eq!((opened.tag, opened.console_session), (9, 5));
        assert_eq!(opened.answer, SetupAnswer::Accepted(contents));

        let code = vec![0xCC; suite.code_len()];
        let parts = Rakp2 {
            bmc_random: [1; 16],
            bmc_guid: [2; 16],
            code: &code,
        };
        let bytes = setup::rakp2(3, 0, 5, &parts);
        let read = setup::parse_rakp2(&bytes, suite).unwrap();
        assert_eq!(read.answer, SetupAnswer::Accepted(parts));
        assert_eq!(setup::parse_rakp2(&bytes[..bytes.len() - 1], suite), None);

        let check = vec![0xDD; suite.integrity_len()];
        let bytes = setup::rakp4(3, 0, 5, &check);
        let read = setup::parse_rakp4(&bytes, suite).unwrap();
        assert_eq!(read.answer, SetupAnswer::Accepted(&check[..]));
        assert_eq!(setup::parse_rakp4(&bytes[..bytes.len() - 1], suite), None);

        let bytes = setup::rakp4(3, 0x0F, 5, &[]);
        let refused = setup::parse_rakp4(&bytes, suite).unwrap();
        assert_eq!(refused.answer, SetupAnswer::Refused(SetupStatus(0x0F)));
    }
}

#[test]
fn a_refusal_may_end_behind_its_status() {
    // As OpenIPMI's ipmi_sim 2.0.33 answers an open session request for suite 17.
    let read = setup::parse_open_response(&[0x07, 0x04]).unwrap();
    assert_eq!((read.tag, read.console_session), (7, 0));
    assert_eq!(read.answer, SetupAnswer::Refused(SetupStatus(0x04)));
    assert_eq!(setup::parse_open_response(&[0x07, 0x00]), None);
    assert_eq!(setup::parse_rakp4(&[0x07, 0x00, 0, 0], Suite::Three), None);
}

#[test]
fn half_protected_packets_and_other_classes_are_refused() {
    let whole = packet::protected(1, 2, &[0; 32], |_| vec![0xAA; 12]);
    assert!(matches!(
        packet::parse(&whole, 12),
        Some(Packet::Plus {
            protection: Protection::Full { .. },
            session: 1,
            sequence: 2,
            ..
        })
    ));
    for flags in [0x40, 0x80] {
        let mut half = whole.clone();
        half[5] = flags;
        assert_eq!(packet::parse(&half, 12), None);
    }
    for (at, value) in [(0, 0x07), (3, 0x06), (4, 0x05), (5, 0xC1)] {
        let mut other = whole.clone();
        other[at] = value;
        assert_eq!(packet::parse(&other, 12), None, "byte {at}");
    }
}

#[test]
fn a_cut_packet_is_refused_at_every_length() {
    let whole = packet::protected(1, 2, &[0; 32], |_| vec![0xAA; 12]);
    for length in 0..whole.len() {
        assert_eq!(packet::parse(&whole[..length], 12), None, "{length}");
    }
}

proptest! {
    #[test]
    fn no_datagram_makes_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for code_len in [12, 16] {
            let _ = packet::parse(&bytes, code_len);
        }
        let _ = message::parse_answer(&bytes);
        let _ = message::speaks_rmcp_plus(&bytes);
        let _ = message::power_is_on(&bytes);
        for suite in [Suite::Three, Suite::Seventeen] {
            let _ = setup::parse_open_response(&bytes);
            let _ = setup::parse_rakp2(&bytes, suite);
            let _ = setup::parse_rakp4(&bytes, suite);
        }
    }

    #[test]
    fn no_packet_that_begins_well_makes_the_parser_panic(
        kind in any::<u8>(),
        rest in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let bytes = [&[0x06, 0, 0xFF, 0x07, 0x06, kind][..], &rest].concat();
        let _ = packet::parse(&bytes, 12);
    }
}
