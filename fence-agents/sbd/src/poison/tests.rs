//! The rules of delivery, disk by disk. No disk is read here: surveys are written by hand.

use super::*;
use crate::disk::{Header, Mailbox, Message, Pill, SectorSize, Slot, Uuid, Word};
use crate::volume::Entry;

fn node() -> SlotName {
    SlotName::new("a").unwrap()
}

fn timeouts(watchdog: u32, msgwait: u32) -> Timeouts {
    Timeouts {
        watchdog,
        msgwait,
        ..Timeouts::default()
    }
}

/// A disk with one slot for `a`, its mailbox holding this.
fn survey(uuid: u8, timeouts: Timeouts, message: Option<Message>) -> Answer<Survey> {
    let entries = message.map(|message| Entry {
        number: SlotNumber::new(uuid).unwrap(),
        name: Some(node()),
        mailbox: Mailbox {
            word: Word::Known(message),
            from: None,
        },
    });
    Ok(Survey {
        header: Header::new(SectorSize::B512, timeouts, Uuid([uuid; 16])),
        entries: entries.into_iter().collect(),
        medium: Medium::Block(uuid.into()),
    })
}

fn good(uuid: u8) -> Answer<Survey> {
    survey(uuid, timeouts(5, 10), Some(Message::Clear))
}

fn bad() -> Answer<Survey> {
    Err("it does not answer".to_owned())
}

fn count(surveys: &[Answer<Survey>]) -> DiskCount {
    DiskCount::try_from(surveys.len()).unwrap()
}

fn planned(surveys: &[Answer<Survey>]) -> Result<Plan, PoisonError> {
    plan(count(surveys), &node(), surveys)
}

#[test]
fn one_of_one_two_of_two_and_two_of_three_disks_are_enough_and_no_less() {
    for enough in [
        vec![good(1)],
        vec![good(1), good(2)],
        vec![good(1), good(2), good(3)],
        vec![bad(), good(2), good(3)],
        vec![good(1), bad(), good(3)],
    ] {
        let plan = planned(&enough).unwrap();
        assert_eq!(plan.targets.len(), enough.iter().flatten().count());
        assert_eq!(plan.msgwait, Duration::from_secs(10));
    }
    for few in [
        vec![bad()],
        vec![good(1), bad()],
        vec![bad(), good(2), bad()],
        vec![bad(), bad(), bad()],
    ] {
        let error = planned(&few).unwrap_err();
        assert!(
            matches!(error, PoisonError::TooFewDisks { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains("it does not answer"));
    }
}

#[test]
fn a_slot_is_needed_on_a_majority_and_every_slot_gets_the_pill() {
    let none = |uuid| survey(uuid, timeouts(5, 10), None);
    let plan = planned(&[good(1), none(2), good(3)]).unwrap();
    let slots: Vec<u8> = plan.targets.iter().map(|(_, slot)| slot.get()).collect();
    assert_eq!(slots, [1, 3]);
    for surveys in [
        vec![none(1)],
        vec![good(1), none(2)],
        vec![good(1), none(2), none(3)],
        vec![good(1), bad(), none(3)],
    ] {
        let error = planned(&surveys).unwrap_err();
        assert!(matches!(error, PoisonError::NoSlot { .. }), "{error:?}");
    }
}

#[test]
fn disks_that_state_different_timeouts_deliver_nothing() {
    let other = survey(2, timeouts(5, 20), Some(Message::Clear));
    let error = planned(&[good(1), other, good(3)]).unwrap_err();
    assert!(
        matches!(error, PoisonError::TimeoutsDiffer { .. }),
        "{error:?}"
    );
}

#[test]
fn one_disk_under_two_names_counts_once() {
    let error = planned(&[good(1), good(1)]).unwrap_err();
    assert!(matches!(error, PoisonError::SameDisk { .. }), "{error:?}");
    let mut again = good(2);
    if let Ok(survey) = &mut again {
        survey.medium = Medium::Block(1);
    }
    assert!(matches!(
        planned(&[good(1), again, bad()]).unwrap_err(),
        PoisonError::SameDisk { .. }
    ));
}

#[test]
fn a_wait_that_proves_nothing_is_refused() {
    for (watchdog, msgwait) in [(5, 5), (5, 0), (0, 0), (10, 5), (5, u32::MAX)] {
        let surveys = [survey(1, timeouts(watchdog, msgwait), Some(Message::Clear))];
        assert!(matches!(
            planned(&surveys).unwrap_err(),
            PoisonError::UselessTimeouts { .. }
        ));
    }
}

#[test]
fn the_wait_counts_from_the_last_verified_write_of_enough() {
    let start = Instant::now();
    let at = |ms| Answer::Ok(start + Duration::from_millis(ms));
    let failed = || Err("reading back failed".to_owned());
    let three = DiskCount::Three;
    assert_eq!(delivered(DiskCount::One, &[at(5)]).ok(), at(5).ok());
    assert_eq!(delivered(three, &[at(1), at(9), at(4)]).ok(), at(9).ok());
    assert_eq!(delivered(three, &[at(1), failed(), at(4)]).ok(), at(4).ok());
    for few in [
        (DiskCount::One, vec![failed()]),
        (DiskCount::Two, vec![at(1), failed()]),
        (three, vec![failed(), at(1), failed()]),
    ] {
        let error = delivered(few.0, &few.1).unwrap_err();
        assert!(error.to_string().contains("reading back failed"), "{error}");
    }
}

#[test]
fn a_pill_that_did_not_stay_is_not_counted() {
    let three = DiskCount::Three;
    let now = Instant::now();
    let (kept, blind) = (|| Ok(Look::Pill), || Answer::Err("gone".to_owned()));
    let other = || Ok(Look::Other("'test'".to_owned()));
    let all = [Ok(now), Ok(now), Ok(now)];
    let two = [Ok(now), Ok(now), Err("hung".to_owned())];
    assert_eq!(undisturbed(three, &all, &[kept(), kept(), kept()]), Ok(()));
    assert_eq!(
        undisturbed(three, &all, &[kept(), blind(), other()]),
        Ok(())
    );
    assert_eq!(
        undisturbed(three, &two, &[kept(), blind(), other()]),
        Ok(())
    );
    for (writes, looks) in [
        (&all, [kept(), other(), other()]),
        (&two, [kept(), other(), kept()]),
        (&all, [other(), other(), other()]),
    ] {
        let error = undisturbed(three, writes, &looks).unwrap_err();
        assert!(error.to_string().contains("'test'"), "{error}");
    }
}

#[test]
fn a_look_sees_a_pill_only_in_the_nodes_own_slot() {
    let seen = |slot: Slot, message| Sighting {
        header: Header::new(SectorSize::B512, timeouts(5, 10), Uuid([1; 16])),
        number: SlotNumber::new(0).unwrap(),
        slot,
        mailbox: Mailbox {
            word: Word::Known(message),
            from: None,
        },
    };
    let pill = Message::Pill(Pill::Off);
    let own = Slot::Taken(Some(node()));
    assert_eq!(Look::at(&node(), &seen(own.clone(), pill)), Look::Pill);
    let stranger = Slot::Taken(SlotName::new("b").ok());
    for other in [
        seen(own, Message::Clear),
        seen(stranger, pill),
        seen(Slot::Free, pill),
    ] {
        assert!(matches!(Look::at(&node(), &other), Look::Other(_)));
    }
}

#[test]
fn status_needs_a_majority_for_either_answer() {
    let with = |uuid, message| survey(uuid, timeouts(5, 10), Some(message));
    let (clear, off) = (Message::Clear, Message::Pill(Pill::Off));
    let read = |surveys: &[Answer<Survey>]| reading(count(surveys), &node(), surveys);
    assert_eq!(read(&[with(1, clear)]), Ok(Reading::NoPill));
    assert_eq!(read(&[with(1, Message::Test)]), Ok(Reading::NoPill));
    for pill in [Pill::Off, Pill::Reset, Pill::CrashDump] {
        assert_eq!(read(&[with(1, Message::Pill(pill))]), Ok(Reading::Pill));
    }
    assert_eq!(read(&[with(1, off), with(2, clear)]), Ok(Reading::Mixed));
    assert_eq!(
        read(&[with(1, off), with(2, clear), with(3, off)]),
        Ok(Reading::Pill)
    );
    assert_eq!(
        read(&[with(1, off), with(2, clear), bad()]),
        Ok(Reading::Mixed)
    );
    assert!(read(&[with(1, off), bad()]).is_err());
}
