//! An agent that is started before its order, as far as it goes without changing anything: it logs in at its device,
//! reads the power state and waits for a word on its stdin.
//!
//! What takes time on the way to an off is then over when the order comes. The word is what acts, and it is given
//! just after the question whether the order stands; from then on the agent is the order's, with its deadline. One that
//! never hears it ends with nothing done: when the caller dismisses it, when the caller dies, when its time is over.
//! Whoever prepares an agent has the device's turn, and keeps it for as long. Only agents of haft's can be prepared.

use std::io::{self, PipeWriter, Write as _};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::deadline::Deadline;
use super::find::AgentPath;
use super::outcome::Report;
use super::parameters::Parameters;
use super::run::{Call, Hears, Running, Said, TELLING};
use crate::Action;
use crate::agent::report::WORD;
use tokio::time::Instant;

/// The agent that can await a word.
const AWAITS: &str = "fence_haft_ipmi";

/// Most bytes of parameters for an agent that is prepared: a page, which every pipe holds however few its user has left
/// (pipe(7)), so that writing them waits for nobody. Whatever is longer goes with the order.
const TEXT_MAX: usize = 4_000;

/// How long an agent that is not needed may take to take its leave of the device before it is killed: a round trip or
/// two. One that is still at its login hears nothing, and has no session to leave either.
const LEAVE: Duration = Duration::from_millis(250);

/// An agent that awaits the word. Dropping it kills the agent, which then leaves a session open at its device.
pub struct Prepared {
    running: Running,
    word: PipeWriter,
    agent: AgentPath,
    parameters: Parameters,
    until: Deadline,
}

/// What became of an agent that was to be given the word.
pub(super) enum Went {
    /// It knew that a word decides, so whatever it did is this order's try.
    Through(Report),
    /// It had ended before, or knows nothing of words, so it has changed nothing.
    Nowhere,
}

impl Prepared {
    /// Whether this agent knows how.
    #[must_use]
    pub fn suits(agent: &AgentPath) -> bool {
        agent.name() == AWAITS
    }

    /// Starts the agent for an off of what the parameters name. It is of use until then, and dies soon after unless it
    /// has been given the word.
    ///
    /// # Errors
    /// It cannot be started, or its parameters are longer than a page.
    pub fn start(agent: &AgentPath, parameters: &Parameters, until: Deadline) -> io::Result<Self> {
        let call = Call {
            agent,
            action: Action::Off,
            parameters,
            deadline: until + LEAVE * 4,
        };
        let text = parameters.stdin_text_when_told(TELLING);
        if text.len() > TEXT_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let (from, mut word) = io::pipe()?;
        word.write_all(&text)?;
        let running = Running::start(&call, Stdio::from(from))?;
        Ok(Self {
            running,
            word,
            agent: agent.clone(),
            parameters: parameters.clone(),
            until,
        })
    }

    /// How long it is of use.
    #[must_use]
    pub fn until(&self) -> Deadline {
        self.until
    }

    /// Whether it does exactly what this agent would do with these parameters: a secret may have changed since, or
    /// another agent stands where this one was found.
    pub(super) fn is_for(&self, agent: &AgentPath, parameters: &Parameters) -> bool {
        let text = |of: &Parameters| of.stdin_text(Action::Off);
        self.agent == *agent && text(&self.parameters) == text(parameters)
    }

    /// Gives the word. From here on it dies by the order's deadline.
    pub(super) async fn go(self, deadline: Deadline, first_off_read: &(dyn Fn() + Sync)) -> Went {
        let began = Instant::now();
        if self.running.has_ended() || self.running.rebind(deadline).is_err() {
            return Went::Nowhere;
        }
        let mut word = self.word;
        let call = Call {
            agent: &self.agent,
            action: Action::Off,
            parameters: &self.parameters,
            deadline,
        };
        let feed = async move {
            // Fails where the agent has ended, which is found out below.
            let _ = writeln!(word, "{WORD}");
        };
        let knew = AtomicBool::new(false);
        let hears: Hears<'_> = &|said| match said {
            Said::AwaitsWord => knew.store(true, Ordering::Relaxed),
            Said::FirstOffRead => first_off_read(),
        };
        let ended = self.running.finish(&call, feed, hears).await;
        if !knew.load(Ordering::Relaxed) {
            return Went::Nowhere;
        }
        Went::Through(Report {
            outcome: ended.outcome,
            stdout: ended.stdout,
            stderr: ended.stderr,
            took: began.elapsed(),
        })
    }

    /// Ends it with nothing done; it is over when this returns.
    pub async fn dismiss(self) {
        drop(self.word);
        let call = Call {
            agent: &self.agent,
            action: Action::Off,
            parameters: &self.parameters,
            deadline: Deadline::within(LEAVE),
        };
        let nothing = std::future::ready(());
        let _ = self.running.finish(&call, nothing, &|_| ()).await;
    }
}
