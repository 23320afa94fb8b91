//! The slots of a worker: a replica and a sandbox each, lent to one action at a time.

use crate::blob_cache::BlobCache;
use crate::directories::{Directory, DirectoryCache};
use crate::replica::{Protection, Replica};
use crate::sandbox::{self, ControlGroups, Isolation, Level, Limits, Refusals, Sandbox};
use anyhow::Context as _;
use parking_lot::Mutex;
use pumphouse_proto::digest::Digest;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One slot.
#[derive(Debug)]
pub struct Slot {
    /// Its number, from 0.
    pub number: usize,
    /// The input root that it holds.
    pub replica: Replica,
    sandbox: Option<Sandbox>,
    dir: PathBuf,
}

/// All slots of a worker.
#[derive(Debug)]
pub struct Slots {
    idle: Mutex<Vec<Slot>>,
    permits: Arc<Semaphore>,
    level: Level,
    limits: Limits,
    groups: ControlGroups,
}

/// A slot on loan; it goes back when this is dropped.
#[derive(Debug)]
pub struct Lease {
    /// Absent while a blocking thread has it.
    loan: Option<Loan>,
    slots: Arc<Slots>,
}

/// What travels between a lease and a blocking thread. Wherever it is dropped, the slot goes back.
#[derive(Debug)]
struct Loan {
    slot: Option<Slot>,
    slots: Arc<Slots>,
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    /// Makes `count` slots below `dir`, which nobody else uses. What an earlier run left there is removed.
    ///
    /// # Errors
    /// The directory can't be written to.
    pub fn create(
        dir: &Path,
        count: usize,
        isolation: &Isolation,
        limits: &Limits,
        cache: &Arc<BlobCache>,
        groups: ControlGroups,
    ) -> anyhow::Result<Arc<Self>> {
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| format!("clearing {}", dir.display()))?;
        }
        let level = isolation.level;
        let is_root = sandbox::gives_ids();
        let protection = match level {
            Level::UserNamespaces | Level::Namespaces => Protection::ReadOnlyMount,
            Level::Chroot => Protection::OtherUser,
            Level::None => Protection::Copies,
        };
        let mut idle = Vec::with_capacity(count);
        for number in (0..count).rev() {
            let slot_dir = dir.join(number.to_string());
            let stage = slot_dir.join("stage");
            fs::create_dir_all(&stage).with_context(|| format!("creating {}", stage.display()))?;
            // An action's user has to reach its root directory where no mount leads there.
            let mode = if level == Level::Chroot { 0o711 } else { 0o700 };
            fs::set_permissions(&slot_dir, fs::Permissions::from_mode(mode))
                .with_context(|| format!("setting the mode of {}", slot_dir.display()))?;
            let owner = (is_root && level != Level::None).then(|| sandbox::action_id(number));
            let mut replica = Replica::new(&slot_dir.join("root"), Arc::clone(cache), protection, owner);
            replica.reset().context("making a slot's root directory")?;
            idle.push(Slot { number, replica, sandbox: None, dir: slot_dir });
        }
        Ok(Arc::new(Self {
            idle: Mutex::new(idle),
            permits: Arc::new(Semaphore::new(count)),
            level,
            limits: limits.clone(),
            groups,
        }))
    }

    /// Waits for a free slot and takes the one that is nearest to `input_root`: it holds it, or most of it.
    ///
    /// # Panics
    /// Never: the semaphore is never closed, and has as many permits as there are slots.
    pub async fn lease(self: &Arc<Self>, input_root: Digest, directories: &DirectoryCache) -> Lease {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        let root = directories.peek(input_root);
        let mut idle = self.idle.lock();
        let nearest = idle
            .iter()
            .enumerate()
            .max_by_key(|(_, slot)| nearness(&slot.replica, input_root, root.as_deref()))
            .map(|(position, _)| position)
            .expect("there is a slot for each permit");
        let slot = idle.remove(nearest);
        let loan = Loan { slot: Some(slot), slots: Arc::clone(self), _permit: permit };
        Lease { loan: Some(loan), slots: Arc::clone(self) }
    }
}

fn nearness(replica: &Replica, input_root: Digest, root: Option<&Directory>) -> (bool, usize) {
    (replica.root() == Some(input_root), root.map_or(0, |root| replica.likeness(root)))
}

impl Lease {
    /// The slot.
    ///
    /// # Panics
    /// While the slot is away in [`Self::with_replica`], which borrows the lease.
    pub fn slot(&mut self) -> &mut Slot {
        self.loan.as_mut().expect("a lease has its slot").slot_mut()
    }

    /// Runs `work` on the slot's replica in a thread that may block.
    ///
    /// # Errors
    /// What `work` says, or that it panicked.
    ///
    /// # Panics
    /// While an earlier call is under way, which borrows the lease.
    pub async fn with_replica<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Replica) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let mut loan = self.loan.take().expect("a lease has its slot");
        let (loan, outcome) = tokio::task::spawn_blocking(move || {
            let outcome = work(&mut loan.slot_mut().replica);
            (loan, outcome)
        })
        .await
        .context("working on a replica")?;
        self.loan = Some(loan);
        outcome
    }

    /// The slot's sandbox, started if need be.
    ///
    /// # Errors
    /// It can't be started.
    pub async fn sandbox(&mut self) -> anyhow::Result<&mut Sandbox> {
        let slots = Arc::clone(&self.slots);
        let slot = self.slot();
        if !slot.sandbox.as_ref().is_some_and(Sandbox::is_usable) {
            slot.sandbox = None;
            let groups = slots.groups.slot(slot.number);
            let started = Sandbox::start(slots.level, &slots.limits, &groups, slot.number, &slot.dir).await;
            slot.sandbox = Some(started.context("starting a sandbox")?);
        }
        slot.sandbox.as_mut().context("the sandbox has just been started")
    }

    /// What the kernel has refused to actions of this slot so far.
    pub fn refusals(&mut self) -> Refusals {
        let number = self.slot().number;
        self.slots.groups.slot(number).refusals()
    }

    /// Ends the sandbox, so that the next action gets a new one.
    pub fn discard_sandbox(&mut self) {
        self.slot().sandbox = None;
    }
}

impl Loan {
    fn slot_mut(&mut self) -> &mut Slot {
        self.slot.as_mut().expect("a loan has its slot until it is dropped")
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.slots.idle.lock().push(slot);
        }
    }
}
