//! Names of secrets: `password`, `apiKey`, `AWS_SECRET_ACCESS_KEY`, `client-secret`, `X-Api-Key`, `connection string`.
//! A name counts by how it ends, without its joiners and in any case. Counts of tokens are no tokens.

use super::kind::Kind;
use super::text::at;

/// Most bytes of a name that are looked at, on either side of the word that was found.
const NAME_MAX_BYTES: usize = 48;

/// A name of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    pub kind: Kind,
    /// Several: `secrets = 3` is a count.
    pub plural: bool,
}

/// A name in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub name: Name,
    pub start: usize,
    pub end: usize,
}

/// How names of secrets end, without joiners and in lower case; the longest that fits counts.
const ENDINGS: &[(&[u8], Kind)] = &[
    (b"password", Kind::Password),
    (b"passwd", Kind::Password),
    (b"passphrase", Kind::Password),
    (b"passcode", Kind::Password),
    (b"pwd", Kind::Password),
    (b"passwordhash", Kind::Password),
    (b"passwordvalue", Kind::Password),
    (b"secret", Kind::Secret),
    (b"secretkey", Kind::Secret),
    (b"secretaccesskey", Kind::Secret),
    (b"secretvalue", Kind::Secret),
    (b"secretstring", Kind::Secret),
    (b"token", Kind::Token),
    (b"tokenvalue", Kind::Token),
    (b"privatekey", Kind::PrivateKey),
    (b"privkey", Kind::PrivateKey),
    (b"connectionstring", Kind::ConnectionString),
    (b"connectionstr", Kind::ConnectionString),
    (b"connstring", Kind::ConnectionString),
    (b"connstr", Kind::ConnectionString),
    (b"authorization", Kind::Authorization),
    (b"authorisation", Kind::Authorization),
    (b"cookie", Kind::Cookie),
    (b"creditcard", Kind::Card),
    (b"creditcardnumber", Kind::Card),
    (b"creditcardno", Kind::Card),
    (b"debitcard", Kind::Card),
    (b"cardnumber", Kind::Card),
    (b"cardno", Kind::Card),
    (b"cvv", Kind::Card),
    (b"cvc", Kind::Card),
    (b"socialsecuritynumber", Kind::Ssn),
    (b"socialsecurity", Kind::Ssn),
    (b"ssn", Kind::Ssn),
    (b"apikey", Kind::ApiKey),
    (b"accesskey", Kind::ApiKey),
    (b"accountkey", Kind::ApiKey),
    (b"authkey", Kind::ApiKey),
    (b"encryptionkey", Kind::ApiKey),
    (b"signingkey", Kind::ApiKey),
    (b"masterkey", Kind::ApiKey),
    (b"storagekey", Kind::ApiKey),
    (b"sharedkey", Kind::ApiKey),
    (b"subscriptionkey", Kind::ApiKey),
    (b"servicekey", Kind::ApiKey),
    (b"functionkey", Kind::ApiKey),
    (b"sshkey", Kind::ApiKey),
    (b"hmackey", Kind::ApiKey),
    (b"adminkey", Kind::ApiKey),
    (b"clientkey", Kind::ApiKey),
    (b"sessionkey", Kind::ApiKey),
    (b"deploykey", Kind::ApiKey),
    (b"licensekey", Kind::ApiKey),
    (b"openaikey", Kind::ApiKey),
    (b"anthropickey", Kind::ApiKey),
];

/// With which bytes the names of [`ENDINGS`] end.
const LAST_BYTES: [bool; 256] = {
    let mut ends = [false; 256];
    let mut index = 0;
    while index < ENDINGS.len() {
        let ending = ENDINGS[index].0;
        ends[ending[ending.len() - 1] as usize] = true;
        index += 1;
    }
    ends
};

/// What stands before `token` where it is a piece of text of a model, or a place in a list.
const TEXT_TOKENS: &[&[u8]] = &[
    b"eos",
    b"bos",
    b"pad",
    b"unk",
    b"sep",
    b"cls",
    b"mask",
    b"stop",
    b"special",
    b"first",
    b"last",
    b"next",
    b"per",
    b"prompt",
    b"completion",
    b"input",
    b"output",
    b"cached",
    b"reasoning",
    b"image",
    b"audio",
    b"page",
    b"continuation",
    b"unexpected",
    b"max",
    b"min",
    b"total",
    b"new",
    b"each",
    b"every",
    b"current",
    b"previous",
    b"predicted",
    b"target",
    b"draft",
];

/// What stands before `tokens` where each is a secret.
const SECRET_TOKENS: &[&[u8]] =
    &[b"access", b"refresh", b"auth", b"api", b"bearer", b"session", b"csrf", b"oauth", b"identity", b"secret"];

/// What stands before `pass` where it is a password, and no pass over something.
const PASS_OF: &[&[u8]] = &[
    b"db",
    b"user",
    b"mysql",
    b"postgres",
    b"pg",
    b"redis",
    b"smtp",
    b"mail",
    b"ftp",
    b"admin",
    b"root",
    b"login",
    b"auth",
    b"proxy",
    b"http",
    b"ssh",
    b"sudo",
    b"rabbitmq",
    b"mongo",
    b"elastic",
    b"database",
    b"ldap",
    b"imap",
];

/// Short endings that are whole words only: `pwd`, `ssn`, `cvv` may end other words.
fn needs_boundary(ending: &[u8]) -> bool {
    ending.len() == 3
}

/// Whether a whole name, such as a key of JSON or the name of a column, is that of a secret.
pub fn of_name(name: &[u8]) -> Option<Name> {
    if name.len() > 2 * NAME_MAX_BYTES {
        return None;
    }
    let mut room = [0; 2 * NAME_MAX_BYTES];
    let mut len = 0;
    let letters = name.iter().filter(|byte| !is_joiner(**byte)).map(u8::to_ascii_lowercase);
    for (slot, letter) in room.iter_mut().zip(letters) {
        *slot = letter;
        len += 1;
    }
    let plain = room.get(..len)?;
    let digits = plain.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    classify(plain.get(..len - digits)?, name)
}

fn classify(plain: &[u8], name: &[u8]) -> Option<Name> {
    if let Some(found) = ends_as(plain, name) {
        let of_model = |before: &[u8]| TEXT_TOKENS.iter().any(|word| before.ends_with(word));
        let is_text = found == Kind::Token && plain.strip_suffix(b"token").is_some_and(of_model);
        return (!is_text).then_some(Name { kind: found, plural: false });
    }
    let single = plain.strip_suffix(b"s")?;
    if let Some(before) = single.strip_suffix(b"token") {
        let secret = SECRET_TOKENS.iter().any(|word| before.ends_with(word));
        return secret.then_some(Name { kind: Kind::Token, plural: true });
    }
    if let Some(of) = plain.strip_suffix(b"pass") {
        return PASS_OF.iter().any(|word| of.ends_with(word)).then_some(Name { kind: Kind::Password, plural: false });
    }
    Some(Name { kind: ends_as(single, name)?, plural: true })
}

fn ends_as(plain: &[u8], name: &[u8]) -> Option<Kind> {
    let last = plain.last()?;
    if !LAST_BYTES.get(usize::from(*last)).is_some_and(|ends| *ends) {
        return None;
    }
    // The last byte tells most of them apart, without a call.
    let fits = |(ending, _): &&(&[u8], Kind)| ending.last() == Some(last) && plain.ends_with(ending);
    let (ending, kind) = ENDINGS.iter().filter(fits).max_by_key(|(ending, _)| ending.len())?;
    if needs_boundary(ending) && plain.len() > ending.len() {
        // A joiner or a capital says that a word begins there.
        let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let begin = name.len().checked_sub(digits + ending.len())?;
        let capital = at(name, begin).is_ascii_uppercase() && at(name, begin + 1).is_ascii_lowercase();
        let joined = begin > 0 && is_joiner(at(name, begin - 1));
        return (capital || joined).then_some(*kind);
    }
    Some(*kind)
}

fn is_joiner(byte: u8) -> bool {
    matches!(byte, b'_' | b'-' | b'.' | b' ')
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Words that go on after a blank: `connection string`, `card number`.
const AFTER_BLANK: &[&[u8]] = &[b"string", b"number", b"security number", b"no", b"key"];
/// Words that a name may begin with before a blank: `api key`, `credit card`.
const BEFORE_BLANK: &[&[u8]] = &[
    b"api",
    b"private",
    b"secret",
    b"access",
    b"account",
    b"credit",
    b"debit",
    b"connection",
    b"encryption",
    b"signing",
];

/// The name around the word at `word`, where it is one of a secret.
pub fn around(text: &[u8], word: usize) -> Option<Found> {
    let mut end = word;
    while end < text.len() && end - word < NAME_MAX_BYTES && is_name_byte(at(text, end)) {
        end += 1;
    }
    // What a sentence ends with is no part of the name.
    while end > word && matches!(at(text, end - 1), b'.' | b'-') {
        end -= 1;
    }
    let mut start = word;
    while start > 0 && word - start < NAME_MAX_BYTES && is_name_byte(at(text, start - 1)) {
        start -= 1;
    }
    let mut whole_end = end;
    if at(text, end) == b' ' {
        let rest = text.get(end + 1..).unwrap_or_default();
        let next = AFTER_BLANK.iter().find(|next| {
            rest.get(..next.len()).is_some_and(|head| head.eq_ignore_ascii_case(next))
                && !is_name_byte(at(rest, next.len()))
        });
        whole_end = next.map_or(end, |next| end + 1 + next.len());
    }
    if start > 0 && at(text, start - 1) == b' ' {
        let before = text.get(..start - 1).unwrap_or_default();
        let word = BEFORE_BLANK.iter().find(|word| {
            let begin = before.len().checked_sub(word.len());
            begin.is_some_and(|begin| {
                before[begin..].eq_ignore_ascii_case(word) && (begin == 0 || !is_name_byte(at(before, begin - 1)))
            })
        });
        if let Some(word) = word {
            start -= 1 + word.len();
        }
    }
    // The longer name comes first: `connection string`, not `connection`.
    for end in [whole_end, end] {
        if let Some(name) = of_name(text.get(start..end)?) {
            return Some(Found { name, start, end });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_in_any_case_and_with_any_joiner() {
        let check = |name: &str, kind: Kind| {
            assert_eq!(of_name(name.as_bytes()).map(|name| name.kind), Some(kind), "{name}");
        };
        for name in [
            "password",
            "PASSWORD",
            "Pass_Word",
            "user-password",
            "dbPassword",
            "passwd",
            "password2",
            "db_pass",
            "pwd",
            "dbPwd",
            "DB_PWD",
        ] {
            check(name, Kind::Password);
        }
        for name in
            ["secret", "client_secret", "clientSecret", "SECRETS", "aws.secret.access.key", "AWS_SECRET_ACCESS_KEY"]
        {
            check(name, Kind::Secret);
        }
        for name in [
            "token",
            "access_token",
            "accessToken",
            "GITHUB_TOKEN",
            "id-token",
            "refresh_tokens",
            "x-amz-security-token",
        ] {
            check(name, Kind::Token);
        }
        for name in [
            "api_key",
            "apikey",
            "API-Key",
            "apiKey",
            "x-api-key",
            "api key",
            "api.key",
            "api_keys",
            "AccountKey",
            "SharedAccessKey",
        ] {
            check(name, Kind::ApiKey);
        }
        check("Authorization", Kind::Authorization);
        check("Proxy-Authorization", Kind::Authorization);
        check("credit_card", Kind::Card);
        check("creditCardNumber", Kind::Card);
        check("cvv", Kind::Card);
        check("ssn", Kind::Ssn);
        check("user_ssn", Kind::Ssn);
        check("userSsn", Kind::Ssn);
        check("private_key", Kind::PrivateKey);
        check("ConnectionString", Kind::ConnectionString);
        check("connection string", Kind::ConnectionString);
        check("Set-Cookie", Kind::Cookie);
        check("cookies", Kind::Cookie);
    }

    #[test]
    fn other_names_are_no_secrets() {
        for name in [
            "prompt_tokens",
            "completion_tokens",
            "total_tokens",
            "max_tokens",
            "tokens",
            "token_count",
            "tokenizer",
            "token_type",
            "eos_token",
            "pad_token_id",
            "next_token",
            "max_token",
            "key",
            "cache_key",
            "primary_key",
            "public_key",
            "monkey",
            "keys",
            "passed",
            "pass",
            "forward_pass",
            "bypass",
            "password_file",
            "secret_name",
            "secretary",
            "api_key_id",
            "session",
            "lesson",
            "author",
            "authorization_url",
            "cookie_count",
            "connection",
            "card",
            "keyboard",
            "tokens_per_second",
        ] {
            assert_eq!(of_name(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn a_name_is_found_around_its_word() {
        let check = |text: &str, word: &str, expected: Option<&str>| {
            let found = around(text.as_bytes(), text.find(word).expect("the word"));
            assert_eq!(found.map(|found| &text[found.start..found.end]), expected, "{text}");
        };
        check("the api key: x", "key", Some("api key"));
        check("X-Api-Key: x", "Key", Some("X-Api-Key"));
        check("connection string: x", "conn", Some("connection string"));
        check("connection reset", "conn", None);
        check("credit card number: 4", "card", Some("credit card number"));
        check("credit card: 4", "card", Some("credit card"));
        check("tokens in 12, tokens out 3", "token", None);
        check("obj.password=1", "pass", Some("obj.password"));
    }
}
