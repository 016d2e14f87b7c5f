//! The judge of the shared disk: reads stamps as they appear and says whether there were ever two writers.
//!
//! Two views, because each alone has a blind spot. *Live*: a follower reads the log within milliseconds of its being
//! written, and looks again at the slot where each earlier owner would go on. *Afterwards*: the whole log is
//! read again; its tokens must never fall, each stamp must name the digest of the one before it, and it must be what
//! the follower saw. The follower also says when each owner's first and last stamp were seen.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::fs::OFlags;

use crate::stamp::{Disk, Region, SLOTS, Stamp, Token};

/// Between two looks of the follower.
const LOOK: Duration = Duration::from_millis(5);
/// Slots behind each handover's front that are looked at again: a stale writer skips none.
const FRONT: u64 = 2;
/// How many violations are spelled out.
const SPELLED: usize = 5;

/// A stamp and when it was first seen.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What it says.
    pub stamp: Stamp,
    /// On the lab's clock.
    pub at: Instant,
}

/// What the follower knows so far.
#[derive(Debug, Default)]
pub struct Record {
    /// One per slot, in order.
    pub seen: Vec<Seen>,
    /// Stamps that took the place of another one that had been seen.
    pub overwritten: Vec<Seen>,
    /// Per handover the slot that the earlier owner would write next.
    fronts: Vec<u64>,
    failed: Option<String>,
}

/// Follows one region of the shared disk until it is dropped.
#[derive(Debug)]
pub struct Follower {
    region: Region,
    record: Arc<Mutex<Record>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Starts to follow.
    ///
    /// # Errors
    /// The image cannot be opened with O_DIRECT: the lab's folder must be on a real disk.
    pub fn start(image: &Path, region: Region) -> anyhow::Result<Self> {
        let mut disk = Disk::open(image, OFlags::RDONLY)?;
        let record: Arc<Mutex<Record>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (record.clone(), stop.clone());
        let thread = std::thread::Builder::new()
            .name("follower".into())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    if let Err(error) = follow(&mut disk, region, &shared) {
                        shared.lock().expect(HELD).failed = Some(format!("{error:#}"));
                        return;
                    }
                    std::thread::sleep(LOOK);
                }
            })?;
        Ok(Self {
            region,
            record,
            stop,
            thread: Some(thread),
        })
    }

    /// How many stamps there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.record.lock().expect(HELD).seen.len()
    }

    /// The newest stamp.
    #[must_use]
    pub fn newest(&self) -> Option<Seen> {
        self.record.lock().expect(HELD).seen.last().cloned()
    }

    /// The stamps from number `from` on that were seen first, and those that replaced one, since `since`.
    #[must_use]
    pub fn since(&self, from: usize, since: Instant) -> (Vec<Seen>, Vec<Seen>) {
        let record = self.record.lock().expect(HELD);
        let late = record
            .overwritten
            .iter()
            .filter(|seen| seen.at >= since)
            .cloned();
        (
            record.seen.get(from..).unwrap_or_default().to_vec(),
            late.collect(),
        )
    }

    /// Judges the stamps from number `from` on, against the disk as it is now.
    ///
    /// # Errors
    /// The follower had failed, or the image cannot be read.
    pub fn judge(&self, image: &Path, from: usize, since: Instant) -> anyhow::Result<Verdict> {
        if let Some(reason) = &self.record.lock().expect(HELD).failed {
            anyhow::bail!("the follower failed: {reason}");
        }
        let (seen, overwritten) = self.since(from, since);
        let mut disk = Disk::open(image, OFlags::RDONLY)?;
        let mut now = Vec::new();
        for slot in (from as u64).. {
            if slot >= SLOTS || now.len() == seen.len() {
                break;
            }
            let stamp = disk.read(self.region, slot)?;
            now.push(stamp.with_context(|| format!("slot {slot} was seen and is gone"))?);
        }
        Ok(judge(&seen, &overwritten, &now))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A follower that panicked left its record unjudged, and `judge` says so.
            let _panicked = thread.join();
        }
    }
}

/// Why locking the record cannot fail.
const HELD: &str = "nobody panics while holding the record";

fn follow(disk: &mut Disk, region: Region, record: &Mutex<Record>) -> anyhow::Result<()> {
    let (mut next, mut newest, mut fronts) = {
        let record = record.lock().expect(HELD);
        let newest = record.seen.last().map(|seen| seen.stamp.clone());
        (record.seen.len() as u64, newest, record.fronts.clone())
    };
    let mut fresh = Vec::new();
    while next < SLOTS
        && let Some(stamp) = disk.read(region, next)?
    {
        if newest.is_some_and(|newest| newest.writer != stamp.writer) {
            fronts.push(next);
        }
        newest = Some(stamp.clone());
        let at = Instant::now();
        fresh.push(Seen { stamp, at });
        next += 1;
    }
    record.lock().expect(HELD).seen.append(&mut fresh);
    for front in &mut fronts {
        *front = look_again(disk, region, record, *front)?;
    }
    record.lock().expect(HELD).fronts = fronts;
    Ok(())
}

/// Looks whether an earlier owner went on where it had stopped; says where it would go on next.
fn look_again(
    disk: &mut Disk,
    region: Region,
    record: &Mutex<Record>,
    mut front: u64,
) -> anyhow::Result<u64> {
    let mut slot = front;
    while slot < front + FRONT && slot < SLOTS {
        let stamp = disk.read(region, slot)?;
        let index = usize::try_from(slot)?;
        let mut record = record.lock().expect(HELD);
        let known = record.seen.get(index).map(|seen| seen.stamp.clone());
        slot += 1;
        if let (Some(stamp), Some(known)) = (stamp, known)
            && stamp != known
        {
            let at = Instant::now();
            let seen = Seen { stamp, at };
            record.seen[index] = seen.clone();
            record.overwritten.push(seen);
            front = slot;
        }
    }
    Ok(front)
}

/// One owner's stretch of the log.
#[derive(Debug, Clone)]
pub struct Stretch {
    /// Who.
    pub node: String,
    /// Under which token.
    pub token: Token,
    /// How many stamps.
    pub stamps: usize,
    /// When its first and last stamp were seen.
    pub first: Instant,
    /// See `first`.
    pub last: Instant,
}

/// What the stamps show.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// All stamps that were judged.
    pub stamps: usize,
    /// Owner after owner.
    pub stretches: Vec<Stretch>,
    /// Signs of two writers; the first few are spelled out.
    pub violations: Vec<String>,
    /// All signs, also those not spelled out.
    pub count: usize,
    /// Stamps under an older token that appeared after one of a newer token.
    pub stale: Vec<Seen>,
}

impl Verdict {
    fn violation(&mut self, text: String) {
        self.count += 1;
        if self.violations.len() < SPELLED {
            self.violations.push(text);
        }
    }

    /// Whether there was one writer at a time.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.count == 0
    }
}

/// Judges stamps in slot order: as first seen (with what replaced them later), and as they are `now`.
#[must_use]
pub fn judge(seen: &[Seen], overwritten: &[Seen], now: &[Stamp]) -> Verdict {
    let mut verdict = Verdict {
        stamps: seen.len(),
        ..Verdict::default()
    };
    for one in seen {
        match verdict.stretches.last_mut() {
            Some(last) if last.node == one.stamp.node && last.token == one.stamp.token => {
                last.stamps += 1;
                last.last = last.last.max(one.at);
            }
            _ => verdict.stretches.push(Stretch {
                node: one.stamp.node.clone(),
                token: one.stamp.token,
                stamps: 1,
                first: one.at,
                last: one.at,
            }),
        }
    }
    for one in overwritten {
        let Stamp {
            slot, node, token, ..
        } = &one.stamp;
        verdict.violation(format!("slot {slot} was written again, by {node} {token}"));
    }
    for (index, pair) in now.windows(2).enumerate() {
        let [before, after] = pair else { continue };
        if after.token < before.token {
            verdict.violation(format!(
                "slot {}: token {} of {} after {} of {}",
                after.slot, after.token, after.node, before.token, before.node
            ));
        }
        if after.token == before.token && after.node != before.node {
            verdict.violation(format!("slot {}: two nodes under one token", after.slot));
        }
        if after.previous != before.digest() {
            verdict.violation(format!(
                "slot {}: {} did not know the stamp of {} before it",
                after.slot, after.node, before.node
            ));
        }
        if seen[index + 1].stamp != *after {
            verdict.violation(format!("slot {} was written again, late", after.slot));
        }
    }
    verdict.stale = stale(seen, overwritten);
    verdict
}

/// Stamps that appeared although a newer token's had.
fn stale(seen: &[Seen], overwritten: &[Seen]) -> Vec<Seen> {
    // What replaced an earlier stamp stands in its slot as well: once is enough.
    let in_place = seen.iter().filter(|one| {
        let again = |late: &Seen| late.at == one.at && late.stamp == one.stamp;
        !overwritten.iter().any(again)
    });
    let mut all: Vec<&Seen> = in_place.chain(overwritten).collect();
    all.sort_by_key(|one| one.at);
    let mut newest = Token(0, 0);
    let mut stale = Vec::new();
    for one in all {
        if one.stamp.token < newest {
            stale.push(one.clone());
        }
        newest = newest.max(one.stamp.token);
    }
    stale
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log in which each stamp knows the one before it; node and token index as given.
    fn log(owners: &[(&str, u64)]) -> Vec<Stamp> {
        let mut stamps: Vec<Stamp> = Vec::new();
        for (slot, (node, index)) in (0..).zip(owners) {
            let previous = stamps.last().map_or(0, Stamp::digest);
            stamps.push(Stamp {
                slot,
                node: (*node).to_owned(),
                token: Token(0, *index),
                writer: 1,
                previous,
            });
        }
        stamps
    }

    fn seen(stamps: &[Stamp]) -> Vec<Seen> {
        let begin = Instant::now();
        let at = |slot: u64| begin + Duration::from_millis(slot * 10);
        stamps
            .iter()
            .map(|stamp| Seen {
                stamp: stamp.clone(),
                at: at(stamp.slot),
            })
            .collect()
    }

    #[test]
    fn one_writer_after_another_is_clean() {
        let stamps = log(&[("n1", 5), ("n1", 5), ("n2", 9), ("n2", 9), ("n1", 12)]);
        let verdict = judge(&seen(&stamps), &[], &stamps);
        assert!(verdict.clean(), "{:?}", verdict.violations);
        assert_eq!(verdict.stretches.len(), 3);
        assert!(verdict.stale.is_empty());
    }

    #[test]
    fn an_older_token_after_a_newer_one_is_seen() {
        let stamps = log(&[("n1", 5), ("n2", 9), ("n2", 9), ("n1", 5), ("n2", 9)]);
        let verdict = judge(&seen(&stamps), &[], &stamps);
        assert!(!verdict.clean());
        assert_eq!(verdict.stale.len(), 1);
    }

    #[test]
    fn two_writers_with_rising_tokens_break_the_chain() {
        // n1 went on at slot 2 although n2 had begun there; n2's later stamps know its own slot 2.
        let mut stamps = log(&[("n1", 5), ("n1", 5), ("n2", 9), ("n2", 9)]);
        stamps[2] = log(&[("n1", 5), ("n1", 5), ("n1", 5)])[2].clone();
        let verdict = judge(&seen(&stamps), &[], &stamps);
        assert_eq!(verdict.count, 1, "{:?}", verdict.violations);
    }

    #[test]
    fn an_overwritten_stamp_is_seen_even_if_the_end_looks_right() {
        let stamps = log(&[("n1", 5), ("n2", 9), ("n2", 9)]);
        let before = seen(&stamps);
        let again = before[1].clone();
        assert!(!judge(&before, &[again], &stamps).clean());
        let mut late = stamps.clone();
        late[2].writer = 4;
        assert!(!judge(&before, &[], &late).clean());
    }

    #[test]
    fn two_nodes_under_one_token_are_seen() {
        let stamps = log(&[("n1", 5), ("n2", 5)]);
        assert!(!judge(&seen(&stamps), &[], &stamps).clean());
    }
}
