//! An agent that is started before its order, as far as it goes without changing anything: it logs in at its device,
//! reads the power state and waits for a word on its stdin.
//!
//! What takes time on the way to an off is then over when the order comes. The word is what acts, and it is given
//! just after the question whether the order stands; an agent that never hears it ends with nothing done: when the
//! caller dismisses it, when the caller dies, at its deadline. Only agents of haft's can be prepared.

use std::io::{self, PipeWriter, Write as _};
use std::process::Stdio;
use std::time::Duration;

use super::deadline::Deadline;
use super::find::AgentPath;
use super::outcome::Report;
use super::parameters::Parameters;
use super::run::{Call, Running, TELLING};
use crate::Action;
use crate::agent::report::{AWAITS_WORD, WORD};
use tokio::time::Instant;

/// The agent that can await a word.
const AWAITS: &str = "fence_haft_ipmi";

/// How long an agent that is not needed may take to take its leave of the device before it is killed.
const LEAVE: Duration = Duration::from_secs(1);

/// An agent that awaits the word. Dropping it kills the agent, which then leaves a session open at its device.
pub struct Prepared {
    running: Running,
    word: PipeWriter,
    agent: AgentPath,
    parameters: Parameters,
    deadline: Deadline,
}

/// What became of an agent that was given the word.
pub(super) enum Went {
    /// It was ready and has done what it could.
    Through(Report),
    /// It ended before it was ready, so it has changed nothing.
    Nowhere,
}

impl Prepared {
    /// Whether this agent knows how.
    #[must_use]
    pub fn suits(agent: &AgentPath) -> bool {
        agent.name() == AWAITS
    }

    /// Starts the agent for an off of what the parameters name. It is killed at the deadline, whatever it does then.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(
        agent: &AgentPath,
        parameters: &Parameters,
        deadline: Deadline,
    ) -> io::Result<Self> {
        let call = Call {
            agent,
            action: Action::Off,
            parameters,
            deadline,
        };
        let text = parameters.stdin_text_when_told(TELLING);
        let (from, mut word) = io::pipe()?;
        // Less than half of what a pipe holds, so that it waits for nobody; the word fits beside it.
        word.write_all(&text)?;
        let running = Running::start(&call, Stdio::from(from))?;
        Ok(Self {
            running,
            word,
            agent: agent.clone(),
            parameters: parameters.clone(),
            deadline,
        })
    }

    /// When it is killed.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Gives the word.
    pub(super) async fn go(self, first_off_read: &(dyn Fn() + Sync)) -> Went {
        let began = Instant::now();
        let mut word = self.word;
        let call = Call {
            agent: &self.agent,
            action: Action::Off,
            parameters: &self.parameters,
            deadline: self.deadline,
        };
        let feed = async move {
            // Fails where the agent has ended, which is found out below.
            let _ = writeln!(word, "{WORD}");
        };
        let ended = self.running.finish(&call, feed, first_off_read).await;
        if !ended.stdout.lines().any(|line| line == AWAITS_WORD) {
            return Went::Nowhere;
        }
        Went::Through(Report {
            outcome: ended.outcome,
            stdout: ended.stdout,
            stderr: ended.stderr,
            took: began.elapsed(),
        })
    }

    /// Ends it with nothing done; the device is free when this returns.
    pub async fn dismiss(self) {
        drop(self.word);
        let call = Call {
            agent: &self.agent,
            action: Action::Off,
            parameters: &self.parameters,
            deadline: self.deadline.min(Deadline::within(LEAVE)),
        };
        let nothing = std::future::ready(());
        let _ = self.running.finish(&call, nothing, &|| ()).await;
    }
}
