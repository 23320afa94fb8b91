//! What callers may do, and where.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One thing that a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Ask for blobs and results.
    Read,
    /// Store blobs.
    WriteCas,
    /// Say what the result of an action is: whoever may, can have everyone else run anything.
    WriteActionCache,
    /// Have actions run.
    Execute,
    /// Run actions: includes reading, and storing blobs.
    Worker,
    /// Everything.
    Admin,
}

impl Role {
    /// All of them.
    const EVERY: [Self; 6] =
        [Self::Read, Self::WriteCas, Self::WriteActionCache, Self::Execute, Self::Worker, Self::Admin];

    /// The name in files and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::WriteCas => "write-cas",
            Self::WriteActionCache => "write-action-cache",
            Self::Execute => "execute",
            Self::Worker => "worker",
            Self::Admin => "admin",
        }
    }

    /// The role of a name.
    ///
    /// # Errors
    /// There is none; says which there are.
    pub fn parse(name: &str) -> Result<Self, String> {
        Self::EVERY.into_iter().find(|role| role.name() == name).ok_or_else(|| {
            let names = Self::EVERY.map(Self::name).join(", ");
            format!("{name:?} is no role; there are {names}")
        })
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A set of roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles(u8);

impl Roles {
    /// None.
    pub const NONE: Self = Self(0);
    /// All.
    pub const ALL: Self = Self(u8::MAX);

    /// These, with what they include.
    pub fn of(roles: &[Role]) -> Self {
        Self(roles.iter().fold(0, |bits, role| {
            bits | match role {
                Role::Admin => u8::MAX,
                Role::Worker => Role::Worker.bit() | Role::Read.bit() | Role::WriteCas.bit(),
                role => role.bit(),
            }
        }))
    }

    /// All of them, in their order.
    pub(crate) fn names(self) -> Vec<Role> {
        Role::EVERY.into_iter().filter(|role| self.has(*role)).collect()
    }

    /// Whether `role` is among them.
    pub const fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }
}

/// The instances for which somebody has roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Instances {
    /// Every one.
    All,
    /// These: a name stands for itself and for those below it.
    Named(Vec<String>),
}

impl Instances {
    /// Whether the instance, or what stands below it, is among them.
    pub(super) fn hold(&self, instance_name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| {
                instance_name
                    .strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || !name.is_empty() && rest.starts_with('/'))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_include_others() {
        for (given, has, lacks) in [
            (&[Role::Read][..], &[Role::Read][..], &[Role::WriteCas, Role::Worker, Role::Admin][..]),
            (&[Role::Worker], &[Role::Worker, Role::Read, Role::WriteCas], &[Role::WriteActionCache, Role::Execute]),
            (&[Role::Admin], &Role::EVERY, &[]),
            (&[], &[], &Role::EVERY),
        ] {
            let roles = Roles::of(given);
            assert!(has.iter().all(|role| roles.has(*role)), "{given:?}");
            assert!(!lacks.iter().any(|role| roles.has(*role)), "{given:?}");
        }
        for role in Role::EVERY {
            assert_eq!(Role::parse(role.name()), Ok(role));
        }
        assert!(Role::parse("root").expect_err("is none").contains("write-action-cache"));
    }

    #[test]
    fn an_instance_stands_for_those_below_it() {
        let named = |names: &[&str]| Instances::Named(names.iter().map(|name| (*name).to_owned()).collect());
        for (names, instance, expect) in [
            (&["main"][..], "main", true),
            (&["main"], "main/x", true),
            (&["main"], "mainx", false),
            (&["main"], "", false),
            (&[""], "", true),
            (&[""], "main", false),
            (&["a", "b/c"], "b/c/d", true),
            (&[], "", false),
        ] {
            assert_eq!(named(names).hold(instance), expect, "{names:?} {instance:?}");
        }
        assert!(Instances::All.hold("anything"));
    }
}
