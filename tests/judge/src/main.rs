//! The judge's process; see [`haft_judge::run`].

fn main() -> anyhow::Result<()> {
    haft_judge::run()
}
