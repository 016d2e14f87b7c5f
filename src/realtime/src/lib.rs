//! Asks the system to run a thread first and to keep the process in memory: the agent's lease thread, haftd's beats.
//!
//! Helps against jitter, and no safety relies on it: an agent's thread that is late finds its guard lapsed and
//! its lease over, a coordinator's acknowledges late (hazards R1). Refusals are reported, not fatal.

use std::io;

/// Low among the realtime priorities: above every ordinary thread, below what the system itself needs.
const PRIORITY: i32 = 10;

/// Puts the calling thread under SCHED_RR (sched(7)).
///
/// # Errors
/// Without CAP_SYS_NICE, or where the cgroup has no realtime budget.
#[expect(unsafe_code, reason = "rustix offers no sched_setscheduler")]
pub fn prefer_this_thread() -> io::Result<()> {
    let parameter = libc::sched_param {
        sched_priority: PRIORITY,
    };
    // SAFETY: `parameter` outlives the call, which reads it only; 0 names the calling thread.
    let answer = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const parameter) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Locks every page of the process into memory once it has been touched (mlockall(2)).
///
/// # Errors
/// Without CAP_IPC_LOCK.
#[expect(
    unsafe_code,
    reason = "rustix offers mlockall only with its mm feature"
)]
pub fn lock_memory() -> io::Result<()> {
    let flags = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    // SAFETY: mlockall takes no pointer and changes no content of memory.
    let answer = unsafe { libc::mlockall(flags) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
