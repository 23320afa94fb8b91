//! An action read from the CAS and understood: parsed once, so that nothing after it meets malformed input.
//!
//! **Source:** Remote Execution API v2, messages `Action` and `Command`. The platform property `InputRootAbsolutePath`
//! is a convention among clients and servers of the API: where it is given, the input root stands at that path.

use crate::error::ExecutionError;
use crate::outputs::Promises;
use crate::sandbox::{self, NEUTRAL_EXEC_ROOT};
use bytes::Bytes;
use prost::Message;
use pumphouse_proto::cas::Cas;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::limits;
use pumphouse_proto::reapi;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

/// The platform property that says where the input root stands.
pub const ABSOLUTE_PATH_PROPERTY: &str = "InputRootAbsolutePath";

/// Where programs are found by commands that don't say where.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What holds for actions that don't say it.
#[derive(Debug, Clone, Copy)]
pub struct Defaults<'a> {
    /// The properties of the instance's actions.
    pub platform: Option<&'a reapi::Platform>,
    /// Where this worker puts input roots.
    pub exec_root: &'a Path,
}

impl Default for Defaults<'_> {
    fn default() -> Self {
        Self { platform: None, exec_root: Path::new(NEUTRAL_EXEC_ROOT) }
    }
}

/// What an action asks a worker to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// The root directory of its inputs.
    pub input_root: Digest,
    /// The command as the sandbox runs it.
    pub command: sandbox::Command,
    /// What it promises to make.
    pub promises: Promises,
}

impl Action {
    /// Reads the action `digest` and its command, from what is `given` or else from the CAS.
    ///
    /// # Errors
    /// One of them is missing or malformed, or a call failed.
    pub async fn fetch(
        cas: &dyn Cas,
        digest: Digest,
        given: &HashMap<Digest, Bytes>,
        defaults: &Defaults<'_>,
    ) -> Result<Self, ExecutionError> {
        let action: reapi::Action = read(cas, "action", digest, given).await?;
        let function = digest.function();
        let input_root = function.read_field(&action.input_root_digest)?;
        let command_digest = function.read_field(&action.command_digest)?;
        let command = match read::<reapi::Command>(cas, "command", command_digest, given).await {
            Err(ExecutionError::Missing(missing)) => return Err(missing_besides(cas, missing, input_root).await?),
            outcome => outcome?,
        };
        Self::parse(&action, &command, input_root, defaults)
    }

    #[expect(deprecated, reason = "clients of API 2.0 know only Command.platform")]
    fn parse(
        action: &reapi::Action,
        command: &reapi::Command,
        input_root: Digest,
        defaults: &Defaults<'_>,
    ) -> Result<Self, ExecutionError> {
        let platform = action.platform.as_ref().or(command.platform.as_ref());
        let exec_root = match exec_root(platform)? {
            Some(own) => own,
            None => exec_root(defaults.platform)?.unwrap_or_else(|| defaults.exec_root.to_owned()),
        };
        let working_directory = working_directory(&command.working_directory)?;
        let promises = Promises::of(command)?;
        if exec_root != Path::new("/")
            && let Some(path) = promises.leave_the_root()
        {
            return Err(ExecutionError::Invalid(format!("output path {path:?} leads out of the input root")));
        }
        let mut directories = promises.parents();
        directories.push(working_directory.clone());
        let command = sandbox::Command {
            arguments: arguments(command)?,
            environment: environment(command)?,
            exec_root,
            working_directory,
            directories,
        };
        Ok(Self { input_root, command, promises })
    }
}

async fn read<M: Message + Default>(
    cas: &dyn Cas,
    what: &str,
    digest: Digest,
    given: &HashMap<Digest, Bytes>,
) -> Result<M, ExecutionError> {
    if digest.size_bytes() > limits::METADATA_BLOB_SIZE_BYTES {
        return Err(ExecutionError::Invalid(format!("{what} {digest} is too large")));
    }
    let blob = match given.get(&digest) {
        Some(blob) => Some(blob.clone()),
        None if digest.names_nothing() => Some(Bytes::new()),
        None => cas.read(digest).await?,
    };
    let Some(blob) = blob else { return Err(ExecutionError::Missing(vec![digest])) };
    M::decode(blob).map_err(|error| ExecutionError::Invalid(format!("{what} {digest} can't be decoded: {error}")))
}

/// Adds the input root to what is missing if it is missing, too, so that the client hears of all at once.
async fn missing_besides(
    cas: &dyn Cas,
    mut missing: Vec<Digest>,
    input_root: Digest,
) -> Result<ExecutionError, ExecutionError> {
    if !input_root.names_nothing() {
        missing.extend(cas.find_missing(&[input_root]).await?);
    }
    Ok(ExecutionError::Missing(missing))
}

/// Where the input root stands, if the platform says it.
fn exec_root(platform: Option<&reapi::Platform>) -> Result<Option<PathBuf>, ExecutionError> {
    let properties = platform.map_or(&[][..], |platform| &platform.properties);
    let mut values = properties.iter().filter(|property| property.name == ABSOLUTE_PATH_PROPERTY);
    let Some(property) = values.next() else { return Ok(None) };
    let path = absolute_path(&property.value).filter(|_| values.next().is_none());
    path.map(Some).ok_or_else(|| {
        ExecutionError::Invalid(format!("{ABSOLUTE_PATH_PROPERTY} {:?} is not one absolute path", property.value))
    })
}

/// Reads an absolute path that goes down all the way.
pub fn absolute_path(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let is_plain = path.is_absolute()
        && !text.contains('\0')
        && path.components().all(|component| matches!(component, Component::RootDir | Component::Normal(_)));
    is_plain.then(|| path.components().collect())
}

fn working_directory(path: &str) -> Result<PathBuf, ExecutionError> {
    let mut depth = 0_i64;
    for component in Path::new(path).components() {
        depth += match component {
            Component::Normal(_) => 1,
            Component::CurDir => 0,
            Component::ParentDir => -1,
            Component::RootDir | Component::Prefix(_) => i64::MIN / 2,
        };
        if depth < 0 {
            return Err(ExecutionError::Invalid(format!("working directory {path:?} is not inside the input root")));
        }
    }
    if path.contains('\0') {
        return Err(ExecutionError::Invalid("working directory contains a NUL".to_owned()));
    }
    Ok(PathBuf::from(path))
}

fn arguments(command: &reapi::Command) -> Result<Vec<String>, ExecutionError> {
    match command.arguments.first() {
        None => return Err(ExecutionError::Invalid("command has no arguments".to_owned())),
        Some(program) if program.is_empty() => {
            return Err(ExecutionError::Invalid("command's first argument is empty".to_owned()));
        }
        Some(_) => {}
    }
    match command.arguments.iter().position(|argument| argument.contains('\0')) {
        Some(position) => Err(ExecutionError::Invalid(format!("command's argument {position} contains a NUL"))),
        None => Ok(command.arguments.clone()),
    }
}

fn environment(command: &reapi::Command) -> Result<Vec<(String, String)>, ExecutionError> {
    let pair = |variable: &reapi::command::EnvironmentVariable| {
        let name = &variable.name;
        if name.is_empty() || name.contains(['=', '\0']) || variable.value.contains('\0') {
            return Err(ExecutionError::Invalid(format!("environment variable {name:?} is malformed")));
        }
        Ok((name.clone(), variable.value.clone()))
    };
    let mut environment: Vec<_> = command.environment_variables.iter().map(pair).collect::<Result<_, _>>()?;
    // Shells have a path of their own where they get none, and tell nobody of it.
    if !environment.iter().any(|(name, _)| name == "PATH") {
        environment.push(("PATH".to_owned(), DEFAULT_PATH.to_owned()));
    }
    Ok(environment)
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use pumphouse_fuzz::{bounded, check, like, text_like};

    #[test]
    fn commands_of_any_bytes_stay_in_the_input_root() {
        let command = reapi::Command {
            arguments: vec!["cc".to_owned(), "-c".to_owned()],
            working_directory: "a/b".to_owned(),
            output_paths: vec!["../o".to_owned(), "x/y".to_owned()],
            ..reapi::Command::default()
        };
        check(&like(&[command.encode_to_vec()]), |bytes| {
            let Ok(command) = reapi::Command::decode(bytes.as_slice()) else { return };
            let action = reapi::Action::default();
            let defaults = Defaults::default();
            let parsed = bounded(bytes.len(), || Action::parse(&action, &command, Digest::EMPTY, &defaults));
            let Ok(parsed) = parsed else { return };
            if parsed.promises.leave_the_root().is_none() {
                for path in parsed.promises.parents() {
                    assert!(working_directory(&path.to_string_lossy()).is_ok(), "{}", path.display());
                }
            }
        });
    }

    #[test]
    fn absolute_paths_go_down() {
        check(&text_like(&["/a/b", "/a/../b", "/./a//b/", "/"]), |text| {
            let Some(path) = bounded(text.len(), || absolute_path(&text)) else { return };
            assert!(path.starts_with("/") && path.components().all(|part| part != Component::ParentDir));
            assert_eq!(absolute_path(path.to_str().expect("text")), Some(path.clone()));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumphouse_proto::reapi::platform::Property;

    fn command() -> reapi::Command {
        reapi::Command { arguments: vec!["gcc".to_owned()], ..reapi::Command::default() }
    }

    fn parse(command: &reapi::Command, exec_root: Option<&str>) -> Result<Action, ExecutionError> {
        let properties = exec_root
            .map(|value| Property { name: ABSOLUTE_PATH_PROPERTY.to_owned(), value: value.to_owned() })
            .into_iter()
            .collect();
        let action = reapi::Action { platform: Some(reapi::Platform { properties }), ..reapi::Action::default() };
        Action::parse(&action, command, Digest::EMPTY, &Defaults::default())
    }

    #[test]
    fn the_input_root_stands_where_the_platform_says() {
        let check = |value: Option<&str>, expect: Option<&str>| {
            let parsed = parse(&command(), value).ok().map(|action| action.command.exec_root);
            assert_eq!(parsed, expect.map(PathBuf::from), "{value:?}");
        };
        check(None, Some(NEUTRAL_EXEC_ROOT));
        check(Some("/"), Some("/"));
        check(Some("/home/me/"), Some("/home/me"));
        check(Some("home"), None);
        check(Some("/a/../b"), None);
        check(Some(""), None);
    }

    #[test]
    fn what_an_action_does_not_say_its_instance_does_or_the_worker() {
        let property = |value: &str| Property { name: ABSOLUTE_PATH_PROPERTY.to_owned(), value: value.to_owned() };
        let platform_of = |value: &str| reapi::Platform { properties: vec![property(value)] };
        let (instance, exec_root) = (platform_of("/instance"), Path::new("/worker"));
        let check = |own: Option<&str>, platform: Option<&reapi::Platform>, expect: &str| {
            let action = reapi::Action { platform: own.map(platform_of), ..reapi::Action::default() };
            let parsed = Action::parse(&action, &command(), Digest::EMPTY, &Defaults { platform, exec_root });
            assert_eq!(parsed.expect("well formed").command.exec_root, Path::new(expect));
        };
        check(Some("/own"), Some(&instance), "/own");
        check(None, Some(&instance), "/instance");
        check(None, None, "/worker");
    }

    #[test]
    fn malformed_commands_are_refused() {
        let check = |change: fn(&mut reapi::Command)| {
            let mut command = command();
            change(&mut command);
            assert!(matches!(parse(&command, None), Err(ExecutionError::Invalid(_))), "{command:?}");
        };
        check(|command| command.arguments.clear());
        check(|command| command.arguments[0].clear());
        check(|command| command.arguments.push("a\0b".to_owned()));
        check(|command| command.working_directory = "/abs".to_owned());
        check(|command| command.working_directory = "a/../../b".to_owned());
        check(|command| command.output_paths.push("/abs".to_owned()));
        check(|command| command.output_paths.push("../out".to_owned()));
        check(|command| {
            command
                .environment_variables
                .push(reapi::command::EnvironmentVariable { name: "A=B".to_owned(), value: String::new() });
        });
    }

    #[test]
    fn a_command_without_a_path_has_the_usual_one() {
        let mut command = command();
        let path = |command: &reapi::Command| parse(command, None).expect("well formed").command.environment;
        assert_eq!(path(&command), [("PATH".to_owned(), DEFAULT_PATH.to_owned())]);
        let own = reapi::command::EnvironmentVariable { name: "PATH".to_owned(), value: String::new() };
        command.environment_variables.push(own);
        assert_eq!(path(&command), [("PATH".to_owned(), String::new())]);
    }

    #[test]
    fn outputs_may_lie_beside_the_working_directory() {
        let mut command = command();
        command.working_directory = "home/me/build".to_owned();
        command.output_paths = vec!["../obj/a.o".to_owned(), "b.o".to_owned()];
        let action = parse(&command, Some("/")).expect("well formed");
        let directories: Vec<_> = action.command.directories.iter().filter_map(|path| path.to_str()).collect();
        assert_eq!(directories, ["home/me/build", "home/me/build/../obj", "home/me/build"]);
    }
}
