//! A server's address as users write it: `grpc://HOST:PORT[/INSTANCE]`, with `grpcs` where the connection is encrypted.

use std::fmt;

/// A server and an instance on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// Whether the connection is encrypted.
    pub is_encrypted: bool,
    /// Host and port, as in a URL.
    pub authority: String,
    /// The instance name; usually empty.
    pub instance_name: String,
}

/// Why an address is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// It is not of the form.
    #[error("{0:?} is not a server's address, such as grpc://build.example:8980")]
    Form(String),
    /// Nobody speaks that here.
    #[error("{0:?}: only grpc:// and grpcs:// are supported")]
    Scheme(String),
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// It has another form or scheme.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let Some((scheme, rest)) = text.split_once("://") else { return Err(InvalidAddress::Form(text.to_owned())) };
        let is_encrypted = match scheme {
            "grpc" => false,
            "grpcs" => true,
            _ => return Err(InvalidAddress::Scheme(text.to_owned())),
        };
        let (authority, instance_name) = rest.split_once('/').unwrap_or((rest, ""));
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
        let is_authority = http::uri::Authority::try_from(authority).is_ok();
        if !has_port || !is_authority || authority.contains('@') {
            return Err(InvalidAddress::Form(text.to_owned()));
        }
        let instance_name = instance_name.trim_end_matches('/').to_owned();
        Ok(Self { is_encrypted, authority: authority.to_owned(), instance_name })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_encrypted { "grpcs" } else { "grpc" };
        write!(formatter, "{scheme}://{}", self.authority)?;
        if self.instance_name.is_empty() { Ok(()) } else { write!(formatter, "/{}", self.instance_name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused() {
        let check = |text: &str, expect: Option<(&str, &str)>| {
            let parsed = Address::parse(text).ok();
            let parsed = parsed.as_ref().map(|address| (address.authority.as_str(), address.instance_name.as_str()));
            assert_eq!(parsed, expect, "{text:?}");
        };
        check("grpc://build.example:8980", Some(("build.example:8980", "")));
        check("grpc://127.0.0.1:1/", Some(("127.0.0.1:1", "")));
        check("grpc://[::1]:8980/main/x", Some(("[::1]:8980", "main/x")));
        check("grpc://build.example", None);
        check("grpc://:8980", None);
        check("grpc://host:0", None);
        check("grpc://host:99999", None);
        check("grpc://me@host:1", None);
        check("grpc://ho st:1", None);
        check("grpcs://host:1", Some(("host:1", "")));
        check("http://host:1", None);
        check("build.example:8980", None);
        check("", None);
    }
}
