//! QEMU's machine protocol (docs/interop/qmp-spec): one JSON object a line over a unix socket; answers come in order,
//! events in between.
//!
//! It knows no story. Events are kept with the moment they were read.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use haft_lab::shell;
use serde_json::{Value, json};

/// How long QEMU may take to answer. `stop` drains the guest's disk writes first.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers that may wait unread: one command is under way at a time.
const ANSWERS: usize = 4;

/// One event of a virtual machine.
#[derive(Debug, Clone)]
pub struct Event {
    /// When it was read.
    pub at: Instant,
    /// `WATCHDOG`, `RESET`, `STOP`, `RESUME`, `SHUTDOWN` and so on.
    pub name: String,
    /// Its own fields.
    pub detail: Value,
}

/// Events of one guest, over all its lives.
pub type Events = Arc<Mutex<Vec<Event>>>;

/// A connection to one running QEMU.
#[derive(Debug)]
pub struct Qmp {
    writer: UnixStream,
    answers: Receiver<Value>,
}

impl Qmp {
    /// Connects to a QEMU that was just started, and keeps its events in `events`.
    ///
    /// # Errors
    /// The socket does not come up in time, or the greeting is refused.
    pub fn connect(socket: &Path, events: Events) -> anyhow::Result<Self> {
        let stream = shell::wait_for("QEMU's socket", PATIENCE, || {
            Ok(UnixStream::connect(socket).ok())
        })?;
        let reader = BufReader::new(stream.try_clone()?);
        let (answer, answers) = sync_channel(ANSWERS);
        std::thread::Builder::new()
            .name("qmp".into())
            .spawn(move || read(reader, &answer, &events))?;
        let mut qmp = Self {
            writer: stream,
            answers,
        };
        qmp.command("qmp_capabilities")?;
        Ok(qmp)
    }

    /// Runs a command without arguments and returns what it returned.
    ///
    /// # Errors
    /// QEMU is gone, does not answer in time, or refuses.
    pub fn command(&mut self, name: &str) -> anyhow::Result<Value> {
        let line = format!("{}\n", json!({ "execute": name }));
        self.writer.write_all(line.as_bytes())?;
        let answer = self
            .answers
            .recv_timeout(PATIENCE)
            .with_context(|| format!("QEMU did not answer {name}"))?;
        match answer.get("return") {
            Some(value) => Ok(value.clone()),
            None => bail!("QEMU refused {name}: {answer}"),
        }
    }
}

/// Ends with the connection, which ends with QEMU.
fn read(reader: BufReader<UnixStream>, answer: &SyncSender<Value>, events: &Events) {
    for line in reader.lines().map_while(Result::ok) {
        let Ok(value) = serde_json::from_str::<Value>(&line) else {
            return;
        };
        if let Some(name) = value["event"].as_str() {
            let event = Event {
                at: Instant::now(),
                name: name.to_owned(),
                detail: value["data"].clone(),
            };
            events
                .lock()
                .expect("nobody panics holding the events")
                .push(event);
        } else if value.get("QMP").is_none() && answer.send(value).is_err() {
            return;
        }
    }
}
