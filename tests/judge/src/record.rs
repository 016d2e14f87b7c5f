//! The score: which nodes answered which tick of which address, and the report made of it.
//!
//! Pure: times come in as microseconds since the segment began. It knows neither sockets nor clocks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::protocol::{Mark, Report, Span, TargetReport};

/// Index of a node in the order of its name; a bit in a tick's set of answerers.
pub type NodeIndex = u8;

/// One question to all nodes about one address.
#[derive(Debug, Clone, Copy)]
struct Tick {
    at_us: u64,
    answered: u8,
    smeared: bool,
}

/// Everything heard about one address in this segment.
#[derive(Debug, Clone)]
struct Watched {
    address: IpAddr,
    ticks: Vec<Tick>,
    client: Vec<(u64, NodeIndex)>,
}

/// The score of one segment.
#[derive(Debug, Clone)]
pub struct Record {
    tick_us: u64,
    stall_us: u64,
    nodes: Vec<String>,
    names: Vec<String>,
    watched: Vec<Watched>,
    first_tick: u32,
    worst_stall_us: u64,
    marks: Vec<Mark>,
}

/// Microseconds as milliseconds, for reports.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "a segment lasts minutes: far below 2^53 microseconds"
)]
pub fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

impl Record {
    /// An empty score; `nodes` and `targets` in the order that the indices mean.
    #[must_use]
    pub fn new(
        tick_us: u64,
        stall_us: u64,
        nodes: Vec<String>,
        targets: &[(String, IpAddr)],
        first_tick: u32,
    ) -> Self {
        let watched = targets.iter().map(|(_, address)| Watched {
            address: *address,
            ticks: Vec::new(),
            client: Vec::new(),
        });
        Self {
            tick_us,
            stall_us,
            nodes,
            names: targets.iter().map(|(name, _)| name.clone()).collect(),
            watched: watched.collect(),
            first_tick,
            worst_stall_us: 0,
            marks: Vec::new(),
        }
    }

    /// A tick was sent about target `index`: first frame at `at_us`, last one `spread_us` later.
    pub fn sent(&mut self, index: usize, at_us: u64, spread_us: u64) {
        let smeared = spread_us > crate::SMEAR_LIMIT_US;
        self.watched[index].ticks.push(Tick {
            at_us,
            answered: 0,
            smeared,
        });
    }

    /// A whole round of questions started this late.
    pub fn late(&mut self, by_us: u64) {
        self.worst_stall_us = self.worst_stall_us.max(by_us);
    }

    /// A node answered tick number `tick`; one of an earlier segment is forgotten.
    pub fn answered(&mut self, address: IpAddr, tick: u32, node: NodeIndex) {
        let position = tick.wrapping_sub(self.first_tick) as usize;
        for watched in self.watched.iter_mut().filter(|w| w.address == address) {
            if let Some(entry) = watched.ticks.get_mut(position) {
                entry.answered |= 1 << node;
            }
        }
    }

    /// The ordinary client got a reply.
    pub fn client_heard(&mut self, address: IpAddr, at_us: u64, node: NodeIndex) {
        for watched in self.watched.iter_mut().filter(|w| w.address == address) {
            watched.client.push((at_us, node));
        }
    }

    /// Names this moment.
    pub fn mark(&mut self, label: String, at_us: u64) {
        self.marks.push(Mark {
            label,
            at_ms: ms(at_us),
        });
    }

    /// Nodes that answered a tick sent since `since_us`, and whom the client reached last since then, per target.
    #[must_use]
    pub fn recent(
        &self,
        since_us: u64,
    ) -> (
        BTreeMap<String, Vec<String>>,
        BTreeMap<String, Option<String>>,
    ) {
        let mut owners = BTreeMap::new();
        let mut client = BTreeMap::new();
        for (name, watched) in self.names.iter().zip(&self.watched) {
            let set = watched
                .ticks
                .iter()
                .rev()
                .take_while(|t| t.at_us >= since_us)
                .fold(0, |set, t| set | t.answered);
            owners.insert(name.clone(), self.who(set));
            let last = watched.client.last().filter(|(at, _)| *at >= since_us);
            client.insert(
                name.clone(),
                last.map(|(_, node)| self.nodes[usize::from(*node)].clone()),
            );
        }
        (owners, client)
    }

    fn who(&self, set: u8) -> Vec<String> {
        self.nodes
            .iter()
            .enumerate()
            .filter(|(i, _)| set & (1 << i) != 0)
            .map(|(_, n)| n.clone())
            .collect()
    }

    /// The report of the segment as of `now_us`.
    #[must_use]
    pub fn report(&self, now_us: u64) -> Report {
        let all = self.watched.iter().flat_map(|w| &w.ticks);
        let smeared_ticks = all.clone().filter(|t| t.smeared).count() as u64;
        let smeared_double = all
            .clone()
            .any(|t| t.smeared && t.answered.count_ones() > 1);
        let targets = self
            .names
            .iter()
            .cloned()
            .zip(self.watched.iter().map(|w| self.target(w, now_us)));
        Report {
            duration_ms: ms(now_us),
            ticks: self.watched.first().map_or(0, |w| w.ticks.len() as u64),
            worst_stall_ms: ms(self.worst_stall_us),
            smeared_ticks,
            stalled: smeared_double || self.worst_stall_us > self.stall_us,
            marks: self.marks.clone(),
            targets: targets.collect(),
        }
    }

    fn target(&self, watched: &Watched, now_us: u64) -> TargetReport {
        let doubles = watched
            .ticks
            .iter()
            .filter(|t| !t.smeared && t.answered.count_ones() > 1)
            .count() as u64;
        let (client_gap, client_from) =
            longest_gap(watched.client.iter().map(|(at, _)| *at), now_us);
        // The newest tick may still be under way: it must not count as unanswered.
        let settled = now_us.saturating_sub(self.tick_us);
        let answered = watched
            .ticks
            .iter()
            .filter(|t| t.answered != 0)
            .map(|t| t.at_us);
        let (any_gap, _) = longest_gap(answered, settled);
        TargetReport {
            address: watched.address,
            two_owners_ticks: doubles,
            two_owners_ms: ms(doubles * self.tick_us),
            longest_gap_ms: ms(any_gap),
            client_gap_ms: ms(client_gap),
            client_gap_from_ms: ms(client_from),
            client_replies: watched.client.len() as u64,
            timeline: self.timeline(watched, settled),
        }
    }

    fn timeline(&self, watched: &Watched, settled: u64) -> Vec<Span> {
        let mut spans: Vec<(u8, Span)> = Vec::new();
        for tick in watched.ticks.iter().filter(|t| t.at_us <= settled) {
            match spans.last_mut() {
                Some((set, span)) if *set == tick.answered => span.to_ms = ms(tick.at_us),
                Some(_) | None => {
                    let at = ms(tick.at_us);
                    spans.push((
                        tick.answered,
                        Span {
                            who: self.who(tick.answered),
                            from_ms: at,
                            to_ms: at,
                        },
                    ));
                }
            }
        }
        spans.into_iter().map(|(_, span)| span).collect()
    }
}

/// Longest distance between neighbours of the rising `times`, the segment's begin and end included, and its start.
fn longest_gap(times: impl Iterator<Item = u64>, end: u64) -> (u64, u64) {
    let mut previous = 0;
    let mut longest = (0, 0);
    for at in times.chain(std::iter::once(end)) {
        let gap = at.saturating_sub(previous);
        if gap > longest.0 {
            longest = (gap, previous);
        }
        previous = previous.max(at);
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 1, 100));

    fn record() -> Record {
        let nodes = vec!["n1".to_owned(), "n2".to_owned(), "n3".to_owned()];
        Record::new(5_000, 20_000, nodes, &[("web".to_owned(), VIP)], 1000)
    }

    /// Ticks 5 ms apart, each answered by the nodes in its set, sent within `spread` microseconds.
    fn play(sets: &[u8], spread: u64) -> Record {
        let mut record = record();
        for (number, set) in (0u32..).zip(sets) {
            record.sent(0, u64::from(number) * 5_000, spread);
            for node in 0..3 {
                if set & (1 << node) != 0 {
                    record.answered(VIP, 1000 + number, node);
                }
            }
        }
        record
    }

    #[test]
    fn two_answers_to_one_tick_are_two_owners() {
        let report = play(&[1, 1, 3, 3, 2, 2], 50).report(30_000);
        let web = &report.targets["web"];
        assert_eq!(web.two_owners_ticks, 2);
        assert!((web.two_owners_ms - 10.0).abs() < 1e-9);
        assert!(!report.stalled);
    }

    #[test]
    fn an_owner_change_between_ticks_is_no_second_owner_and_shows_as_a_gap() {
        let report = play(&[1, 1, 0, 0, 2, 2], 50).report(30_000);
        let web = &report.targets["web"];
        assert_eq!(web.two_owners_ticks, 0);
        assert!(
            (web.longest_gap_ms - 15.0).abs() < 1e-9,
            "{}",
            web.longest_gap_ms
        );
        let who: Vec<_> = web.timeline.iter().map(|s| s.who.join("+")).collect();
        assert_eq!(who, ["n1", "", "n2"]);
    }

    #[test]
    fn a_late_answer_counts_for_the_tick_it_names() {
        let mut record = play(&[1, 2, 2], 50);
        record.answered(VIP, 1000, 0);
        assert_eq!(record.report(15_000).targets["web"].two_owners_ticks, 0);
        record.answered(VIP, 999, 1);
        record.answered(VIP, 2000, 1);
        assert_eq!(record.report(15_000).targets["web"].two_owners_ticks, 0);
        record.answered(VIP, 1002, 0);
        assert_eq!(record.report(15_000).targets["web"].two_owners_ticks, 1);
    }

    #[test]
    fn a_smeared_tick_accuses_nobody_but_makes_the_run_stalled() {
        let report = play(&[1, 3, 2], crate::SMEAR_LIMIT_US + 1).report(15_000);
        assert_eq!(report.targets["web"].two_owners_ticks, 0);
        assert!(report.stalled);
        assert_eq!(report.smeared_ticks, 3);
    }

    #[test]
    fn a_late_tick_makes_the_run_stalled() {
        let mut record = play(&[1, 1], 50);
        record.late(20_000);
        assert!(!record.report(10_000).stalled);
        record.late(20_001);
        assert!(record.report(10_000).stalled);
    }

    #[test]
    fn the_clients_gap_reaches_to_the_end_when_no_reply_comes_any_more() {
        let mut record = play(&[1; 20], 50);
        record.client_heard(VIP, 1_000, 0);
        record.client_heard(VIP, 6_000, 0);
        let report = record.report(100_000);
        let web = &report.targets["web"];
        assert!((web.client_gap_ms - 94.0).abs() < 1e-9);
        assert!((web.client_gap_from_ms - 6.0).abs() < 1e-9);
    }

    #[test]
    fn recent_answers_name_all_owners_and_the_clients_own() {
        let mut record = play(&[1, 1, 3, 2], 50);
        record.client_heard(VIP, 16_000, 1);
        let (owners, client) = record.recent(10_000);
        assert_eq!(owners["web"], ["n1", "n2"]);
        assert_eq!(client["web"].as_deref(), Some("n2"));
        assert_eq!(record.recent(17_000).1["web"], None);
    }
}
