//! The tasks that haftd lives by: each is watched, and one that ends although it should not ends
//! the process.
//!
//! A task whose handle is dropped may be gone for days before anybody wonders. Panics are not seen
//! here: they abort the process where they happen (`haft_config::abort_on_panic`).

use super::DaemonError;
use std::future::pending;
use tokio::task::JoinSet;

/// How a task ended.
enum End {
    /// It had something to do, and has done it.
    Done,
    /// It should have gone on, or has failed.
    Over(String),
}

/// Tasks by name.
#[derive(Default)]
pub(super) struct Tasks(JoinSet<(&'static str, End)>);

impl Tasks {
    /// Starts a task that lives as long as the process.
    pub(super) fn keep(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.keep_or_say(name, async move {
            task.await;
            Ok(())
        });
    }

    /// The same, for one that can say why it ended.
    pub(super) fn keep_or_say(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), String>> + Send + 'static,
    ) {
        self.0.spawn(async move {
            let why = task.await.err();
            (name, End::Over(why.unwrap_or("it ended".to_owned())))
        });
    }

    /// Starts a task that may come to its end, but not fail.
    pub(super) fn finish(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), String>> + Send + 'static,
    ) {
        self.0.spawn(async move {
            let end = match task.await {
                Ok(()) => End::Done,
                Err(why) => End::Over(why),
            };
            (name, end)
        });
    }

    /// Waits until one has ended that should not have.
    pub(super) async fn over(&mut self) -> DaemonError {
        while let Some(ended) = self.0.join_next().await {
            match ended {
                Ok((_, End::Done)) => {}
                Ok((name, End::Over(why))) => return DaemonError::Task { name, why },
                Err(error) => {
                    let why = error.to_string();
                    return DaemonError::Task { name: "?", why };
                }
            }
        }
        pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn over(mut tasks: Tasks) -> String {
        tasks.over().await.to_string()
    }

    #[tokio::test]
    async fn a_task_that_ends_or_fails_is_named_with_its_reason_and_one_that_has_finished_is_not() {
        let mut tasks = Tasks::default();
        tasks.finish("short", async { Ok(()) });
        tasks.keep("long", async {});
        assert_eq!(over(tasks).await, "the task \"long\" has ended: it ended");
        let mut tasks = Tasks::default();
        tasks.keep("endless", pending());
        tasks.finish("failing", async { Err("no disk".to_owned()) });
        assert_eq!(over(tasks).await, "the task \"failing\" has ended: no disk");
        let mut tasks = Tasks::default();
        tasks.keep_or_say("server", async { Err("no port".to_owned()) });
        assert_eq!(over(tasks).await, "the task \"server\" has ended: no port");
    }
}
