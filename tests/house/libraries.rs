//! What only looks like a library or a program that is needed is not taken for it.
//!
//! `scripts/libclang` and `scripts/has` are called with folders made here; nothing is installed.

use crate::tree::root;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// The first bytes of a library of this machine's width, and of the other one.
const ELF: &[u8] = &[
    0x7f,
    b'E',
    b'L',
    b'F',
    if cfg!(target_pointer_width = "64") {
        2
    } else {
        1
    },
];
const OTHER_WIDTH: &[u8] = &[
    0x7f,
    b'E',
    b'L',
    b'F',
    if cfg!(target_pointer_width = "64") {
        1
    } else {
        2
    },
];

/// A root with files (path, first bytes) and links (path, target).
struct Fake(tempfile::TempDir);

impl Fake {
    fn with(files: &[(&str, &[u8])]) -> Self {
        let fake = Self(tempfile::tempdir().unwrap());
        for (path, bytes) in files {
            fs::write(fake.place(path), bytes).unwrap();
        }
        fake
    }

    fn place(&self, path: &str) -> std::path::PathBuf {
        let place = self.0.path().join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        place
    }

    fn link(&self, path: &str, target: &str) {
        symlink(target, self.place(path)).unwrap();
    }

    /// What the script prints, without the root; none when it refuses.
    fn chosen(&self) -> Option<String> {
        let output = Command::new(root().join("scripts/libclang"))
            .arg(self.0.path())
            .env_remove("LIBCLANG_PATH")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.success(), !said.is_empty(), "{said}");
        output.status.success().then(|| self.without_root(&said))
    }

    fn without_root(&self, said: &str) -> String {
        let root = format!("{}/", self.0.path().display());
        said.trim().replace(&root, "")
    }
}

const HEADER_14: (&str, &[u8]) = ("usr/lib/llvm-14/lib/clang/14.0.6/include/stddef.h", b"");
const HEADER_16: (&str, &[u8]) = ("usr/lib/llvm-16/lib/clang/16/include/stddef.h", b"");

#[test]
fn the_compilers_own_library_of_a_similar_name_is_not_taken_for_libclang() {
    let fake = Fake::with(&[
        HEADER_14,
        ("usr/lib/llvm-14/lib/libclang-cpp.so.14", ELF),
        ("usr/lib/x86_64-linux-gnu/libclang-cpp.so.14", ELF),
        ("usr/lib/llvm-14/lib/libclangAST.a", b"!<arch>"),
    ]);
    assert_eq!(fake.chosen(), None);
}

#[test]
fn what_libclang_dev_lays_out_is_taken() {
    let fake = Fake::with(&[
        HEADER_14,
        ("usr/lib/x86_64-linux-gnu/libclang-14.so.14.0.6", ELF),
    ]);
    let library = "usr/lib/x86_64-linux-gnu/libclang-14.so.1";
    fake.link(library, "libclang-14.so.14.0.6");
    assert!(
        fake.chosen()
            .unwrap()
            .starts_with("usr/lib/x86_64-linux-gnu/libclang-14.so.")
    );
    fake.link(
        "usr/lib/llvm-14/lib/libclang.so",
        "../../x86_64-linux-gnu/libclang-14.so.1",
    );
    assert!(fake.chosen().is_some());
}

#[test]
fn a_library_without_its_headers_is_refused() {
    let fake = Fake::with(&[
        HEADER_14,
        ("usr/lib/x86_64-linux-gnu/libclang-16.so.16", ELF),
    ]);
    assert_eq!(fake.chosen(), None, "the headers are another version's");
}

#[test]
fn an_older_library_with_headers_is_named_where_the_newest_has_none() {
    let fake = Fake::with(&[
        HEADER_14,
        ("usr/lib/x86_64-linux-gnu/libclang-14.so.1", ELF),
        ("usr/lib/x86_64-linux-gnu/libclang-16.so.1", ELF),
    ]);
    let older = "usr/lib/x86_64-linux-gnu/libclang-14.so.1";
    assert_eq!(fake.chosen(), Some(format!("{older} instead of 16")));
    fs::write(fake.place(HEADER_16.0), "").unwrap();
    let newer = "usr/lib/x86_64-linux-gnu/libclang-16.so.1";
    assert_eq!(fake.chosen().as_deref(), Some(newer));
}

#[test]
fn a_dangling_link_a_script_and_the_other_width_are_no_libraries() {
    let fake = Fake::with(&[
        HEADER_14,
        ("usr/lib/llvm-14/lib/libclang-14.so.1", OTHER_WIDTH),
        ("usr/lib/libclang.so.13", b"INPUT(-lclang)"),
    ]);
    fake.link(
        "usr/lib/llvm-14/lib/libclang.so",
        "../../nowhere/libclang-14.so.1",
    );
    assert_eq!(fake.chosen(), None);
}

/// Whether `scripts/has` finds the program, with `folder` before the machine's own.
fn has(folder: &Path, program: &str) -> bool {
    let status = Command::new(root().join("scripts/has"))
        .arg(program)
        .env("PATH", format!("{}:/usr/bin:/bin", folder.display()))
        .status();
    status.unwrap().success()
}

#[test]
fn a_builtin_of_the_shell_or_busybox_is_not_the_program() {
    let fake = Fake::with(&[("busybox", b"#!/bin/sh\n"), ("frobnicate", b"#!/bin/sh\n")]);
    let folder = fake.0.path();
    assert!(
        !has(folder, "export"),
        "`command -v export` finds the builtin"
    );
    assert!(
        !has(folder, "frobnicate"),
        "a file that may not be executed"
    );
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.join("frobnicate"), executable.clone()).unwrap();
    fs::set_permissions(folder.join("busybox"), executable).unwrap();
    assert!(has(folder, "frobnicate"));
    fake.link("sh", "busybox");
    assert!(
        !has(folder, "sh"),
        "the first of its name runs, and is busybox"
    );
    assert!(has(Path::new("/nonexistent"), "sh"));
}
