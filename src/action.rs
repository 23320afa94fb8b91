//! What a worker is asked to run: the `Command` and the `Action`, whose digest is the key of both caches.
//!
//! Into the digest go the compiler, its arguments as written, the few environment variables that it depends on, the
//! working directory, the outputs' places and the input root. Time, host, user and whatever else the environment holds
//! do not.
//!
//! Results are kept of every action, also of those whose compiler draws random numbers (link-time optimisation, coverage):
//! its first result is as good as any later one, as long as all outputs come from the same run.
//!
//! **Source:** Remote Execution API v2, messages `Command` and `Action`.

use crate::command::CompileCommand;
use crate::fallback::{Fallback, Reason};
use crate::outputs::OutputPaths;
use bytes::Bytes;
use prost::Message as _;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{self, Platform, command::EnvironmentVariable, platform::Property};
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The property by which a worker lays the input root out at the client's own paths.
pub(crate) const INPUT_ROOT_PROPERTY: &str = "InputRootAbsolutePath";

/// An action and its command, encoded.
#[derive(Debug, Clone)]
pub(crate) struct Action {
    /// The key of the action caches.
    pub digest: Digest,
    /// The digest that the action has without a salt.
    pub name: Digest,
    /// The `Action` message.
    pub message: Bytes,
    /// The digest of the `Command` message.
    pub command_digest: Digest,
    /// The `Command` message.
    pub command_message: Bytes,
}

impl Action {
    /// The action of `command` in `working_directory` (as `getcwd` gives it) over the input root `root`, with what the
    /// toolchain needs in the environment.
    ///
    /// # Errors
    /// An argument, a variable or a path is not UTF-8.
    pub(crate) fn new(
        command: &CompileCommand,
        toolchain_environment: &[(OsString, OsString)],
        working_directory: &Path,
        places: &OutputPaths,
        root: Digest,
    ) -> Result<Self, Fallback> {
        let platform = platform();
        let mut arguments = Vec::with_capacity(command.arguments.len() + 1);
        arguments.push(text(command.program.as_os_str())?);
        for argument in &command.arguments {
            arguments.push(text(argument)?);
        }
        let mut environment_variables = Vec::with_capacity(command.environment.len());
        for (name, value) in command.environment.iter().chain(toolchain_environment) {
            environment_variables.push(EnvironmentVariable { name: text(name)?, value: text(value)? });
        }
        // The command's own value comes first, and stays where both name a variable.
        environment_variables.sort_by(|one, other| one.name.cmp(&other.name));
        environment_variables.dedup_by(|one, other| one.name == other.name);
        let mut output_paths: Vec<String> = places.iter().map(|place| place.name.clone()).collect();
        output_paths.sort_unstable();
        let working_directory = text(working_directory.strip_prefix("/").unwrap_or(working_directory).as_os_str())?;
        // Servers of version 2.0 know only the older fields.
        #[expect(deprecated, reason = "older servers read the outputs and the platform here")]
        let command_message = reapi::Command {
            arguments,
            environment_variables,
            output_files: output_paths.clone(),
            output_paths,
            platform: Some(platform.clone()),
            working_directory,
            ..reapi::Command::default()
        };
        let command_message = Bytes::from(command_message.encode_to_vec());
        let command_digest = Digest::of(&command_message);
        let message = reapi::Action {
            command_digest: Some(command_digest.into()),
            input_root_digest: Some(root.into()),
            platform: Some(platform),
            ..reapi::Action::default()
        };
        let message = Bytes::from(message.encode_to_vec());
        let digest = Digest::of(&message);
        Ok(Self { digest, name: digest, message, command_digest, command_message })
    }

    /// This action under a key of its own for `salt`: no result that is stored under the old key is found for it.
    ///
    /// # Errors
    /// The message is none of an action.
    pub(crate) fn salted(self, salt: Vec<u8>) -> Result<Self, prost::DecodeError> {
        let action = reapi::Action { salt: salt.into(), ..reapi::Action::decode(&*self.message)? };
        let message = Bytes::from(action.encode_to_vec());
        Ok(Self { digest: Digest::of(&message), message, ..self })
    }
}

fn platform() -> Platform {
    Platform { properties: vec![Property { name: INPUT_ROOT_PROPERTY.to_owned(), value: "/".to_owned() }] }
}

fn text(value: &OsStr) -> Result<String, Fallback> {
    value.to_str().map(str::to_owned).ok_or_else(|| Fallback::new(Reason::PathNotText, value.to_string_lossy()))
}
