//! The bpf(2) system call, as little of it as the gate needs.
//!
//! Raw structures of linux/bpf.h and one unsafe call each; knows nothing of addresses, links or leases. Absent
//! by choice: a library, since the programs come as instructions and those at hand take object files with BTF.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

// enum bpf_cmd.
const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const MAP_DELETE_ELEM: libc::c_long = 3;
const MAP_GET_NEXT_KEY: libc::c_long = 4;
const PROG_LOAD: libc::c_long = 5;
const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;
const PROG_TEST_RUN: libc::c_long = 10;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const PROG_QUERY: libc::c_long = 16;
const LINK_CREATE: libc::c_long = 28;
const LINK_UPDATE: libc::c_long = 29;
const LINK_DETACH: libc::c_long = 34;

/// BPF_PROG_TYPE_SCHED_CLS.
const SCHED_CLS: u32 = 3;
/// BPF_F_BEFORE: with nothing to be before, the first of all.
const BEFORE: u32 = 1 << 3;
/// Programs of others on one link that are counted; more only means that ours is not alone.
const PROGRAMS_MAX: usize = 16;
/// What the verifier says against a program, cut off here.
const LOG_ROOM: usize = 64 * 1024;

/// BPF_MAP_TYPE_HASH, without BPF_F_NO_PREALLOC: an entry that fits now fits under any load.
pub(super) const HASH: u32 = 1;
/// BPF_MAP_TYPE_ARRAY.
pub(super) const ARRAY: u32 = 2;
/// BPF_F_MMAPABLE.
pub(super) const MMAPABLE: u32 = 1 << 10;

/// Which way a program looks, as BPF_TCX_INGRESS and BPF_TCX_EGRESS (Linux 6.6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Way {
    In,
    Out,
}

impl Way {
    pub(super) const BOTH: [Way; 2] = [Way::In, Way::Out];

    fn attach_type(self) -> u32 {
        match self {
            Way::In => 46,
            Way::Out => 47,
        }
    }
}

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner: u32,
    numa_node: u32,
    name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct Element {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    kind: u32,
    count: u32,
    words: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel: u32,
    flags: u32,
    name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct Object {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    answer: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context: [u32; 2],
    contexts: [u64; 2],
}

#[repr(C)]
#[derive(Default)]
struct InfoByFd {
    fd: u32,
    length: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    link: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    pad: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    revision: u64,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    program: u32,
    link: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    pad: u32,
    revision: u64,
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdate {
    link: u32,
    program: u32,
    flags: u32,
    old: u32,
}

#[repr(C)]
struct LinkDetach {
    link: u32,
}

/// `struct bpf_prog_info` up to its name.
#[repr(C)]
#[derive(Default)]
struct ProgInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    lengths: [u32; 2],
    images: [u64; 2],
    loaded: u64,
    user: u32,
    map_count: u32,
    maps: u64,
    name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct MapInfo {
    kind: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    pad: u32,
    link: u32,
    attach_type: u32,
}

/// What a program is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    pub(super) id: u32,
    /// Over its instructions, whatever its maps.
    pub(super) tag: [u8; 8],
    /// Ids of the maps that it uses, in ascending order.
    pub(super) maps: Vec<u32>,
}

/// Where a link of ours is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) program: u32,
    /// The interface; zero once that is gone.
    pub(super) link: u32,
}

/// How a test run ended.
#[derive(Clone, Debug)]
pub(super) struct Ran {
    /// What the program returned.
    pub(super) answer: i32,
    /// The frame after it.
    pub(super) frame: Vec<u8>,
    /// Average nanoseconds of one run.
    pub(super) nanos: u32,
}

fn number<T: AsFd>(fd: &T) -> u32 {
    u32::try_from(fd.as_fd().as_raw_fd()).expect("descriptors are not negative")
}

/// Where the kernel reads.
fn address<T>(of: &[T]) -> u64 {
    of.as_ptr().expose_provenance() as u64
}

/// Where the kernel writes.
fn room<T>(of: &mut [T]) -> u64 {
    of.as_mut_ptr().expose_provenance() as u64
}

fn name(text: &str) -> [u8; 16] {
    let mut name = [0; 16];
    for (place, byte) in name.iter_mut().zip(text.bytes().take(15)) {
        *place = byte;
    }
    name
}

#[expect(unsafe_code, reason = "no safe wrapper of bpf(2) is at hand")]
fn call<T>(command: libc::c_long, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: `attributes` is a repr(C) prefix of union bpf_attr of the size given, and every address in it is
    // that of a live buffer at least as long as the length beside it (each caller's structure is filled in the
    // same function that owns the buffers).
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(answer).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// A call whose answer is a descriptor.
#[expect(
    unsafe_code,
    reason = "the kernel's new descriptor is taken into ownership"
)]
fn open<T>(command: libc::c_long, attributes: &mut T) -> io::Result<OwnedFd> {
    let fd = call(command, attributes)?;
    // SAFETY: these commands answer with a new descriptor (close-on-exec, as all of bpf(2)'s) that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A new map.
pub(super) fn create_map(
    text: &str,
    kind: u32,
    (key_size, value_size): (u32, u32),
    max_entries: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    open(
        MAP_CREATE,
        &mut MapCreate {
            kind,
            key_size,
            value_size,
            max_entries,
            flags,
            name: name(text),
            ..MapCreate::default()
        },
    )
}

/// Writes one element of a map with these key and value sizes.
pub(super) fn update(map: &OwnedFd, key: &[u8; 16], value: u32) -> io::Result<()> {
    let value = value.to_ne_bytes();
    let mut element = Element {
        map: number(map),
        key: address(key),
        value: address(&value),
        ..Element::default()
    };
    call(MAP_UPDATE_ELEM, &mut element).map(|_| ())
}

/// The value of one element of a map with these key and value sizes.
pub(super) fn lookup(map: &OwnedFd, key: &[u8; 16]) -> io::Result<u32> {
    let mut value = [0_u8; 4];
    let mut element = Element {
        map: number(map),
        key: address(key),
        value: room(&mut value),
        ..Element::default()
    };
    call(MAP_LOOKUP_ELEM, &mut element)?;
    Ok(u32::from_ne_bytes(value))
}

/// Removes one element; absence is success.
pub(super) fn delete(map: &OwnedFd, key: &[u8; 16]) -> io::Result<()> {
    let mut element = Element {
        map: number(map),
        key: address(key),
        ..Element::default()
    };
    match call(MAP_DELETE_ELEM, &mut element) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        outcome => outcome.map(|_| ()),
    }
}

/// The first key of a map with 16-byte keys, or the one after `key`.
pub(super) fn next_key(map: &OwnedFd, key: Option<&[u8; 16]>) -> io::Result<Option<[u8; 16]>> {
    let mut next = [0_u8; 16];
    let mut element = Element {
        map: number(map),
        key: key.map_or(0, |key| address(key)),
        value: room(&mut next),
        ..Element::default()
    };
    let found = call(MAP_GET_NEXT_KEY, &mut element);
    match found {
        Ok(_) => Ok(Some(next)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Loads a tc program; the error says what the verifier had against it.
pub(super) fn load(text: &str, words: &[u64]) -> io::Result<OwnedFd> {
    let license = b"Apache-2.0\0";
    let attempt = |log: &mut [u8]| {
        open(
            PROG_LOAD,
            &mut ProgLoad {
                kind: SCHED_CLS,
                count: u32::try_from(words.len()).unwrap_or(u32::MAX),
                words: address(words),
                license: address(license),
                log_level: u32::from(!log.is_empty()),
                log_size: u32::try_from(log.len()).unwrap_or(0),
                log: if log.is_empty() { 0 } else { room(log) },
                name: name(text),
                ..ProgLoad::default()
            },
        )
    };
    attempt(&mut []).or_else(|error| {
        if error.raw_os_error() == Some(libc::EPERM) {
            return Err(error);
        }
        let mut log = vec![0; LOG_ROOM];
        attempt(&mut log).map_err(|error| {
            let said = String::from_utf8_lossy(&log);
            let last = said
                .trim_end_matches('\0')
                .lines()
                .rev()
                .nth(1)
                .unwrap_or("")
                .to_owned();
            io::Error::new(error.kind(), format!("{error}: {last}"))
        })
    })
}

fn path_text(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Gives a map or link a name in a bpf file system, where it lives on without us.
pub(super) fn pin(path: &Path, fd: &OwnedFd) -> io::Result<()> {
    let text = path_text(path)?;
    let mut object = Object {
        path: address(text.as_bytes_with_nul()),
        fd: number(fd),
        flags: 0,
    };
    call(OBJ_PIN, &mut object).map(|_| ())
}

/// What is pinned there.
pub(super) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let text = path_text(path)?;
    let mut object = Object {
        path: address(text.as_bytes_with_nul()),
        ..Object::default()
    };
    open(OBJ_GET, &mut object)
}

/// Attaches a program to an interface before all others.
pub(super) fn attach(program: &OwnedFd, link: u32, way: Way) -> io::Result<OwnedFd> {
    open(
        LINK_CREATE,
        &mut LinkCreate {
            program: number(program),
            link,
            attach_type: way.attach_type(),
            flags: BEFORE,
            ..LinkCreate::default()
        },
    )
}

/// Puts another program in the place of an attached one, with no moment between.
pub(super) fn replace(attached: &OwnedFd, program: &OwnedFd) -> io::Result<()> {
    let mut update = LinkUpdate {
        link: number(attached),
        program: number(program),
        ..LinkUpdate::default()
    };
    call(LINK_UPDATE, &mut update).map(|_| ())
}

/// Takes an attached program off its interface before it returns. Dropping the last descriptor or pin does that
/// too, but later, from a worker of the kernel.
pub(super) fn detach(attached: &OwnedFd) -> io::Result<()> {
    let mut detach = LinkDetach {
        link: number(attached),
    };
    call(LINK_DETACH, &mut detach).map(|_| ())
}

/// Id of the program that comes first on an interface.
pub(super) fn first(link: u32, way: Way) -> io::Result<Option<u32>> {
    let mut programs = [0_u32; PROGRAMS_MAX];
    let mut query = Query {
        link,
        attach_type: way.attach_type(),
        programs: room(&mut programs),
        count: u32::try_from(PROGRAMS_MAX).unwrap_or(0),
        ..Query::default()
    };
    match call(PROG_QUERY, &mut query) {
        Ok(_) => {}
        // More than there is room for; those that fit are there.
        Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {}
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        Err(error) => return Err(error),
    }
    Ok((query.count > 0 && programs[0] != 0).then_some(programs[0]))
}

fn info<T>(fd: &OwnedFd, info: T) -> io::Result<T> {
    let mut info = [info];
    let mut attributes = InfoByFd {
        fd: number(fd),
        length: u32::try_from(size_of::<T>()).unwrap_or(0),
        info: room(&mut info),
    };
    call(OBJ_GET_INFO_BY_FD, &mut attributes)?;
    let [info] = info;
    Ok(info)
}

/// Who a program is and which maps it reads.
pub(super) fn identity(program: &OwnedFd) -> io::Result<Identity> {
    let mut maps = [0_u32; PROGRAMS_MAX];
    let asked = ProgInfo {
        map_count: u32::try_from(PROGRAMS_MAX).unwrap_or(0),
        maps: room(&mut maps),
        ..ProgInfo::default()
    };
    let found = info(program, asked)?;
    let count = usize::try_from(found.map_count)
        .unwrap_or(PROGRAMS_MAX)
        .min(PROGRAMS_MAX);
    let mut maps = maps[..count].to_vec();
    maps.sort_unstable();
    Ok(Identity {
        id: found.id,
        tag: found.tag,
        maps,
    })
}

/// A map's id and the number of its entries.
pub(super) fn map_id(map: &OwnedFd) -> io::Result<(u32, u32)> {
    let found = info(map, MapInfo::default())?;
    Ok((found.id, found.max_entries))
}

/// Where a link is attached.
pub(super) fn place(attached: &OwnedFd) -> io::Result<Place> {
    let found = info(attached, LinkInfo::default())?;
    Ok(Place {
        program: found.program,
        link: found.link,
    })
}

/// Runs a program over a frame, `repeat` times.
pub(super) fn test_run(program: &OwnedFd, frame: &[u8], repeat: u32) -> io::Result<Ran> {
    let mut out = vec![0_u8; frame.len() + 64];
    let mut run = TestRun {
        program: number(program),
        size_in: u32::try_from(frame.len()).unwrap_or(u32::MAX),
        size_out: u32::try_from(out.len()).unwrap_or(u32::MAX),
        data_in: address(frame),
        data_out: room(&mut out),
        repeat,
        ..TestRun::default()
    };
    call(PROG_TEST_RUN, &mut run)?;
    out.truncate(usize::try_from(run.size_out).unwrap_or(0));
    Ok(Ran {
        answer: run.answer.cast_signed(),
        frame: out,
        nanos: run.duration,
    })
}
