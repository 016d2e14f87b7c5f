//! The whole lab: its directory, the programs it runs, the power switch and the sites.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Context;

use crate::bmc::{self, Switchboard};
use crate::jail::LAB;
use crate::site::Site;

/// A lab without sites yet.
#[derive(Debug)]
pub struct Lab {
    board: Switchboard,
}

impl Lab {
    /// Prepares the lab's directory and copies `programs` from `directory` into it, where every machine sees them.
    ///
    /// # Errors
    /// A program that is missing: it was not built.
    pub fn open(directory: &Path, programs: &[&str]) -> anyhow::Result<Self> {
        let bin = PathBuf::from(format!("{LAB}/bin"));
        std::fs::create_dir_all(&bin)?;
        for program in ["haft-lab"].iter().chain(programs) {
            let source = directory.join(program);
            std::fs::copy(&source, bin.join(program))
                .with_context(|| format!("{} is not built", source.display()))?;
        }
        let board: Switchboard = Arc::new(Mutex::new(BTreeMap::new()));
        bmc::serve_power(board.clone())?;
        Ok(Self { board })
    }

    /// Copies the logs of all machines and BMCs to `target/lab/log`, for when something went wrong.
    fn save_logs(&self) -> std::io::Result<()> {
        let target = Path::new("target/lab/log");
        std::fs::create_dir_all(target)?;
        let machines: Vec<String> = self
            .board
            .lock()
            .map(|board| board.keys().cloned().collect())
            .unwrap_or_default();
        for name in machines {
            for entry in std::fs::read_dir(format!("{LAB}/node/{name}/log"))? {
                let path = entry?.path();
                let file = path.file_name().and_then(|f| f.to_str()).unwrap_or("log");
                std::fs::copy(&path, target.join(format!("{name}-{file}")))?;
            }
            let bmc = format!("{LAB}/bmc/{name}/log");
            if Path::new(&bmc).exists() {
                std::fs::copy(bmc, target.join(format!("{name}-bmc.log")))?;
            }
        }
        Ok(())
    }

    /// Lays out one more site; see [`Site::lay_out`].
    ///
    /// # Errors
    /// As there.
    pub fn site(&self, letter: &str, number: u8, prefix: &str) -> anyhow::Result<Site> {
        Site::lay_out(letter, number, prefix, &self.board)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The lab's verdict does not depend on its logs.
        let _unsaved = self.save_logs();
    }
}

/// The directory this executable lies in: where `cargo build` puts the others too.
///
/// # Errors
/// The executable's own path cannot be read.
pub fn own_directory() -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe()?;
    Ok(exe
        .parent()
        .context("an executable lies in a directory")?
        .to_owned())
}
