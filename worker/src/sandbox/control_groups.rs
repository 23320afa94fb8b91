//! Limits on what all processes of an action take together: memory and their number, by control groups.
//!
//! Each slot has a group for as long as the worker lives; its supervisor joins it once, and what it forks is in it from
//! the start, so that an action costs no change of groups. Both versions are used where this process may make groups
//! below its own; where it may not, there are none, and the limits of single processes must do.
//!
//! **Source:** the kernel's `cgroup-v2.rst` and `cgroup-v1/{memory,pids}.rst`.

use anyhow::Context as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The controllers in use.
const CONTROLLERS: [&str; 2] = ["memory", "pids"];

/// How the names of slots' groups begin; the worker's process id and the slot's number follow.
const PREFIX: &str = "pumphouse-slot-";

/// The group that the worker moves itself to, where version 2 wants no processes beside groups.
const WORKER_GROUP: &str = "pumphouse-worker";

/// How often a group that is still being emptied is tried to be removed.
const REMOVALS: u32 = 100;

/// The groups of all slots. They are removed when this is dropped.
#[derive(Debug, Default)]
pub struct ControlGroups {
    slots: Vec<SlotGroups>,
    /// Where the worker itself was, and the group that it moved to.
    moved: Option<(PathBuf, PathBuf)>,
}

/// The groups of one slot: one under version 2, one for each controller under version 1.
#[derive(Debug, Default, Clone)]
pub struct SlotGroups {
    directories: Vec<PathBuf>,
}

/// How often the kernel refused something to a slot's actions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Processes that were killed because the memory was used up.
    pub killed_for_memory: u64,
    /// Processes that were not made because there were too many.
    pub too_many_processes: u64,
}

impl ControlGroups {
    /// Makes groups for `count` slots.
    ///
    /// # Errors
    /// They can't be had here; the text says why.
    pub fn create(count: usize, memory_size_bytes: Option<u64>, processes: u64) -> anyhow::Result<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").context("reading /proc/self/cgroup")?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
        let mut groups = Self::default();
        let parents = match hierarchy_of_all(&own, &mounts) {
            Some(parent) => {
                groups.delegate(&parent)?;
                vec![parent]
            }
            None => hierarchies_by_controller(&own, &mounts)?,
        };
        for parent in &parents {
            remove_abandoned(parent);
        }
        for slot in 0..count {
            groups.slots.push(SlotGroups::default());
            for parent in &parents {
                let directory = parent.join(format!("{PREFIX}{}-{slot}", std::process::id()));
                fs::create_dir(&directory).with_context(|| format!("creating {}", directory.display()))?;
                limit(&directory, memory_size_bytes, processes)?;
                groups.slots[slot].directories.push(directory);
            }
        }
        Ok(groups)
    }

    /// The groups of slot number `slot`; none where there are no groups at all.
    pub fn slot(&self, slot: usize) -> SlotGroups {
        self.slots.get(slot).cloned().unwrap_or_default()
    }

    /// Whether there are groups.
    pub fn exist(&self) -> bool {
        !self.slots.is_empty()
    }

    /// Version 2: hands the controllers down, for which the parent must have no processes of its own.
    fn delegate(&mut self, parent: &Path) -> anyhow::Result<()> {
        let worker_group = parent.join(WORKER_GROUP);
        fs::create_dir_all(&worker_group).with_context(|| format!("creating {}", worker_group.display()))?;
        fs::write(worker_group.join("cgroup.procs"), std::process::id().to_string())
            .with_context(|| format!("joining {}", worker_group.display()))?;
        self.moved = Some((parent.to_owned(), worker_group));
        let wanted: Vec<String> = CONTROLLERS.iter().map(|controller| format!("+{controller}")).collect();
        fs::write(parent.join("cgroup.subtree_control"), wanted.join(" "))
            .with_context(|| format!("handing controllers down from {}", parent.display()))
    }
}

impl Drop for ControlGroups {
    fn drop(&mut self) {
        for directory in self.slots.iter().flat_map(|slot| &slot.directories) {
            for _ in 0..REMOVALS {
                if fs::remove_dir(directory).is_ok() || !directory.exists() {
                    break;
                }
                std::thread::yield_now();
            }
        }
        if let Some((parent, worker_group)) = &self.moved {
            // Each step may fail where another worker shares the parent; nothing depends on them.
            let off: Vec<String> = CONTROLLERS.iter().map(|controller| format!("-{controller}")).collect();
            let _ = fs::write(parent.join("cgroup.subtree_control"), off.join(" "));
            let _ = fs::write(parent.join("cgroup.procs"), std::process::id().to_string());
            let _ = fs::remove_dir(worker_group);
        }
    }
}

impl SlotGroups {
    /// The files through which a process joins the groups.
    pub(super) fn entrances(&self) -> Vec<PathBuf> {
        self.directories.iter().map(|directory| directory.join("cgroup.procs")).collect()
    }

    /// What was refused since the groups were made.
    pub fn refusals(&self) -> Refusals {
        let mut refusals = Refusals::default();
        for directory in &self.directories {
            let count = |file: &str, key: &str| {
                fs::read_to_string(directory.join(file)).ok().and_then(|text| value_of(&text, key)).unwrap_or_default()
            };
            refusals.killed_for_memory += count("memory.events", "oom_kill") + count("memory.oom_control", "oom_kill");
            refusals.too_many_processes += count("pids.events", "max");
        }
        refusals
    }
}

/// Removes the groups of workers that were killed.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let worker = rest.split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(worker).exists() {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn limit(directory: &Path, memory_size_bytes: Option<u64>, processes: u64) -> anyhow::Result<()> {
    // The supervisor and the init process count, too.
    let processes = processes.saturating_add(2).to_string();
    let memory = memory_size_bytes.map(|size| size.to_string());
    let settings = [
        ("pids.max", Some(processes)),
        ("memory.max", memory.clone()),
        ("memory.swap.max", memory.as_ref().map(|_| "0".to_owned())),
        ("memory.limit_in_bytes", memory),
    ];
    for (file, value) in settings {
        let path = directory.join(file);
        if let Some(value) = value.filter(|_| path.exists()) {
            fs::write(&path, value).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    Ok(())
}

/// The directory of this process's group in version 2, if that has the controllers.
fn hierarchy_of_all(own: &str, mounts: &str) -> Option<PathBuf> {
    let group = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let directory = mount_of(mounts, "cgroup2", None)?.join(group.trim_start_matches('/'));
    let controllers = fs::read_to_string(directory.join("cgroup.controllers")).ok()?;
    let has = |wanted: &&str| controllers.split_whitespace().any(|controller| controller == *wanted);
    CONTROLLERS.iter().all(has).then_some(directory)
}

/// The directories of this process's groups in version 1.
fn hierarchies_by_controller(own: &str, mounts: &str) -> anyhow::Result<Vec<PathBuf>> {
    let find = |controller: &&str| {
        let group = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let controllers = fields.next()?;
            controllers.split(',').any(|name| name == *controller).then(|| fields.next()).flatten()
        });
        let mount = mount_of(mounts, "cgroup", Some(controller));
        let directory = mount.zip(group).map(|(mount, group)| mount.join(group.trim_start_matches('/')));
        directory.with_context(|| format!("there is no control group hierarchy with the controller {controller}"))
    };
    CONTROLLERS.iter().map(find).collect()
}

/// Where a file system of this type is mounted; with this among its own options if one is given.
fn mount_of(mounts: &str, file_system: &str, option: Option<&str>) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let matches = kind.next() == Some(file_system)
            && option
                .is_none_or(|option| kind.nth(1).is_some_and(|options| options.split(',').any(|one| one == option)));
        matches.then(|| place.split(' ').nth(4).map(PathBuf::from)).flatten()
    })
}

fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use pumphouse_fuzz::{bounded, check, text_like};

    #[test]
    fn the_kernels_files_of_any_text() {
        let mounts = "31 25 0:27 / /sys/fs/cgroup/memory rw,relatime shared:11 - cgroup cgroup rw,memory\n\
                      32 25 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let own = "8:pids:/\n4:cpu,memory:/a/b\n0::/x\n";
        check(&(text_like(&[own]), text_like(&[mounts, "low 0\noom_kill 2\n"])), |(own, text)| {
            bounded(own.len() + text.len(), || {
                let _ = (hierarchy_of_all(&own, &text), hierarchies_by_controller(&own, &text));
                let _ = value_of(&text, "oom_kill");
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
30 25 0:26 / /sys/fs/cgroup/unified rw,relatime shared:10 - cgroup2 cgroup2 rw,nsdelegate
31 25 0:27 / /sys/fs/cgroup/memory rw,relatime shared:11 - cgroup cgroup rw,memory
32 25 0:28 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
";

    #[test]
    fn hierarchies_of_version_1_are_found() {
        let own = "9:name=systemd:/\n8:pids:/\n4:cpu,memory:/a/b\n0::/\n";
        let found = hierarchies_by_controller(own, MOUNTS).expect("there");
        assert_eq!(found, [PathBuf::from("/sys/fs/cgroup/memory/a/b"), PathBuf::from("/sys/fs/cgroup/pids/")]);
        assert!(hierarchies_by_controller("0::/\n", MOUNTS).is_err());
    }

    #[test]
    fn mounts_and_counters_are_read() {
        assert_eq!(mount_of(MOUNTS, "cgroup2", None), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(mount_of(MOUNTS, "cgroup", Some("cpu")), None);
        assert_eq!(value_of("low 0\noom 3\noom_kill 2\n", "oom_kill"), Some(2));
        assert_eq!(value_of("max 17\n", "max"), Some(17));
        assert_eq!(value_of("", "max"), None);
    }
}
