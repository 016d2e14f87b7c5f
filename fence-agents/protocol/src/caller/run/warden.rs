//! The warden: a small process beside each agent that carries the call's deadline and kills the
//! agent's whole group at it (R15), or as soon as the caller is gone.
//!
//! The caller itself may be stopped, starved or in a suspend at that moment, and then kills nobody;
//! a timer of the agent's own ends with `exec`, and an agent may ignore its signal. The warden
//! waits on a CLOCK_BOOTTIME timer, sends SIGKILL, and is a member of the group, so whoever kills
//! the group ends it, too, and the group's number is not given to anybody else while it waits. It
//! keeps no file of the caller's open: a lock or a port would outlive the caller.
//!
//! Reaches the members of the group only; an agent that leaves it is beyond reach here as it is for
//! the caller.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use rustix::process::{PidfdFlags, getpgrp, getpid, pidfd_open};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::caller::deadline::Deadline;

/// What a warden waits for; made by the caller before it forks.
pub(super) struct Orders {
    deadline: OwnedFd,
    caller: OwnedFd,
}

/// The timer that a warden waits for. Its copies are one timer, also the warden's own.
pub(super) struct Bound(OwnedFd);

impl Bound {
    /// Lets it expire at this deadline instead.
    pub(super) fn set(&self, deadline: Deadline) -> io::Result<()> {
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let at = deadline.since_boot();
        let end = Timespec {
            tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
            // Zero at boot would disarm it.
            tv_nsec: i64::from(at.subsec_nanos()).max(1),
        };
        let once = Itimerspec {
            it_interval: zero,
            it_value: end,
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }
}

impl Orders {
    /// A timer at the deadline, and the caller's own end.
    pub(super) fn new(deadline: Deadline) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
        let timer = Bound(timer);
        timer.set(deadline)?;
        Ok(Self {
            deadline: timer.0,
            caller: pidfd_open(getpid(), PidfdFlags::empty())?,
        })
    }

    /// The same timer, for the caller to keep.
    pub(super) fn bound(&self) -> io::Result<Bound> {
        Ok(Bound(self.deadline.try_clone()?))
    }

    /// Starts the warden of the calling process, which must lead its own group and be about to
    /// become an agent.
    ///
    /// # Errors
    /// When it does not lead a group, or there is no process to be had; then no agent may run.
    ///
    /// # Safety
    /// Only between fork and exec: nothing but system calls is made here and in the
    /// warden, no memory is allocated and no lock is taken.
    #[expect(
        unsafe_code,
        reason = "nothing but fork makes a process without an executable of its own"
    )]
    pub(super) unsafe fn post(&self) -> io::Result<()> {
        let group = getpgrp();
        if group != getpid() {
            // Its SIGKILL would reach somebody else.
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (deadline, caller) = (self.deadline.as_raw_fd(), self.caller.as_raw_fd());
        // Forked twice: the agent would find a child that it never made, and may wait for it.
        // SAFETY: the copy goes on with system calls only.
        let between = unsafe { fork()? };
        if between == 0 {
            // SAFETY: as above.
            let made = unsafe { fork() };
            if let Ok(0) = made {
                // SAFETY: this copy is the warden, and never comes back.
                unsafe { watch(group.as_raw_nonzero().get(), deadline, caller) }
            }
            // SAFETY: ends this copy at once, without running anything of the caller's.
            unsafe { libc::_exit(i32::from(made.is_err())) }
        }
        let mut status = 0;
        loop {
            // SAFETY: `status` is ours and outlives the call.
            let waited = unsafe { libc::waitpid(between, &raw mut status, libc::__WALL) };
            if waited == between {
                break;
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        match status {
            0 => Ok(()),
            _ => Err(io::ErrorKind::OutOfMemory.into()),
        }
    }
}

/// As wide as a register: the call takes pointers.
const NONE: libc::c_long = 0;

/// The system call itself: the C library's takes its locks and runs its handlers, which belong to
/// threads that do not exist in this copy.
#[expect(unsafe_code, reason = "see the callers")]
unsafe fn fork() -> io::Result<libc::pid_t> {
    // SAFETY: no new stack and nothing shared: what fork does. Its end sends no signal, whose handler
    // would be the caller's.
    let child = unsafe { libc::syscall(libc::SYS_clone, NONE, NONE, NONE, NONE, NONE) };
    match libc::pid_t::try_from(child) {
        Ok(child) if child >= 0 => Ok(child),
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}

/// The warden's life.
#[expect(unsafe_code, reason = "see the caller")]
unsafe fn watch(group: libc::pid_t, deadline: RawFd, caller: RawFd) -> ! {
    // SAFETY: system calls on numbers; nothing of Rust's owns a descriptor in this process any
    // more.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, c"haft-warden".as_ptr());
        // Both are above 2, where the agent's pipes are.
        libc::dup2(deadline, 0);
        libc::dup2(caller, 1);
        if libc::syscall(libc::SYS_close_range, 2, libc::c_uint::MAX, 0) != 0 {
            // Before Linux 5.9.
            for descriptor in 2..65_536 {
                libc::close(descriptor);
            }
        }
        let look = |fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        let mut both = [look(0), look(1)];
        // Interrupted or failed: looks again. The timer stays readable once it has expired.
        while libc::poll(both.as_mut_ptr(), 2, -1) <= 0 {}
        libc::kill(-group, libc::SIGKILL);
        libc::_exit(0)
    }
}
