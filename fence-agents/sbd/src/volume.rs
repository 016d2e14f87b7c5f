//! What is done on one opened SBD disk.
//!
//! Every write is verified: written, read back by a fresh read and compared. The ClusterLabs tool
//! checks its verification with the wrong comparison (`< -1`, while failure is −1) and reports success
//! for pills that never reached the disk; here a write that cannot be read back is an error, whatever
//! the write call said. Nothing here waits or sleeps beyond what the disk itself takes.

use thiserror::Error;

use crate::device::{DeviceError, Medium, Sectors};
use crate::disk::{
    Header, HeaderError, Mailbox, Sector, SectorSize, Slot, SlotName, SlotNumber, Timeouts, Uuid,
};

/// An opened disk.
pub struct Volume {
    sectors: Box<dyn Sectors>,
}

/// Why something could not be done on a disk.
#[derive(Debug, Error)]
pub enum VolumeError {
    /// The disk itself.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// No usable header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The node owns no slot.
    #[error("no slot is allocated to {node}")]
    NoSlot {
        /// The node.
        node: SlotName,
    },
    /// All slots are taken.
    #[error("all {slots} slots are taken")]
    Full {
        /// Their count.
        slots: u8,
    },
    /// The slot has another owner now.
    #[error("slot {slot} does not belong to {node} any more")]
    Foreign {
        /// The slot.
        slot: SlotNumber,
        /// Whose it was.
        node: SlotName,
    },
    /// The disk was created anew since it was surveyed.
    #[error("the disk states other timeouts than a moment ago ({0})")]
    TimeoutsChanged(Timeouts),
    /// There is something on the disk already.
    #[error("the disk is not empty ({0}); --overwrite destroys what is there")]
    NotEmpty(String),
}

/// A taken slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub number: SlotNumber,
    /// Whose; `None` for a slot that is taken but has no name.
    pub name: Option<SlotName>,
    /// What lies in its mailbox.
    pub mailbox: Mailbox,
}

/// Everything on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The header.
    pub header: Header,
    /// Taken slots, in order.
    pub entries: Vec<Entry>,
    /// What the disk is.
    pub medium: Medium,
}

impl Survey {
    /// The node's slot: the first with its name, as every user of the format has it.
    pub fn slot_of(&self, node: &SlotName) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|entry| entry.name.as_ref().is_some_and(|name| name.same_node(node)))
    }
}

/// What a node reads about itself in one turn of its loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The header.
    pub header: Header,
    /// The number that was read.
    pub number: SlotNumber,
    /// The slot.
    pub slot: Slot,
    /// Its mailbox.
    pub mailbox: Mailbox,
}

/// How a claim to a slot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The node owns this slot.
    Owned(SlotNumber),
    /// The claim was just written: look again after the header's `allocate` time, because two nodes
    /// may have taken the same free slot at once.
    Pending(SlotNumber, Timeouts),
}

/// How clearing a mailbox ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clearing {
    /// It is empty now.
    Cleared,
    /// Something else lay in it than was meant; it was left alone.
    Changed,
}

/// What `create` may destroy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// Only zeros.
    OnlyZeros,
    /// Anything.
    Anything,
}

impl Volume {
    /// Takes an opened disk.
    pub fn new(sectors: Box<dyn Sectors>) -> Self {
        Self { sectors }
    }

    fn size(&self) -> SectorSize {
        self.sectors.sector_size()
    }

    fn read_sectors(&mut self, first: Sector, count: usize) -> Result<Vec<u8>, DeviceError> {
        let mut bytes = vec![0; count * self.size().bytes()];
        self.sectors.read(first, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes whole sectors and reads them back. Failure of either is failure.
    fn write_verified(&mut self, at: Sector, bytes: &[u8]) -> Result<(), DeviceError> {
        self.sectors.write(at, bytes)?;
        let mut back = vec![0; bytes.len()];
        self.sectors.read(at, &mut back)?;
        if back == bytes {
            Ok(())
        } else {
            Err(DeviceError::Unverified { sector: at.get() })
        }
    }

    /// Reads the header.
    ///
    /// # Errors
    /// The disk fails or has no usable header.
    pub fn header(&mut self) -> Result<Header, VolumeError> {
        let bytes = self.read_sectors(Sector::HEADER, 1)?;
        Ok(Header::decode(&bytes, self.size())?)
    }

    /// Reads header, slots and mailboxes at one go.
    ///
    /// # Errors
    /// The disk fails or has no usable header.
    pub fn survey(&mut self) -> Result<Survey, VolumeError> {
        let header = self.header()?;
        let size = self.size().bytes();
        let mut entries = Vec::new();
        for batch in batches(header.slots) {
            let bytes = self.read_sectors(batch[0].slot_sector(), 2 * batch.len())?;
            for (number, pair) in batch.into_iter().zip(bytes.chunks_exact(2 * size)) {
                let (slot, mailbox) = pair.split_at(size);
                if let Slot::Taken(name) = Slot::decode(slot) {
                    entries.push(Entry {
                        number,
                        name,
                        mailbox: Mailbox::decode(mailbox),
                    });
                }
            }
        }
        Ok(Survey {
            header,
            entries,
            medium: self.sectors.medium(),
        })
    }

    /// Reads header, one slot and its mailbox.
    ///
    /// # Errors
    /// The disk fails or has no usable header.
    pub fn sighting(&mut self, number: SlotNumber) -> Result<Sighting, VolumeError> {
        let header = self.header()?;
        let size = self.size().bytes();
        let mut pair = vec![0; 2 * size];
        self.sectors.read(number.slot_sector(), &mut pair)?;
        let (slot, mailbox) = pair.split_at(size);
        Ok(Sighting {
            header,
            number,
            slot: Slot::decode(slot),
            mailbox: Mailbox::decode(mailbox),
        })
    }

    /// Puts a message into the mailbox of a node's slot, verified. The slot is looked at first: a pill
    /// in a stranger's mailbox would kill the stranger.
    ///
    /// # Errors
    /// The disk fails, or the slot is not the node's.
    pub fn deliver(
        &mut self,
        number: SlotNumber,
        node: &SlotName,
        mailbox: &Mailbox,
    ) -> Result<(), VolumeError> {
        if !self.sighting(number)?.slot.belongs_to(node) {
            return Err(VolumeError::Foreign {
                slot: number,
                node: node.clone(),
            });
        }
        let bytes = mailbox.encode(self.size());
        self.write_verified(number.mailbox_sector(), &bytes)?;
        Ok(())
    }

    /// Empties the mailbox if it still holds what the caller saw. The format has no compare-and-swap:
    /// between the look and the write a message can be lost, but only in that instant.
    ///
    /// # Errors
    /// The disk fails.
    pub fn clear(&mut self, number: SlotNumber, seen: &Mailbox) -> Result<Clearing, VolumeError> {
        let at = number.mailbox_sector();
        if Mailbox::decode(&self.read_sectors(at, 1)?) != *seen {
            return Ok(Clearing::Changed);
        }
        let bytes = Mailbox::EMPTY.encode(self.size());
        self.write_verified(at, &bytes)?;
        Ok(Clearing::Cleared)
    }

    /// One step of allocating a slot: finds the node's, or claims the first free one.
    ///
    /// # Errors
    /// The disk fails, has no usable header, or is full.
    pub fn claim(&mut self, node: &SlotName) -> Result<Claim, VolumeError> {
        let survey = self.survey()?;
        if let Some(entry) = survey.slot_of(node) {
            return Ok(Claim::Owned(entry.number));
        }
        let free = SlotNumber::first(survey.header.slots)
            .find(|number| survey.entries.iter().all(|entry| entry.number != *number));
        let Some(number) = free else {
            return Err(VolumeError::Full {
                slots: survey.header.slots,
            });
        };
        let bytes = Slot::Taken(Some(node.clone())).encode(self.size());
        self.write_verified(number.slot_sector(), &bytes)?;
        Ok(Claim::Pending(number, survey.header.timeouts))
    }

    /// Lays a disk out anew. The header is written last: a creation that fails half-way leaves a disk
    /// without one, not one with a stranger's slots.
    ///
    /// # Errors
    /// The disk fails, or holds something and may not be overwritten.
    pub fn create(
        &mut self,
        timeouts: Timeouts,
        uuid: Uuid,
        overwrite: Overwrite,
    ) -> Result<Header, VolumeError> {
        if overwrite == Overwrite::OnlyZeros {
            self.refuse_unless_zero()?;
        }
        let size = self.size();
        let header = Header::new(size, timeouts, uuid);
        self.write_verified(Sector::HEADER, &vec![0; size.bytes()])?;
        for batch in batches(header.slots) {
            let zeros = vec![0; batch.len() * 2 * size.bytes()];
            self.write_verified(batch[0].slot_sector(), &zeros)?;
        }
        self.write_verified(Sector::HEADER, &header.encode())?;
        Ok(header)
    }

    fn refuse_unless_zero(&mut self) -> Result<(), VolumeError> {
        if let Ok(header) = self.header() {
            let name = header.uuid.map_or_else(
                || "an old SBD disk".to_owned(),
                |uuid| format!("SBD disk {uuid}"),
            );
            return Err(VolumeError::NotEmpty(name));
        }
        let first = self.read_sectors(Sector::HEADER, 1)?;
        let mut zero = first.iter().all(|byte| *byte == 0);
        for batch in batches(crate::disk::SLOTS_MAX) {
            let bytes = self.read_sectors(batch[0].slot_sector(), 2 * batch.len())?;
            zero = zero && bytes.iter().all(|byte| *byte == 0);
        }
        if zero {
            Ok(())
        } else {
            Err(VolumeError::NotEmpty("some other content".to_owned()))
        }
    }
}

/// Slots in runs that fit one transfer; no run is empty. With their mailboxes, sixteen slots of
/// 4096-byte sectors take 128 KiB.
fn batches(slots: u8) -> Vec<Vec<SlotNumber>> {
    let all: Vec<SlotNumber> = SlotNumber::first(slots).collect();
    all.chunks(16).map(<[SlotNumber]>::to_vec).collect()
}

#[cfg(test)]
pub(crate) mod tests;
