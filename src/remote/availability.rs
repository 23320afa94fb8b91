//! Whether a server is there: found out once, in the background, and never by making compiles wait.
//!
//! Each server has one task that connects, hands out the session, and when somebody reports the server gone tries again at
//! growing intervals. Compiles look at the last thing it said; only the very first ones wait for it.

use super::session::{CONNECT_TIMEOUT, Session};
use super::{Health, RemoteError};
use parking_lot::Mutex;
use pumphouse_proto::address::Address;
use pumphouse_proto::connection::Credentials;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// The first pause between two attempts to connect; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// How long an attempt may take: the connection and the capabilities.
const ATTEMPT_LIMIT: Duration = CONNECT_TIMEOUT.saturating_mul(2);

/// How long compiles wait for the first attempt, counted from the first of them.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// How many servers one daemon knows; with more, the compile that names the next one is local.
const REMOTE_LIMIT: usize = 32;

/// How many trials of a server are under way at a time; one more ends the oldest.
const TRIAL_COUNT: usize = 4;

/// How long a trial goes on.
const TRIAL_LIMIT: Duration = Duration::from_secs(120);

/// The servers that compiles have named.
#[derive(Debug, Default)]
pub(crate) struct Remotes(Mutex<HashMap<(String, Credentials), Arc<Remote>>>);

impl Remotes {
    /// The server that `text` names, for somebody with these credentials. Must be called within the runtime.
    ///
    /// # Errors
    /// It is not an address, or one too many.
    pub(crate) fn get(&self, text: &str, credentials: &Credentials) -> Result<Arc<Remote>, RemoteError> {
        let mut remotes = self.0.lock();
        let key = (text.to_owned(), credentials.clone());
        if let Some(remote) = remotes.get(&key) {
            return Ok(Arc::clone(remote));
        }
        let address = Address::parse(text).map_err(|error| RemoteError::Unusable(error.to_string()))?;
        if remotes.len() >= REMOTE_LIMIT {
            return Err(RemoteError::Unusable(format!("the daemon knows {REMOTE_LIMIT} other servers already")));
        }
        let remote = Arc::new(Remote::new(address, credentials.clone()));
        remotes.insert(key, Arc::clone(&remote));
        Ok(remote)
    }
}

/// One server.
#[derive(Debug)]
pub(crate) struct Remote {
    /// What is known to be there.
    pub blobs: super::Blobs,
    /// What it does well, and what not.
    pub health: Arc<Health>,
    /// Bytes that it was sent before it had anything executed: its workers have to fetch the like first.
    pub cold_bytes: AtomicU64,
    address: Address,
    state: watch::Receiver<State>,
    lost: Arc<Notify>,
    first_use: Instant,
    trials: Mutex<VecDeque<AbortHandle>>,
}

#[derive(Debug, Clone)]
enum State {
    /// The first attempt is under way.
    Connecting,
    /// It can be used.
    Up(Arc<Session>),
    /// It can't, for this reason; another attempt follows.
    Down(Arc<RemoteError>),
}

impl Remote {
    fn new(address: Address, credentials: Credentials) -> Self {
        let (sender, state) = watch::channel(State::Connecting);
        let lost = Arc::new(Notify::new());
        // The task ends with the last receiver, that is with this value.
        let health = Arc::<Health>::default();
        let ends = (Arc::clone(&lost), Arc::clone(&health));
        tokio::spawn(keep_connected(address.clone(), credentials, sender, ends));
        Self {
            blobs: super::Blobs::default(),
            health,
            cold_bytes: AtomicU64::new(0),
            address,
            state,
            lost,
            first_use: Instant::now(),
            trials: Mutex::default(),
        }
    }

    /// Where it is.
    pub(crate) const fn address(&self) -> &Address {
        &self.address
    }

    /// The session, if the server is there.
    ///
    /// # Errors
    /// Why it is not.
    pub(crate) async fn session(&self) -> Result<Arc<Session>, Arc<RemoteError>> {
        let mut state = self.state.clone();
        let known = state.wait_for(|state| !matches!(state, State::Connecting));
        match tokio::time::timeout_at(self.first_use + FIRST_WAIT, known).await {
            Ok(Ok(state)) => match &*state {
                State::Up(session) => Ok(Arc::clone(session)),
                State::Down(error) => Err(Arc::clone(error)),
                State::Connecting => Err(Arc::new(RemoteError::Unusable("the connection is not open yet".to_owned()))),
            },
            Ok(Err(_)) => Err(Arc::new(RemoteError::Unusable("its task has ended".to_owned()))),
            Err(_) => Err(Arc::new(RemoteError::Unusable(format!("no answer within {} s", FIRST_WAIT.as_secs())))),
        }
    }

    /// Has `work` go on in the background for a while. What it comes to is noted where it happens.
    pub(crate) fn try_out(&self, work: impl Future<Output = ()> + Send + 'static) {
        let trial = tokio::spawn(async move {
            let _ = tokio::time::timeout(TRIAL_LIMIT, work).await;
        });
        let mut trials = self.trials.lock();
        trials.retain(|trial| !trial.is_finished());
        // A trial that hangs must not keep the next from finding that the server serves again.
        if trials.len() == TRIAL_COUNT
            && let Some(oldest) = trials.pop_front()
        {
            oldest.abort();
        }
        trials.push_back(trial.abort_handle());
    }

    /// Says that the server did not answer, so that it is looked for again.
    pub(crate) fn report_lost(&self) {
        self.lost.notify_one();
    }
}

async fn keep_connected(
    address: Address,
    credentials: Credentials,
    state: watch::Sender<State>,
    (lost, health): (Arc<Notify>, Arc<Health>),
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let attempt = tokio::time::timeout(ATTEMPT_LIMIT, Session::open(&address, &credentials)).await;
        let opened = attempt.unwrap_or_else(|_| Err(RemoteError::Unreachable("it does not answer".to_owned())));
        match opened {
            Ok(session) => {
                tracing::info!(%address, "connected");
                pause = FIRST_PAUSE;
                health.forget();
                let session = Arc::new(session);
                if state.send(State::Up(Arc::clone(&session))).is_err() {
                    return;
                }
                tokio::select! {
                    () = lost.notified() => {}
                    () = session.watch() => {
                        let silence = RemoteError::Unreachable("it no longer answers".to_owned());
                        state.send_replace(State::Down(Arc::new(silence)));
                    }
                    () = state.closed() => return,
                }
                tracing::info!(%address, "lost");
            }
            Err(error) => {
                tracing::debug!(%address, %error, "not connected");
                if state.send(State::Down(Arc::new(error))).is_err() {
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = state.closed() => return,
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}
