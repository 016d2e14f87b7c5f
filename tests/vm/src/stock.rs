//! What guests are made of, as Debian ships it: the kernel, its modules and busybox, unpacked into a folder and never
//! installed.
//!
//! The packages carry no dependency list of modules (that is written on installation), so it is read from the modules
//! themselves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

/// Modules that guests load, besides what these depend on, in this order.
const MODULES: &[&str] = &[
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
    /// The kernel image.
    pub kernel: PathBuf,
    /// Its version, such as `6.1.0-56-amd64`.
    pub version: String,
    /// The static busybox.
    pub busybox: PathBuf,
    modules: BTreeMap<String, PathBuf>,
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
        collect(
            &folder.join("lib/modules").join(&version).join("kernel"),
            &mut modules,
        )?;
        Ok(Self {
            kernel,
            version,
            busybox,
            modules,
        })
    }

    /// The modules that guests load, each after what it depends on.
    ///
    /// # Errors
    /// One that this kernel does not have.
    pub fn load_order(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut order = Vec::new();
        for module in MODULES {
            self.append(module, &mut order)?;
        }
        Ok(order)
    }

    fn append(&self, module: &str, order: &mut Vec<PathBuf>) -> anyhow::Result<()> {
        let path = self
            .modules
            .get(module)
            .with_context(|| format!("kernel {} has no module {module}", self.version))?;
        if order.contains(path) {
            return Ok(());
        }
        for needed in depends(&fs::read(path)?) {
            self.append(&needed, order)?;
        }
        order.push(path.clone());
        Ok(())
    }
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

fn collect(folder: &Path, modules: &mut BTreeMap<String, PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, modules)?;
        } else if let Some(stem) = name(&path).strip_suffix(".ko") {
            modules.insert(stem.replace('-', "_"), path.clone());
        }
    }
    Ok(())
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
