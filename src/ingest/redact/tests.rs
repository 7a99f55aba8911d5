//! Redaction as a whole: what goes, what stays, in which form.

mod cut_keys;
mod generated;

use super::*;

fn clean_by(redactor: &Redactor, text: &str) -> String {
    let clean = redactor.replaced(text.as_bytes(), Edge::default(), 0, &mut Vec::new());
    clean.map_or(text.to_owned(), |clean| String::from_utf8(clean).expect("UTF-8"))
}

fn clean(text: &str) -> String {
    clean_by(&Redactor::default(), text)
}

fn check(text: &str, expected: &str) {
    let found = clean(text);
    assert_eq!(found, expected, "{text}");
    assert_eq!(clean(&found), found, "once more changes nothing: {text}");
}

#[test]
fn values_behind_names_in_text() {
    check("password=hunter2", "password=[REDACTED:password]");
    check("password: hunter2 then", "password: [REDACTED:password] then");
    check("login user=bob PASSWORD='two words' ok", "login user=bob PASSWORD='[REDACTED:password]' ok");
    check("DB_PASSWORD=a,b;c&d next", "DB_PASSWORD=[REDACTED:password] next");
    check("Server=x;User=sa;Password=pa;Database=y", "Server=x;User=sa;Password=[REDACTED:password];Database=y");
    check("?token=abc123&page=2", "?token=[REDACTED:token]&page=2");
    check("api key: 9f8e7d", "api key: [REDACTED:api_key]");
    check("X-Api-Key: 9f8e7d", "X-Api-Key: [REDACTED:api_key]");
    check("config {'api_key': 'abc', 'n': 1}", "config {'api_key': '[REDACTED:api_key]', 'n': 1}");
    check("headers[\"Authorization\"] = \"x y\"", "headers[\"Authorization\"] = \"[REDACTED:authorization]\"");
    check("run --password hunter2 --verbose", "run --password [REDACTED:password] --verbose");
    check("--api-key=abc", "--api-key=[REDACTED:api_key]");
    check("<password>hunter2</password>", "<password>[REDACTED:password]</password>");
    check("(b'authorization', b'Bearer x')", "(b'authorization', b'[REDACTED:authorization]')");
    check("token: Some(\"two words\")", "token: [REDACTED:token]");
    check("secrets={'a': 'b', 'c': ['d']} end", "secrets=[REDACTED:secret] end");
    check("\x1b[36mtoken\x1b[0m=\x1b[35mabc\x1b[0m", "\x1b[36mtoken\x1b[0m=\x1b[35m[REDACTED:token]\x1b[0m");
    check("ssn=123-45-6789", "ssn=[REDACTED:ssn]");
    check("cvv: 123", "cvv: [REDACTED:credit_card]");
    check("connection string: Server=a b;Pwd=c", "connection string: [REDACTED:connection_string]");
    check("Cookie: a=b; c=d", "Cookie: [REDACTED:cookie]");
    check("curl -H 'Cookie: a=b; c=d' http://x", "curl -H 'Cookie: [REDACTED:cookie]' http://x");
    check(
        "{\\\"password\\\": \\\"a\\\\\\\"b\\\", \\\"n\\\": 1}!",
        "{\\\"password\\\": \\\"[REDACTED:password]\\\", \\\"n\\\": 1}!",
    );
}

#[test]
fn headers_and_schemes() {
    check("Authorization: Bearer abc123def", "Authorization: [REDACTED:authorization]");
    check("Authorization: Basic dXNlcjpwdw== x", "Authorization: [REDACTED:authorization] x");
    check("curl -H 'Authorization: Bearer abc' http://x", "curl -H 'Authorization: [REDACTED:authorization]' http://x");
    check("sent Bearer abc123def456.", "sent Bearer [REDACTED:authorization].");
    check("with Basic dXNlcjpwYXNz", "with Basic [REDACTED:authorization]");
    check("authorization: Digest username=\"u\", response=\"r\"", "authorization: [REDACTED:authorization]");
}

/// A key of every vendor, made of the same letters: none of them was ever one.
const KEYS: &[(&str, &str)] = &[
    ("AKIAZ7QX3MNB2LKJ5HGF", "aws"),
    ("AIzaSyD4u8Kq2Lm9Np3Rt5Vw7Xz1Bc6Ef0Gh2Jk", "gcp"),
    ("ya29.a0AfH6SMBx7k2Lq9Zt4Vw", "gcp"),
    ("GOCSPX-x7k2Lq9Zt4Vw8Np3Rt5V", "gcp"),
    ("ghp_x7k2Lq9Zt4Vw8Np3Rt5Vx7k2Lq9Zt4Vw8Np3", "github"),
    ("ghs_x7k2Lq9Zt4Vw8Np3Rt5Vx7k2Lq9Zt4Vw8Np3", "github"),
    ("github_pat_11ABCDEFG0x7k2Lq9Zt4Vw_8Np3Rt5Vx7k2Lq9Zt4Vw8Np3", "github"),
    ("glpat-x7k2Lq9Zt4Vw8Np3Rt5V", "gitlab"),
    ("xoxb-123456789012-1234567890123-x7k2Lq9Zt4Vw8Np3Rt5Vx7k2", "slack"),
    ("xapp-1-A0123456789-1234567890123-x7k2lq9zt4vw8np3", "slack"),
    ("sk_live_x7k2Lq9Zt4Vw8Np3Rt5Vx7k2", "stripe"),
    ("rk_live_x7k2Lq9Zt4Vw8Np3Rt5Vx7k2", "stripe"),
    ("sk_test_x7k2Lq9Zt4Vw8Np3Rt5Vx7k2", "stripe"),
    ("sk-ant-api03-x7k2Lq9Zt4Vw8Np3Rt5V-x7k2Lq9Zt4Vw8Np3Rt5V", "anthropic"),
    ("sk-proj-x7k2Lq9Zt4Vw8Np3Rt5Vx7k2Lq9Zt4Vw8Np3", "openai"),
    ("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", "openai"),
    ("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", "huggingface"),
    ("npm_x7k2Lq9Zt4Vw8Np3Rt5Vx7k2Lq9Zt4Vw8Np3", "vendor_key"),
    ("dckr_pat_x7k2Lq9Zt4Vw8Np3Rt5Vx7k2Lq", "vendor_key"),
    ("SG.x7k2Lq9Zt4Vw8Np3Rt5Vx7.k2Lq9Zt4Vw8Np3Rt5Vx7k2Lq9Zt4Vw8Np3Rt5Vx7k2L", "vendor_key"),
    ("hvs.CAESIx7k2Lq9Zt4Vw8Np3Rt5Vx7k2Lq9Zt4V", "vendor_key"),
    ("gsk_x7k2Lq9Zt4Vw8Np3Rt5Vx7k2Lq9Zt4Vw8Np3", "vendor_key"),
    ("nvapi-x7k2Lq9Zt4Vw8Np3Rt5Vx7k2Lq9Zt4Vw8Np3", "vendor_key"),
    ("pCh8Q~x7k2Lq9Zt4Vw8Np3Rt5Vx7k2Lq9Zt4Vw8N", "azure"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.x7k2Lq9Zt4Vw8Np3Rt5V", "jwt"),
];

#[test]
fn keys_of_vendors_are_known_wherever_they_stand() {
    for (key, kind) in KEYS {
        for (before, after) in [
            ("", ""),
            ("using ", " now"),
            ("(", ")"),
            ("'", "',"),
            ("x=", "&y=1"),
            ("https://h/?k=", ""),
            ("key is ", "."),
        ] {
            check(&format!("{before}{key}{after}"), &format!("{before}[REDACTED:{kind}]{after}"));
        }
        let glued = format!("x{key}");
        assert!(clean(&glued) == glued || matches!(*kind, "azure" | "jwt"), "{glued}");
    }
    let storage = format!("{}+ASt{}==", "x7k2Lq9Zt4Vw8Np3Rt5V".repeat(4).get(..76).expect("76"), "Zt4Vw8");
    check(&format!("key {storage} end"), "key [REDACTED:azure] end");
    check(
        &format!("AccountName=a;AccountKey={storage};EndpointSuffix=b"),
        "AccountName=a;AccountKey=[REDACTED:api_key];EndpointSuffix=b",
    );
}

#[test]
fn urls_and_signatures() {
    check("postgres://app:s3cr3t@db:5432/x", "postgres://app:[REDACTED:url_password]@db:5432/x");
    check("redis://:p@ss@host/0", "redis://:[REDACTED:url_password]@host/0");
    check("amqp://u:a/b?c@host/v", "amqp://u:[REDACTED:url_password]@host/v");
    check(
        "https://a.blob.core.windows.net/c?sv=2020&sig=abcdefghijklmnopqrst%3D&se=1",
        "https://a.blob.core.windows.net/c?sv=2020&sig=[REDACTED:sas]&se=1",
    );
    check("X-Amz-Signature=0123456789abcdef0123", "X-Amz-Signature=[REDACTED:sas]");
}

#[test]
fn cards_pass_their_sum_and_stand_alone() {
    check("card 4111 1111 1111 1111 ok", "card [REDACTED:credit_card] ok");
    check("4111-1111-1111-1111", "[REDACTED:credit_card]");
    check("pan=5555555555554444,", "pan=[REDACTED:credit_card],");
    check("amex 3782 822463 10005", "amex [REDACTED:credit_card]");
    for place in 0..30 {
        let text = format!("{}4111111111111111 x", " ".repeat(place));
        assert_eq!(clean(&text), format!("{}[REDACTED:credit_card] x", " ".repeat(place)));
    }
}

#[test]
fn private_keys_over_several_lines() {
    let key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nabc=\n-----END RSA PRIVATE KEY-----";
    check(&format!("key:\n{key}\nafter"), "key:\n[REDACTED:private_key]\nafter");
    check(&format!("k={}", key.replace('\n', "\\n")), "k=[REDACTED:private_key]");
    let public = "-----BEGIN CERTIFICATE-----\nMIIEowIBAAKCAQEA\n-----END CERTIFICATE-----";
    check(public, public);
}

#[test]
fn json_by_name_at_any_depth() {
    check(r#"{"a":{"b":[{"Password":"x","n":1}]}}"#, r#"{"a":{"b":[{"Password":"[REDACTED:password]","n":1}]}}"#);
    check(
        r#"{"secrets":{"a":"x","b":["y",true,null,5]}}"#,
        r#"{"secrets":{"a":"[REDACTED:secret]","b":["[REDACTED:secret]",true,null,5]}}"#,
    );
    check(
        r#"{"password":1234,"token":5,"ssn":123456789}"#,
        r#"{"password":"[REDACTED:password]","token":5,"ssn":"[REDACTED:ssn]"}"#,
    );
    check(r#"{"\u0070assword":"x"}"#, r#"{"\u0070assword":"[REDACTED:password]"}"#);
    check(r#"{"u":"a\u0026sig=abcdefghijklmnopqrst"}"#, r#"{"u":"a&sig=[REDACTED:sas]"}"#);
    check(r#"{"u":"http:\/\/u:pw@h\/"}"#, r#"{"u":"http://u:[REDACTED:url_password]@h/"}"#);
    check(r#"{"m":"{\"password\":\"a\\\"b\"}"}"#, r#"{"m":"{\"password\":\"[REDACTED:password]\"}"}"#);
    check(
        r#"{"env":[{"name":"DB_PASSWORD","value":"x"}]}"#,
        r#"{"env":[{"name":"DB_PASSWORD","value":"[REDACTED:password]"}]}"#,
    );
    check(r#"{"n":4111111111111111}"#, r#"{"n":"[REDACTED:credit_card]"}"#);
    check(r#"INFO got {"password":1} "#, r#"INFO got {"password":"[REDACTED:password]"} "#);
    check(r#"{"m":"password=x\nnext line","a":1}"#, r#"{"m":"password=[REDACTED:password]\nnext line","a":1}"#);
    check(r#"{"ghp_0123456789abcdefghijABCDEFGHIJ012345":1}"#, r#"{"[REDACTED:github]":1}"#);
}

#[test]
fn ordinary_lines_stay_as_they_are() {
    for line in [
        "2026-11-20 23:00:33,123 - agent - INFO - tokens in 18234, tokens out 912, cache read 16000",
        r#"{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15,"max_tokens":4096,"token_count":7,"cost":0.0012}"#,
        "tokens=12 max_tokens: 512 token_count=3 tokens_per_second=33.1 time_to_first_token=0.35s",
        "token: 5",
        r#"{"eos_token":"</s>","pad_token":"<pad>","token_type":"bearer","tokenizer":"cl100k"}"#,
        "SyntaxError: Unexpected token: <",
        "password: required",
        "password must not be empty",
        "Password: ********",
        "password=None token=null secret=${SECRET} api_key=$API_KEY",
        "api_key=self.api_key, token=get_token(user)",
        "HTTP Request: POST https://api.example.com:8080/v1/messages@2 200 OK",
        "https://user@host/path",
        "git@github.com:owner/repo.git",
        "basic understanding of bearer tokens",
        "Basic authentication and bearer authentication are supported",
        "id 550e8400-e29b-41d4-a716-446655440000 4532015112830365",
        "score 0.4532015112830366 after 1700000000000 ms",
        "trace 4532015112830366aa 1700000000123456789",
        "1234 5678 9012 3456 7890 1234 5678 9012",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "cache_key=user:42 primary_key=7 foreign key: x",
        "connection reset by peer: retry",
        "std::token::Token::new",
        "secrets=3 cookies: 12 passwords=5",
        "task-sk-learn-pipeline-with-two-steps sk-learn-pipeline-with-two-steps",
        "pwdx and passed: 12 failed: 0 bypass=true first_pass=ok",
        "signal=9 sig=11 design: x",
        r#"{"has_password":true,"password":null,"secret":""}"#,
        r#"required: ["username","password","email"]"#,
        "a keyboard, a monkey: both",
        "",
    ] {
        check(line, line);
    }
}

#[test]
fn kinds_can_be_switched_off_and_what_lies_within_them_is_still_found() {
    let redactor =
        Redactor::new(&Settings { off: vec![Kind::Password, Kind::Card], patterns: Vec::new() }).expect("settings");
    assert_eq!(
        clean_by(&redactor, "password=x 4111111111111111 secret=y"),
        "password=x 4111111111111111 secret=[REDACTED:secret]"
    );
    let token = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
    assert_eq!(clean_by(&redactor, &format!("password={token}")), "password=[REDACTED:github]");
    assert_eq!(
        clean_by(&redactor, r#"{"password":"x","secret":"y"}"#),
        r#"{"password":"x","secret":"[REDACTED:secret]"}"#
    );
    assert_eq!(clean_by(&Redactor::none(), "secret=y"), "secret=y");
}

#[test]
fn patterns_of_the_user_and_counts() {
    let pattern = |pattern: &str, kind: &str| Pattern { pattern: pattern.to_owned(), kind: kind.to_owned() };
    let settings = Settings {
        off: Vec::new(),
        patterns: vec![pattern(r"tok_\w{5,}", "custom"), pattern("EMP[0-9]{6}", "employee")],
    };
    let redactor = Redactor::new(&settings).expect("settings");
    assert_eq!(
        clean_by(&redactor, "tok_abcdef by EMP123456, secret=x"),
        "[REDACTED:custom] by [REDACTED:employee], secret=[REDACTED:secret]"
    );
    assert_eq!(clean_by(&redactor, r#"{"a":"tok_\u0061bcdef"}"#), r#"{"a":"[REDACTED:custom]"}"#);
    assert_eq!(redactor.counts(), [("secret", 1), ("custom", 2), ("employee", 1)]);
    for bad in ["(", "a*", "x|"] {
        let settings = Settings { off: Vec::new(), patterns: vec![pattern("ok", "a"), pattern(bad, "b")] };
        assert_eq!(Redactor::new(&settings).err().map(|(index, _)| index), Some(1), "{bad}");
    }
}

/// Texts that have a literal at every few bytes, and nothing behind them that would end the closer look.
#[test]
fn no_text_takes_long() {
    const BYTES: usize = 128 * 1024;
    for unit in [
        "password=self.",
        "token=['",
        "eyJ-",
        "://",
        "://a:",
        "ghs_.",
        "sk-",
        "Bearer ",
        "basic A",
        "cookie:",
        "password=",
        "token: ",
        "-----BEGIN PRIVATE KEY-----.",
        "\\\"token\\\":",
        "4111 ",
        "0",
        "key",
        "sig=",
        "{\"a\":",
        "[",
        "\\u00",
        "a@b://",
        "+ASt",
        "authorization:A ",
        "password=f(",
        "password=\\'",
        "secret={\"",
    ] {
        let text = unit.repeat(BYTES / unit.len());
        let start = std::time::Instant::now();
        let _ = clean(&text);
        let took = start.elapsed();
        // A second or so without optimisation; a square of it would take minutes.
        assert!(took.as_secs() < 20, "{unit}: {took:?}");
    }
}
