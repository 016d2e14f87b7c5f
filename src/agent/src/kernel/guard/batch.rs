//! nftables transactions: messages between a begin and an end, applied wholly or not at all.
//!
//! Encodes and sends; does not know what the guard's tables look like. Formats:
//! linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h.

use super::super::netlink::{MessageIter, Messages, Port, Read};
use std::io;

/// nfnetlink subsystem of nftables, in the high byte of every message type.
pub(super) const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

/// A table's protocol family (linux/netfilter.h), each with tables of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(super) enum Family {
    Inet = 1,
    Arp = 3,
    Netdev = 5,
}

impl Family {
    pub(super) const ALL: [Family; 3] = [Family::Inet, Family::Arp, Family::Netdev];
}

/// `struct nfgenmsg`: family, version, resource id in network order.
pub(super) fn generic(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

/// A transaction under construction. Message `n` (from 1) carries sequence number `n`.
#[derive(Debug)]
pub(super) struct Batch {
    messages: Messages,
    labels: Vec<&'static str>,
}

impl Batch {
    pub(super) fn new() -> Batch {
        let mut messages = Messages::default();
        frame(&mut messages, BATCH_BEGIN);
        Batch {
            messages,
            labels: vec!["the transaction"],
        }
    }

    /// Adds one message; `label` names it in errors.
    pub(super) fn add(
        &mut self,
        label: &'static str,
        (kind, flags): (u16, u16),
        family: Family,
        body: impl FnOnce(&mut Messages),
    ) {
        let sequence = u32::try_from(self.labels.len()).expect("batches are bounded");
        self.messages
            .begin(SUBSYSTEM | kind, flags, sequence)
            .fixed(&generic(family as u8));
        body(&mut self.messages);
        self.messages.finish();
        self.labels.push(label);
    }

    /// Closes the transaction.
    pub(super) fn seal(mut self) -> Sealed {
        // One acknowledgement for the whole: errors are reported in any case, and success must
        // not rest on silence.
        self.messages.acknowledge_last();
        frame(&mut self.messages, BATCH_END);
        Sealed {
            messages: self.messages,
            labels: self.labels,
        }
    }
}

fn frame(messages: &mut Messages, kind: u16) {
    messages
        .begin(kind, 0, 0)
        .fixed(&[0, 0, 0, SUBSYSTEM.to_be_bytes()[0]])
        .finish();
}

/// A complete transaction, ready to be sent any number of times.
#[derive(Debug)]
pub(super) struct Sealed {
    messages: Messages,
    labels: Vec<&'static str>,
}

/// One message that the kernel refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    /// Sequence number: zero for the transaction as a whole.
    pub(super) sequence: usize,
    pub(super) errno: i32,
}

/// What became of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Applied as a whole.
    Committed,
    /// Nothing of it was applied; never empty.
    Refused(Vec<Refusal>),
    /// The kernel's answer was lost.
    Unclear,
}

impl Sealed {
    /// What the refused message was about.
    pub(super) fn label(&self, refusal: Refusal) -> &'static str {
        self.labels
            .get(refusal.sequence)
            .copied()
            .unwrap_or("the transaction")
    }

    /// Sends the transaction. The kernel has decided when the system call returns, so reading the
    /// answers does not wait.
    pub(super) fn send(&self, port: &mut Port) -> io::Result<Verdict> {
        port.drain()?;
        port.send(self.messages.as_bytes())?;
        let mut refusals = Vec::new();
        let mut acknowledged = false;
        loop {
            match port.read()? {
                Read::Messages(bytes) => {
                    for message in MessageIter(bytes) {
                        match message.verdict() {
                            Some(0) => acknowledged = true,
                            Some(errno) => refusals.push(Refusal {
                                sequence: usize::try_from(message.sequence).unwrap_or(0),
                                errno,
                            }),
                            None => {}
                        }
                    }
                }
                Read::Overrun => acknowledged = false,
                Read::Empty => break,
            }
        }
        Ok(match (refusals.is_empty(), acknowledged) {
            (false, _) => Verdict::Refused(refusals),
            (true, true) => Verdict::Committed,
            (true, false) => Verdict::Unclear,
        })
    }
}
