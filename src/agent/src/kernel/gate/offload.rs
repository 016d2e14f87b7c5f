//! Links whose hardware may forward or filter by itself: the feature that `ethtool -k` calls `hw-tc-offload`. Without it
//! the kernel refuses `skip_sw` filters and offloaded flow tables; with it packets may pass that no gate sees.
//!
//! Reads features, and changes none. Says nothing of what is offloaded at the moment.

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// The feature, as the kernel calls it (net/ethtool/common.c).
const OFFLOAD: &str = "hw-tc-offload";
// linux/ethtool.h, linux/sockios.h.
const SIOCETHTOOL: libc::Ioctl = 0x8946;
const GET_STRINGS: u32 = 0x1b;
const GET_SET_INFO: u32 = 0x37;
const GET_FEATURES: u32 = 0x3a;
const FEATURES: u32 = 4;
const STRING: usize = 32;
/// Features that a kernel may have; today's have under a hundred.
const FEATURES_MAX: usize = 512;
/// Asked for what is the same for all links.
const LOOPBACK: &str = "lo";

/// `struct ifreq` with a pointer.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    data: *mut u32,
    room: [u64; 2],
}

/// Where the kernel tells the feature, and what it has told of each link: it is asked once, and again when the link is
/// reported, since each question waits for the lock of all links.
#[derive(Debug)]
pub(super) struct Offload {
    told: BTreeMap<u32, Told>,
    socket: OwnedFd,
    /// Its number among `count` features; `None` where the kernel does not know it.
    feature: Option<usize>,
    count: usize,
}

/// What is known of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Off,
    /// Or the kernel does not tell, as some drivers do not while their link is down; it reports the link when that
    /// changes.
    On,
}

impl Offload {
    /// Of this thread's network namespace.
    ///
    /// # Errors
    /// When the kernel does not tell its features.
    pub(super) fn open() -> io::Result<Offload> {
        Offload::reading(OFFLOAD)
    }

    fn reading(name: &str) -> io::Result<Offload> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
        // Command, nothing, the set of strings as a mask in 64 bits, then the answer.
        let mut info = [GET_SET_INFO, 0, 1 << FEATURES, 0, 0];
        ask(&socket, LOOPBACK, &mut info)?;
        let count = usize::try_from(info[4]).unwrap_or(usize::MAX);
        if count > FEATURES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut strings = vec![0_u32; 3 + count * STRING / 4];
        strings[0] = GET_STRINGS;
        strings[1] = FEATURES;
        strings[2] = info[4];
        ask(&socket, LOOPBACK, &mut strings)?;
        let text: Vec<u8> = strings[3..]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        let feature = text.chunks(STRING).position(|one| {
            let end = one.iter().position(|byte| *byte == 0).unwrap_or(STRING);
            one[..end] == *name.as_bytes()
        });
        Ok(Offload {
            told: BTreeMap::new(),
            socket,
            feature,
            count,
        })
    }

    /// The link was reported: its features may have changed.
    pub(super) fn reported(&mut self, index: u32) {
        self.told.remove(&index);
    }

    /// Reports were lost.
    pub(super) fn forget(&mut self) {
        self.told.clear();
    }

    /// The links whose hardware may act by itself, of these.
    pub(super) fn of<'a>(&mut self, links: impl Iterator<Item = (u32, &'a str)>) -> BTreeSet<u32> {
        let mut told = BTreeMap::new();
        for (index, name) in links {
            let known = self.told.get(&index).copied();
            let answer = known.unwrap_or_else(|| match self.is_on(name) {
                Ok(false) => Told::Off,
                Ok(true) | Err(_) => Told::On,
            });
            told.insert(index, answer);
        }
        self.told = told;
        let on = self.told.iter().filter(|(_, told)| **told == Told::On);
        on.map(|(index, _)| *index).collect()
    }

    /// Whether it is on. A link that has gone hands nothing over.
    fn is_on(&self, link: &str) -> io::Result<bool> {
        let Some(feature) = self.feature else {
            return Ok(false);
        };
        // Command, blocks of 32 features, and of each block what is available, wished for, active and fixed.
        let blocks = self.count.div_ceil(32);
        let mut words = vec![0_u32; 2 + blocks * 4];
        words[0] = GET_FEATURES;
        words[1] = u32::try_from(blocks).unwrap_or(0);
        match ask(&self.socket, link, &mut words) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(false),
            Err(error) => return Err(error),
        }
        let active = words[2 + feature / 32 * 4 + 2];
        Ok(active & (1 << (feature % 32)) != 0)
    }
}

#[expect(
    unsafe_code,
    reason = "the ioctl takes a structure that points to another"
)]
fn ask(socket: &OwnedFd, link: &str, words: &mut [u32]) -> io::Result<()> {
    let mut name = [0; libc::IFNAMSIZ];
    let bytes = link.as_bytes();
    if bytes.len() >= name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    name[..bytes.len()].copy_from_slice(bytes);
    let mut request = Request {
        name,
        data: words.as_mut_ptr(),
        room: [0; 2],
    };
    // SAFETY: the request is as large as the kernel's, and points to words that outlive the call; each command above
    // writes no more of them than its own counts say, which were made from their number.
    match unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the features that loopback has or lacks for good, so that no link is made or changed here.
    #[test]
    fn features_are_read_by_name() {
        for (feature, is_on) in [
            ("loopback", true),
            ("tx-scatter-gather", true),
            (OFFLOAD, false),
            ("of no kernel", false),
        ] {
            let reading = Offload::reading(feature).unwrap();
            assert_eq!(reading.is_on(LOOPBACK).unwrap(), is_on, "{feature}");
        }
        let reading = Offload::open().unwrap();
        assert!(reading.feature.is_some(), "a kernel of today knows it");
        assert!(!reading.is_on("gone0").unwrap());
    }

    #[test]
    fn a_link_is_asked_once_and_again_when_it_is_reported_and_hinders_itself_alone() {
        let mut reading = Offload::open().unwrap();
        // No such name can be: the kernel's answer is an error, whatever it is.
        let unheard = "a name that is longer than any";
        let links = [(1, LOOPBACK), (7, unheard)];
        assert_eq!(reading.of(links.into_iter()), BTreeSet::from([7]));
        reading.told.insert(1, Told::On);
        assert_eq!(reading.of(links.into_iter()), BTreeSet::from([1, 7]));
        reading.reported(1);
        assert_eq!(reading.of(links.into_iter()), BTreeSet::from([7]));
        reading.told.insert(1, Told::On);
        reading.forget();
        assert_eq!(reading.of(links.into_iter()), BTreeSet::from([7]));
        assert_eq!(reading.of([].into_iter()), BTreeSet::new());
        assert!(reading.told.is_empty(), "links that are gone are forgotten");
    }
}
