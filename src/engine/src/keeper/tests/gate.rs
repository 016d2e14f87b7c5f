//! Behind a kernel gate: renewed whenever the lease's end moves, permitted until the gate closes.

use super::*;
use crate::gate::GateKind;

/// Acting under token 30 behind a kernel gate with a lease until 1.25 s, at 1 s.
fn gated() -> Keeper {
    let mut keeper = Keeper::new(LIFE, T).behind(GateKind::Kernel);
    keeper.step(ms(1_000), Input::GuardsAttested(Attestation::Intact));
    settle(&mut keeper, ms(1_000), Input::LeaseEnds(ms(1_250)));
    settle(&mut keeper, ms(1_000), assigned(30, &[(30, Want::Hold)]));
    keeper
}

fn renewal() -> Output {
    Output::Do(Operation::Renew(vec![(vip(), token(30))]))
}

#[test]
fn the_gate_is_told_whenever_the_leases_end_moves_and_at_no_other_time() {
    let mut keeper = gated();
    assert!(!settle(&mut keeper, ms(1_100), Input::Tick).contains(&renewal()));
    let moved = settle(&mut keeper, ms(1_101), Input::LeaseEnds(ms(1_300)));
    assert_eq!(moved, vec![renewal()]);
    let same = settle(&mut keeper, ms(1_102), Input::LeaseEnds(ms(1_300)));
    assert!(same.is_empty());
    assert!(!settle(&mut keeper, ms(1_103), Input::Tick).contains(&renewal()));
}

#[test]
fn an_end_that_moves_while_a_renewal_is_under_way_is_told_after_it() {
    let mut keeper = gated();
    let first = keeper.step(ms(1_100), Input::LeaseEnds(ms(1_300)));
    assert_eq!(first, vec![renewal()]);
    assert!(
        keeper
            .step(ms(1_101), Input::LeaseEnds(ms(1_350)))
            .is_empty()
    );
    let next = keeper.step(ms(1_102), done(Operation::Renew(vec![(vip(), token(30))])));
    assert_eq!(next, vec![renewal()]);
}

#[test]
fn behind_the_gate_acts_are_permitted_until_it_closes() {
    let keeper = gated();
    let add = Operation::AddAddress(vip(), token(30));
    // Less than two lives of an element before the end.
    assert!(keeper.may_still(ms(1_239), &add));
    assert!(!keeper.may_still(ms(1_240), &add));
}

#[test]
fn a_failed_removal_is_proven_by_the_gate_only_when_the_lease_has_ended() {
    let mut keeper = gated();
    keeper.step(ms(1_010), assigned(40, &[(30, Want::Release)]));
    assert!(!failed_removal(&mut keeper, ms(1_249)).contains(&released(30)));
    keeper.step(ms(1_450), Input::Tick);
    assert!(failed_removal(&mut keeper, ms(1_451)).contains(&released(30)));
}

#[test]
fn a_watched_guards_lapse_proves_no_removal() {
    let mut keeper = acting();
    keeper.step(ms(1_011), Input::GuardsAttested(Attestation::Watched));
    keeper.step(ms(1_012), assigned(40, &[(30, Want::Release)]));
    for at in (1_013..9_000).step_by(900) {
        assert!(!failed_removal(&mut keeper, ms(at)).contains(&released(30)));
        keeper.step(ms(at + 899), Input::Tick);
    }
}
