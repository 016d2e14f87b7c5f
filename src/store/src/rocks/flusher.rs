//! Group commit: one thread makes writes durable and says so in their order.
//!
//! RocksDB's own write groups need concurrent writers; Raft has one. So writes only go to the log's
//! buffer, and this thread syncs as often as the disk allows: everything that arrived during one sync
//! shares the next. A sync that fails aborts the process. The kernel may have dropped the pages and
//! marked them clean, so a second try on the same file could succeed without having written them.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::log_store::Done;

/// Writes that may wait for one sync. Raft stops long before; a full queue makes the writer wait.
const WAITING_MAX: usize = 16_384;

/// How the log reaches the disk. Exists so that a test can refuse or delay it.
pub trait Syncer: Send + Sync + 'static {
    /// Runs `flush`, which writes and syncs the log.
    ///
    /// # Errors
    /// The disk's word, for the log line before the abort.
    fn sync(&self, flush: &mut dyn FnMut() -> Result<(), String>) -> Result<(), String>;
}

/// Syncs and nothing else.
#[derive(Clone, Copy, Debug, Default)]
pub struct DirectSync;

impl Syncer for DirectSync {
    fn sync(&self, flush: &mut dyn FnMut() -> Result<(), String>) -> Result<(), String> {
        flush()
    }
}

struct Waiting {
    since: Instant,
    done: Done,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    syncing_since: Option<Instant>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue
            .lock()
            .expect("no code that holds this lock panics")
    }

    fn wait<'a>(&self, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        self.changed
            .wait(queue)
            .expect("no code that holds this lock panics")
    }
}

/// Handle of the flusher's thread.
pub(super) struct Flusher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    pub(super) fn start(
        mut flush: impl FnMut() -> Result<(), String> + Send + 'static,
        syncer: Arc<dyn Syncer>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("haft-flusher".to_owned())
            .spawn(
                move || {
                    while sync_waiting(&of_thread, &mut flush, syncer.as_ref()) {}
                },
            )?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Runs `done` after a sync that starts later than this call.
    pub(super) fn push(&self, done: Done) {
        let mut queue = self.shared.lock();
        while queue.waiting.len() >= WAITING_MAX {
            queue = self.shared.wait(queue);
        }
        queue.waiting.push_back(Waiting {
            since: Instant::now(),
            done,
        });
        drop(queue);
        self.shared.changed.notify_all();
    }

    /// Age of the oldest write that is not durable.
    pub(super) fn oldest_age(&self) -> Option<Duration> {
        let queue = self.shared.lock();
        let since = queue
            .syncing_since
            .or(queue.waiting.front().map(|write| write.since));
        since.map(|since| since.elapsed())
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panicked flusher has already been reported; there is nothing left to save.
            drop(thread.join());
        }
    }
}

/// Makes one batch durable. Says whether there may be more.
fn sync_waiting(
    shared: &Shared,
    flush: &mut dyn FnMut() -> Result<(), String>,
    syncer: &dyn Syncer,
) -> bool {
    let mut queue = shared.lock();
    while queue.waiting.is_empty() && !queue.closed {
        queue = shared.wait(queue);
    }
    let Some(oldest) = queue.waiting.front().map(|write| write.since) else {
        return false;
    };
    queue.syncing_since = Some(oldest);
    let batch = std::mem::take(&mut queue.waiting);
    drop(queue);
    shared.changed.notify_all();
    if let Err(detail) = syncer.sync(flush) {
        abort_on_lost_write("sync of the write-ahead log", &detail);
    }
    shared.lock().syncing_since = None;
    for write in batch {
        (write.done)();
    }
    true
}

/// Ends the process: a write is lost, and whatever this process said about it may be false.
///
/// Not a panic: a panic unwinds one task and leaves the others answering votes.
pub(super) fn abort_on_lost_write(what: &str, detail: &str) -> ! {
    tracing::error!(what, detail, "the disk lost a write; haftd aborts");
    std::process::abort()
}
