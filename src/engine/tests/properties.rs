//! Random command sequences: `apply` is total and deterministic, tokens rise, and nothing is opened without
//! evidence, whatever a confused or stale leader proposes.
//!
//! Commands are made half from the state (so that they often fit) and half from small numbers (so that they
//! often do not). The oracle in `judge` keeps its own account of what may open a holding and shares no
//! code with `evidence`. A failure prints the shrunk commands and the seed, which proptest keeps and replays.

#[path = "properties/generate.rs"]
mod generate;

use generate::{Draw, draw, seeded};
use haft_engine::apply::{Outcome, apply};
use haft_engine::clock::lengthened;
use haft_engine::command::{
    Attestation, Command, Entry, FenceAction, StatedAge, Verdict, VoterSets,
};
use haft_engine::ids::{Incarnation, LogIndex, NodeId, ResourceId, Token};
use haft_engine::leader::placement::is_covered;
use haft_engine::levels::{awaits_unfencing, levels_of};
use haft_engine::spec::Isolation;
use haft_engine::state::{
    ClusterState, Device, EVENTS_MAX, Holding, Ownership, Progress, REQUESTS_MAX, reserved_by,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Whether an owner may have acted (R14).
fn begun(holding: &Holding) -> bool {
    match holding.isolation {
        Isolation::Lease => true,
        Isolation::Watchdog => holding.watchdog.is_some(),
        Isolation::Stonith => holding.progress == Progress::Begun,
    }
}

/// Whether `command`, accepted on `before`, may end `holding`.
fn opens(before: &ClusterState, command: &Command, id: &ResourceId, holding: &Holding) -> bool {
    match command {
        Command::Released {
            resource,
            token,
            incarnation,
        } => resource == id && *token == holding.token && *incarnation == holding.incarnation,
        Command::Expired {
            node,
            incarnation,
            ages,
            ..
        } => {
            let lease = holding.isolation == Isolation::Lease
                && holding.guard == Attestation::Intact
                && newest_says_intact(ages);
            *node == holding.node
                && *incarnation == holding.incarnation
                && (lease || !begun(holding))
                && silent_majority(ages, &before.membership, before.nodes[node].judged().ttl)
        }
        Command::Withdraw { resource, token } => {
            resource == id && *token == holding.token && !begun(holding)
        }
        Command::LifetimeLapsed {
            resource,
            token,
            waited,
        } => {
            resource == id
                && *token == holding.token
                && holding.isolation == Isolation::Lease
                && matches!(before.resources[id].ownership, Ownership::Orphaned(_))
                && *waited >= lengthened(holding.address_life * 2 + Duration::from_secs(1))
        }
        Command::FenceVerdict {
            order,
            verdict,
            lie,
            ..
        } => {
            let order = &before.orders[order];
            let boot = before.nodes[&order.node].boot;
            // Nothing of that boot has answered (R3a).
            lie.as_ref().is_none_or(|lie| lie.witness.boot != boot)
                && *verdict == Verdict::Confirmed
                && order.action == FenceAction::Off
                && order.node == holding.node
                && order.incarnation == holding.incarnation
        }
        // A reboot opens nothing under stonith (R3b).
        Command::Admit { node, boot, .. } => {
            let same_boot = before.nodes[node].boot == *boot;
            *node == holding.node && (same_boot || holding.isolation != Isolation::Stonith)
        }
        Command::ConfirmOff {
            node, incarnation, ..
        } => *node == holding.node && *incarnation == holding.incarnation,
        _ => false,
    }
}

/// The attestation of the beat with the highest sequence that anybody heard.
fn newest_says_intact(ages: &[StatedAge]) -> bool {
    let newest = ages
        .iter()
        .max_by_key(|age| (age.sequence, age.guards != Attestation::Intact));
    newest.is_some_and(|age| age.sequence > 0 && age.guards == Attestation::Intact)
}

fn silent_majority(ages: &[StatedAge], membership: &VoterSets, ttl: Duration) -> bool {
    let silent: BTreeSet<NodeId> = ages
        .iter()
        .filter(|age| age.age >= lengthened(ttl) && age.membership == membership.at)
        .map(|age| age.by)
        .collect();
    membership
        .sets
        .iter()
        .all(|set| set.intersection(&silent).count() * 2 > set.len())
}

fn holdings(state: &ClusterState) -> BTreeMap<ResourceId, Holding> {
    state
        .resources
        .values()
        .filter_map(|resource| Some((resource.id.clone(), resource.ownership.holding()?.clone())))
        .collect()
}

/// What must hold between the states around one accepted or refused command.
fn judge(
    before: &ClusterState,
    after: &ClusterState,
    command: &Command,
    outcome: &Outcome,
) -> Result<(), TestCaseError> {
    if matches!(outcome, Outcome::Refused(_)) {
        let mut unchanged = before.clone();
        unchanged.applied = after.applied;
        prop_assert_eq!(&unchanged, after, "a refused command changed something");
    }
    let now = holdings(after);
    for (id, holding) in holdings(before) {
        match now.get(&id) {
            Some(still) if still.token == holding.token => {
                prop_assert_eq!(still.isolation, holding.isolation);
                prop_assert_eq!(&still.spec, &holding.spec);
                prop_assert_eq!(still.incarnation, holding.incarnation);
                prop_assert!(begun(still) || !begun(&holding), "what has begun has begun");
            }
            other => {
                prop_assert!(
                    opens(before, command, &id, &holding),
                    "{command:?} ended {holding:?}, now {other:?}"
                );
            }
        }
    }
    for (id, resource) in &after.resources {
        let earlier = before.resources.get(id);
        let floor = earlier.map_or(Token::default(), |resource| resource.last_token);
        prop_assert!(resource.last_token >= floor, "{id}: token fell");
        if let Some(holding) = now.get(id)
            && earlier
                .and_then(|earlier| earlier.ownership.holding())
                .is_none()
        {
            let granted = matches!(command, Command::Grant { .. });
            prop_assert!(granted, "held without a grant");
            prop_assert!(holding.token > floor, "{id}: token did not rise");
            prop_assert!(
                !awaits_unfencing(before, &before.nodes[&holding.node]),
                "{id}: granted to a node whose ports are closed"
            );
        }
    }
    Ok(())
}

/// What must hold in every state.
fn sound(state: &ClusterState) -> Result<(), TestCaseError> {
    prop_assert!(state.events.len() <= EVENTS_MAX);
    prop_assert!(state.requests.len() <= REQUESTS_MAX);
    let mut taken = BTreeMap::new();
    for resource in state.resources.values() {
        let held = resource.ownership.holding().map(|holding| &holding.spec);
        for spec in [Some(&resource.spec), held].into_iter().flatten() {
            let owner = taken.insert(reserved_by(spec), &resource.id);
            prop_assert!(
                owner.is_none_or(|owner| *owner == resource.id),
                "one address, two resources"
            );
        }
        match &resource.ownership {
            Ownership::Granted(holding)
            | Ownership::Active(holding)
            | Ownership::Releasing(holding, _) => {
                let live = state.live_incarnation(holding.node);
                prop_assert_eq!(
                    live,
                    Some(holding.incarnation),
                    "an owner without a session"
                );
            }
            Ownership::Orphaned(holding) => {
                let live = state.live_incarnation(holding.node);
                prop_assert!(
                    live != Some(holding.incarnation),
                    "an orphan with a session"
                );
            }
            Ownership::Unowned => {
                let granted = resource.last_token != Token::default();
                let proven = resource.evidence.as_ref().map(|evidence| evidence.token);
                prop_assert_eq!(
                    proven,
                    granted.then_some(resource.last_token),
                    "unowned without evidence"
                );
            }
        }
    }
    let lives: BTreeSet<Incarnation> = state
        .nodes
        .keys()
        .filter_map(|id| state.live_incarnation(*id))
        .collect();
    prop_assert!(lives.len() <= state.nodes.len());
    let mut ordered = BTreeSet::new();
    for order in state.orders.values().filter(|one| one.phase.is_open()) {
        prop_assert!(
            ordered.insert(order.node),
            "two orders open against one node"
        );
    }
    standing(state)
}

/// A node is in at most one topology, and every device that one names isolates each of its nodes.
fn standing(state: &ClusterState) -> Result<(), TestCaseError> {
    let mut spoken_for = BTreeSet::new();
    for topology in state.topologies.values() {
        for node in &topology.spec.nodes {
            prop_assert!(spoken_for.insert(node), "{node} is in two topologies");
            let mut named = topology.spec.levels.iter().flat_map(|level| &level.devices);
            let isolates = |device: &Device| device.spec.targets.contains_key(node);
            let all = named.all(|name| state.devices.get(name).is_some_and(isolates));
            prop_assert!(all, "a level that cannot isolate {node}");
        }
    }
    for node in state.nodes.values() {
        let covered = is_covered(state, &node.name);
        let levels = levels_of(state, &node.name);
        let isolated = levels.iter().any(|level| level.isolates(&state.devices));
        prop_assert_eq!(covered, isolated);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_is_opened_without_evidence(draws in prop::collection::vec(draw(), 1..120)) {
        let (mut state, mut index) = seeded();
        for Draw { number, step, fields } in draws {
            index += step;
            let commands = generate::commands(&state, number, fields);
            for command in commands {
                let before = state.clone();
                let entry = Entry { stamp_unix_ms: index * 1_000, commands: vec![command.clone()] };
                let outcomes = apply(&mut state, LogIndex(index), &entry);
                prop_assert_eq!(outcomes.len(), 1);
                judge(&before, &state, &command, &outcomes[0])?;
                sound(&state)?;
            }
        }
    }

    #[test]
    fn equal_logs_give_equal_states(draws in prop::collection::vec(draw(), 1..60)) {
        let (mut one, mut index) = seeded();
        let (mut other, _) = seeded();
        for Draw { number, step, fields } in draws {
            index += step;
            let entry = Entry {
                stamp_unix_ms: index * 1_000,
                commands: generate::commands(&one, number, fields),
            };
            let outcomes = apply(&mut one, LogIndex(index), &entry);
            prop_assert_eq!(outcomes.len(), entry.commands.len());
            let again = apply(&mut other, LogIndex(index), &entry);
            prop_assert_eq!(outcomes, again);
            prop_assert_eq!(&one, &other);
        }
    }

    #[test]
    fn a_repeated_request_has_one_effect(draws in prop::collection::vec(draw(), 1..60)) {
        let (mut state, mut index) = seeded();
        for Draw { number, step, fields } in draws {
            index += step;
            for command in generate::commands(&state, number, fields) {
                let entry = Entry { stamp_unix_ms: index * 1_000, commands: vec![command.clone()] };
                let first = apply(&mut state, LogIndex(index), &entry);
                if !generate::is_mutation(&command) || matches!(first[0], Outcome::Refused(_)) {
                    continue;
                }
                let after = state.clone();
                index += 1;
                let entry = Entry { stamp_unix_ms: index * 1_000, ..entry };
                let second = apply(&mut state, LogIndex(index), &entry);
                prop_assert_eq!(first, second);
                state.applied = after.applied;
                prop_assert_eq!(&after, &state);
            }
        }
    }
}

/// The properties above say little if the random commands never get anywhere.
#[test]
fn random_commands_reach_every_kind_of_change() {
    let mut runner = TestRunner::deterministic();
    let mut reasons = BTreeSet::new();
    for _ in 0..1_000 {
        let draws = prop::collection::vec(draw(), 60..120)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let (mut state, mut index) = seeded();
        for Draw {
            number,
            step,
            fields,
        } in draws
        {
            index += step;
            let entry = Entry {
                stamp_unix_ms: index * 1_000,
                commands: generate::commands(&state, number, fields),
            };
            apply(&mut state, LogIndex(index), &entry);
        }
        reasons.extend(state.events.into_iter().map(|event| event.reason));
    }
    for wanted in [
        "SessionClosing",
        "SessionReopened",
        "SessionExpired",
        "ResourceGranted",
        "ResourceActive",
        "ResourceReleasing",
        "ResourceOrphaned",
        "ResourceOpened",
        "ResourceDeleted",
        "FenceConfirmed",
        "FenceUnproven",
        "FenceCancelled",
        "ConfirmedOff",
        "FenceTopologyChanged",
        "Unfenced",
        "FenceTopologyDeleted",
    ] {
        assert!(reasons.contains(wanted), "never seen: {wanted}");
    }
}

/// Each bug planted in `apply` breaks a property: the oracle does not share its blind spots.
#[cfg(feature = "planted-bugs")]
#[test]
fn every_planted_bug_of_apply_breaks_a_property() {
    use haft_engine::plant::{self, Bug};

    fn broken(runner: &mut TestRunner) -> bool {
        let draws = prop::collection::vec(draw(), 60..120)
            .new_tree(runner)
            .unwrap()
            .current();
        let (mut state, mut index) = seeded();
        draws.into_iter().any(
            |Draw {
                 number,
                 step,
                 fields,
             }| {
                index += step;
                generate::commands(&state, number, fields)
                    .into_iter()
                    .any(|command| {
                        let before = state.clone();
                        let entry = Entry {
                            stamp_unix_ms: index * 1_000,
                            commands: vec![command.clone()],
                        };
                        let outcomes = apply(&mut state, LogIndex(index), &entry);
                        judge(&before, &state, &command, &outcomes[0]).is_err()
                            || sound(&state).is_err()
                    })
            },
        )
    }

    for bug in [
        Bug::SkipEvidenceCheck,
        Bug::UnknownAsOff,
        Bug::SpecEditLoosensIsolation,
        Bug::LeaderWordForMajority,
        Bug::PowerOnBesideOff,
        Bug::WithdrawBegun,
    ] {
        let mut runner = TestRunner::deterministic();
        plant::set(Some(bug));
        let found = (0..5_000).any(|_| broken(&mut runner));
        plant::set(None);
        assert!(found, "{bug:?} went unnoticed");
    }
}
