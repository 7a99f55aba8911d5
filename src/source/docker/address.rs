//! Where an engine listens: the forms of an address, and what the environment says about it. Connects to nothing.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;
use url::Url;

use super::options::Host;

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// Where an engine listens, and how it is talked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Absolute path of a socket.
    Unix(PathBuf),
    /// `HOST:PORT`, without encryption.
    Plain(String),
    /// `HOST:PORT`, by TLS with the certificates of this folder; `None`: with those that the system trusts.
    Tls(String, Option<PathBuf>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Plain(authority) => write!(f, "http://{authority}"),
            Address::Tls(authority, _) => write!(f, "https://{authority}"),
        }
    }
}

/// A text that is no address of an engine.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name} \"{text}\" is no address of a Docker engine: use {}", Address::FORMS)]
pub struct AddressError {
    /// Who says so: `host`, or `DOCKER_HOST`.
    pub name: &'static str,
    pub text: String,
}

/// What the environment says about engines, by the variables that Docker's own tools go by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `DOCKER_HOST`.
    pub host: Option<String>,
    /// `DOCKER_TLS_VERIFY` or `DOCKER_TLS` is set: tcp:// means TLS. Its certificate is always verified.
    pub tls: bool,
    /// `DOCKER_CERT_PATH`, else `DOCKER_CONFIG`, else `~/.docker`.
    pub certificates: Option<PathBuf>,
}

impl Environment {
    /// That of this process.
    pub fn read() -> Environment {
        let value = |name: &str| std::env::var(name).ok();
        Environment::new(value)
    }

    fn new(value: impl Fn(&str) -> Option<String>) -> Environment {
        let value = |name: &str| value(name).filter(|value| !value.is_empty());
        let folder = value("DOCKER_CERT_PATH").or_else(|| value("DOCKER_CONFIG")).map(PathBuf::from);
        Environment {
            host: value("DOCKER_HOST"),
            tls: value("DOCKER_TLS_VERIFY").or_else(|| value("DOCKER_TLS")).is_some(),
            certificates: folder.or_else(|| Some(PathBuf::from(value("HOME")?).join(".docker"))),
        }
    }
}

impl Address {
    /// The forms of an address, for messages.
    pub const FORMS: &str = "unix:///PATH, tcp://HOST:PORT, http://HOST:PORT or https://HOST:PORT";

    /// The address that `host` stands for.
    ///
    /// # Errors
    /// [`AddressError`] for a form that is not supported.
    pub fn of(host: &Host, environment: &Environment) -> Result<Address, AddressError> {
        let (name, text) = match (host, &environment.host) {
            (Host::Address(text), _) => ("host", text.as_str()),
            (Host::Auto, Some(text)) => ("DOCKER_HOST", text.as_str()),
            (Host::Auto, None) => return Ok(Address::Unix(PathBuf::from(DEFAULT_SOCKET))),
        };
        Address::parse(text, environment).ok_or_else(|| AddressError { name, text: text.to_owned() })
    }

    /// Whether `text` has one of the [forms](Address::FORMS).
    pub fn is_well_formed(text: &str) -> bool {
        Address::parse(text, &Environment::default()).is_some()
    }

    fn parse(text: &str, environment: &Environment) -> Option<Address> {
        if let Some(path) = text.strip_prefix("unix://") {
            return (path.starts_with('/') && path.len() > 1).then(|| Address::Unix(PathBuf::from(path)));
        }
        let (scheme, rest) = text.split_once("://")?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        // Of schemes that it knows Url leaves out the usual port; of this one there is none.
        let url = Url::parse(&format!("tcp://{authority}")).ok()?;
        let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        let whole = url.has_host() && url.port().is_some() && url.path().is_empty() && url.fragment().is_none();
        if !bare || !whole {
            return None;
        }
        let tls = || Address::Tls(authority.to_owned(), environment.certificates.clone());
        match scheme {
            "https" => Some(tls()),
            "tcp" if environment.tls => Some(tls()),
            "tcp" | "http" => Some(Address::Plain(authority.to_owned())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_from_the_configuration_or_the_environment() {
        let named = |text: &str| Host::Address(text.to_owned());
        let plain = |host: &str| Environment { host: Some(host.to_owned()), ..Environment::default() };
        let secure = |host: &str| Environment { tls: true, certificates: Some("/certs".into()), ..plain(host) };
        let check = |host: Host, environment: Environment, expected: &str| {
            let address = Address::of(&host, &environment).expect("an address");
            assert_eq!(address.to_string(), expected, "{host:?} {environment:?}");
        };
        check(Host::Auto, Environment::default(), "unix:///var/run/docker.sock");
        check(Host::Auto, plain("tcp://10.0.0.1:2375"), "http://10.0.0.1:2375");
        check(Host::Auto, secure("tcp://10.0.0.1:2376"), "https://10.0.0.1:2376");
        check(Host::Auto, secure("http://10.0.0.1:2375"), "http://10.0.0.1:2375");
        check(Host::Auto, secure("unix:///run/docker.sock"), "unix:///run/docker.sock");
        check(named("unix:///run/podman.sock"), plain("tcp://10.0.0.1:2375"), "unix:///run/podman.sock");
        check(named("tcp://engine:2376/"), secure("unix:///run/docker.sock"), "https://engine:2376");
        check(named("http://engine:80"), Environment::default(), "http://engine:80");
        check(named("https://[::1]:443"), Environment::default(), "https://[::1]:443");
        let folder = Address::of(&named("https://engine:2376"), &secure("")).expect("an address");
        assert_eq!(folder, Address::Tls("engine:2376".to_owned(), Some("/certs".into())));
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_forms_that_are() {
        for bad in [
            "",
            "unix://",
            "unix://docker.sock",
            "/var/run/docker.sock",
            "ssh://host:22",
            "fd://3",
            "npipe:////./pipe/docker_engine",
            "tcp://engine",
            "tcp://:2375",
            "https://user@engine:2376",
            "https://engine:2376/path",
            "http://engine:80?x",
        ] {
            assert!(!Address::is_well_formed(bad), "{bad}");
            let environment = Environment { host: Some(bad.to_owned()), ..Environment::default() };
            let error = Address::of(&Host::Auto, &environment).expect_err(bad).to_string();
            assert!(error.starts_with("DOCKER_HOST \"") && error.contains("unix:///PATH"), "{error}");
        }
    }

    #[test]
    fn variables_that_are_empty_count_as_not_set() {
        let check = |variables: &[(&str, &str)], tls: bool, certificates: Option<&str>| {
            let value = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
            let found = Environment::new(value);
            let expected = Environment { host: None, tls, certificates: certificates.map(PathBuf::from) };
            assert_eq!(found, expected, "{variables:?}");
        };
        check(&[], false, None);
        check(
            &[("HOME", "/home/user"), ("DOCKER_TLS_VERIFY", ""), ("DOCKER_HOST", "")],
            false,
            Some("/home/user/.docker"),
        );
        check(&[("HOME", "/home/user"), ("DOCKER_CONFIG", "/c"), ("DOCKER_TLS_VERIFY", "1")], true, Some("/c"));
        check(&[("DOCKER_CERT_PATH", "/p"), ("DOCKER_CONFIG", "/c"), ("DOCKER_TLS", "1")], true, Some("/p"));
    }
}
