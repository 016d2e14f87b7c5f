//! What guests are made of, as Debian ships it: the kernel, its modules and busybox, unpacked into a folder and never
//! installed.
//!
//! The packages carry no dependency list of modules (that is written on installation), so it is read from the modules
//! themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// Modules that the stories' guests load, besides what these depend on, in this order.
pub const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    // ext4 asks the crypto layer for it by name, which no module file says.
    "crc32c_generic",
    "ext4",
    // The guard's rules: sets and comparisons are in nf_tables itself, "is this address mine" is not.
    "nf_tables",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_fib_inet",
    "nft_fib_netdev",
    "i6300esb",
];

/// The unpacked packages.
#[derive(Debug)]
pub struct Stock {
    /// The kernel's image.
    pub kernel: PathBuf,
    /// Its version, such as `6.1.0-56-amd64`.
    pub version: String,
    /// The static busybox.
    pub busybox: PathBuf,
    modules: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
}

/// A module as the kernel takes it.
#[derive(Debug)]
pub struct Module {
    /// With underscores.
    pub name: String,
    /// Not compressed.
    pub content: Vec<u8>,
}

impl Stock {
    /// Looks through `folder`, where `dpkg-deb -x` put both packages.
    ///
    /// # Errors
    /// A part that is missing; `scripts/test-vm` puts them there.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let boot = folder.join("boot");
        let kernel = fs::read_dir(&boot)
            .with_context(|| format!("{} (run scripts/test-vm)", boot.display()))?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| name(path).starts_with("vmlinuz-"))
            .with_context(|| format!("no kernel in {}", boot.display()))?;
        let version = name(&kernel).trim_start_matches("vmlinuz-").to_owned();
        let busybox = folder.join("bin/busybox");
        ensure!(busybox.is_file(), "{} is missing", busybox.display());
        let mut modules = BTreeMap::new();
        let all = folder.join("lib/modules").join(&version);
        collect(&all.join("kernel"), &mut modules)?;
        let listed = fs::read_to_string(all.join("modules.builtin")).unwrap_or_default();
        let built_in = listed.lines().filter_map(|line| stem(Path::new(line)));
        Ok(Self {
            kernel,
            version,
            busybox,
            modules,
            built_in: built_in.collect(),
        })
    }

    /// These modules but those that are part of the kernel, each after what it depends on.
    ///
    /// # Errors
    /// One that this kernel does not have.
    pub fn load_order(&self, modules: &[&str]) -> anyhow::Result<Vec<Module>> {
        let mut order = Vec::new();
        for module in modules {
            self.append(module, &mut order)?;
        }
        Ok(order)
    }

    fn append(&self, module: &str, order: &mut Vec<Module>) -> anyhow::Result<()> {
        if self.built_in.contains(module) || order.iter().any(|known| known.name == module) {
            return Ok(());
        }
        let path = self
            .modules
            .get(module)
            .with_context(|| format!("kernel {} has no module {module}", self.version))?;
        let content = content(path)?;
        for needed in depends(&content) {
            self.append(&needed, order)?;
        }
        order.push(Module {
            name: module.to_owned(),
            content,
        });
        Ok(())
    }
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

/// The name of the module in this file, with underscores.
fn stem(path: &Path) -> Option<String> {
    let file = name(path).trim_end_matches(".xz");
    Some(file.strip_suffix(".ko")?.replace('-', "_"))
}

fn collect(folder: &Path, modules: &mut BTreeMap<String, PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, modules)?;
        } else if let Some(stem) = stem(&path) {
            modules.insert(stem, path.clone());
        }
    }
    Ok(())
}

/// Later kernels' packages have their modules compressed; busybox loads them only as they are.
fn content(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path.extension().is_none_or(|end| end != "xz") {
        return Ok(fs::read(path)?);
    }
    let output = Command::new("xz").arg("-dc").arg(path).output()?;
    ensure!(
        output.status.success(),
        "{}: {}",
        path.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

/// The value of `depends=` in a module's `.modinfo` section, which is zero-terminated text.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = &module[at + KEY.len()..];
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(0);
    String::from_utf8_lossy(&value[..end])
        .split(',')
        .filter(|part| !part.is_empty())
        .map(|part| part.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::depends;

    #[test]
    fn dependencies_are_read_from_the_module_itself() {
        assert_eq!(
            depends(b"xx\0license=GPL\0depends=virtio-ring,failover\0name=y\0"),
            ["virtio_ring", "failover"]
        );
        assert!(depends(b"\0depends=\0name=y\0").is_empty());
        assert!(depends(b"nothing").is_empty());
    }
}
