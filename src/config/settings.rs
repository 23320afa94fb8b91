//! The daemon's configuration as it stands: that of its start, until the user's file changes.
//!
//! It does not know what follows from a change; whoever wants to know of one subscribes.

use super::{Config, ConfigFile, Flags, InvalidConfig, config_path, variable};
use crate::files::stamp::watch::Watch;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::watch;

/// What flags and environment said at the start, and the file says now.
#[derive(Debug)]
pub(crate) struct Settings {
    flags: Flags,
    /// What was last seen of the file; none where there is no place for one.
    file: Option<Mutex<Seen>>,
    current: watch::Sender<Arc<Config>>,
}

#[derive(Debug)]
struct Seen {
    watch: Watch,
    /// Why the file was last refused, so that it is said once.
    refused: Option<InvalidConfig>,
}

impl Settings {
    /// The settings under `flags`. A file that is refused counts as empty until it is mended: a daemon that nobody looks at
    /// is of more use with the defaults than not at all.
    ///
    /// # Errors
    /// A flag or a variable can't be understood.
    pub(crate) fn load(flags: Flags) -> Result<Self, InvalidConfig> {
        let file = config_path(&variable).map(|path| Mutex::new(Seen { watch: Watch::of(&path), refused: None }));
        let (config, refused) = match Config::load(&flags) {
            Ok(config) => (config, None),
            Err(error) => (Config::resolve(&flags, variable, &ConfigFile::default(), "".as_ref())?, Some(error)),
        };
        let settings = Self { flags, file, current: watch::Sender::new(Arc::new(config)) };
        if let (Some(error), Some(file)) = (refused, &settings.file) {
            file.lock().refused = Some(error);
        }
        Ok(settings)
    }

    /// Settings that no file changes.
    #[cfg(test)]
    pub(crate) fn fixed(config: Config) -> Self {
        Self { flags: Flags::default(), file: None, current: watch::Sender::new(Arc::new(config)) }
    }

    /// What holds now.
    pub(crate) fn current(&self) -> Arc<Config> {
        Arc::clone(&self.current.borrow())
    }

    /// Why the file is refused, if it is.
    pub(crate) fn refused(&self) -> Option<InvalidConfig> {
        self.file.as_ref().and_then(|file| file.lock().refused.clone())
    }

    /// Tells of changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Config>> {
        self.current.subscribe()
    }

    /// Takes the file as it is by now. Costs a `stat` where it has not changed. What can't be understood changes nothing.
    pub(crate) fn refresh(&self) {
        let Some(file) = &self.file else { return };
        let mut seen = file.lock();
        if seen.watch.holds() {
            return;
        }
        seen.watch = Watch::of(seen.watch.path());
        match Config::load(&self.flags) {
            Ok(config) => {
                seen.refused = None;
                let changed = self.current.send_if_modified(|current| {
                    let differs = **current != config;
                    *current = Arc::new(config);
                    differs
                });
                if changed {
                    tracing::info!(file = %seen.watch.path().display(), "the configuration has changed");
                }
            }
            Err(error) => {
                if seen.refused.as_ref() != Some(&error) {
                    tracing::warn!("{error}; what was configured before holds on");
                }
                seen.refused = Some(error);
            }
        }
    }
}
