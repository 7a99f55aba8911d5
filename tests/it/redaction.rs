//! Secrets never leave the process: what the real binary writes anywhere is searched for each of them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::ferry::{Ferry, append, until};
use crate::support::stub::{Reply, Stub, dead_url};

/// As many secrets of each form.
const OF_EACH: usize = 5;

/// A secret that stands nowhere else: letters, digits and a sign, as passwords have them.
fn secret(form: usize, number: usize) -> String {
    let mut state = (form as u64 * 1_000 + number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut letters = String::from("Qz");
    for _ in 0..18 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        letters.push(char::from(b"abcdefghkmnpqrstuvwxyzABCDEFGHKMNPQRSTUVWXYZ23456789"[(state >> 40) as usize % 52]));
    }
    letters
}

/// The lines of each form, with the secret in them.
fn forms(secret: &str) -> Vec<Vec<String>> {
    let one = |line: String| vec![line];
    let deep =
        json!({ "level": "info", "a": [{ "b": { "Client-Secret": [secret, { "x": secret }] } }], "total_tokens": 5 });
    let nested = json!({ "message": json!({ "request": json!({ "api_key": secret }).to_string() }).to_string() });
    let body = format!("MIIEow{0}{0}{0}", &secret[..18]);
    vec![
        one(format!("2026-11-20 23:00:33,123 - agent - INFO - login password={secret} ok")),
        one(format!("2026-11-20 23:00:33,123 - agent - INFO - calling with token: {secret}")),
        one(deep.to_string()),
        one(nested.to_string()),
        one(format!("{{\"m\":\"x\",\"\\u0070assword\":\"{secret}\"}}")),
        one(format!("got {{\"access_token\": \"{secret}\", \"n\": 1}} from it")),
        one(format!("headers: {{'Authorization': 'Bearer {secret}', 'Accept': '*/*'}}")),
        one(format!("Cookie: session={secret}; theme=dark")),
        one(format!("postgres://app:{secret}@db.example.com:5432/runs cannot be reached")),
        one(format!("https://a.blob.core.windows.net/c?sv=2024-11-04&sig={secret}%3D&se=2027")),
        one(format!("Server=db;User Id=app;Password={secret};Encrypt=true")),
        one(format!("using ghp_{secret}{secret} for the checkout")),
        one(format!("using sk-ant-api03-{secret} for the model")),
        one(format!("logged eyJhbGciOiJIUzI1NiJ9.{secret}.{secret}")),
        vec![
            "2026-11-20 23:00:33,123 - agent - ERROR - it broke".to_owned(),
            "Traceback (most recent call last):".to_owned(),
            format!("  File \"a.py\", line 1, in f\n    connect(password=\"{secret}\")"),
            format!("ValueError: bad api_key={secret}"),
        ],
        vec![
            "-----BEGIN RSA PRIVATE KEY-----".to_owned(),
            body.clone(),
            body,
            "-----END RSA PRIVATE KEY-----".to_owned(),
        ],
        // Longer than a line may be: cut within the secret.
        one(format!("{} password={secret} and so on", "x".repeat(4_096 - 14))),
        // Longer than a message may be.
        one(json!({ "level": "info", "message": format!("{} secret={secret} end", "y".repeat(3_000)) }).to_string()),
        one(format!("by the user's own pattern tok_{secret}")),
    ]
}

fn files_below(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_below(&path, out);
        } else if path.is_file() {
            out.push(path);
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_stands_in_anything_that_is_written_or_sent() {
    // One sink takes all, one refuses every record for good, one is away: its records stay in the buffer.
    let refusing = Stub::new([]).await;
    refusing.answer(Reply::status(413, "{}"));
    let dead = dead_url().await;
    let of_run = secret(99, 0);
    let mut ferry = Ferry::new(&format!(
        "[run]\nrun_id = \"42\"\nvm_name = \"vm-7\"\n[run.fields]\nApiKey = \"{of_run}\"\nNote = \"password={of_run}\"\n\
         [[sources.file]]\nname = \"agent\"\ninclude = [\"{{dir}}/in/*.log\"]\nmax_line = 4096\n\
         [[record.redact]]\npattern = \"tok_[A-Za-z0-9]+\"\nkind = \"mine\"\n\
         [sinks.file]\npath = \"{{dir}}/out.ndjson\"\n\
         [sinks.refusing]\ntype = \"elasticsearch\"\nendpoints = [\"{}\"]\nindex = \"x\"\ncompression = \"none\"\n\
         [sinks.away]\ntype = \"elasticsearch\"\nendpoints = [\"{dead}\"]\nindex = \"x\"\n\
         [teardown]\ndeadline = \"3s\"\n",
        refusing.url
    ));
    std::fs::create_dir(ferry.path("in")).expect("a folder");
    let mut secrets = vec![of_run];
    for number in 0..OF_EACH {
        for form in 0..forms("x".repeat(20).as_str()).len() {
            let secret = secret(form, number);
            append(&ferry.path(&format!("in/{}.log", form % 3)), forms(&secret).swap_remove(form));
            // What a line is cut into may leave a few letters before the cut.
            secrets.push(secret[4..16].to_owned());
        }
    }
    for name in 0..3 {
        append(&ferry.path(&format!("in/{name}.log")), [format!("the last of {name}")]);
    }
    let running = ferry.run();
    let lasts = |records: &[Value]| {
        let is_last = |record: &&Value| record["Message"].as_str().is_some_and(|text| text.starts_with("the last of"));
        records.iter().filter(is_last).count()
    };
    until("all records in the file", async || (lasts(&ferry.records("out.ndjson")) == 3).then_some(())).await;
    let letters =
        || lasts(&ferry.dead_letters("refusing").iter().map(|letter| letter["record"].clone()).collect::<Vec<_>>());
    until("all records as dead letters", async || (letters() == 3).then_some(())).await;
    let status = ferry.call(&["status", "--json"]);
    let ended = running.stop();
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let report: Value = serde_json::from_str(&status.stdout).expect("JSON");
    for kind in
        ["password", "token", "secret", "api_key", "authorization", "jwt", "private_key", "sas", "url_password", "mine"]
    {
        assert!(report["redactions"][kind].as_u64().is_some_and(|count| count > 0), "{kind}: {}", report["redactions"]);
    }
    assert!(ended.stderr.contains("redacted: password"), "{}", ended.stderr);

    let mut files = Vec::new();
    files_below(ferry.dir.path(), &mut files);
    files.retain(|path| !path.starts_with(ferry.path("in")) && !path.ends_with("logferry.toml"));
    let mut all: Vec<(String, Vec<u8>)> =
        files.iter().map(|path| (path.display().to_string(), std::fs::read(path).expect("a file"))).collect();
    for part in ["/state/buffer/", "out.ndjson", "/dead-letters/refusing"] {
        let marked = |(name, bytes): &&(String, Vec<u8>)| name.contains(part) && holds(bytes, "[REDACTED:password]");
        assert!(all.iter().any(|file| marked(&file)), "nothing of {part}: {files:?}");
    }
    all.extend(refusing.seen().iter().map(|request| ("a request".to_owned(), request.text().into_bytes())));
    all.push(("status".to_owned(), status.stdout.into_bytes()));
    for secret in &secrets {
        for (name, bytes) in &all {
            assert!(!holds(bytes, secret), "{secret} stands in {name}");
        }
    }
    // What is wanted is there.
    let records = ferry.records("out.ndjson");
    assert!(
        records
            .iter()
            .all(|record| record["ApiKey"] == "[REDACTED:api_key]" && record["Note"] == "password=[REDACTED:password]")
    );
    assert!(records.iter().any(|record| record["Fields"]["total_tokens"] == 5));
    let stacks = records.iter().filter(|record| record["Exception"]["Message"] == "bad api_key=[REDACTED:api_key]");
    assert_eq!(stacks.count(), OF_EACH);
    let seqs = |path: &str| -> Vec<u64> {
        let of = records.iter().filter(|record| record["FilePath"].as_str().is_some_and(|file| file.ends_with(path)));
        of.filter_map(|record| record["Seq"].as_u64()).collect()
    };
    for path in ["0.log", "1.log", "2.log"] {
        assert!(seqs(path).iter().copied().eq(1..=seqs(path).len() as u64), "{path}");
    }
}

/// The ids of records are made of positions: what is redacted does not change them.
#[tokio::test(flavor = "multi_thread")]
async fn columns_of_paths_are_redacted_and_ids_stay() {
    let key = format!("ghp_{}{}", secret(1, 1), secret(1, 2));
    let config = |off: &str| {
        format!(
            "[record]\nredact_off = [{off}]\n[[sources.file]]\nname = \"agent\"\ninclude = [\"{{dir}}/runs/{{Team}}/*.log\"]\n\
             [sinks.file]\npath = \"{{dir}}/out.ndjson\"\n"
        )
    };
    for (off, redacted) in [("", true), ("\"github\"", false)] {
        let mut ferry = Ferry::new(&config(off));
        std::fs::create_dir_all(ferry.path(&format!("runs/{key}"))).expect("a folder");
        append(&ferry.path(&format!("runs/{key}/a.log")), (0..3).map(|n| format!("{n} by {key}")));
        let ended = ferry.call(&["ship"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let records = ferry.records("out.ndjson");
        assert_eq!(records.len(), 3);
        for (n, record) in records.iter().enumerate() {
            let shown = if redacted { "[REDACTED:github]" } else { key.as_str() };
            assert_eq!(record["Message"], format!("{n} by {shown}"));
            assert_eq!(record["Team"], shown);
            assert!(record["FilePath"].as_str().is_some_and(|path| path.ends_with(&format!("runs/{shown}/a.log"))));
            assert_eq!(record["Seq"], n + 1);
            assert_eq!(record["EventID"].as_str().map(str::len), Some(26));
        }
    }
}
