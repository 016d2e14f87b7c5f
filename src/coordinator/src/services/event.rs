//! EventService: the log of what happened, listed and watched.

use super::access::anyone;
use super::read::read;
use crate::context::Context;
use haft_api::convert::event_into;
use haft_api::pb::v1;
use haft_api::status::status;
use haft_engine::state::ClusterState;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

/// Events listed when the caller names no limit.
const LIMIT_DEFAULT: usize = 200;
/// Events a slow watcher may lag behind before its stream waits.
const WATCH_QUEUE: usize = 256;

/// The service.
pub(super) struct Events(pub(super) Arc<Context>);

#[tonic::async_trait]
impl v1::event_service_server::EventService for Events {
    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        anyone(&self.0, &request)?;
        let request = request.into_inner();
        let limit = match request.limit {
            0 => LIMIT_DEFAULT,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        let (events, stamp) = read(&self.0, request.options, |state| {
            let matching = state
                .events
                .iter()
                .filter(|event| request.subject.is_empty() || event.subject == request.subject);
            let mut newest: Vec<v1::Event> = matching.rev().take(limit).map(event_into).collect();
            newest.reverse();
            newest
        })
        .await?;
        Ok(Response::new(v1::ListEventsResponse {
            events,
            stamp: Some(stamp),
        }))
    }

    type WatchEventsStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchEventsResponse, Status>> + Send>>;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        anyone(&self.0, &request)?;
        let request = request.into_inner();
        if gone(&self.0.replica.state(), request.after_index) {
            return Err(status(
                Code::OutOfRange,
                "EventsGone",
                "events after that index are no longer kept",
                "list events and watch from the newest index",
            ));
        }
        let (sender, receiver) = mpsc::channel(WATCH_QUEUE);
        tokio::spawn(feed(Arc::clone(&self.0), request, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// Whether events right after `index` may have been dropped already.
fn gone(state: &ClusterState, index: u64) -> bool {
    let full = state.events.len() >= haft_engine::state::EVENTS_MAX;
    full && index != 0
        && state
            .events
            .front()
            .is_some_and(|oldest| oldest.index.0 > index + 1)
}

async fn feed(
    context: Arc<Context>,
    request: v1::WatchEventsRequest,
    sender: mpsc::Sender<Result<v1::WatchEventsResponse, Status>>,
) {
    let mut applied = context.replica.applied();
    let mut after = request.after_index;
    loop {
        let fresh: Vec<v1::Event> = {
            applied.borrow_and_update();
            let state = context.replica.state();
            let newer = state.events.iter().filter(|event| event.index.0 > after);
            newer.map(event_into).collect()
        };
        for event in fresh {
            after = event.index;
            let wanted = request.subject.is_empty() || event.subject == request.subject;
            let answer = v1::WatchEventsResponse { event: Some(event) };
            if wanted && sender.send(Ok(answer)).await.is_err() {
                return;
            }
        }
        tokio::select! {
            changed = applied.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
        }
    }
}
