//! What passes and what is dropped, by direction, for frames of every form.

use super::*;

const CLOSED4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OPEN4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const OTHER4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);
const CLOSED6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const OPEN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const OTHER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3);
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// One address closed and one open in each family.
fn judged(work: impl FnOnce(&Gate) + Send + 'static) {
    beside_a_gate(|gate| {
        for address in [CLOSED4.into(), OPEN4.into(), CLOSED6.into(), OPEN6.into()] {
            gate.close(address).unwrap();
        }
        assert!(gate.renew(&[OPEN4.into(), OPEN6.into()], Moment(u64::MAX)));
        work(gate);
    });
}

fn answer(gate: &Gate, form: Form, way: Way, frame: &[u8]) -> i32 {
    bpf::test_run(&gate.loaded[&(form, way)].fd, frame, 1)
        .unwrap()
        .answer
}

/// How the frame fares in and out, on a link of either form, behind any tags where there is a place for them.
fn expect(gate: &Gate, what: &str, kind: u16, payload: &[u8], (inward, outward): (i32, i32)) {
    for (way, wanted) in [(Way::In, inward), (Way::Out, outward)] {
        for tags in [&[][..], &[0x8100], &[0x88a8, 0x8100]] {
            let frame = framed(tags, kind, payload);
            assert_eq!(
                answer(gate, Form::Ether, way, &frame),
                wanted,
                "{what}, {way:?}, {tags:x?}"
            );
        }
        if kind != 0x0806 {
            let frame = framed(&[], kind, payload);
            assert_eq!(
                answer(gate, Form::Bare, way, &frame),
                wanted,
                "{what}, bare, {way:?}"
            );
        }
    }
}

fn framed(tags: &[u16], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 5]);
    }
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

fn arp(operation: u8, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, operation, 2, 0, 0, 0, 0, 8];
    body.extend(sender.octets());
    body.extend([0; 6]);
    body.extend(target.octets());
    body.resize(46, 0);
    body
}

fn ip4(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let mut body = vec![0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0];
    body.extend(from.octets());
    body.extend(to.octets());
    body.resize(46, 0);
    body
}

/// `headers` stand before ICMPv6; each begins with a place for the number of what follows it.
fn ip6(from: Ipv6Addr, to: Ipv6Addr, headers: &[(u8, &[u8])], message: &[u8]) -> Vec<u8> {
    let after = |place: usize| headers.get(place).map_or(58, |(number, _)| *number);
    let mut body = vec![0x60, 0, 0, 0, 0, 0, after(0), 255];
    body.extend(from.octets());
    body.extend(to.octets());
    for (place, (_, header)) in headers.iter().enumerate() {
        body.push(after(place + 1));
        body.extend(*header);
    }
    body.extend(message);
    body
}

fn discovery(kind: u8, target: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    message
}

#[test]
fn arp_is_judged_by_what_it_asks_in_and_by_what_it_claims_out() {
    judged(|gate| {
        let arp_is = |what: &str, body: Vec<u8>, ways| expect(gate, what, 0x0806, &body, ways);
        arp_is("asked for", arp(1, OTHER4, CLOSED4), (DROPPED, PASSED));
        arp_is("answered", arp(2, CLOSED4, OTHER4), (PASSED, DROPPED));
        arp_is(
            "the new owner says so",
            arp(1, CLOSED4, CLOSED4),
            (PASSED, DROPPED),
        );
        arp_is(
            "probed",
            arp(1, Ipv4Addr::UNSPECIFIED, CLOSED4),
            (DROPPED, PASSED),
        );
        arp_is("open, asked for", arp(1, OTHER4, OPEN4), (PASSED, PASSED));
        arp_is("open, answered", arp(2, OPEN4, OTHER4), (PASSED, PASSED));
        arp_is("not ours", arp(1, OTHER4, OTHER4), (PASSED, PASSED));
        arp_is(
            "cut short",
            arp(1, OTHER4, OTHER4)[..20].to_vec(),
            (DROPPED, PASSED),
        );
        arp_is(
            "cut shorter",
            arp(1, OTHER4, OTHER4)[..15].to_vec(),
            (DROPPED, DROPPED),
        );
    });
}

#[test]
fn ip_is_judged_by_where_it_goes_in_and_where_it_comes_from_out() {
    judged(|gate| {
        let ip_is = |what: &str, body: Vec<u8>, ways| expect(gate, what, 0x0800, &body, ways);
        ip_is("to it", ip4(OTHER4, CLOSED4), (DROPPED, PASSED));
        ip_is("from it", ip4(CLOSED4, OTHER4), (PASSED, DROPPED));
        ip_is("open", ip4(OPEN4, OPEN4), (PASSED, PASSED));
        ip_is("not ours", ip4(OTHER4, OTHER4), (PASSED, PASSED));
        ip_is("of no version", vec![0; 46], (DROPPED, DROPPED));
        let ip_is = |what: &str, body: Vec<u8>, ways| expect(gate, what, 0x86dd, &body, ways);
        ip_is(
            "to it",
            ip6(OTHER6, CLOSED6, &[], &[128; 8]),
            (DROPPED, PASSED),
        );
        ip_is(
            "from it",
            ip6(CLOSED6, OTHER6, &[], &[128; 8]),
            (PASSED, DROPPED),
        );
        ip_is("open", ip6(OPEN6, OPEN6, &[], &[128; 8]), (PASSED, PASSED));
        // A test run takes no such frame without a tag.
        let cut = framed(&[0x8100], 0x86dd, &ip6(OTHER6, OTHER6, &[], &[])[..30]);
        for way in Way::BOTH {
            assert_eq!(
                answer(gate, Form::Ether, way, &cut),
                DROPPED,
                "cut short, {way:?}"
            );
        }
    });
}

#[test]
fn discovery_is_judged_by_its_target_behind_any_headers() {
    judged(|gate| {
        let options: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
        let first: &[u8] = &[0, 0, 1, 0, 0, 0, 7];
        let later: &[u8] = &[0, 0, 9, 0, 0, 0, 7];
        let routed: &[u8] = &[0, 4, 1, 0, 0, 0, 0];
        let arrived: &[u8] = &[0, 4, 0, 0, 0, 0, 0];
        for headers in [
            &[][..],
            &[(0, options)],
            &[(0, options), (60, options), (44, first)],
            &[(43, arrived)],
        ] {
            let is = |what: &str, kind, target, ways| {
                let body = ip6(OTHER6, OTHER6, headers, &discovery(kind, target));
                expect(gate, what, 0x86dd, &body, ways);
            };
            is("asked for", SOLICITATION, CLOSED6, (DROPPED, PASSED));
            is("claimed", ADVERTISEMENT, CLOSED6, (PASSED, DROPPED));
            is("open, asked for", SOLICITATION, OPEN6, (PASSED, PASSED));
            is("open, claimed", ADVERTISEMENT, OPEN6, (PASSED, PASSED));
        }
        let asked = discovery(SOLICITATION, OTHER6);
        let is = |what: &str, headers: &[(u8, &[u8])], message: &[u8], ways| {
            expect(
                gate,
                what,
                0x86dd,
                &ip6(OTHER6, OTHER6, headers, message),
                ways,
            );
        };
        is("a later fragment", &[(44, later)], &asked, (PASSED, PASSED));
        is(
            "goes on elsewhere",
            &[(43, routed)],
            &asked,
            (DROPPED, PASSED),
        );
        is("no target", &[], &asked[..12], (DROPPED, PASSED));
        is(
            "headers without end",
            &[(60, options); 9],
            &asked,
            (DROPPED, DROPPED),
        );
    });
}

#[test]
fn what_cannot_be_read_passes_while_nothing_is_closed() {
    beside_a_gate(|gate| {
        let cut = framed(&[0x8100], 0x0800, &[0x45; 10]);
        let asks = |gate: &Gate| answer(gate, Form::Ether, Way::In, &cut);
        assert_eq!(asks(gate), PASSED);
        let address = IpAddr::V4(CLOSED4);
        gate.close(address).unwrap();
        assert_eq!(asks(gate), DROPPED);
        gate.renew(&[address], Moment(u64::MAX));
        assert_eq!(asks(gate), PASSED);
        gate.renew(&[address], boot_now());
        assert_eq!(asks(gate), DROPPED);
        gate.forget(address).unwrap();
        assert_eq!(asks(gate), PASSED);
    });
}
