//! Waiting until a directory's packs were looked through, so that nobody who waits for that is in the way of others.

use pumphouse_storage::Directory;
use tokio::sync::watch;

/// Whether what a directory's packs hold is known.
#[derive(Debug, Clone)]
pub(crate) struct Settled(watch::Receiver<bool>);

impl Settled {
    /// Hears of it from the directory.
    pub(crate) fn of(directory: &Directory) -> Self {
        let (sender, receiver) = watch::channel(false);
        directory.when_packs_are_known(Box::new(move || {
            sender.send_replace(true);
        }));
        Self(receiver)
    }

    /// Returns when it is known, or will never be.
    pub(crate) async fn wait(&self) {
        if !*self.0.borrow() {
            // An error says that the directory is gone.
            let _ = self.0.clone().wait_for(|known| *known).await;
        }
    }
}
