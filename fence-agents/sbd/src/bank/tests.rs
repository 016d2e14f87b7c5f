//! Three disks of which one hangs: the round must neither wait for it nor count it.

use super::*;
use crate::disk::{Message, Pill, Timeouts, Uuid};
use crate::keeper::tests::hung;
use crate::poison;
use crate::volume::Overwrite;
use crate::volume::tests::{Fault, Memory};

fn healthy(uuid: u8) -> (Memory, Keeper) {
    let memory = Memory::with(Timeouts::default(), uuid, &["a"]);
    let inner = memory.clone();
    (memory, Keeper::start(move || Ok(inner.volume())))
}

fn node() -> SlotName {
    SlotName::new("a").unwrap()
}

fn pill() -> Mailbox {
    Mailbox::message(Message::Pill(Pill::Off), SlotName::new("me").unwrap())
}

#[test]
fn a_hung_disk_delays_no_pill_on_the_other_two() {
    let stuck = hung(3);
    let ((one, first), (_, second)) = (healthy(1), healthy(2));
    // An hour: only the two good answers can end the rounds.
    let patience = Duration::from_secs(3600);
    let bank = Bank::of(
        vec![first, stuck.keeper, second],
        DiskCount::Three,
        patience,
    );
    let plan = poison::plan(bank.count(), &node(), &bank.survey()).unwrap();
    assert_eq!(plan.targets.len(), 2);
    let writes = bank.deliver(&node(), &plan, &pill());
    assert!(poison::delivered(bank.count(), &writes).is_ok());
    let looks = bank.look(&node(), &plan);
    assert_eq!(poison::undisturbed(bank.count(), &writes, &looks), Ok(()));
    let (_, slot) = plan.targets[0];
    assert_eq!(one.volume().sighting(slot).unwrap().mailbox, pill());
}

#[test]
fn a_disk_created_anew_between_survey_and_write_is_not_counted() {
    let (memory, keeper) = healthy(1);
    let bank = Bank::of(vec![keeper], DiskCount::One, Duration::from_secs(30));
    let plan = poison::plan(bank.count(), &node(), &bank.survey()).unwrap();
    let longer = Timeouts {
        msgwait: 60,
        ..Timeouts::default()
    };
    let mut volume = memory.volume();
    let anything = Overwrite::Anything;
    volume.create(longer, Uuid([2; 16]), anything).unwrap();
    volume.claim(&node()).unwrap();
    let writes = bank.deliver(&node(), &plan, &pill());
    let error = poison::delivered(bank.count(), &writes).unwrap_err();
    assert!(error.to_string().contains("other timeouts"), "{error}");
}

#[test]
fn two_disks_of_which_one_hangs_deliver_nothing_and_say_why() {
    let stuck = hung(2);
    let (_, first) = healthy(1);
    let patience = Duration::from_millis(50);
    let bank = Bank::of(vec![first, stuck.keeper], DiskCount::Two, patience);
    let error = poison::plan(bank.count(), &node(), &bank.survey()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("disk 2: it does not answer within 50ms"),
        "{text}"
    );
}

#[test]
fn a_disk_that_forgets_its_write_is_not_counted() {
    let ((one, first), (two, second), (_, third)) = (healthy(1), healthy(2), healthy(3));
    let patience = Duration::from_secs(30);
    let bank = Bank::of(vec![first, second, third], DiskCount::Three, patience);
    let plan = poison::plan(bank.count(), &node(), &bank.survey()).unwrap();
    one.fail_with(Fault::Forgotten);
    let writes = bank.deliver(&node(), &plan, &pill());
    assert!(poison::delivered(bank.count(), &writes).is_ok());
    two.fail_with(Fault::Torn(1));
    let other = Mailbox::message(Message::Pill(Pill::Reset), node());
    let writes = bank.deliver(&node(), &plan, &other);
    let text = poison::delivered(bank.count(), &writes)
        .unwrap_err()
        .to_string();
    assert!(text.contains("verified on 1 of 3"), "{text}");
    assert!(text.contains("does not read back"), "{text}");
}
