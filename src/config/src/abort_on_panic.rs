//! A panic anywhere ends the process.
//!
//! By itself a panic ends one thread or one task. What it held stays behind half changed, whoever
//! waits for it waits for ever, and the rest goes on saying that all is well: a coordinator that
//! leads and decides nothing, an agent that beats and watches nothing. An end is what everything
//! here is built for: the others elect, the lease runs out in the kernel, the supervisor starts the
//! process anew. So nothing in these processes may rely on catching a panic.
//!
//! Release builds are compiled with `panic = "abort"` besides; the hook makes every other build
//! behave the same.

use std::io::Write as _;
use std::panic::PanicHookInfo;

/// Makes every panic of this process say where it was and abort (SIGABRT). First thing in `main`.
pub fn install() {
    std::panic::set_hook(Box::new(|info| {
        // Not through the log: its own thread or lock may be what panics.
        let _ = std::io::stderr().write_all(last_words(info).as_bytes());
        std::process::abort();
    }));
}

fn last_words(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed").to_owned();
    format!("panic in thread {name:?}, the process aborts: {info}\n")
}
