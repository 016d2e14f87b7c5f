//! `haftctl` as the lab uses it: run on the client's machine as a user would run it, answers read as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::jail::LAB;
use crate::machine::Machine;
use crate::shell;

/// Where `haftctl` stands and which context it uses.
#[derive(Debug, Clone)]
pub struct Ctl {
    client: Arc<Machine>,
}

impl Ctl {
    /// `haftctl` on this machine, with the lab's admin context.
    #[must_use]
    pub fn on(client: Arc<Machine>) -> Self {
        Self { client }
    }

    /// The context file that `cluster init` wrote.
    #[must_use]
    pub fn context() -> String {
        format!("{LAB}/context.yaml")
    }

    fn command(&self, words: &[&str]) -> anyhow::Result<Command> {
        let mut command = self.client.command(&format!("{LAB}/bin/haftctl"))?;
        command
            .env("HAFT_CONTEXT", Self::context())
            .env_remove("RUST_BACKTRACE")
            .args(words);
        Ok(command)
    }

    /// Runs it and reads its JSON.
    ///
    /// # Errors
    /// An exit code other than 0, or an answer that is no JSON.
    pub fn json(&self, words: &[&str]) -> anyhow::Result<Value> {
        let text = shell::run(self.command(words)?.args(["-o", "json"]))?;
        serde_json::from_str(&text)
            .with_context(|| format!("haftctl {words:?} answered no JSON: {text}"))
    }

    /// Runs it, with `input` on its stdin, for its effect.
    ///
    /// # Errors
    /// An exit code other than 0; the message holds what it said.
    pub fn act(&self, words: &[&str], input: &str) -> anyhow::Result<String> {
        shell::feed(&mut self.command(words)?, input).map(|text| text.trim().to_owned())
    }

    /// Status of one virtual IP.
    ///
    /// # Errors
    /// As [`Ctl::json`].
    pub fn vip(&self, name: &str) -> anyhow::Result<VipStatus> {
        let object = self.json(&["get", &format!("vip/{name}")])?;
        Ok(VipStatus::of(&object))
    }

    /// Status of every virtual IP, by name.
    ///
    /// # Errors
    /// As [`Ctl::json`].
    pub fn vips(&self) -> anyhow::Result<BTreeMap<String, VipStatus>> {
        let answer = self.json(&["get", "vip"])?;
        let items = answer["items"].as_array().context("`get` without items")?;
        let mut vips = BTreeMap::new();
        for object in items {
            let name = object["metadata"]["name"].as_str();
            let name = name.context("an object without a name")?;
            vips.insert(name.to_owned(), VipStatus::of(object));
        }
        Ok(vips)
    }

    /// State of one node, such as `Online`.
    ///
    /// # Errors
    /// As [`Ctl::json`].
    pub fn node_state(&self, name: &str) -> anyhow::Result<String> {
        let object = self.json(&["get", &format!("node/{name}")])?;
        Ok(object["status"]["state"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// What the devices said in the newest order against this node.
    ///
    /// # Errors
    /// As [`Ctl::json`].
    pub fn order_detail(&self, name: &str) -> anyhow::Result<String> {
        let object = self.json(&["get", &format!("node/{name}")])?;
        let orders = object["status"]["orders"].as_array();
        let newest = orders.and_then(|orders| orders.last());
        let detail = newest.and_then(|order| order["detail"].as_str());
        Ok(detail.unwrap_or_default().to_owned())
    }

    /// The incarnation of every node's agent whose session is open: a session that ends leaves this map or changes it.
    ///
    /// # Errors
    /// As [`Ctl::json`].
    pub fn sessions(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let answer = self.json(&["get", "node"])?;
        let items = answer["items"].as_array().context("`get` without items")?;
        let open = items.iter().filter_map(|node| {
            let status = &node["status"];
            let name = node["metadata"]["name"].as_str()?.to_owned();
            let online = status["state"] == "Online";
            online.then_some((name, status["incarnation"].as_u64()?))
        });
        Ok(open.collect())
    }

    /// Name of the leader.
    ///
    /// # Errors
    /// As [`Ctl::json`], or no leader is known.
    pub fn leader(&self) -> anyhow::Result<String> {
        let status = self.json(&["cluster", "status"])?;
        match status["leader"].as_str() {
            Some(name) if !name.is_empty() => Ok(name.to_owned()),
            Some(_) | None => bail!("no leader is known"),
        }
    }

    /// What `haftctl why` says, line by line.
    ///
    /// # Errors
    /// As [`Ctl::json`].
    pub fn why(&self, subject: &str) -> anyhow::Result<Vec<String>> {
        let answer = self.json(&["why", subject])?;
        let lines = answer["lines"].as_array().context("`why` without lines")?;
        let line = |l: &Value| {
            format!(
                "{}: {}",
                l["kind"].as_str().unwrap_or("?"),
                l["text"].as_str().unwrap_or("?")
            )
        };
        Ok(lines.iter().map(line).collect())
    }

    /// The newest events, oldest first.
    ///
    /// # Errors
    /// As [`Ctl::json`].
    pub fn events(&self) -> anyhow::Result<Vec<Event>> {
        let answer = self.json(&["events", "--limit", "200"])?;
        let items = answer["items"]
            .as_array()
            .context("`events` without items")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut events: Vec<Event> = items
            .iter()
            .map(|item| Event {
                index: item["index"].as_u64().unwrap_or_default(),
                time: text(&item["time"]),
                reason: text(&item["reason"]),
                subject: text(&item["subject"]),
                message: text(&item["message"]),
            })
            .collect();
        events.sort_by_key(|event| event.index);
        Ok(events)
    }

    /// The timing in force, and who differs from it.
    ///
    /// # Errors
    /// As [`Ctl::json`].
    pub fn timing(&self) -> anyhow::Result<TimingStatus> {
        let answer = self.json(&["cluster", "timing"])?;
        let older = answer["olderSessions"].as_array();
        let older = older.context("`cluster timing` without olderSessions")?;
        let files = answer["differingFiles"].as_array();
        let files = files.context("`cluster timing` without differingFiles")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(TimingStatus {
            generation: generation(&answer)?,
            older: older.iter().map(|session| text(&session["node"])).collect(),
            files: files.iter().map(text).collect(),
        })
    }

    /// Changes the timing of every session; says which generation it has. Sessions follow by themselves.
    ///
    /// # Errors
    /// As [`Ctl::json`]: refused, or nobody answered in time.
    pub fn set_timing(&self, preset: &str) -> anyhow::Result<u64> {
        let words = ["cluster", "timing", "set", preset, "--yes"];
        generation(&self.json(&[&words[..], &["--timeout", "20s"]].concat())?)
    }

    /// What `cluster status` warns of.
    ///
    /// # Errors
    /// As [`Ctl::json`].
    pub fn warnings(&self) -> anyhow::Result<Vec<String>> {
        let status = self.json(&["cluster", "status"])?;
        let lines = status["warnings"].as_array();
        let lines = lines.context("`cluster status` without warnings")?;
        Ok(lines
            .iter()
            .filter_map(|line| line.as_str().map(str::to_owned))
            .collect())
    }

    /// Moves a virtual IP and waits until it is active there.
    ///
    /// # Errors
    /// Refused, or not active in time.
    pub fn move_to(&self, vip: &str, node: &str) -> anyhow::Result<()> {
        self.act(
            &[
                "move",
                &format!("vip/{vip}"),
                "--to",
                node,
                "--wait",
                "--timeout",
                "20s",
            ],
            "",
        )
        .map(drop)
    }

    /// Waits until a node is online.
    ///
    /// # Errors
    /// Not in time.
    pub fn wait_online(&self, node: &str, limit: Duration) -> anyhow::Result<()> {
        shell::wait_for(&format!("{node} to be online"), limit, || {
            Ok((self.node_state(node)? == "Online").then_some(()))
        })
    }
}

fn generation(answer: &Value) -> anyhow::Result<u64> {
    let number = answer["generation"].as_u64();
    number.with_context(|| format!("no generation in {answer}"))
}

/// The timing in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimingStatus {
    /// Which version.
    pub generation: u64,
    /// Nodes whose session counts by an older one.
    pub older: BTreeSet<String>,
    /// Nodes whose file says something else.
    pub files: BTreeSet<String>,
}

/// What matters here of a virtual IP's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VipStatus {
    /// `Active` and so on.
    pub state: String,
    /// The holder's name, or nothing.
    pub owner: String,
    /// The token of the grant in force.
    pub token: String,
    /// What opened the newest grant.
    pub proof: String,
    /// The same as a sentence.
    pub proof_detail: String,
}

impl VipStatus {
    fn of(object: &Value) -> Self {
        let status = &object["status"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            state: text(&status["state"]),
            owner: text(&status["owner"]),
            token: text(&status["token"]),
            proof: text(&status["evidence"]["proof"]),
            proof_detail: text(&status["evidence"]["detail"]),
        }
    }
}

/// One line of the cluster's history.
#[derive(Debug, Clone)]
pub struct Event {
    /// Log index.
    pub index: u64,
    /// RFC 3339.
    pub time: String,
    /// One word.
    pub reason: String,
    /// What it is about.
    pub subject: String,
    /// One sentence.
    pub message: String,
}
