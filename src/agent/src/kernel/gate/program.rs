//! The gate's programs: read from the table of instructions, bound to their maps, loaded.
//!
//! `gate.words` holds what a compiler made of `gate.bpf.c`; a test compares the two where the compiler is. This
//! module knows nothing of links.

use super::NoGate;
use super::bpf::{self, Identity, Way};
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};

/// The table.
pub(super) const TABLE: &str = include_str!("gate.words");
/// The map of places, in the table and among the pins.
pub(super) const PLACES: &str = "places";
/// The map of ends.
pub(super) const ENDS: &str = "ends";
/// BPF_PSEUDO_MAP_FD, in the place of an instruction's source register.
const MAP_FD: u64 = 1;

/// What a link's frames begin with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Form {
    /// An Ethernet header.
    Ether,
    /// The network header.
    Bare,
}

impl Form {
    pub(super) fn program(self, way: Way) -> &'static str {
        match (self, way) {
            (Form::Ether, Way::In) => "ether_in",
            (Form::Ether, Way::Out) => "ether_out",
            (Form::Bare, Way::In) => "bare_in",
            (Form::Bare, Way::Out) => "bare_out",
        }
    }
}

/// One program as the table has it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Instructions {
    pub(super) words: Vec<u64>,
    /// Places of words that refer to a map, and its name.
    pub(super) maps: BTreeMap<usize, String>,
}

/// The programs of a table by name; nothing where it cannot be read.
pub(super) fn parse(table: &str) -> Option<BTreeMap<String, Instructions>> {
    let mut programs: BTreeMap<String, Instructions> = BTreeMap::new();
    let mut open = None;
    for line in table.lines() {
        if line.starts_with('#') || line.starts_with("source ") {
            continue;
        }
        if let Some(name) = line.strip_prefix("program ") {
            open = Some(programs.entry(name.to_owned()).or_default());
            continue;
        }
        let program = open.as_mut()?;
        for word in line.split(' ') {
            let (digits, map) = word
                .split_once('@')
                .map_or((word, None), |(digits, map)| (digits, Some(map)));
            if let Some(map) = map {
                program.maps.insert(program.words.len(), map.to_owned());
            }
            program.words.push(u64::from_str_radix(digits, 16).ok()?);
        }
    }
    Some(programs)
}

/// A loaded program.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) fd: OwnedFd,
    pub(super) identity: Identity,
}

/// Loads programs over two maps.
#[derive(Debug)]
pub(super) struct Programs {
    table: BTreeMap<String, Instructions>,
    /// Descriptors of `places` and `ends`, owned by whoever made this.
    maps: BTreeMap<&'static str, u64>,
}

impl Programs {
    /// Programs over these maps, which must stay open.
    ///
    /// # Errors
    /// On a machine whose words are laid out otherwise.
    pub(super) fn over(places: &OwnedFd, ends: &OwnedFd) -> Result<Programs, NoGate> {
        if cfg!(target_endian = "big") {
            return Err(NoGate::Architecture);
        }
        let number = |fd: &OwnedFd| u64::try_from(fd.as_raw_fd()).unwrap_or(u64::MAX);
        Ok(Programs {
            table: parse(TABLE).ok_or(NoGate::Architecture)?,
            maps: BTreeMap::from([(PLACES, number(places)), (ENDS, number(ends))]),
        })
    }

    /// The program that belongs on such a link.
    pub(super) fn of(&self, form: Form, way: Way) -> Result<Program, NoGate> {
        self.load(form.program(way))
    }

    /// The program that says what its clock is.
    pub(super) fn clock(&self) -> Result<Program, NoGate> {
        self.load("clock")
    }

    fn load(&self, name: &str) -> Result<Program, NoGate> {
        let found = self.table.get(name).ok_or(NoGate::Architecture)?;
        let mut words = found.words.clone();
        for (place, map) in &found.maps {
            let fd = self.maps.get(map.as_str()).ok_or(NoGate::Architecture)?;
            // The source register's four bits and the immediate's upper half, which the compiler left zero.
            let word = words.get_mut(*place).ok_or(NoGate::Architecture)?;
            *word |= MAP_FD << 12 | fd << 32;
        }
        let fd = bpf::load(&format!("haft_{name}"), &words).map_err(NoGate::Program)?;
        let identity = bpf::identity(&fd).map_err(NoGate::Program)?;
        Ok(Program { fd, identity })
    }
}
