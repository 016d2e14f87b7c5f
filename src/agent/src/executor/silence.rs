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
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long sockets that speak are left alone between two looks, each of which costs the kernel a walk over all: twice as
/// long after each, up to the longest.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// How soon an answer is looked for, and for how long it is: one that comes later waits for whatever wakes this thread.
const ANSWERS_EVERY: Duration = Duration::from_millis(5);
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// No answer for so long is told.
const HANGS_AFTER: Duration = Duration::from_secs(5);

/// Whether sockets would speak from an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sockets {
    /// To be asked.
    Unknown,
    /// Asked under this number.
    Asked { number: u64, since: Moment },
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
    /// Shared with the question on its way.
    withdrawn: Arc<AtomicBool>,
    told: Told,
}

/// Whether people were told that no answer comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    NotYet,
    Already,
}

impl Silence {
    fn new() -> Silence {
        Silence {
            sockets: Sockets::Unknown,
            pause: LOOK_AGAIN,
            withdrawn: Arc::default(),
            told: Told::NotYet,
        }
    }

    /// What was known is not true any more, and what was asked closes nothing from here on.
    fn withdraw(&mut self) {
        if self.sockets != Sockets::Unknown {
            self.withdrawn.store(true, Ordering::SeqCst);
            *self = Silence::new();
        }
    }

    /// One that hangs is told once; the addresses that wait behind it, too.
    fn wait(&mut self, address: IpAddr, since: Moment) {
        if self.told == Told::NotYet && boot_now() >= since + HANGS_AFTER {
            self.told = Told::Already;
            tracing::warn!(
                %address,
                "released, and kept silent: closing its connections, or those of an address before it, hangs in the \
                 kernel with a program that uses one (fix: end what that program waits for)"
            );
        }
    }
}

/// Whether something else than sockets has an address: somebody's copy, or a new grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Elsewhere {
    Yes,
    No,
}

/// Whether an answer came in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Came {
    One,
    None,
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

    /// Released just now. Sockets of somebody else's copy are not ours to close.
    pub(super) fn begin(&mut self, address: IpAddr, elsewhere: Elsewhere) {
        self.end(address);
        self.addresses.insert(address, Silence::new());
        match elsewhere {
            Elsewhere::Yes => {}
            Elsewhere::No => drop(self.look(address)),
        }
    }

    /// Before it may be put on an interface again: nothing of it is closed from here on.
    pub(super) fn withdraw(&mut self, address: IpAddr) {
        if let Some(silence) = self.addresses.get_mut(&address) {
            silence.withdraw();
        }
    }

    /// Nothing speaks from it.
    pub(super) fn end(&mut self, address: IpAddr) {
        self.withdraw(address);
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
                    self.withdraw(*address);
                    false
                }
                Elsewhere::No => self.look(*address) == Sockets::Silent,
            })
            .collect()
    }

    /// When this agent ends: waits for one answer that is on its way.
    pub(super) fn await_answer(&mut self, deadline: Instant) -> Came {
        let asked = |silence: &Silence| matches!(silence.sockets, Sockets::Asked { .. });
        let closer = self.closer.as_ref();
        let closer = closer.filter(|_| self.addresses.values().any(asked));
        match closer.and_then(|closer| closer.await_answer(deadline)) {
            Some(answer) => {
                self.answered(answer);
                Came::One
            }
            None => Came::None,
        }
    }

    /// When answers are to be looked for.
    pub(super) fn next_wake(&self, now: Moment) -> Option<Moment> {
        let fresh = |silence: &Silence| match silence.sockets {
            Sockets::Asked { since, .. } => now < since + ANSWERS_WITHIN,
            Sockets::Unknown | Sockets::Speak { .. } | Sockets::Silent => false,
        };
        let awaited = self.addresses.values().any(fresh);
        awaited.then_some(now + ANSWERS_EVERY)
    }

    /// Asks where that is due; what is known then.
    fn look(&mut self, address: IpAddr) -> Sockets {
        let Some(silence) = self.addresses.get_mut(&address) else {
            return Sockets::Silent;
        };
        let due = match silence.sockets {
            Sockets::Unknown => true,
            Sockets::Speak { due } => boot_now() >= due,
            Sockets::Asked { since, .. } => {
                silence.wait(address, since);
                false
            }
            Sockets::Silent => false,
        };
        // IPv4 looks for a socket's address with each packet, and sends none from one that is gone.
        if address.is_ipv4() {
            silence.sockets = Sockets::Silent;
        } else if let Some(closer) = self.closer.as_ref().filter(|_| due) {
            let question = Question {
                address,
                number: self.last + 1,
                withdrawn: Arc::clone(&silence.withdrawn),
            };
            if closer.ask(question) == Asked::Yes {
                self.last += 1;
                silence.sockets = Sockets::Asked {
                    number: self.last,
                    since: boot_now(),
                };
            }
        }
        silence.sockets
    }

    fn answered(&mut self, answer: Answer) {
        let Question {
            address, number, ..
        } = answer.question;
        let Some(silence) = self.addresses.get_mut(&address) else {
            return;
        };
        match silence.sockets {
            Sockets::Asked { number: asked, .. } if asked == number => {}
            Sockets::Asked { .. } | Sockets::Unknown | Sockets::Speak { .. } | Sockets::Silent => {
                return;
            }
        }
        silence.sockets = match answer.voices {
            Voices::None => Sockets::Silent,
            Voices::Left => {
                if silence.pause == LOOK_AGAIN {
                    tracing::warn!(
                        %address,
                        "released, and kept silent: a program of this machine has an open socket on it (fix: end the program, \
                         which lsof -i names)"
                    );
                }
                let due = boot_now() + silence.pause;
                silence.pause = (silence.pause * 2).min(LONGEST_PAUSE);
                Sockets::Speak { due }
            }
        };
    }
}
