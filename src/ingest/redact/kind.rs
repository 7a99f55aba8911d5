//! Kinds of secrets: what stands in the marker, what is counted, what can be switched off.

/// A kind that is built in. Its number is its place in [`Kind::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Password,
    Secret,
    Token,
    ApiKey,
    Authorization,
    Card,
    Ssn,
    PrivateKey,
    ConnectionString,
    Cookie,
    Jwt,
    UrlPassword,
    Sas,
    Aws,
    Azure,
    Gcp,
    Github,
    Gitlab,
    Slack,
    Stripe,
    Openai,
    Anthropic,
    Huggingface,
    Vendor,
}

impl Kind {
    pub const ALL: &[Kind] = &[
        Kind::Password,
        Kind::Secret,
        Kind::Token,
        Kind::ApiKey,
        Kind::Authorization,
        Kind::Card,
        Kind::Ssn,
        Kind::PrivateKey,
        Kind::ConnectionString,
        Kind::Cookie,
        Kind::Jwt,
        Kind::UrlPassword,
        Kind::Sas,
        Kind::Aws,
        Kind::Azure,
        Kind::Gcp,
        Kind::Github,
        Kind::Gitlab,
        Kind::Slack,
        Kind::Stripe,
        Kind::Openai,
        Kind::Anthropic,
        Kind::Huggingface,
        Kind::Vendor,
    ];

    /// Its word in markers, counters and the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Password => "password",
            Kind::Secret => "secret",
            Kind::Token => "token",
            Kind::ApiKey => "api_key",
            Kind::Authorization => "authorization",
            Kind::Card => "credit_card",
            Kind::Ssn => "ssn",
            Kind::PrivateKey => "private_key",
            Kind::ConnectionString => "connection_string",
            Kind::Cookie => "cookie",
            Kind::Jwt => "jwt",
            Kind::UrlPassword => "url_password",
            Kind::Sas => "sas",
            Kind::Aws => "aws",
            Kind::Azure => "azure",
            Kind::Gcp => "gcp",
            Kind::Github => "github",
            Kind::Gitlab => "gitlab",
            Kind::Slack => "slack",
            Kind::Stripe => "stripe",
            Kind::Openai => "openai",
            Kind::Anthropic => "anthropic",
            Kind::Huggingface => "huggingface",
            Kind::Vendor => "vendor_key",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// What a marker begins with.
pub(super) const MARK: &[u8] = b"[REDACTED:";

/// Whether a text is a marker as a whole.
pub(super) fn is_marker(text: &[u8]) -> bool {
    text.strip_prefix(MARK).and_then(|rest| rest.strip_suffix(b"]")).is_some_and(|kind| {
        !kind.is_empty() && kind.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_number_and_a_word_of_its_own() {
        for (index, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(kind.index(), index);
            assert_eq!(Kind::ALL.iter().filter(|other| other.word() == kind.word()).count(), 1);
            assert!(is_marker(format!("[REDACTED:{}]", kind.word()).as_bytes()));
        }
    }
}
