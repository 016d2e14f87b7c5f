//! The system calls that neither the standard library nor rustix offers safely: starting a program as the first
//! process of fresh namespaces, and switching a link up or down.
//!
//! It holds no policy. Everything else the lab does to the machine goes through `ip`, `nft` and `nsenter`.

use std::ffi::{CString, OsStr};
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::Pid;

/// Namespaces of a machine: its own processes, mounts, host name, IPC and network.
const MACHINE: i32 = libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET;

/// Descriptors below this number may be overwritten while stdin, stdout and stderr are put in place.
const FIRST_FREE: i32 = 10;

/// Starts this same executable with `args` as PID 1 of new PID, mount, UTS, IPC and network namespaces. The process
/// is a child of the caller: when waiting for it succeeds, the kernel has reaped everything in its PID namespace.
///
/// # Errors
/// No permission (`CAP_SYS_ADMIN`), no process slot, or an argument with a zero byte.
#[expect(
    unsafe_code,
    reason = "no library offers clone with namespace flags followed by exec"
)]
pub fn start_machine<S: AsRef<OsStr>>(args: &[S], stdio: [BorrowedFd<'_>; 3]) -> io::Result<Pid> {
    // Everything is prepared before the clone: between clone and exec only async-signal-safe calls are allowed.
    let text = |s: &OsStr| CString::new(s.as_bytes());
    let mut argv = vec![CString::new("haft-lab").expect("no zero byte")];
    for arg in args {
        argv.push(text(arg.as_ref())?);
    }
    let mut environment = Vec::new();
    for (key, value) in std::env::vars_os() {
        let mut pair = key;
        pair.push("=");
        pair.push(value);
        environment.push(text(&pair)?);
    }
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings
            .iter()
            .map(|s| s.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (argv_pointers, environment_pointers) = (pointers(&argv), pointers(&environment));
    let mut held = Vec::new();
    for fd in stdio {
        held.push(fcntl_dupfd_cloexec(fd, FIRST_FREE)?);
    }
    let program = c"/proc/self/exe";
    let flags = libc::c_long::from(MACHINE | libc::SIGCHLD);
    // SAFETY: a null stack makes this a fork. The child calls only dup2, execve and _exit, on memory prepared above
    // that it shares copy-on-write.
    unsafe {
        match libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                for (target, fd) in (0..3).zip(&held) {
                    libc::dup2(fd.as_raw_fd(), target);
                }
                libc::execve(
                    program.as_ptr(),
                    argv_pointers.as_ptr(),
                    environment_pointers.as_ptr(),
                );
                libc::_exit(127)
            }
            pid => {
                let pid = i32::try_from(pid).map_err(io::Error::other)?;
                Ok(Pid::from_raw(pid).expect("clone returns a positive number to the parent"))
            }
        }
    }
}

/// Whether a link is switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Administratively up.
    Up,
    /// Administratively down: the other end of a veth pair loses its carrier.
    Down,
}

/// Switches a link of the caller's network namespace on or off, by one ioctl: no process start inside a fault.
///
/// # Errors
/// No such link, or no permission.
#[expect(
    unsafe_code,
    reason = "interface flags are reachable without netlink only by ioctl"
)]
pub fn set_link(name: &str, link: Link) -> io::Result<()> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).or_else(|_| UdpSocket::bind(("0.0.0.0", 0)))?;
    // SAFETY: ifreq is plain memory for which all zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("link name `{name}` is too long"),
        ));
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = libc::c_char::from_ne_bytes([byte]);
    }
    let up = libc::c_short::try_from(libc::IFF_UP).expect("a flag of sixteen bits");
    // SAFETY: the request lives through both calls, its name is terminated (checked above), and after the first call
    // the flags are the initialised member of the union.
    unsafe {
        if libc::ioctl(
            socket.as_fd().as_raw_fd(),
            libc::SIOCGIFFLAGS,
            &raw mut request,
        ) < 0
        {
            return Err(io::Error::last_os_error());
        }
        let flags = request.ifr_ifru.ifru_flags;
        request.ifr_ifru.ifru_flags = match link {
            Link::Up => flags | up,
            Link::Down => flags & !up,
        };
        if libc::ioctl(
            socket.as_fd().as_raw_fd(),
            libc::SIOCSIFFLAGS,
            &raw mut request,
        ) < 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
