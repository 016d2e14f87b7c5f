//! The gate on filters of clsact qdiscs: what somebody does to them is noticed and mended, and what is theirs stays.

use super::super::filters::{Handle, Placing};
use super::*;

/// Runs `work` with a gate on filters, in a namespace of its own with links `left` and `right`.
fn on_filters(work: impl FnOnce(&mut Gate, &Path) + Send + 'static) {
    in_own_namespace(|root| {
        ip("link add left type veth peer name right");
        work(&mut open(root), root);
    });
}

fn open(root: &Path) -> Gate {
    Gate::open_on(Home::within(root).unwrap(), Footing::Filters).unwrap()
}

/// Whether ours is the first filter on both ways of this link.
fn is_first(gate: &mut Gate, link: LinkIndex) -> bool {
    Way::BOTH.into_iter().all(|way| {
        let there = gate.filters.on(link.0, way).unwrap();
        let ours = gate.loaded[&(Form::Ether, way)].identity.id;
        there
            .first()
            .is_some_and(|first| first.ours().is_some() && first.program == Some(ours))
    })
}

fn said(program: &str, args: &str) -> String {
    let output = Command::new(program).args(args.split(' ')).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

/// A filter that lets everything pass, at the gate's own preference.
const PASS: &str = "1,6 0 0 0,";

fn put_before(link: &str, way: &str) {
    let mut tc = Command::new("tc");
    tc.args(format!("filter add dev {link} {way} prio 1 protocol all bpf da bytecode").split(' '));
    assert!(tc.arg(PASS).status().unwrap().success());
}

#[test]
fn a_gate_on_filters_is_never_worth_more_than_watched() {
    on_filters(|gate, _| {
        assert_eq!(gate.footing(), Footing::Filters);
        assert!(gate.stands_everywhere());
        assert_eq!(gate.worth(), Found::Watched);
        let left = link(gate, "left");
        assert_eq!(gate.carries(left), Ok(()));
        assert!(is_first(gate, left));
        look(gate);
        assert_eq!(look(gate), Tended::Intact);
    });
}

#[test]
fn what_somebody_deletes_or_puts_before_the_filters_is_noticed_and_mended() {
    on_filters(|gate, _| {
        let left = link(gate, "left");
        look(gate);
        for done in [
            "qdisc del dev left clsact",
            "filter del dev left ingress",
            "filter del dev left egress",
        ] {
            tc(done);
            assert!(!is_first(gate, left), "{done}");
            let told = look(gate);
            assert!(matches!(told, Tended::Repaired { .. }), "{done}: {told:?}");
            assert!(is_first(gate, left), "{done}");
        }
        for way in ["ingress", "egress"] {
            put_before("left", way);
            assert!(!is_first(gate, left), "{way}");
            let told = look(gate);
            assert!(matches!(told, Tended::Repaired { .. }), "{way}: {told:?}");
            assert!(is_first(gate, left), "{way}");
        }
        look(gate);
        assert_eq!(look(gate), Tended::Intact);
    });
}

#[test]
fn two_filters_that_a_dying_agent_left_are_one_after_the_next_start() {
    on_filters(|gate, root| {
        let left = link(gate, "left");
        let program = &gate.loaded[&(Form::Ether, Way::Out)].fd;
        let placed = gate.filters.put(
            (left.0, Way::Out),
            Handle::Other,
            Placing::First,
            (program, "haft_ether_out"),
        );
        placed.unwrap();
        let mut next = open(root);
        assert!(is_first(&mut next, left));
        look(&mut next);
        assert_eq!(look(&mut next), Tended::Intact);
        let there = next.filters.on(left.0, Way::Out).unwrap();
        assert_eq!(there.len(), 1, "{there:?}");
    });
}

#[test]
fn a_qdisc_and_filters_of_somebody_else_are_used_and_stay() {
    in_own_namespace(|root| {
        ip("link add left type veth peer name right");
        tc("qdisc add dev left clsact");
        tc("filter add dev left ingress prio 7 protocol ip u32 match u32 0 0 flowid 1:1");
        let theirs = |when: &str| {
            let shown = said("tc", "filter show dev left ingress");
            assert!(shown.contains("pref 7 u32"), "{when}: {shown}");
        };
        let mut gate = open(root);
        let left = link(&gate, "left");
        assert!(is_first(&mut gate, left));
        theirs("beside the gate");
        drop(gate);
        let mut next = open(root);
        assert!(is_first(&mut next, left));
        drop(next);
        take_away(&Home::within(root).unwrap()).unwrap();
        theirs("when the gate is gone");
        for (name, way) in [
            ("left", "ingress"),
            ("left", "egress"),
            ("right", "ingress"),
        ] {
            let shown = said("tc", &format!("filter show dev {name} {way}"));
            assert!(!shown.contains("haft"), "{name} {way}: {shown}");
        }
    });
}

#[test]
fn a_link_where_ours_cannot_come_first_carries_nothing_and_is_named() {
    on_filters(|gate, root| {
        look(gate);
        let left = link(gate, "left");
        let refused = |gate: &Gate, word: &str| {
            let standing = gate.carries(left);
            assert!(
                matches!(&standing, Err(Ungated::Refused { why }) if why.contains(word)),
                "{standing:?}"
            );
            assert!(!gate.stands_everywhere());
        };
        // Its place for filters has one way alone.
        tc("qdisc del dev left clsact");
        tc("qdisc add dev left ingress");
        look(gate);
        refused(gate, "ingress");
        let shown = said("tc", "filter show dev left ingress");
        assert_eq!(shown, "", "nothing of the way out is left in the way in");
        // So it is for an agent that starts beside it.
        let next = open(root);
        assert!(matches!(next.carries(left), Err(Ungated::Refused { .. })));
        drop(next);
        tc("qdisc del dev left ingress");
        look(gate);
        assert_eq!(gate.carries(left), Ok(()));
        // Another kind of filter has the first preference.
        tc("qdisc del dev left clsact");
        tc("qdisc add dev left clsact");
        tc("filter add dev left ingress prio 1 protocol ip u32 match u32 0 0 flowid 1:1");
        look(gate);
        refused(gate, "clsact");
        tc("filter del dev left ingress prio 1 protocol ip u32");
        look(gate);
        assert_eq!(gate.carries(left), Ok(()));
        assert!(is_first(gate, left));
    });
}

#[test]
fn a_port_has_no_filter_of_ours_and_a_new_agent_finds_every_end_closed() {
    on_filters(|gate, root| {
        let address = IpAddr::from([192, 0, 2, 1]);
        let left = link(gate, "left");
        gate.close(address).unwrap();
        assert!(gate.renew(&[address], Moment(u64::MAX)));
        ip("link add bridge0 type bridge");
        ip("link set left master bridge0");
        look(gate);
        assert!(gate.filters.on(left.0, Way::In).unwrap().is_empty());
        ip("link set left nomaster");
        look(gate);
        let mut next = open(root);
        assert!(is_first(&mut next, left));
        let claim = claim_of(Ipv4Addr::new(192, 0, 2, 1));
        let out = &next.loaded[&(Form::Ether, Way::Out)];
        assert_eq!(bpf::test_run(&out.fd, &claim, 1).unwrap().answer, DROPPED);
        ip("link del left");
        let told = look(&mut next);
        assert!(matches!(told, Tended::Intact | Tended::Links), "{told:?}");
    });
}
