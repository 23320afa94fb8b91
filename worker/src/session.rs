//! The worker's talk with the scheduler: its whole state out, what the scheduler wants in.
//!
//! Runs outlive the stream: when it breaks, the worker reconnects under the same name, says what it holds, and goes on.
//! A run that is completed stays in the state until the scheduler no longer wants it, so that no result is lost with a
//! broken stream or a restarted scheduler.
//!
//! **Source:** proto/pumphouse/worker/v1/worker.proto.

mod runs;

use crate::executor::Executor;
use anyhow::Context as _;
use futures::StreamExt as _;
use pumphouse_proto::connection::Connection;
use pumphouse_proto::limits;
use pumphouse_proto::reapi::Platform;
use pumphouse_proto::worker::workers_client::WorkersClient;
use pumphouse_proto::worker::{CurrentState, DesiredState};
use runs::Runs;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the worker speaks until the scheduler has said how often it wants to hear.
const FIRST_HEARTBEAT: Duration = Duration::from_secs(5);

/// The shortest heartbeat interval that is obeyed.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(100);

/// How long a change may wait that the scheduler need not hear of at once, such as a run that goes on to its next stage.
const LAZY_INTERVAL: Duration = Duration::from_millis(250);

/// How long the first attempt to reconnect waits; each further one waits twice as long, up to the last.
const FIRST_RECONNECT_DELAY: Duration = Duration::from_millis(50);
const LAST_RECONNECT_DELAY: Duration = Duration::from_secs(5);

/// How many states may wait for the stream to take them. States supersede each other, so one is enough.
const WAITING_STATES: usize = 1;

/// What the worker is, besides what it runs.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Unique among workers, the same for as long as the process lives.
    pub worker_id: String,
    /// For people.
    pub display_name: String,
    /// What actions can ask for.
    pub platform: Platform,
    /// How many actions it runs at a time.
    pub slots: u32,
}

/// A worker's presence at a scheduler.
#[derive(Debug)]
pub struct Session {
    channel: Connection,
    identity: Identity,
    runs: Arc<Runs>,
    /// The worker is about to leave.
    draining: CancellationToken,
}

impl Session {
    /// A session over `channel` that gives its assignments to `executor`, and says so once `draining` is cancelled.
    pub fn new(channel: Connection, identity: Identity, executor: Arc<Executor>, draining: CancellationToken) -> Self {
        Self { channel, identity, runs: Arc::new(Runs::new(executor)), draining }
    }

    /// Talks to the scheduler until the worker is draining and has nothing left that the scheduler wants, reconnecting
    /// for as long as it takes. Runs end with the session.
    pub async fn run(&self) {
        let mut delay = FIRST_RECONNECT_DELAY;
        while !self.is_done() {
            match self.talk().await {
                Ok(()) if self.is_done() => break,
                Ok(()) => {
                    tracing::warn!("scheduler ended the session");
                    delay = FIRST_RECONNECT_DELAY;
                }
                Err(error) => tracing::warn!("session with the scheduler: {error:#}"),
            }
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                // Without the scheduler no run goes away, so only an empty worker can leave from here.
                () = self.draining.cancelled(), if self.runs.is_empty() => break,
            }
            delay = (delay * 2).min(LAST_RECONNECT_DELAY);
        }
        self.runs.cancel_all();
    }

    /// One stream, from its beginning to its end.
    async fn talk(&self) -> anyhow::Result<()> {
        let (sender, receiver) = mpsc::channel(WAITING_STATES);
        sender.send(self.state()).await.context("the stream is new")?;
        let states = futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|state| (state, receiver))
        });
        let mut client = WorkersClient::new(self.channel.clone())
            .max_decoding_message_size(limits::DECODED_MESSAGE_SIZE_BYTES)
            .max_encoding_message_size(limits::DECODED_MESSAGE_SIZE_BYTES);
        let mut wishes = client.session(states).await.context("opening it")?.into_inner();
        let mut heartbeat = FIRST_HEARTBEAT;
        let mut said_draining = self.draining.is_cancelled();
        let mut spoken = Instant::now();
        loop {
            tokio::select! {
                wish = wishes.next() => {
                    let Some(wish) = wish else { return Ok(()) };
                    heartbeat = self.obey(&wish.context("reading from it")?);
                    if self.is_done() {
                        return Ok(());
                    }
                    continue;
                }
                () = self.runs.changed() => {}
                () = tokio::time::sleep_until(spoken + heartbeat) => {}
                () = self.draining.cancelled(), if !said_draining => said_draining = true,
            }
            // Waits while the stream is full; what changes meanwhile is in the state that is said then.
            let permit = sender.reserve().await.context("the stream is closed")?;
            self.runs.say();
            permit.send(self.state());
            spoken = Instant::now();
            if self.is_done() {
                return Ok(());
            }
        }
    }

    /// Takes in what the scheduler wants; gives the heartbeat interval.
    fn obey(&self, wish: &DesiredState) -> Duration {
        self.runs.reconcile(&wish.assignments);
        let interval = wish.heartbeat_interval.and_then(|interval| Duration::try_from(interval).ok());
        interval.map_or(FIRST_HEARTBEAT, |interval| interval.max(SHORTEST_HEARTBEAT))
    }

    fn state(&self) -> CurrentState {
        CurrentState {
            worker_id: self.identity.worker_id.clone(),
            display_name: self.identity.display_name.clone(),
            platform: Some(self.identity.platform.clone()),
            slots: self.identity.slots,
            runs: self.runs.state(),
            draining: self.draining.is_cancelled(),
        }
    }

    fn is_done(&self) -> bool {
        self.draining.is_cancelled() && self.runs.is_empty()
    }
}
