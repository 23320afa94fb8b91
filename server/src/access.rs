//! Who may do what, and for which instances.
//!
//! A caller is known by a token, a password, a JSON web token or a client certificate; whoever shows nothing is anonymous. Each
//! has [`roles`] for some instances. A call is looked at twice: by its name, before anything of it is read
//! ([`methods`]), and by the instance that it names, in the services. A call that no table knows takes the role of an
//! administrator.
//!
//! Invariant: whoever shows credentials that are wrong is refused, and not taken for anonymous.

mod certificates;
#[cfg(test)]
mod fuzz;
mod identities;
mod methods;
mod roles;
mod tokens;

pub(crate) use certificates::Certificate;
pub use identities::Identities;
pub(crate) use methods::{ANYONE, EXECUTORS, JUDGES, Needed, READERS, SEEKERS, WRITERS, is_known, needed};
pub use roles::{Role, Roles};
pub use tokens::TokenPolicy;

use crate::reload::Reloaded;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pumphouse_proto::digest::Digest;
use roles::Instances;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use tokens::Tokens;
use tonic::Status;

/// How callers become known, and what the unknown may do.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// What whoever shows no credentials may do. Unsaid, it is nothing where callers can become known, and else everything.
    pub anonymous: Option<Roles>,
    /// The file that names callers by tokens, passwords and certificates.
    pub identities_file: Option<PathBuf>,
    /// What whoever has a certificate of the authority may do that isn't named in that file.
    pub certified: Roles,
    /// How JSON web tokens are believed.
    pub tokens: Option<TokenPolicy>,
}

/// A [`Policy`] with its files read.
#[derive(Debug)]
pub(crate) struct Access {
    /// What a worker of this very process shows, if there is one.
    private_token: Option<String>,
    anonymous: Caller,
    certified: Roles,
    identities: Option<Reloaded<Identities>>,
    tokens: Option<Tokens>,
}

/// Whoever makes a call. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Caller(Arc<Identity>);

#[derive(Debug)]
struct Identity {
    /// As it stands in the log; `None` for the anonymous.
    name: Option<String>,
    roles: Roles,
    instances: Instances,
}

/// Who makes a call that lasts, asked again: credentials are taken back, and end.
#[derive(Clone)]
pub(crate) struct Again(pub(crate) Arc<dyn Fn() -> Result<Caller, Denial> + Send + Sync>);

/// Whose share of what is scarce a call takes: a caller's, or where none is known, an address's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Party(pub(crate) Arc<str>);

/// What stands for one peer: its address, or for IPv6 its network of 64 bits, since whoever has one address there has as many
/// as he likes.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

/// Why a call is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denial {
    /// The credentials are wrong, or there are none where some are needed.
    Unknown(String),
    /// It is known who calls, and that one may not.
    Forbidden(String),
}

impl fmt::Display for Denial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Unknown(message) | Self::Forbidden(message)) = self;
        formatter.write_str(message)
    }
}

impl From<Denial> for Status {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Unknown(message) => Self::unauthenticated(message),
            Denial::Forbidden(message) => Self::permission_denied(message),
        }
    }
}

impl Policy {
    /// Whether strangers can be told from others at all.
    pub fn knows_anyone(&self) -> bool {
        self.identities_file.is_some() || self.tokens.is_some() || self.certified != Roles::NONE
    }
}

impl Access {
    /// Reads the files of `policy`.
    ///
    /// # Errors
    /// One of them can't be read, or says what makes no sense; names it.
    pub(crate) fn open(policy: &Policy, private_token: Option<String>) -> anyhow::Result<Self> {
        let identities =
            policy.identities_file.as_ref().map(|path| crate::reload::open(path, Identities::parse)).transpose()?;
        let tokens = policy.tokens.as_ref().map(Tokens::open).transpose()?;
        let unsaid = if policy.knows_anyone() { Roles::NONE } else { Roles::ALL };
        let anonymous = Caller::new(None, policy.anonymous.unwrap_or(unsaid), Instances::All);
        Ok(Self { private_token, anonymous, certified: policy.certified, identities, tokens })
    }

    /// Who shows these headers, over a connection with that certificate.
    ///
    /// # Errors
    /// What is shown is wrong.
    pub(crate) fn identify(&self, headers: &HeaderMap, certificate: Option<&Certificate>) -> Result<Caller, Denial> {
        let mut shown = headers.get_all(header::AUTHORIZATION).iter();
        match (shown.next(), shown.next()) {
            (None, _) => {}
            (Some(_), Some(_)) => return Err(Denial::Unknown("authorization: is given twice".to_owned())),
            (Some(value), None) => {
                let value = value.to_str().map_err(|_| Denial::Unknown("authorization: is no text".to_owned()))?;
                return self.by_header(value);
            }
        }
        let Some(certificate) = certificate else { return Ok(self.anonymous.clone()) };
        let named = self.identities.as_ref().and_then(|identities| identities.current().by_certificate(certificate));
        if let Some(caller) = named {
            return Ok(caller);
        }
        if self.certified == Roles::NONE {
            return Ok(self.anonymous.clone());
        }
        Ok(Caller::new(Some(certificate.to_string()), self.certified, Instances::All))
    }

    fn by_header(&self, value: &str) -> Result<Caller, Denial> {
        let unknown = |problem: &str| Denial::Unknown(format!("authorization: {problem}"));
        let (scheme, secret) = value.split_once(' ').ok_or_else(|| unknown("is not of the form SCHEME CREDENTIALS"))?;
        let secret = secret.trim();
        let identities = self.identities.as_ref().map(Reloaded::current);
        if scheme.eq_ignore_ascii_case("basic") {
            let decoded = STANDARD.decode(secret).ok().and_then(|decoded| String::from_utf8(decoded).ok());
            let decoded = decoded.ok_or_else(|| unknown("the name and password are not in base64"))?;
            let (name, password) = decoded.split_once(':').ok_or_else(|| unknown("there is no password"))?;
            let known = identities.and_then(|identities| identities.by_password(name, password));
            return known.ok_or_else(|| unknown("the name or the password is wrong"));
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(unknown(&format!("{scheme:?} is not supported, only Bearer and Basic are")));
        }
        if let Some(caller) = identities.and_then(|identities| identities.by_token(secret)) {
            return Ok(caller);
        }
        if self
            .private_token
            .as_ref()
            .is_some_and(|token| Digest::of(token.as_bytes()) == Digest::of(secret.as_bytes()))
        {
            return Ok(Caller::new(
                Some("this process's worker".to_owned()),
                Roles::of(&[Role::Worker]),
                Instances::All,
            ));
        }
        match &self.tokens {
            Some(tokens) => tokens.caller(secret).map_err(|problem| unknown(&problem)),
            None => Err(unknown("the token is not known")),
        }
    }
}

impl Caller {
    fn new(name: Option<String>, roles: Roles, instances: Instances) -> Self {
        Self(Arc::new(Identity { name, roles, instances }))
    }

    /// Whose share its calls take that come from this address.
    pub(crate) fn party(&self, address: IpAddr) -> Party {
        Party(match &self.0.name {
            Some(name) => format!("caller {name}").into(),
            None => format!("address {}", network(address)).into(),
        })
    }

    /// Whether the caller's roles are for all instances.
    ///
    /// # Errors
    /// They aren't.
    pub(crate) fn check_everywhere(&self) -> Result<(), Denial> {
        if self.0.instances == Instances::All {
            return Ok(());
        }
        Err(Denial::Forbidden(format!("{self} has roles for some instances, and workers serve all of them")))
    }

    /// One who may do nothing.
    pub(crate) fn nobody() -> Self {
        Self::new(None, Roles::NONE, Instances::All)
    }

    /// Whether the caller has one of `roles` for some instance.
    ///
    /// # Errors
    /// The caller hasn't.
    pub(crate) fn check_any(&self, roles: &[Role]) -> Result<(), Denial> {
        if roles.iter().any(|role| self.0.roles.has(*role)) { Ok(()) } else { Err(self.denial(roles, None)) }
    }

    /// Whether the caller has one of `roles` for the instance.
    ///
    /// # Errors
    /// The caller hasn't.
    pub(crate) fn check(&self, roles: &[Role], instance_name: &str) -> Result<(), Denial> {
        let may = self.0.instances.hold(instance_name) && roles.iter().any(|role| self.0.roles.has(*role));
        if may { Ok(()) } else { Err(self.denial(roles, Some(instance_name))) }
    }

    fn denial(&self, roles: &[Role], instance_name: Option<&str>) -> Denial {
        let roles = roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        let place = instance_name.map_or(String::new(), |name| format!(" for instance {name:?}"));
        match &self.0.name {
            None => Denial::Unknown(format!("this takes the role {roles}{place}, and no credentials were shown")),
            Some(name) => Denial::Forbidden(format!("{name} has not the role {roles}{place}")),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.name.as_deref().unwrap_or("anonymous"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn access(dir: &std::path::Path, text: &str) -> Access {
        let path = dir.join("identities.toml");
        std::fs::write(&path, text).expect("written");
        let policy =
            Policy { anonymous: Some(Roles::of(&[Role::Read])), identities_file: Some(path), ..Policy::default() };
        Access::open(&policy, None).expect("opens")
    }

    fn headers(value: &str) -> HeaderMap {
        let value = HeaderValue::from_str(value).expect("a header's value");
        HeaderMap::from_iter([(header::AUTHORIZATION, value)])
    }

    #[test]
    fn callers_are_known_by_what_they_show() {
        let dir = tempfile::tempdir().expect("a directory");
        let text = "[[identity]]\nname = \"ci\"\ntoken = \"t0ken-of-sixteen-bytes\"\nroles = [\"read\", \"write-cas\"]\ninstances = [\"main\"]\n";
        let access = access(dir.path(), text);
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (value, expect) in [
            (None, Ok("anonymous")),
            (Some("Bearer t0ken-of-sixteen-bytes".to_owned()), Ok("ci")),
            (Some("bearer t0ken-of-sixteen-bytes".to_owned()), Ok("ci")),
            (Some(basic("ci:t0ken-of-sixteen-bytes")), Ok("ci")),
            (Some("Bearer other".to_owned()), Err("token is not known")),
            (Some(basic("cd:t0ken-of-sixteen-bytes")), Err("wrong")),
            (Some(basic("ci:other")), Err("wrong")),
            (Some(basic("ci")), Err("no password")),
            (Some("Basic ?".to_owned()), Err("base64")),
            (Some("Digest x".to_owned()), Err("not supported")),
            (Some("x".to_owned()), Err("SCHEME")),
        ] {
            let headers = value.as_deref().map_or_else(HeaderMap::new, headers);
            match (access.identify(&headers, None), expect) {
                (Ok(caller), Ok(name)) => assert_eq!(caller.to_string(), name),
                (Err(Denial::Unknown(message)), Err(part)) => assert!(message.contains(part), "{message}"),
                (other, _) => panic!("{value:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn roles_are_for_instances() {
        let dir = tempfile::tempdir().expect("a directory");
        let text = "[[identity]]\nname = \"ci\"\ntoken = \"t0ken-of-sixteen-bytes\"\nroles = [\"write-cas\"]\ninstances = [\"main\"]\n";
        let access = access(dir.path(), text);
        let ci = access.identify(&headers("Bearer t0ken-of-sixteen-bytes"), None).expect("is known");
        let anonymous = access.identify(&HeaderMap::new(), None).expect("is anonymous");
        assert_eq!(ci.check(&[Role::WriteCas], "main"), Ok(()));
        assert_eq!(ci.check(&[Role::Execute, Role::WriteCas], "main"), Ok(()));
        assert!(matches!(ci.check(&[Role::WriteCas], ""), Err(Denial::Forbidden(_))));
        assert!(matches!(ci.check(&[Role::Execute], "main"), Err(Denial::Forbidden(_))));
        assert_eq!(anonymous.check(&[Role::Read], "anything"), Ok(()));
        assert!(matches!(anonymous.check_any(&[Role::WriteCas]), Err(Denial::Unknown(_))));
    }
}
