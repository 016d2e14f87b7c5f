//! What ends a session, and what opens a holding (R2, R3).

use super::*;

#[test]
fn a_majority_of_distinct_voters_under_the_membership_in_force_ends_a_session() {
    let long = lengthened(TTL);
    let mut cluster = Cluster::new();
    let closing = cluster.close(1);
    let one = cluster.age(0, long);
    let refused = |cluster: &mut Cluster, ages| {
        let command = cluster.expiry(1, closing, ages);
        assert_eq!(
            cluster.refused(command, "NoMajorityOfAges"),
            RefusalKind::Unsafe
        );
    };
    refused(&mut cluster, vec![]);
    refused(&mut cluster, vec![one]);
    refused(&mut cluster, vec![one, one]);
    let short = cluster.age(2, long - Duration::from_nanos(1));
    refused(&mut cluster, vec![one, short]);
    let older = StatedAge {
        membership: EntryId::new(1, 1),
        ..cluster.age(2, long)
    };
    refused(&mut cluster, vec![one, older]);
    let stranger = StatedAge {
        by: NodeId(99),
        ..one
    };
    refused(&mut cluster, vec![one, stranger]);
    let other_closing = cluster.expiry(1, LogIndex(1), vec![one]);
    cluster.refused(other_closing, "OtherClosing");
    let enough = cluster.expiry(1, closing, vec![one, cluster.age(2, long)]);
    assert_eq!(cluster.apply(enough), Outcome::Done);
    assert!(matches!(
        cluster.state.nodes[&cluster.ids[1]].session,
        Session::Ended { .. }
    ));
}

#[test]
fn while_membership_is_joint_both_sets_must_be_silent() {
    let mut cluster = Cluster::new();
    cluster.join(4);
    cluster.join(5);
    cluster.ids = cluster.state.nodes.keys().copied().collect();
    cluster.vote(&[&[0, 1, 2], &[0, 3, 4]]);
    let closing = cluster.close(1);
    let long = lengthened(TTL);
    let old_half = vec![cluster.age(0, long), cluster.age(2, long)];
    let command = cluster.expiry(1, closing, old_half.clone());
    cluster.refused(command, "NoMajorityOfAges");
    let mut both = old_half;
    both.push(cluster.age(3, long));
    let command = cluster.expiry(1, closing, both);
    assert_eq!(cluster.apply(command), Outcome::Done);
}

#[test]
fn statements_from_before_a_membership_change_do_not_count() {
    let mut cluster = Cluster::new();
    let closing = cluster.close(1);
    let long = lengthened(TTL);
    let ages = vec![cluster.age(0, long), cluster.age(2, long)];
    cluster.vote(&[&[0, 1, 2]]);
    let command = cluster.expiry(1, closing, ages);
    cluster.refused(command, "NoMajorityOfAges");
}

#[test]
fn absurd_spans_are_refused_and_never_overflow() {
    let mut cluster = Cluster::new();
    let id = cluster.put("web", Isolation::Lease);
    let Outcome::Granted(token) = cluster.apply(cluster.granting(&id, 1)) else {
        panic!("not granted");
    };
    let activated = Command::Activated {
        resource: id.clone(),
        token,
        incarnation: cluster.newest(1),
        guard: Attestation::Intact,
        address_life: Duration::MAX,
    };
    cluster.refused(activated, "BadAddressLifetime");
}

#[test]
fn the_end_of_a_session_opens_only_lease_under_an_intact_guard() {
    let cases = [
        (
            Isolation::Lease,
            Attestation::Intact,
            Attestation::Intact,
            true,
        ),
        (
            Isolation::Lease,
            Attestation::Intact,
            Attestation::Broken,
            false,
        ),
        (
            Isolation::Lease,
            Attestation::Intact,
            Attestation::Unknown,
            false,
        ),
        (
            Isolation::Lease,
            Attestation::Broken,
            Attestation::Intact,
            false,
        ),
        (
            Isolation::Lease,
            Attestation::Unknown,
            Attestation::Intact,
            false,
        ),
        (
            Isolation::Lease,
            Attestation::Watched,
            Attestation::Intact,
            false,
        ),
        (
            Isolation::Lease,
            Attestation::Intact,
            Attestation::Watched,
            false,
        ),
        (
            Isolation::Stonith,
            Attestation::Intact,
            Attestation::Intact,
            false,
        ),
    ];
    for (isolation, attested, stated, opens) in cases {
        let mut cluster = Cluster::new();
        let id = cluster.put("web", isolation);
        cluster.active(&id, 1, attested);
        let closing = cluster.close(1);
        let ages = [0, 2]
            .map(|by| StatedAge {
                guards: stated,
                ..cluster.age(by, lengthened(TTL))
            })
            .to_vec();
        let command = cluster.expiry(1, closing, ages);
        assert_eq!(cluster.apply(command), Outcome::Done);
        let open = cluster.state.resources[&id].ownership == Ownership::Unowned;
        assert_eq!(open, opens, "{isolation:?} {attested:?} {stated:?}");
    }
}

/// The review's history S9: who went deaf an hour ago vouches for the guard, and those that have heard `Broken`
/// since then were restarted.
#[test]
fn the_guard_counts_by_the_newest_beat_that_anybody_heard() {
    use Attestation::{Broken, Intact, Unknown};
    let cases = [
        // Sequence and attestation of three statements; whether the address is free at once.
        ([(7, Intact), (7, Intact), (7, Intact)], true),
        ([(7, Intact), (3, Broken), (3, Broken)], true),
        ([(7, Intact), (9, Broken), (0, Unknown)], false),
        ([(3, Intact), (9, Unknown), (0, Unknown)], false),
        ([(9, Intact), (9, Broken), (0, Unknown)], false),
        ([(0, Unknown), (0, Unknown), (0, Unknown)], false),
        ([(0, Intact), (0, Unknown), (0, Unknown)], false),
        // Who has forgotten it outvotes nobody, as long as a majority remembers.
        ([(7, Intact), (7, Intact), (0, Unknown)], true),
        ([(7, Intact), (0, Unknown), (0, Unknown)], false),
    ];
    for (stated, opens) in cases {
        let mut cluster = Cluster::new();
        let id = cluster.put("web", Isolation::Lease);
        cluster.active(&id, 1, Intact);
        let closing = cluster.close(1);
        let ages = stated.into_iter().enumerate();
        let ages = ages.map(|(by, (sequence, guards))| StatedAge {
            sequence,
            guards,
            ..cluster.age(by, lengthened(TTL))
        });
        let command = cluster.expiry(1, closing, ages.collect());
        assert_eq!(cluster.apply(command), Outcome::Done);
        let open = cluster.state.resources[&id].ownership == Ownership::Unowned;
        assert_eq!(open, opens, "{stated:?}");
    }
}

/// Found by the simulator: the gate was lost, a majority acknowledged that and restarted, and the third coordinator had
/// been deaf since before. Its word alone opened what the lost owner's kernel still answered for.
#[test]
fn who_was_deaf_does_not_vouch_for_what_a_majority_has_forgotten() {
    let mut cluster = Cluster::new();
    let id = cluster.put("web", Isolation::Lease);
    let token = cluster.active(&id, 1, Attestation::Intact);
    let closing = cluster.close(1);
    let deaf = cluster.age(0, lengthened(TTL * 2));
    let restarted = StatedAge {
        sequence: 0,
        guards: Attestation::Unknown,
        ..cluster.age(2, lengthened(TTL))
    };
    let command = cluster.expiry(1, closing, vec![deaf, restarted]);
    assert_eq!(cluster.apply(command), Outcome::Done);
    assert!(matches!(
        cluster.state.resources[&id].ownership,
        Ownership::Orphaned(_)
    ));
    let lapse = Command::LifetimeLapsed {
        resource: id.clone(),
        token,
        waited: lengthened(Duration::from_secs(5)),
    };
    assert_eq!(cluster.apply(lapse), Outcome::Done);
    assert!(matches!(
        cluster.proof(&id),
        Some(Proof::LifetimeLapsed { .. })
    ));
}

#[cfg(feature = "planted-bugs")]
#[test]
fn an_old_intact_that_counts_is_noticed() {
    use crate::plant::{Bug, set};
    set(Some(Bug::AnyIntactCounts));
    let outcome = std::panic::catch_unwind(the_guard_counts_by_the_newest_beat_that_anybody_heard);
    set(None);
    assert!(outcome.is_err());
}

#[test]
fn a_lifetime_is_waited_out_in_full_and_only_for_lease() {
    let mut cluster = Cluster::new();
    let id = cluster.put("web", Isolation::Lease);
    let token = cluster.active(&id, 1, Attestation::Broken);
    let lapse = |token, waited| Command::LifetimeLapsed {
        resource: ResourceId::vip("web"),
        token,
        waited,
    };
    // Twice the two seconds, and the kernel's one.
    let enough = lengthened(Duration::from_secs(5));
    cluster.refused(lapse(token, enough), "OtherHolding");
    cluster.expire(1);
    let short = enough - Duration::from_nanos(1);
    cluster.refused(lapse(token, short), "LifetimeProvesNothing");
    cluster.refused(lapse(Token::default(), enough), "OtherHolding");
    assert_eq!(cluster.apply(lapse(token, enough)), Outcome::Done);
    assert!(matches!(
        cluster.proof(&id),
        Some(Proof::LifetimeLapsed { .. })
    ));

    let mut cluster = Cluster::new();
    let id = cluster.put("web", Isolation::Stonith);
    let token = cluster.active(&id, 1, Attestation::Intact);
    cluster.expire(1);
    cluster.refused(
        lapse(token, Duration::from_secs(999)),
        "LifetimeProvesNothing",
    );
}

#[test]
fn a_release_counts_for_its_own_token_and_life_only() {
    let mut cluster = Cluster::new();
    let id = cluster.put("web", Isolation::Stonith);
    let token = cluster.active(&id, 1, Attestation::Intact);
    let release = |token, incarnation| Command::Released {
        resource: ResourceId::vip("web"),
        token,
        incarnation,
    };
    let life = cluster.newest(1);
    let other = Token {
        index: LogIndex(token.index.0 - 1),
        ..token
    };
    cluster.refused(release(other, life), "OtherHolding");
    cluster.refused(release(token, cluster.newest(2)), "OtherHolding");
    cluster.expire(1);
    // Relayed after the session ended: an orphan's own word still counts.
    assert_eq!(cluster.apply(release(token, life)), Outcome::Done);
    assert_eq!(cluster.proof(&id), Some(&Proof::Released));
    cluster.refused(release(token, life), "OtherHolding");
}

#[test]
fn a_grant_needs_an_open_session_the_last_token_and_the_present_spec() {
    let mut cluster = Cluster::new();
    let id = cluster.put("web", Isolation::Lease);
    let Command::Grant {
        resource,
        node,
        incarnation,
        previous,
        generation,
    } = cluster.granting(&id, 1)
    else {
        panic!("a grant");
    };
    let grant = |incarnation, previous, generation| Command::Grant {
        resource: resource.clone(),
        node,
        incarnation,
        previous,
        generation,
    };
    let stale = Token {
        epoch: Epoch(1),
        index: LogIndex(1),
    };
    cluster.refused(grant(incarnation, stale, generation), "TokenChanged");
    cluster.refused(
        grant(incarnation, previous, Generation(1)),
        "GenerationChanged",
    );
    cluster.refused(
        grant(Incarnation(1), previous, generation),
        "SessionNotOpen",
    );
    let first = cluster.active(&id, 1, Attestation::Intact);
    let again = cluster.granting(&id, 2);
    assert_eq!(cluster.refused(again, "NoEvidence"), RefusalKind::Unsafe);
    cluster.expire(1);
    let second = cluster.active(&id, 2, Attestation::Intact);
    assert!(second > first);
}

#[test]
fn one_entry_cannot_grant_twice_under_one_token() {
    let mut cluster = Cluster::new();
    let id = cluster.put("web", Isolation::Lease);
    let token = Token {
        epoch: Epoch(1),
        index: LogIndex(cluster.index + 1),
    };
    let release = Command::Released {
        resource: id.clone(),
        token,
        incarnation: cluster.newest(1),
    };
    let first = cluster.granting(&id, 1);
    let mut second = first.clone();
    if let Command::Grant { previous, .. } = &mut second {
        *previous = token;
    }
    let outcomes = cluster.apply_all(vec![first, release, second]);
    assert_eq!(outcomes[0], Outcome::Granted(token));
    assert_eq!(outcomes[1], Outcome::Done);
    assert!(matches!(&outcomes[2], Outcome::Refused(why) if why.reason == "TokenNotRising"));
}
