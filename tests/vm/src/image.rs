//! The guests' first and only root file system: busybox, modules, haft's programs with their libraries, and our init.
//!
//! All guests of the stories boot the same image; a guest learns who it is from its kernel's command line. Nothing secret is in it but
//! the lab's own BMC password, which guards nothing.

use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use haft_lab::shell;

use crate::cpio::Archive;
use crate::stock::Stock;

/// The init script of the stories' guests.
pub const INIT: &str = include_str!("guest_init.sh");

/// What goes into the image besides the stock.
#[derive(Debug)]
pub struct Content<'a> {
    /// What process 1 runs.
    pub init: &'a str,
    /// Modules that it loads, besides what these depend on.
    pub modules: &'a [&'a str],
    /// haft's programs and the suite's own, as built.
    pub programs: &'a [PathBuf],
    /// Path in the guest, permissions and content of further files.
    pub files: &'a [(&'a str, u32, String)],
}

/// Writes the image to `path`.
///
/// # Errors
/// A part that cannot be read, or the image that cannot be written.
pub fn build(path: &Path, stock: &Stock, content: &Content<'_>) -> anyhow::Result<()> {
    let file = fs::File::create(path).with_context(|| path.display().to_string())?;
    let mut archive = Archive::new(BufWriter::new(file));
    for directory in [
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
        "data",
        "etc/haft",
        "lib/modules",
        "lab/bin",
    ] {
        archive.directory(directory)?;
    }
    archive.file("init", 0o755, content.init.as_bytes())?;
    archive.file("bin/busybox", 0o755, &fs::read(&stock.busybox)?)?;
    archive.link("bin/sh", "busybox")?;
    let mut order = String::new();
    for (number, module) in stock.load_order(content.modules)?.iter().enumerate() {
        let name = format!("{number:02}-{}.ko", module.name);
        archive.file(&format!("lib/modules/{name}"), 0o644, &module.content)?;
        order += &format!("{name}\n");
    }
    archive.file("lib/modules/order", 0o644, order.as_bytes())?;
    let mut libraries = Vec::new();
    for program in content.programs {
        let bytes =
            fs::read(program).with_context(|| format!("{} is not built", program.display()))?;
        let name = program.file_name().context("a program without a name")?;
        archive.file(
            &format!("lab/bin/{}", name.to_string_lossy()),
            0o755,
            &bytes,
        )?;
        for library in needed(program)? {
            if !libraries.contains(&library) {
                libraries.push(library);
            }
        }
    }
    for library in &libraries {
        let inside = library.to_string_lossy();
        archive.file(inside.trim_start_matches('/'), 0o755, &fs::read(library)?)?;
    }
    for (inside, permissions, text) in content.files {
        archive.file(
            inside.trim_start_matches('/'),
            *permissions,
            text.as_bytes(),
        )?;
    }
    archive.finish()?;
    Ok(())
}

/// The shared libraries of a program and its loader, by the paths that the loader looks for.
fn needed(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let text = shell::run(Command::new("ldd").arg(program))?;
    let path = |line: &str| {
        line.split_whitespace()
            .find(|word| word.starts_with('/'))
            .map(PathBuf::from)
    };
    Ok(text.lines().filter_map(path).collect())
}
