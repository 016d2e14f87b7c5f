//! The virtual-machine suite: haft in three guests with Debian's own kernel, real emulated watchdogs, a BMC each and a
//! shared disk.
//!
//! It uses no haft code: it drives haft as a user does, through its programs, and judges it from outside. What the
//! stories show and what they do not is in `docs/vm-suite.md`.

pub mod check;
pub mod cluster;
pub mod cpio;
pub mod guest;
pub mod image;
pub mod qmp;
pub mod rack;
pub mod sleep;
pub mod stage;
pub mod stamp;
pub mod stock;
pub mod story;
pub mod table;
pub mod trial;
