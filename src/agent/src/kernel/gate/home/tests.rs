//! Which bpf file system is taken for the machine's, and what is believed of its life.
//!
//! File systems are mounted nowhere, or in a namespace that ends with the test. Needs root.

use super::super::Gate;
use super::super::tests::{file_system, in_own_namespace, path_of};
use super::*;
use haft_engine::gate::Found;
use std::process::Command;

/// Set for the program that is run in a container.
const INSIDE: &str = "HAFT_TEST_IN_CONTAINER";

/// As process 1 of the first PID namespace would be found.
fn first() -> PathBuf {
    let folder = tempfile::tempdir().unwrap().keep();
    let link = folder.join("pid");
    std::os::unix::fs::symlink(FIRST_PROCESSES, &link).unwrap();
    link
}

fn seen(machines: &Path, first_process: &Path, processes: &Path) -> Result<Home, NoGate> {
    Home::as_seen(&View {
        machines,
        first_process,
        processes,
    })
}

#[test]
fn a_folder_is_no_bpf_file_system_wherever_it_is_named() {
    in_own_namespace(|bpf| {
        let folder = std::env::temp_dir();
        let taken = seen(&folder, bpf, &first());
        assert!(matches!(taken, Err(NoGate::NoFileSystem { path }) if path == folder));
        let named = Home::of(Some(&folder));
        assert!(matches!(named, Err(NoGate::NoFileSystem { path }) if path == folder));
        let absent = Path::new("/nowhere/at/all");
        assert!(Home::of(Some(absent)).is_err());
    });
}

#[test]
fn a_bpf_file_system_that_process_1_does_not_see_is_refused() {
    in_own_namespace(|bpf| {
        let other = file_system();
        let taken = seen(bpf, &path_of(&other), &first());
        assert!(matches!(taken, Err(NoGate::ForeignFileSystem)), "{taken:?}");
        assert!(seen(bpf, bpf, &first()).is_ok());
    });
}

#[test]
fn in_another_pid_namespace_than_the_first_nothing_is_proven_but_by_a_name() {
    in_own_namespace(|bpf| {
        let lasts = |processes: &Path| seen(bpf, bpf, processes).unwrap().lasts();
        assert_eq!(lasts(&first()), Lasts::Proven);
        let folder = tempfile::tempdir().unwrap();
        let container = folder.path().join("pid");
        std::os::unix::fs::symlink("pid:[4026532841]", &container).unwrap();
        assert_eq!(lasts(&container), Lasts::Unproven);
        assert_eq!(lasts(Path::new("/nowhere")), Lasts::Unproven);
        assert_eq!(Home::of(Some(bpf)).unwrap().lasts(), Lasts::Stated);
    });
}

#[test]
fn a_gate_that_may_end_with_its_container_is_worth_watched() {
    in_own_namespace(|bpf| {
        let home = seen(bpf, bpf, Path::new("/nowhere")).unwrap();
        assert_eq!(Gate::open(home).unwrap().worth(), Found::Watched);
    });
}

/// The real thing: `unshare` makes what a container's runtime makes, and this very test looks around in there.
#[test]
fn process_1_of_a_container_is_told_from_the_machines() {
    if std::env::var_os(INSIDE).is_some() {
        // To this process they are the same: nothing but the namespace's name tells them apart.
        assert_eq!(Home::of_this_machine().unwrap().lasts(), Lasts::Unproven);
        return;
    }
    let name = "kernel::gate::home::tests::process_1_of_a_container_is_told_from_the_machines";
    let script = "mount -t sysfs sysfs /sys && mount -t bpf bpf /sys/fs/bpf && exec \"$@\"";
    let done = Command::new("unshare")
        .args(["--net", "--pid", "--fork", "--mount", "--mount-proc"])
        .args(["sh", "-c", script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(INSIDE, "yes")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&done.stderr)
    );
}
