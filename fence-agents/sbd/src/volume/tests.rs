//! One disk in memory that can lie: what is verified, what is refused, what is left alone.
//!
//! Real disks that fail are in the suite tests/agents; here are the failures that no real disk here can
//! be made to show (torn, misdirected and forgotten writes).

use std::sync::{Arc, Mutex};

use super::*;
use crate::disk::{Message, Pill};

/// What goes wrong with writes from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Acknowledged, and forgotten.
    Forgotten,
    /// Only the first bytes reach the disk.
    Torn(usize),
    /// It lands two sectors further on.
    Misdirected,
    /// Refused by the disk.
    Refused,
}

/// A disk whose content a test can reach while a volume uses it.
#[derive(Clone)]
pub(crate) struct Memory {
    pub(crate) bytes: Arc<Mutex<Vec<u8>>>,
    pub(crate) fault: Arc<Mutex<Fault>>,
    size: SectorSize,
}

impl Memory {
    pub(crate) fn blank(size: SectorSize) -> Self {
        let length = usize::try_from(size.span()).unwrap();
        Self {
            bytes: Arc::new(Mutex::new(vec![0; length])),
            fault: Arc::new(Mutex::new(Fault::None)),
            size,
        }
    }

    /// A disk with slots for these nodes.
    pub(crate) fn with(timeouts: Timeouts, uuid: u8, nodes: &[&str]) -> Self {
        let memory = Self::blank(SectorSize::B512);
        let mut volume = memory.volume();
        volume
            .create(timeouts, Uuid([uuid; 16]), Overwrite::OnlyZeros)
            .unwrap();
        for node in nodes {
            volume.claim(&SlotName::new(node).unwrap()).unwrap();
        }
        memory
    }

    pub(crate) fn volume(&self) -> Volume {
        Volume::new(Box::new(self.clone()))
    }

    pub(crate) fn fail_with(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }
}

impl Sectors for Memory {
    fn sector_size(&self) -> SectorSize {
        self.size
    }

    fn medium(&self) -> Medium {
        Medium::Memory
    }

    fn read(&mut self, first: Sector, into: &mut [u8]) -> Result<(), DeviceError> {
        let at = usize::from(first.get()) * self.size.bytes();
        into.copy_from_slice(&self.bytes.lock().unwrap()[at..at + into.len()]);
        Ok(())
    }

    fn write(&mut self, at: Sector, bytes: &[u8]) -> Result<(), DeviceError> {
        let mut place = usize::from(at.get()) * self.size.bytes();
        let mut length = bytes.len();
        match *self.fault.lock().unwrap() {
            Fault::None => {}
            Fault::Forgotten => length = 0,
            Fault::Torn(kept) => length = kept,
            Fault::Misdirected => place += 2 * self.size.bytes(),
            Fault::Refused => {
                return Err(DeviceError::Write {
                    sector: at.get(),
                    source: std::io::ErrorKind::PermissionDenied.into(),
                });
            }
        }
        let mut disk = self.bytes.lock().unwrap();
        disk[place..place + length].copy_from_slice(&bytes[..length]);
        Ok(())
    }
}

fn name(text: &str) -> SlotName {
    SlotName::new(text).unwrap()
}

fn pill() -> Mailbox {
    Mailbox::message(Message::Pill(Pill::Reset), name("sender"))
}

fn disk() -> Memory {
    Memory::with(Timeouts::default(), 1, &["a", "b"])
}

#[test]
fn what_was_created_allocated_and_delivered_is_surveyed() {
    for size in SectorSize::ALL {
        let memory = Memory::blank(size);
        let mut volume = memory.volume();
        let created = volume
            .create(Timeouts::default(), Uuid([7; 16]), Overwrite::OnlyZeros)
            .unwrap();
        let Claim::Pending(number, _) = volume.claim(&name("a")).unwrap() else {
            panic!("the first claim is only a claim");
        };
        assert_eq!(volume.claim(&name("A")).unwrap(), Claim::Owned(number));
        volume.deliver(number, &name("a"), &pill()).unwrap();
        let survey = volume.survey().unwrap();
        assert_eq!(survey.header, created);
        let entry = Entry {
            number,
            name: Some(name("a")),
            mailbox: pill(),
        };
        assert_eq!(survey.entries, [entry]);
        assert_eq!(survey.slot_of(&name("b")), None);
    }
}

#[test]
fn all_255_slots_can_be_taken_and_no_more() {
    let mut volume = Memory::with(Timeouts::default(), 1, &[]).volume();
    for number in 0..255 {
        volume.claim(&name(&format!("node{number}"))).unwrap();
    }
    let survey = volume.survey().unwrap();
    assert_eq!(survey.entries.len(), 255);
    let last = survey.slot_of(&name("node254")).unwrap().number;
    assert_eq!(last.get(), 254);
    assert!(matches!(
        volume.claim(&name("one-more")),
        Err(VolumeError::Full { slots: 255 })
    ));
}

#[test]
fn a_write_that_does_not_read_back_is_a_failure_whatever_the_write_said() {
    for fault in [
        Fault::Forgotten,
        Fault::Torn(1),
        Fault::Torn(4),
        Fault::Misdirected,
        Fault::Refused,
    ] {
        let memory = disk();
        memory.fail_with(fault);
        let slot = SlotNumber::new(0).unwrap();
        let answer = memory.volume().deliver(slot, &name("a"), &pill());
        assert!(
            matches!(answer, Err(VolumeError::Device(_))),
            "{fault:?}: {answer:?}"
        );
    }
}

#[test]
fn a_pill_never_goes_into_a_strangers_mailbox() {
    let memory = disk();
    let mut volume = memory.volume();
    let before = memory.bytes.lock().unwrap().clone();
    for number in [1, 2, 254] {
        let slot = SlotNumber::new(number).unwrap();
        let answer = volume.deliver(slot, &name("a"), &pill());
        assert!(
            matches!(answer, Err(VolumeError::Foreign { .. })),
            "{answer:?}"
        );
    }
    assert_eq!(*memory.bytes.lock().unwrap(), before);
}

#[test]
fn a_lost_race_for_a_slot_shows_at_the_second_look() {
    let memory = Memory::with(Timeouts::default(), 1, &[]);
    let mut volume = memory.volume();
    let Claim::Pending(slot, timeouts) = volume.claim(&name("a")).unwrap() else {
        panic!("the disk was empty");
    };
    assert_eq!(timeouts.allocate, 2);
    // Another node saw the same slot free and wrote after us.
    let other = Slot::Taken(Some(name("b"))).encode(SectorSize::B512);
    let mut raw = memory.clone();
    raw.write(slot.slot_sector(), &other).unwrap();
    let Claim::Pending(second, _) = volume.claim(&name("a")).unwrap() else {
        panic!("the slot was lost");
    };
    assert_ne!(second, slot);
    assert_eq!(volume.claim(&name("a")).unwrap(), Claim::Owned(second));
    assert_eq!(volume.claim(&name("b")).unwrap(), Claim::Owned(slot));
}

#[test]
fn clearing_leaves_alone_what_came_in_between() {
    let memory = disk();
    let mut volume = memory.volume();
    let slot = SlotNumber::new(0).unwrap();
    let test = Mailbox::message(Message::Test, name("x"));
    volume.deliver(slot, &name("a"), &test).unwrap();
    volume.deliver(slot, &name("a"), &pill()).unwrap();
    assert_eq!(volume.clear(slot, &test).unwrap(), Clearing::Changed);
    assert_eq!(volume.sighting(slot).unwrap().mailbox, pill());
    assert_eq!(volume.clear(slot, &pill()).unwrap(), Clearing::Cleared);
    assert_eq!(volume.sighting(slot).unwrap().mailbox, Mailbox::EMPTY);
}

#[test]
fn create_destroys_nothing_unless_told_to() {
    let memory = disk();
    let mut volume = memory.volume();
    let create = |volume: &mut Volume, overwrite| {
        volume.create(Timeouts::default(), Uuid([9; 16]), overwrite)
    };
    assert!(matches!(
        create(&mut volume, Overwrite::OnlyZeros),
        Err(VolumeError::NotEmpty(_))
    ));
    assert_eq!(volume.survey().unwrap().entries.len(), 2);
    create(&mut volume, Overwrite::Anything).unwrap();
    assert!(volume.survey().unwrap().entries.is_empty());
    let strange = Memory::blank(SectorSize::B512);
    strange.bytes.lock().unwrap()[200_000] = 1;
    assert!(matches!(
        create(&mut strange.volume(), Overwrite::OnlyZeros),
        Err(VolumeError::NotEmpty(_))
    ));
}

#[test]
fn a_creation_that_fails_leaves_no_header_behind() {
    let memory = disk();
    memory.fail_with(Fault::Torn(0));
    let answer = memory
        .volume()
        .create(Timeouts::default(), Uuid([9; 16]), Overwrite::Anything);
    assert!(answer.is_err());
    let blank = Memory::blank(SectorSize::B512);
    blank.fail_with(Fault::Forgotten);
    let answer = blank
        .volume()
        .create(Timeouts::default(), Uuid([9; 16]), Overwrite::Anything);
    assert!(answer.is_err());
    assert!(matches!(
        blank.volume().survey(),
        Err(VolumeError::Header(HeaderError::Magic))
    ));
}

#[test]
fn garbage_in_slots_spoils_no_other_slot() {
    let memory = disk();
    memory.bytes.lock().unwrap()[5 * 512..6 * 512].fill(0xff);
    let survey = memory.volume().survey().unwrap();
    assert_eq!(survey.entries.len(), 3);
    assert!(survey.slot_of(&name("b")).is_some());
    assert_eq!(survey.entries[2].number.get(), 2);
}
