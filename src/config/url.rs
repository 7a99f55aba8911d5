//! URLs of sinks, proxies and IMDS: http or https with a host, and never with a user, a password or a query.

use std::net::IpAddr;

use ::url::{Host, Url};

use super::node::quoted;
use super::table::Given;

/// An endpoint of Elasticsearch; a path before the API is possible (a reverse proxy).
pub fn elasticsearch(given: &Given<'_>) -> Option<Url> {
    let expected = "a URL such as \"https://es.example.com:9200\"";
    let url = plain(given, expected)?;
    if has_user(&url) {
        let expected = "the URL without them, and username and password (or password_file) beside it";
        given.mistake_unseen("the URL holds a user or a password", None, expected);
        return None;
    }
    Some(url)
}

/// An endpoint of Azure Monitor: https, plain http to this machine only (a token travels with each request).
pub fn azure(given: &Given<'_>, expected: &str) -> Option<Url> {
    let url = plain(given, expected)?;
    if has_user(&url) {
        given.mistake_unseen(
            "the URL holds a user or a password",
            None,
            "the URL without them, and credential beside it",
        );
        return None;
    }
    if !matches!(url.path(), "" | "/") {
        given.mistake("has a path", None, expected);
        return None;
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        let near = quoted(&given.text.replacen("http:", "https:", 1));
        given.mistake("would send tokens without encryption", Some(near), "https, or http to a loopback address only");
        return None;
    }
    Some(url)
}

/// Where IMDS is, or something that stands for it: it is asked for what is not secret, without a token.
pub fn imds(given: &Given<'_>, expected: &str) -> Option<Url> {
    let url = plain(given, expected)?;
    if has_user(&url) {
        given.mistake_unseen("the URL holds a user or a password", None, "the URL without them");
        return None;
    }
    if !matches!(url.path(), "" | "/") {
        given.mistake("has a path", None, expected);
        return None;
    }
    Some(url)
}

/// A proxy; it may have a user and a password, so it is never quoted.
pub fn proxy(given: &Given<'_>) -> Option<String> {
    let expected = "a URL such as \"http://proxy.example.com:3128\"";
    let good = Url::parse(&given.text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !good {
        given.mistake_unseen("is no URL of a proxy", None, expected);
        return None;
    }
    Some(given.text.clone())
}

/// http or https, a host, nothing after the path.
fn plain(given: &Given<'_>, expected: &str) -> Option<Url> {
    let Ok(url) = Url::parse(&given.text) else {
        let bare = !given.text.contains("://") && !given.text.contains('@');
        let near = bare.then(|| format!("https://{}", given.text)).filter(|url| Url::parse(url).is_ok());
        given.mistake("is no URL", near.as_deref().map(quoted), expected);
        return None;
    };
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        let with_scheme = format!("http://{}", given.text);
        let bare = !given.text.contains("://") && !given.text.contains('@') && Url::parse(&with_scheme).is_ok();
        given.mistake("does not begin with http:// or https://", bare.then(|| quoted(&with_scheme)), expected);
        return None;
    }
    if url.query().is_some() || url.fragment().is_some() {
        // A query may well be a token.
        given.mistake_unseen("the URL goes on with a query (?) or a fragment (#)", None, expected);
        return None;
    }
    Some(url)
}

fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}
