//! What is given up and stays silent for as long as something of this machine would speak from it (R13): somebody
//! else's copy, or sockets of programs (`kernel::sockets`).
//!
//! Never waits: the thread that asks for sockets may hang with a program. An address without an answer stays silent, and
//! an answer counts for the question that was asked last. Decides nothing about who may have an address.

use crate::chain;
use crate::kernel::clock::boot_now;
use crate::kernel::sockets::{Answer, Asked, Closer, Question, Voices};
use haft_engine::clock::Moment;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long sockets that speak are left alone between two looks, each of which costs the kernel a walk over all: twice as
/// long after each, up to the longest.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Whether sockets would speak from an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sockets {
    /// To be asked.
    Unknown,
    /// Asked under this number.
    Asked(u64),
    /// Some would; they are looked for again from then on.
    Speak { due: Moment },
    /// None does.
    Silent,
}

/// One address.
#[derive(Debug)]
struct Silence {
    sockets: Sockets,
    pause: Duration,
}

impl Silence {
    fn new() -> Silence {
        Silence {
            sockets: Sockets::Unknown,
            pause: LOOK_AGAIN,
        }
    }
}

/// Whether something else than sockets has an address: somebody's copy, or a new grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Elsewhere {
    Yes,
    No,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Silenced {
    addresses: BTreeMap<IpAddr, Silence>,
    /// None on a machine without a thread for it: IPv6 addresses stay silent.
    closer: Option<Closer>,
    last: u64,
}

impl Silenced {
    /// With a thread that asks, in this thread's network namespace.
    pub(super) fn new() -> Silenced {
        let closer = Closer::start().inspect_err(|error| {
            tracing::warn!(err = chain(error), "released IPv6 addresses stay silent");
        });
        Silenced {
            addresses: BTreeMap::new(),
            closer: closer.ok(),
            last: 0,
        }
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.addresses.contains_key(&address)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Released just now: what was known of it is not true any more.
    pub(super) fn begin(&mut self, address: IpAddr) {
        self.addresses.insert(address, Silence::new());
        self.look(address);
    }

    /// It is ours again, or nothing speaks from it.
    pub(super) fn end(&mut self, address: IpAddr) {
        self.addresses.remove(&address);
    }

    /// Those from which nothing of this machine would speak. Asks about the others, each in its time.
    pub(super) fn over(&mut self, elsewhere: impl Fn(IpAddr) -> Elsewhere) -> Vec<IpAddr> {
        while let Some(answer) = self.closer.as_ref().and_then(Closer::answer) {
            self.answered(answer);
        }
        let all: Vec<IpAddr> = self.addresses.keys().copied().collect();
        all.into_iter()
            .filter(|address| match elsewhere(*address) {
                Elsewhere::Yes => {
                    self.addresses.insert(*address, Silence::new());
                    false
                }
                Elsewhere::No => self.look(*address) == Sockets::Silent,
            })
            .collect()
    }

    /// The same once more when this agent ends: answers that are on their way are waited for, as long as that.
    pub(super) fn await_answers(&mut self, within: Duration) {
        let deadline = Instant::now() + within;
        let asked = |silence: &Silence| matches!(silence.sockets, Sockets::Asked(_));
        while self.addresses.values().any(asked) {
            let closer = self.closer.as_ref();
            let Some(answer) = closer.and_then(|closer| closer.await_answer(deadline)) else {
                return;
            };
            self.answered(answer);
        }
    }

    /// Asks where that is due; what is known then.
    fn look(&mut self, address: IpAddr) -> Sockets {
        let Some(silence) = self.addresses.get_mut(&address) else {
            return Sockets::Silent;
        };
        let due = match silence.sockets {
            Sockets::Unknown => true,
            Sockets::Speak { due } => boot_now() >= due,
            Sockets::Asked(_) | Sockets::Silent => false,
        };
        // IPv4 looks for a socket's address with each packet, and sends none from one that is gone.
        if address.is_ipv4() {
            silence.sockets = Sockets::Silent;
        } else if let Some(closer) = self.closer.as_ref().filter(|_| due) {
            let number = self.last + 1;
            if closer.ask(Question { address, number }) == Asked::Yes {
                self.last = number;
                silence.sockets = Sockets::Asked(number);
            }
        }
        silence.sockets
    }

    fn answered(&mut self, answer: Answer) {
        let Question { address, number } = answer.question;
        let Some(silence) = self.addresses.get_mut(&address) else {
            return;
        };
        if silence.sockets != Sockets::Asked(number) {
            return;
        }
        silence.sockets = match answer.voices {
            Voices::None => Sockets::Silent,
            Voices::Left => {
                if silence.pause == LOOK_AGAIN {
                    tracing::warn!(
                        %address,
                        "released, and kept silent: a program of this machine has an open socket on it (fix: ss -nap, end the program)"
                    );
                }
                let due = boot_now() + silence.pause;
                silence.pause = (silence.pause * 2).min(LONGEST_PAUSE);
                Sockets::Speak { due }
            }
        };
    }
}
