//! Who else claims our addresses, as heard on the wire: asked for at the start and now and then, told when it
//! changes and again while it lasts.
//!
//! Sends and hears nothing itself. Moves nothing: a rival is a matter for people.

use haft_engine::clock::Moment;
use haft_engine::machine::Claim;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// The second question after the first one: the first may have met a link that was just coming up.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Between two questions to the wire about one address. A rival that claims nothing by itself is found so.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// A rival that has not been heard for two questions is gone.
const SILENT: Duration = Duration::from_secs(75);
/// A rival is told again this often: the leader may be new. It forgets one after 120 s.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// Between two words about one address, whoever takes turns in claiming it.
const TELL_PAUSE: Duration = Duration::from_secs(1);

/// What is known of one address.
#[derive(Debug)]
struct Listening {
    ask: Moment,
    asked: u32,
    heard: Option<(Claim, Moment)>,
    told: Option<(Option<Claim>, Moment)>,
}

/// Every address that is listened for.
#[derive(Debug, Default)]
pub(super) struct Rivals {
    listening: BTreeMap<IpAddr, Listening>,
    /// Hardware addresses of this machine. One of its other interfaces on the same segment answers for any of
    /// its addresses, which makes it no rival.
    own: BTreeSet<[u8; 6]>,
}

impl Rivals {
    pub(super) fn set_own(&mut self, own: BTreeSet<[u8; 6]>) {
        self.own = own;
    }

    /// Begins with a question at once, unless it has begun.
    pub(super) fn begin(&mut self, address: IpAddr, now: Moment) {
        self.listening.entry(address).or_insert(Listening {
            ask: now,
            asked: 0,
            heard: None,
            told: None,
        });
    }

    pub(super) fn end(&mut self, address: IpAddr) {
        self.listening.remove(&address);
    }

    /// Takes a claim; whether it is a rival's.
    pub(super) fn hear(&mut self, address: IpAddr, claim: Claim, now: Moment) -> bool {
        if self.own.contains(&claim.mac) {
            return false;
        }
        if let Some(known) = self.listening.get_mut(&address) {
            known.heard = Some((claim, now));
        }
        true
    }

    /// Addresses that are to be asked about now.
    pub(super) fn questions(&mut self, now: Moment) -> Vec<IpAddr> {
        let mut due = Vec::new();
        for (address, known) in &mut self.listening {
            if now >= known.ask {
                known.asked = known.asked.saturating_add(1);
                known.ask = now
                    + if known.asked == 1 {
                        ASK_AGAIN
                    } else {
                        ASK_EVERY
                    };
                due.push(*address);
            }
        }
        due
    }

    /// What is to be told now.
    pub(super) fn news(&mut self, now: Moment) -> Vec<(IpAddr, Option<Claim>)> {
        let mut news = Vec::new();
        for (address, known) in &mut self.listening {
            let present = known
                .heard
                .as_ref()
                .filter(|(_, at)| now < *at + SILENT)
                .map(|(claim, _)| claim.clone());
            let due = match &known.told {
                None => present.is_some(),
                Some((told, at)) if *told == present => {
                    present.is_some() && now >= *at + TELL_EVERY
                }
                Some((_, at)) => now >= *at + TELL_PAUSE,
            };
            if due {
                known.told = Some((present.clone(), now));
                news.push((*address, present));
            }
        }
        news
    }

    pub(super) fn next(&self) -> Moment {
        let asks = self.listening.values().map(|known| known.ask);
        asks.min().unwrap_or(Moment(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn claim(last: u8) -> Claim {
        Claim {
            mac: [2, 0, 0, 0, 0, last],
            link: "eth0".to_owned(),
        }
    }

    #[test]
    fn a_rival_is_told_once_and_again_while_it_lasts_and_when_it_is_gone() {
        let start = Moment(1_000_000_000);
        let mut rivals = Rivals::default();
        rivals.begin(VIP, start);
        assert_eq!(rivals.questions(start), [VIP]);
        assert!(rivals.questions(start).is_empty());
        assert!(rivals.news(start).is_empty());
        assert!(rivals.hear(VIP, claim(1), start));
        assert_eq!(rivals.news(start), [(VIP, Some(claim(1)))]);
        assert!(rivals.news(start).is_empty());
        // Two that take turns are told of once a second.
        assert!(rivals.hear(VIP, claim(2), start));
        assert!(rivals.news(start).is_empty());
        let later = start + TELL_PAUSE;
        assert_eq!(rivals.news(later), [(VIP, Some(claim(2)))]);
        assert_eq!(rivals.news(later + TELL_EVERY), [(VIP, Some(claim(2)))]);
        assert_eq!(rivals.news(later + SILENT), [(VIP, None)]);
        assert!(rivals.news(later + SILENT + TELL_EVERY).is_empty());
    }

    #[test]
    fn another_interface_of_this_machine_is_no_rival() {
        let mut rivals = Rivals::default();
        rivals.begin(VIP, Moment(1));
        rivals.set_own([claim(7).mac].into());
        assert!(!rivals.hear(VIP, claim(7), Moment(1)));
        assert!(rivals.news(Moment(1)).is_empty());
    }
}
