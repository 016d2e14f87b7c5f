//! `explain timing`: where every interval comes from, and which sum fails.

use super::{bad_config, config_path};
use crate::cli::Global;
use crate::failure::{Exit, Failure};
use crate::output::{note, print};
use haft_config::Config;
use haft_config::timing::{Failover, TimingRequest, checks, explain};

pub(super) fn timing(global: &Global, failover: Option<Failover>) -> Result<(), Failure> {
    let path = config_path(global);
    let request = match failover {
        Some(failover) => TimingRequest {
            failover,
            ..TimingRequest::default()
        },
        None if global.config.is_some() || path.exists() => {
            Config::timing_request(path).map_err(|problems| bad_config(&problems))?
        }
        None => {
            note(
                "note: no configuration file; this is the default. Name one with --config, or try --failover 2s",
            );
            TimingRequest::default()
        }
    };
    let timing = request.timing().map_err(|error| {
        Failure::new(
            Exit::Usage,
            "BadTiming",
            error.to_string(),
            "choose a budget within the range, or fast, normal, relaxed",
        )
    })?;
    print(&explain(&request));
    let failing = checks(&timing).iter().filter(|check| !check.holds).count();
    if failing > 0 {
        return Err(Failure::new(
            Exit::Usage,
            "ImpossibleTiming",
            format!("{failing} of the sums above do not hold (NO); haftd refuses this timing"),
            "change the values in them, or leave them to be derived",
        ));
    }
    Ok(())
}
