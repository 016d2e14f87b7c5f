//! Sectors of a real disk: opened, read and written without any cache in between.
//!
//! A disk that several machines share must be read and written past the page cache (`O_DIRECT`) and
//! through the drive's own cache (`O_SYNC`); that is the default and cannot be lost silently. A plain
//! file is no shared disk: it is refused unless the caller says which kind of access to it is good
//! enough, and then it says so itself ([`Medium`]). Calls block for as long as the disk does; they
//! belong into a thread of their own ([`crate::keeper`]).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use thiserror::Error;

use crate::disk::{Header, OddSectorSize, Sector, SectorSize};

/// Bytes per transfer: a whole survey of a disk with 512-byte sectors takes four of them.
const CHUNK: usize = 64 * 1024;

/// Sectors that can be read and written. Private to this crate's volumes; tests bring their own.
pub trait Sectors: Send {
    /// Size of one sector.
    fn sector_size(&self) -> SectorSize;
    /// What lies below, for people and for telling two names of one disk apart.
    fn medium(&self) -> Medium;
    /// Fills `into`, a whole number of sectors, from `first` on.
    ///
    /// # Errors
    /// The disk fails or ends before.
    fn read(&mut self, first: Sector, into: &mut [u8]) -> Result<(), DeviceError>;
    /// Writes whole sectors. One sector is written whole or not at all; more are not.
    ///
    /// # Errors
    /// The disk fails or takes less.
    fn write(&mut self, at: Sector, bytes: &[u8]) -> Result<(), DeviceError>;
}

/// What to do about a plain file where a disk should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlainFiles {
    /// A plain file is an error.
    #[default]
    Refuse,
    /// A plain file will do if its filesystem takes `O_DIRECT`.
    Direct,
    /// A plain file will do, with `O_SYNC` and its cached pages dropped before each read: enough for
    /// trying things out on one machine, never for several.
    Buffered,
}

/// What was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A block device, by its device number.
    Block(u64),
    /// A plain file opened with `O_DIRECT`, by filesystem and inode.
    DirectFile(u64, u64),
    /// A plain file through the page cache.
    BufferedFile(u64, u64),
    /// No real disk at all (tests).
    Memory,
}

/// Whether the disk may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing will be written.
    Read,
    /// Slots, mailboxes or the header may be written.
    Write,
}

/// Why a disk cannot be used, or one access to it failed.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// It cannot be opened.
    #[error("{path} cannot be opened")]
    Open {
        /// The disk.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Neither a block device nor a plain file.
    #[error("{path} is no block device")]
    NotADisk {
        /// The disk.
        path: PathBuf,
    },
    /// A plain file without leave.
    #[error("{path} is a plain file, which no other machine sees; plain_files=direct allows it")]
    PlainFile {
        /// The file.
        path: PathBuf,
    },
    /// The filesystem knows no direct access.
    #[error(
        "{path} is on a filesystem without O_DIRECT; plain_files=buffered does without, on one machine"
    )]
    NoDirect {
        /// The file.
        path: PathBuf,
    },
    /// The kernel does not say how large sectors are, or they are odd.
    #[error("{path}: {why}")]
    SectorSize {
        /// The disk.
        path: PathBuf,
        /// For people.
        why: String,
    },
    /// Too short for 255 slots.
    #[error("{path} has {have} bytes, the format needs {need}")]
    TooShort {
        /// The disk.
        path: PathBuf,
        /// Its length.
        have: u64,
        /// What 511 sectors take.
        need: u64,
    },
    /// The kernel says that the disk takes no writes.
    #[error("{path} is read-only")]
    ReadOnly {
        /// The disk.
        path: PathBuf,
    },
    /// A read failed.
    #[error("reading sector {sector} failed")]
    Read {
        /// First sector of the read.
        sector: u16,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A write failed.
    #[error("writing sector {sector} failed")]
    Write {
        /// The sector.
        sector: u16,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A transfer ended early.
    #[error("sector {sector}: {got} bytes instead of {wanted}")]
    Short {
        /// First sector.
        sector: u16,
        /// Transferred.
        got: usize,
        /// Asked for.
        wanted: usize,
    },
    /// What was read back is not what was written.
    #[error("sector {sector} does not read back as it was written")]
    Unverified {
        /// The sector.
        sector: u16,
    },
}

/// Memory aligned for direct transfers with sectors of either size. It is never resized, so that its
/// bytes stay where they are.
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    /// Largest sector, and the alignment that suits both.
    const ALIGNMENT: usize = 4096;

    fn new() -> Self {
        let bytes = vec![0; CHUNK + Self::ALIGNMENT];
        let start = bytes.as_ptr().align_offset(Self::ALIGNMENT);
        Self { bytes, start }
    }

    fn first(&mut self, length: usize) -> &mut [u8] {
        &mut self.bytes[self.start..][..length]
    }
}

/// An opened disk.
pub struct BlockDevice {
    file: File,
    size: SectorSize,
    medium: Medium,
    buffer: Aligned,
}

impl BlockDevice {
    /// Opens a disk. May block for as long as the disk does.
    ///
    /// # Errors
    /// See [`DeviceError`]; nothing is opened in a weaker way than asked for.
    pub fn open(path: &Path, access: Access, plain: PlainFiles) -> Result<Self, DeviceError> {
        let named = || path.to_owned();
        let failed = |source| DeviceError::Open {
            path: path.to_owned(),
            source,
        };
        // Looked at before it is opened: opening a FIFO or a terminal has effects of its own.
        let kind = std::fs::metadata(path).map_err(failed)?.file_type();
        if !kind.is_block_device() && !kind.is_file() {
            return Err(DeviceError::NotADisk { path: named() });
        }
        let direct = match (kind.is_file(), plain) {
            (true, PlainFiles::Refuse) => return Err(DeviceError::PlainFile { path: named() }),
            (true, PlainFiles::Buffered) => OFlags::empty(),
            (true, PlainFiles::Direct) | (false, _) => OFlags::DIRECT,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(access == Access::Write)
            .custom_flags((direct | OFlags::SYNC).bits().cast_signed())
            .open(path)
            .map_err(|source| match source.kind() {
                io::ErrorKind::InvalidInput => DeviceError::NoDirect { path: named() },
                _ => failed(source),
            })?;
        let about = file.metadata().map_err(failed)?;
        let medium = if about.file_type().is_block_device() {
            Medium::Block(about.rdev())
        } else if direct.is_empty() {
            Medium::BufferedFile(about.dev(), about.ino())
        } else {
            Medium::DirectFile(about.dev(), about.ino())
        };
        let mut device = Self {
            file,
            size: SectorSize::B512,
            medium,
            buffer: Aligned::new(),
        };
        device.size = device.find_sector_size(path)?;
        device.refuse_short(path)?;
        if access == Access::Write && device.is_read_only() {
            return Err(DeviceError::ReadOnly { path: named() });
        }
        Ok(device)
    }

    fn find_sector_size(&mut self, path: &Path) -> Result<SectorSize, DeviceError> {
        let odd = |why: String| DeviceError::SectorSize {
            path: path.to_owned(),
            why,
        };
        match self.medium {
            Medium::Block(_) => {
                let bytes = rustix::fs::ioctl_blksszget(&self.file)
                    .map_err(|error| odd(format!("the kernel gives no sector size: {error}")))?;
                SectorSize::try_from(bytes).map_err(|error: OddSectorSize| odd(error.to_string()))
            }
            // A file has no sectors: the header says what it was laid out for.
            Medium::DirectFile(..) | Medium::BufferedFile(..) | Medium::Memory => {
                let first = self.buffer.first(Aligned::ALIGNMENT);
                let got = self.file.read_at(first, 0).unwrap_or(0);
                Ok(Header::stated_sector_size(&first[..got]).unwrap_or(SectorSize::B512))
            }
        }
    }

    /// For a plain file that is to be laid out anew, whose sectors are a matter of choice.
    pub fn assume_sector_size(&mut self, path: &Path, size: SectorSize) -> Result<(), DeviceError> {
        match self.medium {
            Medium::Block(_) if size == self.size => Ok(()),
            Medium::Block(_) => Err(DeviceError::SectorSize {
                path: path.to_owned(),
                why: format!(
                    "its sectors have {} bytes and cannot be chosen",
                    self.size.bytes()
                ),
            }),
            Medium::DirectFile(..) | Medium::BufferedFile(..) | Medium::Memory => {
                self.size = size;
                self.refuse_short(path)
            }
        }
    }

    fn refuse_short(&self, path: &Path) -> Result<(), DeviceError> {
        // The metadata of a block device has no length; its end has.
        let have = rustix::fs::seek(&self.file, rustix::fs::SeekFrom::End(0)).map_err(|error| {
            DeviceError::Open {
                path: path.to_owned(),
                source: error.into(),
            }
        })?;
        let need = self.size.span();
        if have < need {
            return Err(DeviceError::TooShort {
                path: path.to_owned(),
                have,
                need,
            });
        }
        Ok(())
    }

    /// A write-protected disk opens for writing all the same and fails at the first write, which would
    /// be the pill. Where sysfs does not tell, that write tells.
    fn is_read_only(&self) -> bool {
        let Medium::Block(number) = self.medium else {
            return false;
        };
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/ro"))
            .is_ok_and(|text| text.trim() == "1")
    }

    fn offset(&self, sector: Sector) -> u64 {
        u64::from(sector.get()) * u64::from(self.size.bytes_u32())
    }
}

impl Sectors for BlockDevice {
    fn sector_size(&self) -> SectorSize {
        self.size
    }

    fn medium(&self) -> Medium {
        self.medium
    }

    fn read(&mut self, first: Sector, into: &mut [u8]) -> Result<(), DeviceError> {
        let sector = first.get();
        let wanted = into.len();
        if let Medium::BufferedFile(..) = self.medium {
            // Best effort, which is all that buffered access promises.
            let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed);
        }
        let mut at = self.offset(first);
        let mut done = 0;
        for piece in into.chunks_mut(CHUNK) {
            let buffer = self.buffer.first(piece.len());
            let got = retry(|| self.file.read_at(buffer, at))
                .map_err(|source| DeviceError::Read { sector, source })?;
            done += got;
            if got != piece.len() {
                return Err(DeviceError::Short {
                    sector,
                    got: done,
                    wanted,
                });
            }
            piece.copy_from_slice(buffer);
            at += u64::try_from(got).unwrap_or(0);
        }
        Ok(())
    }

    fn write(&mut self, at: Sector, bytes: &[u8]) -> Result<(), DeviceError> {
        let sector = at.get();
        let mut offset = self.offset(at);
        let mut done = 0;
        for piece in bytes.chunks(CHUNK) {
            let buffer = self.buffer.first(piece.len());
            buffer.copy_from_slice(piece);
            let got = retry(|| self.file.write_at(buffer, offset))
                .map_err(|source| DeviceError::Write { sector, source })?;
            done += got;
            if got != piece.len() {
                return Err(DeviceError::Short {
                    sector,
                    got: done,
                    wanted: bytes.len(),
                });
            }
            offset += u64::try_from(got).unwrap_or(0);
        }
        Ok(())
    }
}

fn retry(mut transfer: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match transfer() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}
