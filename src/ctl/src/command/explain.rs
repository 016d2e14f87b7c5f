//! `explain timing`: where every interval comes from.

use super::{config_path, load_config};
use crate::cli::Global;
use crate::failure::Failure;
use crate::output::{note, print};
use haft_config::timing::{Failover, TimingRequest, explain};

pub(super) fn timing(global: &Global, failover: Option<Failover>) -> Result<(), Failure> {
    let request = match failover {
        Some(failover) => TimingRequest {
            failover,
            ..TimingRequest::default()
        },
        None if global.config.is_some() || config_path(global).exists() => {
            load_config(global)?.timing_request
        }
        None => {
            note(
                "note: no configuration file; this is the default. Name one with --config, or try --failover 2s",
            );
            TimingRequest::default()
        }
    };
    print(&explain(&request));
    Ok(())
}
