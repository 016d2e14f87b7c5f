//! A process that holds keys leaves no image of its memory behind (hazard R40).
//!
//! Two locks, because each has a gap: the limit on core files does not bind a program that
//! `/proc/sys/kernel/core_pattern` pipes images to, and being not dumpable ends with the next `exec`, while the
//! limit is handed down to the fence agents that are given passwords.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Forbids core dumps of this process and core files of those that it starts; also keeps other users' debuggers
/// out. A kernel that refuses leaves things as they are, which is no reason not to serve.
pub fn forbid() {
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, nothing);
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{dumpable_behavior, getrlimit};

    #[test]
    fn neither_a_file_nor_a_program_gets_an_image() {
        forbid();
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
    }
}
