//! Structured logs on stderr, written by a thread of their own.
//!
//! The lease thread logs, and must not wait for whoever reads our stderr: lines go through a bounded
//! queue, and what does not fit is counted and dropped. No secret ever gets here: the types that hold one
//! show no bytes.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait for stderr.
const LINES_MAX: usize = 1_024;

/// Form of the lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum LogForm {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Clone, Debug)]
struct Queue {
    lines: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

/// One line in the making; sent when dropped.
#[derive(Debug)]
struct Line {
    queue: Queue,
    bytes: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let line = std::mem::take(&mut self.bytes);
        match self.queue.lines.try_send(line) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                self.queue.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line {
            queue: self.clone(),
            bytes: Vec::new(),
        }
    }
}

/// Starts logging. The filter is `HAFT_LOG` (tracing's syntax), `info` by default.
///
/// # Errors
/// When the writer's thread cannot be started.
pub fn start(form: LogForm) -> io::Result<()> {
    let (lines, waiting) = sync_channel::<Vec<u8>>(LINES_MAX);
    let dropped = Arc::new(AtomicU64::new(0));
    let queue = Queue {
        lines,
        dropped: Arc::clone(&dropped),
    };
    std::thread::Builder::new()
        .name("haft-log".to_owned())
        .spawn(move || {
            let mut stderr = io::stderr();
            for line in waiting {
                crate::plant::panic_in("log");
                // Nobody is left to tell when stderr fails.
                let _ = stderr.write_all(&line);
                let lost = dropped.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let _ = writeln!(stderr, "{lost} log lines were dropped");
                }
            }
        })?;
    let filter = EnvFilter::try_from_env("HAFT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(queue);
    let started = match form {
        LogForm::Text => builder.try_init(),
        LogForm::Json => builder.json().try_init(),
    };
    started.map_err(io::Error::other)
}
