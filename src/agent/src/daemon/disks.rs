//! The shared disks at the daemon's start: who watches them, and what the process makes of their notices.
//!
//! The one place where the real end of the machine is put into somebody's hands. Without an `sbd` section it
//! opens nothing and starts nothing.

use crate::sbd::act::ThisMachine;
use crate::sbd::vouch::Vouch;
use crate::sbd::watch::{self, Disk, Ends};
use crate::sbd::{NOTICES_MAX, SbdError, SbdNotice, watcher_config};
use crate::shared_watchdog::SharedWatchdog;
use crate::watchdog::Watchdog;
use haft_config::{Config, SbdStart};
use haft_engine::ids::NodeName;
use haft_fence_sbd::device::{Access, PlainFiles};
use haft_fence_sbd::keeper::Keeper;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often it is said that the disks are still waited for.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// The disks' notices; `None` without disks.
pub(super) struct Notices {
    hear: Option<mpsc::Receiver<SbdNotice>>,
    start: SbdStart,
}

/// The watchdog for the lease thread; with disks, their watch is begun.
pub(super) fn begin(
    config: &Config,
    node: &NodeName,
) -> Result<(SharedWatchdog, Notices), SbdError> {
    let watchdog = Watchdog::at(&config.watchdog_device);
    let Some(sbd) = &config.sbd else {
        let notices = Notices {
            hear: None,
            start: SbdStart::Clean,
        };
        return Ok((SharedWatchdog::alone(watchdog), notices));
    };
    match sbd.devices.len() {
        1 => tracing::warn!("one SBD disk is a single point of failure; three are right"),
        2 => tracing::warn!("two SBD disks: the loss of one leaves no fencing; three are right"),
        _ => {}
    }
    let machine = ThisMachine::open().map_err(|error| SbdError::powerless(&error))?;
    let (notices, hear) = mpsc::channel(NOTICES_MAX);
    let (vouch, admitted) = Vouch::none();
    let disks = sbd.devices.iter().map(|path| Disk {
        name: path.display().to_string(),
        keeper: Keeper::of_path(path.clone(), Access::Write, PlainFiles::Refuse),
    });
    let ends = Ends {
        vouch: vouch.clone(),
        admitted,
        notices: notices.clone(),
        machine: Box::new(machine),
    };
    watch::start(watcher_config(sbd, node)?, disks.collect(), ends)?;
    let watchdog = SharedWatchdog::with_disks(Box::new(watchdog), vouch, notices);
    let notices = Notices {
        hear: Some(hear),
        start: sbd.start,
    };
    Ok((watchdog, notices))
}

impl Notices {
    /// Until this node may ask to be admitted. In start mode `always` the disks are looked at only after that,
    /// and what is granted meanwhile waits in the lease thread.
    pub(super) async fn watched(&mut self) -> Result<(), SbdError> {
        let (Some(hear), SbdStart::Clean) = (&mut self.hear, self.start) else {
            return Ok(());
        };
        loop {
            match tokio::time::timeout(SAY_EVERY, hear.recv()).await {
                Ok(Some(SbdNotice::Watched)) => {
                    say_watched();
                    return Ok(());
                }
                Ok(Some(SbdNotice::Failed(error))) => return Err(error),
                // Meant for a life that has not begun.
                Ok(Some(SbdNotice::Exit)) => {}
                Ok(None) => return Ok(()),
                Err(_) => tracing::warn!("waiting for the SBD disks to answer"),
            }
        }
    }

    /// Until the disks end this process.
    pub(super) async fn ended(&mut self) -> Result<(), SbdError> {
        while let Some(hear) = &mut self.hear {
            match hear.recv().await {
                Some(SbdNotice::Watched) => say_watched(),
                Some(SbdNotice::Exit) => return Ok(()),
                Some(SbdNotice::Failed(error)) => return Err(error),
                None => self.hear = None,
            }
        }
        std::future::pending().await
    }
}

fn say_watched() {
    tracing::info!("watched over shared disks, with the watchdog armed");
}
