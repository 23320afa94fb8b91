//! What can be configured on the client, and where each value comes from.
//!
//! Precedence: a flag, then the environment, then `pumphouse.toml` in the user's configuration directory, then the
//! default. The launcher reads none of this. What is each launcher's own (`PUMPHOUSE_REMOTE`) travels with its request, and never
//! with the daemon that it starts; flags and variables of the daemon hold until it leaves, the file as it stands.

mod settings;

pub(crate) use settings::Settings;

use pumphouse_proto::connection::Credentials;
use pumphouse_proto::size::parse_size;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The variable that names the server: a request's own value wins over the daemon's configuration, and an empty one means
/// that there is none.
pub(crate) const REMOTE_VARIABLE: &str = "PUMPHOUSE_REMOTE";

/// The variables that name the files by which a user and a server know each other; as with [`REMOTE_VARIABLE`], those of a
/// request win.
pub(crate) const TOKEN_FILE_VARIABLE: &str = "PUMPHOUSE_REMOTE_TOKEN_FILE";
pub(crate) const CA_FILE_VARIABLE: &str = "PUMPHOUSE_REMOTE_CA_FILE";
pub(crate) const CERTIFICATE_FILE_VARIABLE: &str = "PUMPHOUSE_REMOTE_CERTIFICATE_FILE";
pub(crate) const KEY_FILE_VARIABLE: &str = "PUMPHOUSE_REMOTE_KEY_FILE";

/// What `variable` says of these files, and `otherwise` where it says nothing.
pub(crate) fn credentials(variable: impl Fn(&str) -> Option<PathBuf>, otherwise: Credentials) -> Credentials {
    let Credentials { token_file, token, ca_file, certificate_file, key_file } = otherwise;
    Credentials {
        token_file: variable(TOKEN_FILE_VARIABLE).or(token_file),
        token,
        ca_file: variable(CA_FILE_VARIABLE).or(ca_file),
        certificate_file: variable(CERTIFICATE_FILE_VARIABLE).or(certificate_file),
        key_file: variable(KEY_FILE_VARIABLE).or(key_file),
    }
}

/// The size of the local cache where nothing is said, in bytes.
pub(crate) const DEFAULT_CACHE_SIZE_BYTES: u64 = 10 * 1024 * 1024 * 1024;

/// How long a daemon without work stays where nothing is said.
pub(crate) const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// The configuration file as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConfigFile {
    remote: Option<String>,
    remote_token_file: Option<PathBuf>,
    remote_ca_file: Option<PathBuf>,
    remote_certificate_file: Option<PathBuf>,
    remote_key_file: Option<PathBuf>,
    cache_size: Option<String>,
    idle_timeout_seconds: Option<u64>,
    local_jobs: Option<usize>,
    log: Option<String>,
    patience: Option<u32>,
    audit: Option<u32>,
}

/// What flags say; none means that the next source is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// The server.
    pub remote: Option<String>,
    /// The local cache's size, with an optional unit.
    pub cache_size: Option<String>,
    /// Seconds without work after which the daemon leaves.
    pub idle_timeout_seconds: Option<u64>,
    /// Compiles that run locally at a time.
    pub local_jobs: Option<usize>,
    /// What is logged.
    pub log: Option<String>,
}

/// The daemon's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// The server, as `grpc[s]://HOST:PORT[/INSTANCE]`, for requests that name none.
    pub remote: Option<String>,
    /// What makes this user known to it, and it to this user.
    pub credentials: Credentials,
    /// The bound of the local cache, in bytes.
    pub cache_size_bytes: u64,
    /// How long a daemon without work stays.
    pub idle_timeout: Duration,
    /// How many compiles run locally at a time.
    pub local_jobs: usize,
    /// What is logged, as `tracing` directives.
    pub log: String,
    /// How long compiles wait for a server.
    pub patience: Patience,
    /// One in so many hits is compiled again when there is nothing else to do; 0 is none.
    pub audit: u32,
}

/// The greatest patience: a wait always ends.
const PATIENCE_LIMIT_PERCENT: u32 = 100_000;

/// One in so many hits is audited where nothing is said.
pub(crate) const DEFAULT_AUDIT: u32 = 1000;

/// How long compiles wait for a server, as a share of what follows from how long they take here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// 100 is as much as follows.
    pub percent: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { percent: 100 }
    }
}

impl Patience {
    /// What becomes of `limit` by it.
    pub(crate) fn of(self, limit: Duration) -> Duration {
        limit * self.percent / 100
    }
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidConfig {
    /// The file can't be read.
    #[error("{}: {message}", path.display())]
    File {
        /// The configuration file.
        path: PathBuf,
        /// What is wrong, with the line where there is one.
        message: String,
    },
    /// A value can't be understood.
    #[error("{origin}: {message}")]
    Value {
        /// The flag, the variable or the file and its field.
        origin: String,
        /// What is wrong with it.
        message: String,
    },
}

impl Config {
    /// The configuration that `flags`, the environment and the user's file say.
    ///
    /// # Errors
    /// A value can't be understood; the message names where it stands.
    pub(crate) fn load(flags: &Flags) -> Result<Self, InvalidConfig> {
        let file = match config_path(&variable) {
            Some(path) => (read(&path)?, path),
            None => (ConfigFile::default(), PathBuf::new()),
        };
        Self::resolve(flags, variable, &file.0, &file.1)
    }

    fn resolve(
        flags: &Flags,
        variable: impl Fn(&str) -> Option<String>,
        file: &ConfigFile,
        path: &Path,
    ) -> Result<Self, InvalidConfig> {
        let choose = |flag: (&str, Option<String>), name: &str, field: (&str, Option<String>)| {
            flag.1
                .map(|value| (value, flag.0.to_owned()))
                .or_else(|| variable(name).map(|value| (value, name.to_owned())))
                .or_else(|| field.1.map(|value| (value, format!("{}: {}", path.display(), field.0))))
        };
        let text = |value: &Option<u64>| value.map(|value| value.to_string());
        let jobs = |value: &Option<usize>| value.map(|value| value.to_string());
        let remote = choose(("--remote", flags.remote.clone()), REMOTE_VARIABLE, ("remote", file.remote.clone()));
        let size = choose(
            ("--cache-size", flags.cache_size.clone()),
            "PUMPHOUSE_CACHE_SIZE",
            ("cache_size", file.cache_size.clone()),
        );
        let idle = choose(
            ("--idle-timeout", text(&flags.idle_timeout_seconds)),
            "PUMPHOUSE_IDLE_TIMEOUT",
            ("idle_timeout_seconds", text(&file.idle_timeout_seconds)),
        );
        let local_jobs = choose(
            ("--local-jobs", jobs(&flags.local_jobs)),
            "PUMPHOUSE_LOCAL_JOBS",
            ("local_jobs", jobs(&file.local_jobs)),
        );
        let number = |value: &Option<u32>| value.map(|value| value.to_string());
        let patience = choose(("", None), "PUMPHOUSE_PATIENCE", ("patience", number(&file.patience)));
        let audit = choose(("", None), "PUMPHOUSE_AUDIT", ("audit", number(&file.audit)));
        let log = choose(("--log", flags.log.clone()), "PUMPHOUSE_LOG", ("log", file.log.clone()));
        let credentials = Credentials {
            token_file: file.remote_token_file.clone(),
            token: None,
            ca_file: file.remote_ca_file.clone(),
            certificate_file: file.remote_certificate_file.clone(),
            key_file: file.remote_key_file.clone(),
        };
        let credentials = self::credentials(|name| variable(name).map(PathBuf::from), credentials);
        Ok(Self {
            credentials,
            remote: remote.map(|(value, _)| value).filter(|value| !value.is_empty()),
            cache_size_bytes: parse(size, parse_size)?.unwrap_or(DEFAULT_CACHE_SIZE_BYTES),
            idle_timeout: parse(idle, parse_seconds)?.unwrap_or(DEFAULT_IDLE_TIMEOUT),
            local_jobs: parse(local_jobs, parse_jobs)?.unwrap_or_else(processors),
            log: log.map_or_else(|| "info".to_owned(), |(value, _)| value),
            patience: Patience { percent: parse(patience, parse_percent)?.unwrap_or(Patience::default().percent) },
            audit: parse(audit, parse_number)?.unwrap_or(DEFAULT_AUDIT),
        })
    }
}

/// A variable of this process's environment, where it says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn config_path(variable: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|directory| directory.is_absolute())
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".config")))
        .map(|directory| directory.join("pumphouse.toml"))
}

fn read(path: &Path) -> Result<ConfigFile, InvalidConfig> {
    let failed = |message: String| InvalidConfig::File { path: path.to_owned(), message };
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).map_err(|error| failed(error.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(ConfigFile::default()),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn parse<T>(
    value: Option<(String, String)>,
    parser: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, InvalidConfig> {
    value.map(|(value, origin)| parser(&value).map_err(|message| InvalidConfig::Value { origin, message })).transpose()
}

fn parse_seconds(value: &str) -> Result<Duration, String> {
    value.parse().map(Duration::from_secs).map_err(|_| format!("{value:?} is not a number of seconds"))
}

fn parse_percent(value: &str) -> Result<u32, String> {
    match value.parse() {
        Ok(percent) if percent <= PATIENCE_LIMIT_PERCENT => Ok(percent),
        _ => Err(format!("{value:?} is not a percentage up to {PATIENCE_LIMIT_PERCENT}")),
    }
}

fn parse_number(value: &str) -> Result<u32, String> {
    value.parse().map_err(|_| format!("{value:?} is not a number from 0"))
}

fn parse_jobs(value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(jobs) if jobs > 0 => Ok(jobs),
        _ => Err(format!("{value:?} is not a number of jobs from 1")),
    }
}

/// The processors that this process may use.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use pumphouse_fuzz::{bounded, check, text_like};

    #[test]
    fn files_of_any_text() {
        let file = "remote = \"grpc://h:1/i\"\nremote_token_file = \"/t\"\njobs = 4\n";
        check(&text_like(&[file]), |text| bounded(text.len(), || drop(toml::from_str::<ConfigFile>(&text))));
    }

    #[test]
    fn values_of_any_text() {
        check(&text_like(&["1.5", "200", "1e400", "-0", "nan"]), |text| {
            bounded(text.len(), || {
                let _ = (parse_seconds(&text), parse_percent(&text), parse_number(&text), parse_jobs(&text));
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(flags: &Flags, variables: &[(&str, &str)], file: &str) -> Result<Config, InvalidConfig> {
        let variable = |name: &str| {
            variables.iter().find(|(candidate, _)| *candidate == name).map(|(_, value)| (*value).to_owned())
        };
        let file = toml::from_str(file).expect("a configuration file");
        Config::resolve(flags, variable, &file, Path::new("/c/pumphouse.toml"))
    }

    #[test]
    fn flags_win_over_the_environment_over_the_file() {
        let file = "remote = \"grpc://file:1\"\ncache_size = \"1G\"\nidle_timeout_seconds = 7\nlocal_jobs = 3";
        let check = |flags: &Flags, variables: &[(&str, &str)], expect: &str| {
            assert_eq!(resolve(flags, variables, file).expect("resolves").remote.as_deref(), Some(expect));
        };
        let flags = Flags { remote: Some("grpc://flag:1".to_owned()), ..Flags::default() };
        check(&flags, &[("PUMPHOUSE_REMOTE", "grpc://environment:1")], "grpc://flag:1");
        check(&Flags::default(), &[("PUMPHOUSE_REMOTE", "grpc://environment:1")], "grpc://environment:1");
        check(&Flags::default(), &[], "grpc://file:1");
        let config = resolve(&Flags::default(), &[], file).expect("resolves");
        assert_eq!((config.cache_size_bytes, config.local_jobs), (1 << 30, 3));
        let file = "remote_token_file = \"/file\"\nremote_ca_file = \"/ca\"";
        let config = resolve(&Flags::default(), &[("PUMPHOUSE_REMOTE_TOKEN_FILE", "/variable")], file);
        let Credentials { token_file, ca_file, key_file, .. } = config.expect("resolves").credentials;
        assert_eq!((token_file, ca_file, key_file), (Some("/variable".into()), Some("/ca".into()), None));
        let file = "remote = \"grpc://file:1\"\ncache_size = \"1G\"\nidle_timeout_seconds = 7\nlocal_jobs = 3";
        let config = resolve(&Flags::default(), &[], file).expect("resolves");
        assert_eq!(config.idle_timeout, Duration::from_secs(7));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let check = |variables: &[(&str, &str)], file: &str, expect: &str| {
            assert_eq!(resolve(&Flags::default(), variables, file).expect_err("refused").to_string(), expect);
        };
        check(&[("PUMPHOUSE_LOCAL_JOBS", "0")], "", "PUMPHOUSE_LOCAL_JOBS: \"0\" is not a number of jobs from 1");
        check(&[], "cache_size = \"big\"", "/c/pumphouse.toml: cache_size: \"big\" is not a size, such as 500M or 10G");
        check(&[("PUMPHOUSE_IDLE_TIMEOUT", "x")], "", "PUMPHOUSE_IDLE_TIMEOUT: \"x\" is not a number of seconds");
    }

    #[test]
    fn an_unknown_field_is_refused() {
        assert!(toml::from_str::<ConfigFile>("remotte = \"x\"").is_err());
    }
}
