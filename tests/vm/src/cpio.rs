//! Writes a cpio archive in the "newc" form, which the kernel unpacks as its first root file system
//! (Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! It knows directories, files and symbolic links, and no owner but root. It reads nothing.

use std::collections::BTreeSet;
use std::io::{self, Write};

/// File type bits of a mode (stat(2)).
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// Header, name and content each end on a multiple of this.
const ALIGN: usize = 4;

/// An archive being written.
#[derive(Debug)]
pub struct Archive<W> {
    out: W,
    number: u32,
    directories: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    /// An archive without entries.
    pub fn new(out: W) -> Self {
        Self {
            out,
            number: 0,
            directories: BTreeSet::new(),
        }
    }

    /// Adds a directory and those above it, each once. `path` has no leading slash.
    ///
    /// # Errors
    /// The writer's.
    pub fn directory(&mut self, path: &str) -> io::Result<()> {
        let ends = path.match_indices('/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            if self.directories.insert(path[..end].to_owned()) {
                self.entry(&path[..end], DIRECTORY | 0o755, &[])?;
            }
        }
        Ok(())
    }

    /// Adds a file with these permissions, and its directories.
    ///
    /// # Errors
    /// The writer's.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) -> io::Result<()> {
        self.parent(path)?;
        self.entry(path, FILE | permissions, content)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// The writer's.
    pub fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.parent(path)?;
        self.entry(path, LINK | 0o777, target.as_bytes())
    }

    /// Writes the end and gives the writer back.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn parent(&mut self, path: &str) -> io::Result<()> {
        match path.rsplit_once('/') {
            Some((parent, _)) => self.directory(parent),
            None => Ok(()),
        }
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        self.number += 1;
        // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        let fields = [
            self.number,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        let mut header = String::from("070701");
        for field in fields {
            header += &format!("{field:08X}");
        }
        let mut block = header.into_bytes();
        block.extend_from_slice(name.as_bytes());
        block.push(0);
        self.padded(&block)?;
        self.padded(content)
    }

    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        let rest = bytes.len().next_multiple_of(ALIGN) - bytes.len();
        self.out.write_all(&[0; ALIGN][..rest])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_aligned_and_directories_come_once() {
        let mut archive = Archive::new(Vec::new());
        archive
            .file("a/b/one", 0o600, b"12345")
            .expect("memory takes it");
        archive
            .file("a/b/two", 0o755, b"")
            .expect("memory takes it");
        archive.link("a/three", "b/one").expect("memory takes it");
        let bytes = archive.finish().expect("memory takes it");
        assert_eq!(bytes.len() % ALIGN, 0);
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(
            text.matches("070701").count(),
            6,
            "a, a/b, three entries, the trailer"
        );
        assert!(
            text.contains("12345\x00\x00\x00070701"),
            "content is padded to four bytes"
        );
    }
}
