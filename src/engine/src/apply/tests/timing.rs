//! The timing in the log: seeded, changed, copied into each session, and what each session is judged by (R2a).

use super::*;
use crate::clock::Moment;
use crate::gate::GateKind;
use crate::session::Received;
use crate::session::holder::Holder;
use crate::session::responder::{Responder, Restart};
use crate::timing::Terms;

const MS: u64 = 1_000_000;

fn set(timing: Timing) -> Command {
    Command::SetTiming {
        timing,
        expected: None,
        request: RequestId::default(),
    }
}

impl Cluster {
    fn terms(&self, place: usize) -> Terms {
        self.state.nodes[&self.ids[place]].terms.expect("admitted")
    }

    fn set(&mut self, timing: Timing) -> Generation {
        let Outcome::Written(generation) = self.apply(set(timing)) else {
            panic!("the timing was refused");
        };
        generation
    }

    fn grant(&mut self, id: &ResourceId) -> Outcome {
        let command = self.granting(id, 1);
        self.apply(command)
    }

    fn retimed(&self, place: usize, generation: Generation) -> Command {
        Command::Retimed {
            node: self.ids[place],
            incarnation: self.newest(place),
            generation,
        }
    }
}

/// A node beats once a second by the session's timing, and the leader's file says `fast`: without any fault the
/// leader closes after 200 ms of silence and asks for ages. None of it may end a lease that runs.
#[test]
fn a_leader_on_another_preset_ends_no_live_lease() {
    let mut cluster = Cluster::with(Timing::RELAXED);
    let id = cluster.put("web", Isolation::Lease);
    cluster.active(&id, 1, Attestation::Intact);
    let membership = cluster.state.membership.clone();
    let start = Moment(1_000 * MS);
    let mut responders: Vec<Responder> = cluster
        .ids
        .iter()
        .zip([Timing::FAST, Timing::RELAXED, Timing::RELAXED])
        .map(|(id, file)| {
            let mut responder = Responder::new(*id, file, start, Restart::Fresh);
            responder.on_membership(start, membership.clone());
            responder.on_applied(start, &cluster.state);
            responder
        })
        .collect();
    let life = cluster.newest(1);
    let mut holder = Holder::new(cluster.ids[1], life, membership, cluster.terms(1).timing);
    let sent = start + Duration::from_secs(100);
    let beat = holder.on_tick(sent, Attestation::Intact).expect("due");
    let ((), received) = Received::after(|| (), || sent);
    for responder in &mut responders {
        let answer = responder.on_beat(received, &beat);
        holder.on_answer(sent, &answer);
    }
    let end = holder.end().expect("a majority has acknowledged it");
    let closing = cluster.close(1);
    let ages = |responders: &[Responder], at| {
        responders
            .iter()
            .map(|one| {
                one.state_age(at, cluster.ids[1], life, closing)
                    .expect("sealed")
            })
            .collect::<Vec<_>>()
    };
    for responder in &mut responders {
        responder.on_applied(sent, &cluster.state);
    }
    let early = ages(&responders, sent + Duration::from_millis(255));
    let late = ages(&responders, end + Duration::from_millis(20));
    let command = cluster.expiry(1, closing, early);
    cluster.refused(command, "NoMajorityOfAges");
    let command = cluster.expiry(1, closing, late);
    assert_eq!(cluster.apply(command), Outcome::Done);
}

#[test]
fn an_admission_copies_the_whole_timing_in_force() {
    let mut cluster = Cluster::with(Timing::NORMAL);
    assert_eq!(cluster.terms(0).timing, Timing::NORMAL);
    assert_eq!(cluster.terms(0).judged, Timing::NORMAL);
    let generation = cluster.set(Timing::FAST);
    cluster.admit(0, 1, Probe::Clean);
    let terms = cluster.terms(0);
    assert_eq!((terms.timing, terms.generation), (Timing::FAST, generation));
    assert_eq!(
        terms.judged,
        Timing::FAST,
        "a new life was never told of the older one"
    );
}

#[test]
fn without_a_timing_in_the_log_nobody_is_admitted_and_who_was_is_judged_by_the_longest() {
    let mut cluster = Cluster::new();
    for node in cluster.state.nodes.values_mut() {
        node.terms = None;
    }
    let closing = cluster.close(1);
    let ages = |age| (0..3).map(|by| cluster.age(by, age)).collect::<Vec<_>>();
    let short = ages(Timing::LONGEST.ttl);
    let long = ages(Timing::LONGEST.silence());
    let command = cluster.expiry(1, closing, short);
    cluster.refused(command, "NoMajorityOfAges");
    let command = cluster.expiry(1, closing, long);
    assert_eq!(cluster.apply(command), Outcome::Done);
    cluster.state.timing = None;
    let admit = Command::Admit {
        node: cluster.ids[1],
        boot: BootId([9; 16]),
        previous: cluster.newest(1),
        probe: Probe::Clean,
        place: crate::place::Place::default(),
    };
    cluster.refused(admit.clone(), "NoTiming");
    cluster.set(Timing::FAST);
    assert!(matches!(cluster.apply(admit), Outcome::Admitted(_)));
}

#[test]
fn raising_is_believed_at_once_and_lowering_only_of_whoever_has_said_so() {
    let mut cluster = Cluster::with(Timing::NORMAL);
    cluster.set(Timing::RELAXED);
    let raised = |cluster: &Cluster, place: usize| cluster.terms(place).judged.ttl;
    assert!((0..3).all(|place| raised(&cluster, place) == Timing::RELAXED.ttl));
    let fast = cluster.set(Timing::FAST);
    assert!((0..3).all(|place| raised(&cluster, place) == Timing::RELAXED.ttl));
    let command = cluster.retimed(1, Generation(fast.0 - 1));
    cluster.refused(command, "OtherTiming");
    let command = cluster.retimed(1, fast);
    assert_eq!(cluster.apply(command), Outcome::Done);
    assert_eq!(cluster.terms(1).judged, Timing::FAST);
    assert_eq!(raised(&cluster, 2), Timing::RELAXED.ttl);
    let other = Command::Retimed {
        node: cluster.ids[1],
        incarnation: Incarnation(1),
        generation: fast,
    };
    cluster.refused(other, "SessionNotOpen");
}

#[test]
fn a_closing_session_is_judged_by_what_it_may_have_been_told() {
    let mut cluster = Cluster::with(Timing::FAST);
    let closing = cluster.close(1);
    cluster.set(Timing::RELAXED);
    let ages: Vec<StatedAge> = (0..3)
        .map(|by| cluster.age(by, Timing::FAST.silence()))
        .collect();
    let command = cluster.expiry(1, closing, ages);
    cluster.refused(command, "NoMajorityOfAges");
}

#[test]
fn a_holder_that_never_attested_is_waited_out_by_its_own_sessions_lifetime() {
    let life = |cluster: &Cluster, id| {
        let ownership = &cluster.state.resources[id].ownership;
        ownership.holding().expect("held").address_life
    };
    let long = Timing {
        address_life: Duration::from_secs(58),
        ..Timing::RELAXED
    };
    let mut cluster = Cluster::with(long);
    let id = cluster.put("web", Isolation::Lease);
    let grant = cluster.granting(&id, 1);
    cluster.apply(grant);
    assert_eq!(life(&cluster, &id), long.address_life);
    let fast = cluster.set(Timing::FAST);
    assert_eq!(life(&cluster, &id), long.address_life);
    let command = cluster.retimed(1, fast);
    cluster.apply(command);
    assert_eq!(life(&cluster, &id), Timing::FAST.address_life);
    cluster.set(long);
    assert_eq!(life(&cluster, &id), long.address_life);
}

#[test]
fn an_owner_that_attests_a_longer_lifetime_than_its_sessions_has_that_of_its_session() {
    let mut cluster = Cluster::with(Timing::FAST);
    let id = cluster.put("web", Isolation::Lease);
    let Outcome::Granted(token) = cluster.grant(&id) else {
        panic!("not granted");
    };
    let activated = Command::Activated {
        resource: id.clone(),
        token,
        incarnation: cluster.newest(1),
        guard: Attestation::Intact,
        address_life: Duration::from_secs(3_600),
    };
    assert_eq!(cluster.apply(activated), Outcome::Done);
    let holding = cluster.state.resources[&id].ownership.holding().cloned();
    assert_eq!(
        holding.map(|held| held.address_life),
        Some(Timing::FAST.address_life)
    );
}

#[test]
fn a_set_whose_sums_do_not_hold_is_refused_with_the_sum() {
    let mut cluster = Cluster::new();
    let before = cluster.state.timing;
    let short = Timing {
        ttl: Duration::from_millis(200),
        ..Timing::FAST
    };
    cluster.refused(set(short), "BadTiming");
    for interval in crate::timing::Interval::ALL {
        let mut out = Timing::NORMAL;
        interval.put(&mut out, interval.bounds().1 + Duration::from_millis(1));
        cluster.refused(set(out), "BadTiming");
    }
    let stale = Command::SetTiming {
        timing: Timing::NORMAL,
        expected: Some(Generation(0)),
        request: RequestId::default(),
    };
    cluster.refused(stale, "GenerationChanged");
    assert_eq!(cluster.state.timing, before);
    let same = cluster.set(Timing::FAST);
    assert_eq!(Some(same), before.map(|timing| timing.generation));
}

#[test]
fn a_timing_into_which_no_watchdog_fits_is_refused_while_one_is_needed() {
    let mut cluster = Cluster::with(Timing::RELAXED);
    let id = cluster.put("web", Isolation::Watchdog);
    cluster.refused(set(Timing::FAST), "WatchdogNeedsRoom");
    let Outcome::Granted(token) = cluster.grant(&id) else {
        panic!("not granted");
    };
    let armed = |period| Command::WatchdogArmed {
        resource: ResourceId::vip("web"),
        token,
        incarnation: cluster.newest(1),
        period,
    };
    let (long, short) = (armed(Duration::from_secs(5)), armed(Duration::from_secs(1)));
    cluster.refused(long, "BadWatchdogPeriod");
    assert_eq!(cluster.apply(short), Outcome::Done);
}

#[test]
fn a_session_has_the_row_of_the_gate_that_its_agent_states() {
    let mut cluster = Cluster::new();
    let first = cluster.set(Timing::FAST);
    let admit =
        |cluster: &Cluster, place: usize, gate| match cluster.admission(place, 1, Probe::Clean) {
            Command::Admit {
                node,
                boot,
                previous,
                probe,
                place,
            } => Command::Admit {
                node,
                boot,
                previous,
                probe,
                place: Place { gate, ..place },
            },
            other => other,
        };
    for (place, gate) in [(0, GateKind::Timed), (1, GateKind::Kernel)] {
        let command = admit(&cluster, place, gate);
        let outcome = cluster.apply(command);
        assert!(matches!(outcome, Outcome::Admitted(_)), "{outcome:?}");
        assert_eq!(cluster.terms(place).judged, Timing::FAST.behind(gate));
    }
    // Raised at once for both, each by its own row; lowered when it says so.
    let second = cluster.set(Timing::NORMAL);
    assert!(second > first);
    assert_eq!(cluster.terms(1).judged.ttl, Timing::NORMAL.ttl);
    let third = cluster.set(Timing::FAST);
    assert_eq!(cluster.terms(1).judged.ttl, Timing::NORMAL.ttl);
    for (place, ttl) in [(0, Timing::FAST.ttl), (1, Timing::FAST.gated_ttl)] {
        let told = crate::assignment::assignment(
            &cluster.state,
            cluster.ids[place],
            cluster.newest(place),
        );
        assert_eq!(told.timing.map(|told| told.timing.ttl), Some(ttl));
        let word = cluster.retimed(place, third);
        assert_eq!(cluster.apply(word), Outcome::Done);
        assert_eq!(cluster.terms(place).judged.ttl, ttl);
    }
}
