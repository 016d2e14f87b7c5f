//! The stand-in for a protected service: a writer that stamps the shared disk with its node and token for as long as
//! it believes to be the owner, that is, while the address of its resource is on this machine.
//!
//! It is as careless as a real service: it asks for its token once, when the address comes, and does not look at the
//! disk again before it writes. The region is a log. Every stamp carries the digest of the one before it as this writer
//! knows it, so two writers at once break the chain wherever they meet, even if all tokens looked right.

use std::fs::File;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::fs::{Mode, OFlags};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// One stamp's place on the disk: a page, which is written whole.
pub const SLOT: usize = 4096;
/// Slots of a region: at 5 ms each, more than ten minutes' worth.
pub const SLOTS: u64 = 131_072;

const MAGIC: &[u8; 8] = b"HAFTVM01";
/// Bytes of a stamp that are not zero padding.
const USED: usize = 96;
/// Longest node name on the disk.
const NAME: usize = 16;

/// Between two stamps.
const PACE: Duration = Duration::from_millis(5);
/// Between two looks at the address.
const LOOK: Duration = Duration::from_millis(20);

/// Where stamps go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Region {
    /// For the `lease` address.
    Web,
    /// For the `stonith` address.
    Db,
    /// For the `watchdog` address.
    Wd,
}

impl Region {
    /// In the order of the disk.
    pub const ALL: [Self; 3] = [Self::Web, Self::Db, Self::Wd];

    /// The resource's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Db => "db",
            Self::Wd => "wd",
        }
    }

    /// Byte at which the region begins.
    #[must_use]
    pub fn start(self) -> u64 {
        let number = match self {
            Self::Web => 0,
            Self::Db => 1,
            Self::Wd => 2,
        };
        number * SLOTS * SLOT as u64
    }

    /// Bytes of a disk with all regions.
    #[must_use]
    pub fn disk_size() -> u64 {
        Self::ALL.len() as u64 * SLOTS * SLOT as u64
    }
}

/// A fencing token: epoch, then log index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64, pub u64);

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl std::str::FromStr for Token {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (epoch, index) = text.split_once('.').context("a token is EPOCH.INDEX")?;
        Ok(Self(epoch.parse()?, index.parse()?))
    }
}

/// What one slot says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the slot.
    pub slot: u64,
    /// Who wrote it.
    pub node: String,
    /// Under which token.
    pub token: Token,
    /// Which of this node's writers: a random number per start, so that a node's lives can be told apart.
    pub writer: u64,
    /// Digest of the stamp in the slot before, as the writer knew it.
    pub previous: u64,
}

impl Stamp {
    /// Its bytes on the disk: one slot.
    ///
    /// # Panics
    /// Never: names longer than their place are cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SLOT);
        bytes.extend_from_slice(MAGIC);
        let numbers = [
            self.slot,
            self.token.0,
            self.token.1,
            self.writer,
            self.previous,
        ];
        for number in numbers {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let mut name = self.node.clone().into_bytes();
        name.resize(NAME, 0);
        bytes.extend_from_slice(&name);
        let digest = digest(&bytes);
        bytes.extend_from_slice(&digest.to_le_bytes());
        bytes.resize(SLOT, 0);
        bytes
    }

    /// Reads a slot; nothing if it holds no whole stamp.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| -> Option<u64> {
            let field = bytes.get(at..at + 8)?;
            Some(u64::from_le_bytes(field.try_into().ok()?))
        };
        let body = bytes.get(..48 + NAME)?;
        if bytes.get(..8)? != MAGIC || number(48 + NAME)? != digest(body) {
            return None;
        }
        let name = &body[48..];
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(NAME);
        Some(Self {
            slot: number(8)?,
            token: Token(number(16)?, number(24)?),
            writer: number(32)?,
            previous: number(40)?,
            node: String::from_utf8_lossy(&name[..end]).into_owned(),
        })
    }

    /// What the next stamp refers to.
    #[must_use]
    pub fn digest(&self) -> u64 {
        digest(&self.encode()[..USED])
    }
}

fn digest(bytes: &[u8]) -> u64 {
    let sum = Sha256::digest(bytes);
    u64::from_le_bytes(sum[..8].try_into().expect("a SHA-256 has 32 bytes"))
}

/// A page in memory at a page's boundary, as O_DIRECT wants it.
#[derive(Debug)]
#[repr(align(4096))]
struct Page([u8; SLOT]);

/// The shared disk, or its image, past every cache.
#[derive(Debug)]
pub struct Disk {
    file: File,
    page: Box<Page>,
}

impl Disk {
    /// Opens it; for reading only unless `flags` says otherwise.
    ///
    /// # Errors
    /// The file cannot be opened with O_DIRECT.
    pub fn open(path: &std::path::Path, flags: OFlags) -> anyhow::Result<Self> {
        let flags = flags | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty())
            .with_context(|| path.display().to_string())?;
        Ok(Self {
            file: file.into(),
            page: Box::new(Page([0; SLOT])),
        })
    }

    /// What a slot holds.
    ///
    /// # Errors
    /// The disk's.
    pub fn read(&mut self, region: Region, slot: u64) -> anyhow::Result<Option<Stamp>> {
        let at = region.start() + slot * SLOT as u64;
        self.file.read_exact_at(&mut self.page.0, at)?;
        Ok(Stamp::decode(&self.page.0))
    }

    /// Writes a stamp into its slot.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&mut self, region: Region, stamp: &Stamp) -> anyhow::Result<()> {
        self.page.0.copy_from_slice(&stamp.encode());
        let at = region.start() + stamp.slot * SLOT as u64;
        self.file.write_all_at(&self.page.0, at)?;
        Ok(())
    }

    /// The first empty slot of a region, found by halving: a log has no holes.
    ///
    /// # Errors
    /// The disk's.
    pub fn end(&mut self, region: Region) -> anyhow::Result<u64> {
        let (mut written, mut empty) = (0, SLOTS);
        while written < empty {
            let middle = written.midpoint(empty);
            if self.read(region, middle)?.is_some() {
                written = middle + 1;
            } else {
                empty = middle;
            }
        }
        Ok(empty)
    }
}

/// What a writer is told.
#[derive(Debug, clap::Args)]
pub struct Writer {
    /// The shared disk.
    #[arg(long)]
    disk: PathBuf,
    /// Where to stamp.
    #[arg(long)]
    region: Region,
    /// The address that makes this machine the owner.
    #[arg(long)]
    address: IpAddr,
    /// This node's name.
    #[arg(long)]
    node: String,
}

impl Writer {
    /// Waits for the address, stamps while it is here, for ever.
    ///
    /// # Errors
    /// The disk's.
    pub fn run(&self) -> anyhow::Result<()> {
        let mut disk = Disk::open(&self.disk, OFlags::RDWR)?;
        let mut number = [0; 8];
        File::open("/dev/urandom")?.read_exact_at(&mut number, 0)?;
        let mut writer = u64::from_le_bytes(number);
        loop {
            std::thread::sleep(LOOK);
            if self.is_here()
                && let Some(token) = self.token()
                && self.is_here()
            {
                writer = writer.wrapping_add(1);
                self.stamp(&mut disk, token, writer)?;
            }
        }
    }

    fn stamp(&self, disk: &mut Disk, token: Token, writer: u64) -> anyhow::Result<()> {
        let region = self.region;
        let mut slot = disk.end(region)?;
        let mut previous = match slot {
            0 => 0,
            _ => disk
                .read(region, slot - 1)?
                .map_or(0, |stamp| stamp.digest()),
        };
        while self.is_here() {
            ensure!(slot < SLOTS, "the region is full");
            let stamp = Stamp {
                slot,
                node: self.node.clone(),
                token,
                writer,
                previous,
            };
            disk.write(region, &stamp)?;
            previous = stamp.digest();
            slot += 1;
            std::thread::sleep(PACE);
        }
        Ok(())
    }

    /// Only an address of this machine can be bound.
    fn is_here(&self) -> bool {
        UdpSocket::bind((self.address, 0)).is_ok()
    }

    /// The token of the grant in force, if it is ours.
    fn token(&self) -> Option<Token> {
        let subject = format!("vip/{}", self.region.name());
        let output = Command::new("haftctl")
            .args(["--context", "/data/context.yaml", "get", &subject])
            .args(["-o", "json"])
            .output()
            .ok()?;
        let object: Value = serde_json::from_slice(&output.stdout).ok()?;
        let status = &object["status"];
        let ours = status["owner"] == self.node.as_str() && status["state"] == "Active";
        status["token"].as_str()?.parse().ok().filter(|_| ours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(slot: u64) -> Stamp {
        Stamp {
            slot,
            node: "n1".to_owned(),
            token: Token(0, 34),
            writer: 7,
            previous: 9,
        }
    }

    #[test]
    fn a_stamp_is_read_back_and_a_torn_one_is_none() {
        let mut bytes = stamp(5).encode();
        assert_eq!(bytes.len(), SLOT);
        assert_eq!(Stamp::decode(&bytes), Some(stamp(5)));
        bytes[20] ^= 1;
        assert_eq!(Stamp::decode(&bytes), None);
        assert_eq!(Stamp::decode(&[0; SLOT]), None);
        assert_eq!(Stamp::decode(&[]), None);
    }

    #[test]
    fn the_end_of_the_log_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk");
        let file = File::create(&path).expect("a file");
        file.set_len(Region::disk_size()).expect("a sparse file");
        let Ok(mut disk) = Disk::open(&path, OFlags::RDWR) else {
            // Not every file system of a build machine takes O_DIRECT; the suite itself needs one that does.
            return;
        };
        for region in Region::ALL {
            assert_eq!(disk.end(region).expect("readable"), 0);
            for slot in 0..13 {
                disk.write(region, &stamp(slot)).expect("writable");
                assert_eq!(disk.end(region).expect("readable"), slot + 1);
            }
        }
    }

    #[test]
    fn tokens_are_ordered_by_epoch_first() {
        let token = |text: &str| text.parse::<Token>().expect("a token");
        assert!(token("0.34") < token("0.101"));
        assert!(token("0.900") < token("1.2"));
        assert_eq!(token("1.2").to_string(), "1.2");
        assert!("34".parse::<Token>().is_err());
    }
}
