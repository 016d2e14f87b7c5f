//! The context file: where the cluster is, and the credentials for it.
//!
//! One cluster a file, PEM inline, readable by its owner alone. Written by `cluster init`; holds a key, so
//! nothing of it is ever printed.

use crate::failure::{Exit, Failure};
use haft_api::client::Credentials;
use serde::Deserialize;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where the administrator of a machine may put it for every command.
const SYSTEM: &str = "/etc/haft/context.yaml";

/// What a context file holds. No `Debug`: it has a key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// The cluster's name.
    pub(crate) cluster: String,
    /// 32 hex digits.
    pub(crate) cluster_id: String,
    /// `host:port` of the coordinators.
    pub(crate) endpoints: Vec<String>,
    ca: String,
    certificate: String,
    key: String,
}

impl Context {
    pub(crate) fn new(
        cluster: String,
        cluster_id: String,
        endpoints: Vec<String>,
        credentials: Credentials,
    ) -> Self {
        Self {
            cluster,
            cluster_id,
            endpoints,
            ca: credentials.ca_pem,
            certificate: credentials.certificate_pem,
            key: credentials.key_pem,
        }
    }

    /// What TLS needs.
    pub(crate) fn credentials(&self) -> Credentials {
        Credentials {
            ca_pem: self.ca.clone(),
            certificate_pem: self.certificate.clone(),
            key_pem: self.key.clone(),
        }
    }

    /// Reads the named file, or the first of the usual places.
    pub(crate) fn find(named: Option<&Path>) -> Result<Context, Failure> {
        let places = match named {
            Some(path) => vec![path.to_owned()],
            None => usual_places(),
        };
        let Some(path) = places.iter().find(|path| path.exists()) else {
            let looked: Vec<String> = places
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            return Err(Failure::new(
                Exit::Usage,
                "NoContext",
                format!("there is no context file: {}", looked.join(", ")),
                "run this where `haftctl cluster init` ran, or copy its context file and name it with --context or $HAFT_CONTEXT",
            ));
        };
        read(path)
    }

    /// Where init writes it unless told otherwise.
    pub(crate) fn default_place() -> PathBuf {
        usual_places()
            .into_iter()
            .next()
            .unwrap_or_else(|| PathBuf::from(SYSTEM))
    }

    /// Writes it, 0600, never over another one.
    pub(crate) fn write(&self, path: &Path) -> std::io::Result<()> {
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let mut text = format!(
            "# Credentials of an administrator. Keep this file to yourself.\ncluster: {}\ncluster_id: \"{}\"\nendpoints:\n",
            self.cluster, self.cluster_id
        );
        for endpoint in &self.endpoints {
            text.push_str(&format!("  - \"{endpoint}\"\n"));
        }
        for (name, pem) in [
            ("ca", &self.ca),
            ("certificate", &self.certificate),
            ("key", &self.key),
        ] {
            text.push_str(&format!("{name}: |\n"));
            for line in pem.lines() {
                text.push_str(&format!("  {line}\n"));
            }
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }
}

fn usual_places() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from);
    let mut places = Vec::new();
    if let Some(home) = home {
        places.push(home.join(".config/haft/context.yaml"));
    }
    places.push(PathBuf::from(SYSTEM));
    places
}

fn read(path: &Path) -> Result<Context, Failure> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        Failure::new(
            Exit::Usage,
            "ContextUnreadable",
            format!("the context file {shown} cannot be read: {error}"),
            "let it belong to you, with mode 0600",
        )
    };
    let mode = std::fs::metadata(path).map_err(unreadable)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Failure::new(
            Exit::Denied,
            "ContextTooOpen",
            format!(
                "the context file {shown} can be read by others than its owner (mode {mode:04o}), and it holds an administrator's key"
            ),
            format!(
                "run `chmod 0600 {shown}`; if others may have read it, replace the credentials"
            ),
        ));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    // The parser's message would quote the file, which holds a key; its place is enough.
    serde_saphyr::from_str(&text).map_err(|error| {
        let place = error.location().map_or_else(String::new, |at| format!(":{}:{}", at.line(), at.column()));
        Failure::new(
            Exit::Usage,
            "ContextDamaged",
            format!("{shown}{place} is no context file"),
            "restore it from where `haftctl cluster init` wrote it; it needs cluster, cluster_id, endpoints, ca, certificate and key",
        )
    })
}
