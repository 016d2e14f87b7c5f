//! XDP programs of somebody else: loaded and attached by the bpf(2) system call, as little of it as that needs.
//!
//! The words are for little-endian machines, as the gate's are.

use crate::netns::Namespace;
use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

// linux/bpf.h: commands, BPF_PROG_TYPE_XDP, BPF_XDP; linux/if_link.h: XDP_FLAGS_SKB_MODE.
const PROG_LOAD: libc::c_long = 5;
const OBJ_PIN: libc::c_long = 6;
const LINK_CREATE: libc::c_long = 28;
const XDP: u64 = 6;
const ATTACH_XDP: u64 = 37;
const BY_THE_STACK: u64 = 1 << 1;

/// What a program does with what comes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Program {
    /// Lets it pass (XDP_PASS).
    Passes,
    /// Answers each question by ARP that the address it asks for is here, and sends the answer back (XDP_TX).
    Answers,
}

/// One instruction.
const fn word(code: u64, (to, from): (u64, u64), jump: u64, number: u64) -> u64 {
    code | to << 8 | from << 12 | jump << 16 | number << 32
}

const EXIT: u64 = word(0x95, (0, 0), 0, 0);
/// r0 = XDP_PASS.
const PASS: u64 = word(0xb7, (0, 0), 0, 2);
const PASSES: &[u64] = &[PASS, EXIT];
const ANSWERS: &[u64] = &[
    // r2 and r3 = begin and end of the frame; nothing that is shorter than an ARP packet.
    word(0x61, (2, 1), 0, 0),
    word(0x61, (3, 1), 4, 0),
    word(0xbf, (4, 2), 0, 0),
    word(0x07, (4, 0), 0, 42),
    word(0x2d, (4, 3), 7, 0),
    // Nothing but ARP.
    word(0x69, (5, 2), 12, 0),
    word(0x55, (5, 0), 5, 0x0608),
    // The address that is asked for becomes the sender's, and the question an answer.
    word(0x61, (5, 2), 38, 0),
    word(0x63, (2, 5), 28, 0),
    word(0x72, (2, 0), 21, 2),
    // r0 = XDP_TX.
    word(0xb7, (0, 0), 0, 3),
    EXIT,
    PASS,
    EXIT,
];

/// A call whose attributes are these words; the answer, which is a descriptor where there is one.
#[expect(unsafe_code, reason = "no safe wrapper of bpf(2) is at hand")]
fn call(command: libc::c_long, attributes: &[u64]) -> i32 {
    // SAFETY: the attributes are as long as is said, and each address in them is that of a buffer that its caller
    // holds until this returns.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_ptr(),
            size_of_val(attributes),
        )
    };
    let failed = std::io::Error::last_os_error();
    assert!(answer >= 0, "bpf command {command}: {failed}");
    i32::try_from(answer).unwrap()
}

#[expect(
    unsafe_code,
    reason = "the kernel's new descriptor is taken into ownership"
)]
fn open(command: libc::c_long, attributes: &[u64]) -> OwnedFd {
    // SAFETY: both commands that come here answer with a new descriptor that nobody else has.
    unsafe { OwnedFd::from_raw_fd(call(command, attributes)) }
}

fn number(fd: &OwnedFd) -> u64 {
    u64::try_from(fd.as_raw_fd()).unwrap()
}

fn address<T>(of: &[T]) -> u64 {
    of.as_ptr().expose_provenance() as u64
}

impl Program {
    fn load(self) -> OwnedFd {
        let words = match self {
            Program::Passes => PASSES,
            Program::Answers => ANSWERS,
        };
        let count = u64::try_from(words.len()).unwrap();
        let license = b"Apache-2.0\0";
        open(
            PROG_LOAD,
            &[XDP | count << 32, address(words), address(license)],
        )
    }

    /// Attaches it as a link of bpf(2), which no report of the kernel's tells of. It goes with the descriptor.
    pub(crate) fn attach_as_link(self, namespace: &Namespace, interface: &str) -> OwnedFd {
        let program = self.load();
        namespace.run(|| {
            let index = u64::from(index_of(interface));
            open(
                LINK_CREATE,
                &[
                    number(&program) | index << 32,
                    ATTACH_XDP | BY_THE_STACK << 32,
                ],
            )
        })
    }

    /// Attaches it as `ip` does, by a change of the interface. It stays with that.
    pub(crate) fn attach_by_ip(self, namespace: &Namespace, interface: &str, pin: &str) {
        let program = self.load();
        let path = CString::new(pin).unwrap();
        let bytes = path.as_bytes_with_nul();
        call(OBJ_PIN, &[address(bytes), number(&program)]);
        namespace.ip(&format!("link set dev {interface} xdpgeneric pinned {pin}"));
    }
}

/// The number of this thread's namespace's interface.
fn index_of(interface: &str) -> u32 {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    rustix::net::netdevice::name_to_index(&socket, interface).unwrap()
}
