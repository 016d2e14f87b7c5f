//! The thread that closes what would speak from an address that has gone, and says whether anything is left.
//!
//! Nobody's beat waits for it: a program whose send hangs in a page fault (FUSE, a file server that is gone) has its
//! socket locked, and who closes that socket hangs with it, beyond any signal. The thread has no descriptor of the
//! process but its own, so that no lock and no table of an agent that has ended stays with it; the process itself is
//! gone only when the program goes on (docs/isolation.md). Decides nothing.

use super::{Sockets, Voices};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// Questions that may wait, and answers: one more is asked later.
const WAITING_MAX: usize = 64;
/// The first descriptor that is nobody's standard input or output.
const FIRST: libc::c_uint = 3;

/// About one address, with a number of the asker's: an answer to an earlier question says nothing of a later release.
#[derive(Clone, Debug)]
pub struct Question {
    /// On no interface any more.
    pub address: IpAddr,
    /// Never used twice.
    pub number: u64,
    /// Set when the address may be put on an interface again: connections that come then are its owner's.
    pub withdrawn: Arc<AtomicBool>,
}

/// What was found after the question had been asked.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The question, as it was asked.
    pub question: Question,
    /// What is left.
    pub voices: Voices,
}

/// Whether a question is on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// It will be answered, unless the kernel hangs.
    Yes,
    /// Too many wait, or nobody is left to answer.
    NotNow,
}

/// The asker's end. The thread ends with it.
#[derive(Debug)]
pub struct Closer {
    questions: SyncSender<Question>,
    answers: Receiver<Answer>,
}

impl Closer {
    /// Starts the thread, in this thread's network namespace and under its scheduling.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start() -> io::Result<Closer> {
        let (questions, asked) = sync_channel(WAITING_MAX);
        let (told, answers) = sync_channel(WAITING_MAX);
        std::thread::Builder::new()
            .name("haft-sockets".to_owned())
            .spawn(move || answer_all(&asked, &told))?;
        Ok(Closer { questions, answers })
    }

    /// Hands the question over; waits for no answer.
    pub fn ask(&self, question: Question) -> Asked {
        match self.questions.try_send(question) {
            Ok(()) => Asked::Yes,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Asked::NotNow,
        }
    }

    /// The next answer that has come.
    pub fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }

    /// The next answer that comes before `deadline`.
    pub fn await_answer(&self, deadline: Instant) -> Option<Answer> {
        let within = deadline.saturating_duration_since(Instant::now());
        self.answers.recv_timeout(within).ok()
    }

    /// What is left of each of these addresses, asked in turn; nothing is known of those that are not answered `within`.
    pub fn survey(&self, addresses: &[IpAddr], within: Duration) -> Vec<Answer> {
        let deadline = Instant::now() + within;
        let questions = addresses.iter().zip(0..);
        let questions = questions.map(|(address, number)| Question {
            address: *address,
            number,
            withdrawn: Arc::default(),
        });
        let mut answers = Vec::new();
        for question in questions {
            while self.ask(question.clone()) == Asked::NotNow {
                match self.await_answer(deadline) {
                    Some(answer) => answers.push(answer),
                    None => return answers,
                }
            }
        }
        while answers.len() < addresses.len()
            && let Some(answer) = self.await_answer(deadline)
        {
            answers.push(answer);
        }
        answers
    }
}

fn answer_all(questions: &Receiver<Question>, answers: &SyncSender<Answer>) {
    crate::plant::panic_in("sockets");
    if let Err(error) = close_descriptors() {
        tracing::warn!(
            err = crate::chain(&error),
            "should a program hang with its socket, this agent's lock would stay taken after its end (fix: allow \
             close_range in the seccomp profile)"
        );
    }
    let mut sockets = Sockets::default();
    sockets.prepare();
    while let Ok(question) = questions.recv() {
        let voices = sockets.hush(question.address, &question.withdrawn);
        if answers.send(Answer { question, voices }).is_err() {
            return;
        }
    }
}

/// From here on this thread has a table of descriptors of its own, with nothing in it but what it opens itself and
/// standard error (close_range(2), Linux 5.9).
#[expect(unsafe_code, reason = "rustix offers no close_range")]
fn close_descriptors() -> io::Result<()> {
    let flags = libc::CLOSE_RANGE_UNSHARE;
    // SAFETY: the table is this thread's own once it is unshared, and the thread has opened nothing yet; descriptors of
    // other threads stay open in theirs.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, flags) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
