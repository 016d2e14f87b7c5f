//! The `tls` section: files that replace the identity's own.
//!
//! Checks that the files are there and that nobody else reads the key; what is in them is checked when they
//! are loaded.

use super::TlsFiles;
use super::read::Files;
use crate::fields::{Fields, Reader};
use crate::yaml::{At, Tree};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a file is for, which decides who may read it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Public,
    Secret,
}

pub(super) fn read(reader: &mut Reader<'_>, top: Fields<'_>, files: Files) -> Option<TlsFiles> {
    let tree = top.get("tls")?;
    let fields = reader.map(tree, "tls", &["ca", "certificate", "key"])?;
    let ca = file(reader, fields, "ca", Purpose::Public, files);
    let certificate = file(reader, fields, "certificate", Purpose::Public, files);
    let key = file(reader, fields, "key", Purpose::Secret, files);
    Some(TlsFiles {
        ca: ca?,
        certificate: certificate?,
        key: key?,
    })
}

fn file(
    reader: &mut Reader<'_>,
    fields: Fields<'_>,
    name: &str,
    purpose: Purpose,
    files: Files,
) -> Option<PathBuf> {
    let tree = reader.required(fields, name, "tls", &format!("/etc/haft/tls/{name}.pem"))?;
    let path = absolute_path(reader, tree, &format!("tls.{name}"))?;
    match files {
        Files::Untouched => {}
        Files::Checked => check(reader, tree.at, name, &path, purpose),
    }
    Some(path)
}

/// An absolute path: daemons run in a directory that the user did not choose.
pub(super) fn absolute_path(reader: &mut Reader<'_>, tree: &Tree, what: &str) -> Option<PathBuf> {
    let text = reader.text(tree, what)?;
    let path = Path::new(text);
    if !path.is_absolute() {
        reader.refuse(
            tree.at,
            format!("{what} must be an absolute path, but is `{text}`"),
            "write the whole path, beginning with a slash",
        );
        return None;
    }
    Some(path.to_owned())
}

fn check(reader: &mut Reader<'_>, at: At, name: &str, path: &Path, purpose: Purpose) {
    let shown = path.display();
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            reader.refuse(
                at,
                format!("the file of tls.{name} cannot be read: {shown}: {error}"),
                "put the file there, or remove `tls` to use the identity that `haftctl cluster init` and `join` write",
            );
            return;
        }
    };
    if !metadata.is_file() {
        reader.refuse(
            at,
            format!("tls.{name} is no regular file: {shown}"),
            "name the PEM file itself",
        );
        return;
    }
    let mode = metadata.mode() & 0o7777;
    if purpose == Purpose::Secret && mode & 0o077 != 0 {
        reader.refuse(
            at,
            format!("the key {shown} can be read by others than its owner (mode {mode:04o})"),
            format!("run `chmod 0600 {shown}`, and replace the key if others may have read it"),
        );
    }
    match std::fs::read(path) {
        Ok(bytes) if contains(&bytes, b"-----BEGIN ") => {}
        Ok(_) => reader.refuse(
            at,
            format!("tls.{name} is not in PEM form: {shown}"),
            "convert it: `openssl x509 -inform der -in FILE`, or `openssl pkey` for a key",
        ),
        Err(error) => reader.refuse(
            at,
            format!("the file of tls.{name} cannot be read: {shown}: {error}"),
            "let its owner be the user that runs haft",
        ),
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
