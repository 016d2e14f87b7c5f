//! haft's side of the benchmark: preset `fast`, the owner not the leader, node data on tmpfs.

use std::sync::Arc;

use anyhow::Context;

use super::Sample;
use super::beside::{random_phase, settle, wait_segment};
use crate::cluster::{Cluster, LEASE, PATIENCE, STONITH};
use crate::judge::Judge;
use crate::lab::Lab;
use crate::machine::Machine;
use crate::shell;

/// Castings before a cluster counts as unsteady.
const CASTS_MAX: usize = 10;

/// A formed cluster with both addresses.
pub(super) struct Haft {
    cluster: Cluster,
    judge: Judge,
}

/// Who does what in one run.
struct Cast {
    /// Owns the measured address; not the leader.
    owner: Arc<Machine>,
    /// Neither owner nor leader.
    third: Arc<Machine>,
}

impl Haft {
    /// Forms the cluster on a site of its own.
    pub(super) fn form(lab: &Lab) -> anyhow::Result<Self> {
        let cluster = Cluster::form(lab.site("h", 1, "n")?, None)?;
        let judge = cluster.site.judge(cluster.targets())?;
        cluster.apply_vip(LEASE)?;
        cluster.apply_vip(STONITH)?;
        Ok(Self { cluster, judge })
    }

    /// Casts until the leader is still the one that was found: it moves away from owners by itself (R9), and may have
    /// moved to the very owner while the addresses were being placed.
    fn cast(&mut self, measured: &str) -> anyhow::Result<Cast> {
        for _ in 0..CASTS_MAX {
            self.cluster.wait_whole()?;
            let leader = self.cluster.ctl.leader()?;
            let cast = self.cast_around(&leader, measured)?;
            if self.cluster.ctl.leader()? == leader {
                return Ok(cast);
            }
        }
        anyhow::bail!("leadership moved in each of {CASTS_MAX} castings")
    }

    fn cast_around(&mut self, leader: &str, measured: &str) -> anyhow::Result<Cast> {
        let mut others = self
            .cluster
            .site
            .nodes
            .iter()
            .filter(|n| n.identity.name != leader)
            .cloned();
        let cast = Cast {
            owner: others.next().context("a node that does not lead")?,
            third: others.next().context("a second node that does not lead")?,
        };
        self.place(measured, &cast.owner)?;
        self.place(if measured == LEASE { STONITH } else { LEASE }, &cast.third)?;
        Ok(cast)
    }

    fn place(&mut self, name: &str, node: &Machine) -> anyhow::Result<()> {
        let node = &node.identity.name;
        let status = shell::wait_for(&format!("vip/{name} to be active"), PATIENCE, || {
            Ok(Some(self.cluster.ctl.vip(name)?).filter(|status| status.state == "Active"))
        })?;
        if status.owner != *node {
            self.cluster.ctl.move_to(name, node)?;
        }
        self.judge.wait_owner(name, node, PATIENCE)
    }

    /// Loses the owner of `name` and measures until it answers from elsewhere.
    pub(super) fn fail_over(&mut self, name: &str) -> anyhow::Result<Sample> {
        let cast = self.cast(name)?;
        self.judge.begin()?;
        wait_segment(&mut self.judge, 1000.0 + random_phase(300.0))?;
        self.judge.mark("fault")?;
        cast.owner.crash()?;
        self.wait_moved(name, &cast.owner.identity.name)?;
        let sample = settle(&mut self.judge, name)?;
        cast.owner.power_off()?;
        Ok(sample)
    }

    fn wait_moved(&mut self, name: &str, old: &str) -> anyhow::Result<()> {
        shell::wait_for(&format!("{name} to leave {old}"), PATIENCE, || {
            let reached = self.judge.now()?.client.get(name).cloned().flatten();
            Ok(reached.filter(|node| node != old).map(drop))
        })
    }

    /// Moves the lease address between two nodes that do not lead.
    pub(super) fn planned_move(&mut self) -> anyhow::Result<Sample> {
        let cast = self.cast(LEASE)?;
        self.judge.begin()?;
        wait_segment(&mut self.judge, 500.0 + random_phase(300.0))?;
        self.judge.mark("move")?;
        self.cluster.ctl.move_to(LEASE, &cast.third.identity.name)?;
        self.judge
            .wait_owner(LEASE, &cast.third.identity.name, PATIENCE)?;
        settle(&mut self.judge, LEASE)
    }
}
