//! The lab's end of the judge: starts it in the client's network and exchanges orders and answers.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use haft_judge::protocol::{Answer, Order, Report, Setup};

use crate::jail::LAB;
use crate::machine::Machine;
use crate::shell;

/// A running judge; ends with the value.
#[derive(Debug)]
pub struct Judge {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Who answers at this moment.
#[derive(Debug, Clone)]
pub struct Now {
    /// Target name to the nodes that answered within the last 50 ms.
    pub owners: BTreeMap<String, Vec<String>>,
    /// Target name to the node that the ordinary client reached last within that time.
    pub client: BTreeMap<String, Option<String>>,
}

impl Judge {
    /// Starts the judge in the network of `client`.
    ///
    /// # Errors
    /// It does not start, or refuses its setup.
    pub fn start(client: &Machine, setup: &Setup) -> anyhow::Result<Self> {
        let mut command = client.network_command(&format!("{LAB}/bin/haft-lab"))?;
        let mut child = command
            .arg("judge")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().context("the judge has no stdin")?;
        let answers = BufReader::new(child.stdout.take().context("the judge has no stdout")?);
        let mut judge = Self {
            child,
            orders,
            answers,
        };
        judge.write(&serde_json::to_string(setup)?)?;
        judge.read().context("the judge did not start")?;
        Ok(judge)
    }

    fn write(&mut self, line: &str) -> anyhow::Result<()> {
        self.orders.write_all(line.as_bytes())?;
        self.orders.write_all(b"\n")?;
        Ok(())
    }

    fn read(&mut self) -> anyhow::Result<Answer> {
        let mut line = String::new();
        anyhow::ensure!(self.answers.read_line(&mut line)? > 0, "the judge ended");
        Ok(serde_json::from_str(&line)?)
    }

    fn order(&mut self, order: &Order) -> anyhow::Result<Answer> {
        self.write(&serde_json::to_string(order)?)?;
        match self.read()? {
            Answer::Error { reason } => bail!("the judge refused {order:?}: {reason}"),
            answer @ (Answer::Done { .. } | Answer::Now { .. } | Answer::Report(_)) => Ok(answer),
        }
    }

    /// Starts a new segment.
    ///
    /// # Errors
    /// The judge is gone.
    pub fn begin(&mut self) -> anyhow::Result<()> {
        self.order(&Order::Begin).map(drop)
    }

    /// Names this moment of the segment.
    ///
    /// # Errors
    /// The judge is gone.
    pub fn mark(&mut self, label: &str) -> anyhow::Result<()> {
        self.order(&Order::Mark {
            label: label.to_owned(),
        })
        .map(drop)
    }

    /// What the segment showed so far.
    ///
    /// # Errors
    /// The judge is gone.
    pub fn report(&mut self) -> anyhow::Result<Report> {
        match self.order(&Order::Report)? {
            Answer::Report(report) => Ok(report),
            Answer::Done { .. } | Answer::Now { .. } | Answer::Error { .. } => {
                bail!("not a report")
            }
        }
    }

    /// Who answers now.
    ///
    /// # Errors
    /// The judge is gone.
    pub fn now(&mut self) -> anyhow::Result<Now> {
        match self.order(&Order::Now)? {
            Answer::Now { owners, client, .. } => Ok(Now { owners, client }),
            Answer::Done { .. } | Answer::Report(_) | Answer::Error { .. } => {
                bail!("not a sighting")
            }
        }
    }

    /// Waits until exactly `owner` answers for `target` and the ordinary client reaches it.
    ///
    /// # Errors
    /// That did not come about in time.
    pub fn wait_owner(&mut self, target: &str, owner: &str, limit: Duration) -> anyhow::Result<()> {
        shell::wait_for(&format!("{owner} to answer for {target}"), limit, || {
            let now = self.now()?;
            let alone = now
                .owners
                .get(target)
                .is_some_and(|who| who.len() == 1 && who[0] == owner);
            let reached = now.client.get(target).and_then(Option::as_deref) == Some(owner);
            Ok((alone && reached).then_some(()))
        })
    }

    /// Waits until nobody answers for `target`.
    ///
    /// # Errors
    /// Somebody still did at the end.
    pub fn wait_silent(&mut self, target: &str, limit: Duration) -> anyhow::Result<()> {
        shell::wait_for(&format!("silence for {target}"), limit, || {
            Ok(self
                .now()?
                .owners
                .get(target)
                .is_some_and(Vec::is_empty)
                .then_some(()))
        })
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        // Already ended is as good.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
