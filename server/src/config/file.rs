//! A server's configuration as a file: every limit by name, in the groups in which one thinks of them.
//!
//! What isn't said keeps its value. Sizes are numbers of bytes, or text with a unit (`"50G"`); durations are seconds.

use super::{Config, Instance, Tls, parse_listen};
use crate::access::{Role, Roles, TokenPolicy};
use anyhow::Context as _;
use pumphouse_proto::size::{format_size, parse_size};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size(u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a number of bytes, or a text such as \"50G\"")]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => parse_size(&text).map(Self).map_err(serde::de::Error::custom),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_size(self.0))
    }
}

/// A time in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seconds(Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(seconds).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.subsec_nanos() {
            0 => serializer.serialize_u64(self.0.as_secs()),
            _ => serializer.serialize_f64(self.0.as_secs_f64()),
        }
    }
}

/// An address to listen at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listen(SocketAddr);

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_listen(&String::deserialize(deserializer)?).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Declares a group of settings: the struct, what it makes of a configuration, and what it says of one.
macro_rules! group {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $kind:ident => $($place:ident).+),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Default, Deserialize, Serialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
        struct $name {
            $(#[serde(skip_serializing_if = "Option::is_none")]
            $field: Option<$kind>,)+
        }

        impl $name {
            fn apply(self, config: &mut Config) {
                $(if let Some(value) = self.$field {
                    config.$($place).+ = value.into();
                })+
            }

            fn of(config: &Config) -> Self {
                Self { $($field: Some(config.$($place).+.clone().into()),)+ }
            }
        }
    };
}

macro_rules! newtype {
    ($($outer:ident($inner:ty)),+) => {
        $(impl From<$inner> for $outer {
            fn from(inner: $inner) -> Self {
                Self(inner)
            }
        }

        impl From<$outer> for $inner {
            fn from(outer: $outer) -> Self {
                outer.0
            }
        })+
    };
}
newtype!(Size(u64), Seconds(Duration), Listen(SocketAddr));

group!(
    /// `[storage]`
    Storage {
        dir: PathBuf => dir,
        cas_size: Size => cas_size_bytes,
        action_cache_size: Size => action_cache_size_bytes,
        memory_size: Size => memory_size_bytes,
        free_disk: Size => free_disk_bytes,
        blob_size: Size => blob_size_bytes,
        scrub_rate: Size => scrub_bytes_per_second,
        promised_lifetime: Seconds => promised_lifetime,
    }
);

group!(
    /// `[network]`
    Network {
        listen: Listen => listen,
        insecure: bool => insecure,
        connections: usize => connections,
        connections_per_peer: usize => connections_per_peer,
        messages_size: Size => messages_size_bytes,
        drain_timeout: Seconds => drain_timeout,
    }
);

/// `[workers]`
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Workers {
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<Listen>,
}

group!(
    /// `[execution]`
    Execution {
        default_action_timeout: Seconds => default_action_timeout,
        max_action_timeout: Seconds => max_action_timeout,
        queued_tasks: usize => scheduler.queued_tasks,
        operations: usize => scheduler.operations,
        retry_after: Seconds => scheduler.retry_after,
        worker_grace: Seconds => scheduler.worker_grace,
        heartbeat_interval: Seconds => scheduler.heartbeat_interval,
        missed_heartbeats: u32 => scheduler.missed_heartbeats,
        attempts: u32 => scheduler.attempts,
        client_grace: Seconds => scheduler.client_grace,
        adoption_grace: Seconds => scheduler.adoption_grace,
        adopted_timeout: Seconds => scheduler.adopted_timeout,
        operation_retention: Seconds => scheduler.operation_retention,
        platform_wait: Seconds => scheduler.platform_wait,
        no_worker_wait: Seconds => scheduler.no_worker_wait,
        aging: Seconds => scheduler.aging,
        overdue_slack: Seconds => scheduler.overdue_slack,
    }
);

/// `[fetch]`
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Fetch {
    #[serde(skip_serializing_if = "Option::is_none")]
    origins: Option<Vec<String>>,
}

/// `[access]`
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Access {
    #[serde(skip_serializing_if = "Option::is_none")]
    anonymous: Option<Vec<Role>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identities_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certified: Option<Vec<Role>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<TokenPolicy>,
}

impl Access {
    fn apply(self, config: &mut Config) {
        let access = &mut config.access;
        access.anonymous = self.anonymous.map(|roles| Roles::of(&roles)).or(access.anonymous);
        access.certified = self.certified.map_or(access.certified, |roles| Roles::of(&roles));
        access.identities_file = self.identities_file.or(access.identities_file.take());
        access.tokens = self.jwt.or(access.tokens.take());
    }

    fn of(config: &Config) -> Self {
        let access = &config.access;
        Self {
            anonymous: access.anonymous.map(Roles::names),
            identities_file: access.identities_file.clone(),
            certified: (access.certified != Roles::NONE).then(|| access.certified.names()),
            jwt: access.tokens.clone(),
        }
    }
}

/// The file.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    network: Network,
    workers: Workers,
    storage: Storage,
    execution: Execution,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Tls>,
    access: Access,
    fetch: Fetch,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    instances: BTreeMap<String, Instance>,
}

impl Config {
    /// Takes what the file at `path` says.
    ///
    /// # Errors
    /// It can't be read or understood: names it, with line and column.
    pub fn apply_file(&mut self, path: &Path) -> anyhow::Result<()> {
        let name = || path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(name)?;
        self.apply_text(&text).with_context(name)
    }

    fn apply_text(&mut self, text: &str) -> anyhow::Result<()> {
        let File { network, workers, storage, execution, tls, access, fetch, instances } = toml::from_str(text)?;
        network.apply(self);
        self.worker_listen = workers.listen.map(Into::into).or(self.worker_listen);
        storage.apply(self);
        execution.apply(self);
        access.apply(self);
        self.tls = tls.or(self.tls.take());
        self.fetch_origins = fetch.origins.unwrap_or(std::mem::take(&mut self.fetch_origins));
        self.instances.extend(instances);
        Ok(())
    }

    /// The whole configuration, as a file that says it.
    ///
    /// # Errors
    /// A path is no text.
    pub fn to_text(&self) -> anyhow::Result<String> {
        let file = File {
            network: Network::of(self),
            workers: Workers { listen: self.worker_listen.map(Listen) },
            storage: Storage::of(self),
            execution: Execution::of(self),
            tls: self.tls.clone(),
            access: Access::of(self),
            fetch: Fetch { origins: Some(self.fetch_origins.clone()) },
            instances: self.instances.clone(),
        };
        Ok(toml::to_string(&file)?)
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use pumphouse_fuzz::{bounded, check, text_like};

    #[test]
    fn files_of_any_text() {
        let whole = Config::default().to_text().expect("can be said");
        let all = "[tls]\ncertificate-file = \"c\"\nkey-file = \"k\"\n[access]\nanonymous = [\"read\"]\n\
                   [instances.main]\nplatform = { os = \"linux\" }\n[storage]\ncas-size = \"7G\"\n";
        check(&text_like(&[whole.as_str(), all]), |text| {
            // A name would be looked up in the network.
            if text.contains("listen") && !text.contains("listen = \"127.0.0.1:8980\"") {
                return;
            }
            let mut config = Config::default();
            if bounded(text.len(), || config.apply_text(&text)).is_err() {
                return;
            }
            let said = config.to_text().expect("can be said");
            let mut read = Config::default();
            read.apply_text(&said).expect("can be read");
            assert_eq!(read.to_text().expect("can be said"), said);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_says_the_same_when_it_is_read() {
        let mut config = Config { cas_size_bytes: 7 << 30, insecure: true, ..Config::default() };
        config.scheduler.no_worker_wait = Duration::from_millis(1500);
        config.access.anonymous = Some(Roles::of(&[Role::Read]));
        config.tls = Some(Tls {
            certificate_file: "c".into(),
            key_file: "k".into(),
            client_ca_file: None,
            demands_client_certificate: true,
        });
        let platform = BTreeMap::from([("InputRootAbsolutePath".to_owned(), "/".to_owned())]);
        config.instances.insert("bst/main".to_owned(), Instance { platform });
        let text = config.to_text().expect("can be said");
        let mut read = Config::default();
        read.apply_text(&text).expect("can be read");
        assert_eq!(read.to_text().expect("can be said"), text);
        assert!(text.contains("cas-size = \"7G\"") && text.contains("no-worker-wait = 1.5"), "{text}");
        assert_eq!((read.cas_size_bytes, read.insecure), (7 << 30, true));
    }

    #[test]
    fn what_is_not_said_stays_and_what_is_wrong_is_named_with_its_place() {
        let mut config = Config::default();
        config.apply_text("[storage]\ncas-size = \"1G\"\n[execution]\nattempts = 9\n").expect("can be read");
        assert_eq!((config.cas_size_bytes, config.scheduler.attempts), (1 << 30, 9));
        assert_eq!(config.action_cache_size_bytes, Config::default().action_cache_size_bytes);
        for (text, expect) in [
            ("[storage]\ncas-size = \"big\"\n", "line 2, column 12"),
            ("[storage]\ncas-syze = 1\n", "cas-syze"),
            ("[execution]\n\nattempts = -1\n", "line 3"),
            ("[execution]\nretry-after = -1.0\n", "line 2"),
            ("[access]\nanonymous = [\"root\"]\n", "root"),
            ("[tls]\ncertificate-file = \"c\"\n", "key-file"),
            ("[network]\nlisten = 1\n", "line 2"),
            ("[instances.main]\nplatforms = 1\n", "platforms"),
        ] {
            let error = format!("{:#}", config.apply_text(text).expect_err("is refused"));
            assert!(error.contains(expect), "{text}: {error}");
        }
    }
}
