//! `config show`: what results, where it comes from, and no secret.

use super::*;

/// Every place where a secret can stand; all hold `hunter2`.
const SECRETS: &str = r#"
[run]
run_id = "r$${x}\"y"
fields = { Team = "evals" }
[[sources.docker]]
include = { names = ["bench-*"] }
columns = { TaskID = "label:t" }
[sinks.one]
type = "elasticsearch"
endpoints = ["https://es:9200"]
api_key = "hunter2"
headers = { Authorization = "Bearer hunter2", X-Tenant = "hunter2" }
proxy = "http://me:hunter2@proxy:3128"
[sinks.two]
type = "elasticsearch"
endpoints = ["https://es:9200"]
username = "u"
password = "${PASSWORD}"
[sinks.three]
type = "elasticsearch"
endpoints = ["https://es:9200"]
bearer_token_file = "FILE"
[sinks.azure_monitor]
endpoint = "https://x.ingest.monitor.azure.com"
dcr_id = "dcr-0123456789abcdef0123456789abcdef"
stream = "Custom-X"
credential = { kind = "client_secret", tenant_id = "t", client_id = "c", client_secret = "hunter2" }
[record]
redact_off = ["jwt"]
[[record.metric]]
name = "x_seconds"
kind = "histogram"
value = "Fields.x"
labels = { level = "Level" }
buckets = [0.5, 1]
"#;

fn secrets_file() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    std::fs::write(&path, "hunter2\n").expect("written");
    let text = SECRETS.replace("FILE", &path.display().to_string());
    (folder, text)
}

const VARIABLES: &[(&str, &str)] = &[
    ("PASSWORD", "hunter2"),
    ("LOGFERRY__SINKS__THREE__IN_FLIGHT", "9"),
    ("LOGFERRY__SINKS__FOUR", "{ type = \"console\", api_key = \"hunter2\" }"),
];

#[test]
fn no_secret_is_shown_and_their_files_are() {
    let (folder, text) = secrets_file();
    let loaded = good(&text, VARIABLES);
    let shown = show(&loaded);
    assert!(!shown.contains("hunter2"), "{shown}");
    let debug = format!("{loaded:?}").replace("http://me:hunter2@proxy:3128", "");
    assert!(!debug.contains("hunter2"), "{debug}");
    for line in [
        "api_key = \"********\"  # line 11",
        "headers = { Authorization = \"********\", X-Tenant = \"********\" }  # line 12",
        "proxy = \"http://********@proxy:3128\"  # line 13",
        "password = \"********\"  # line 18",
        "in_flight = \"9\"  # LOGFERRY__SINKS__THREE__IN_FLIGHT",
        "api_key = \"********\"  # LOGFERRY__SINKS__FOUR",
        "run_id = \"r$${x}\\\"y\"  # line 3",
        "fields = { Team = \"evals\" }  # line 4",
        "max_bytes = \"4GiB\"",
        "redact_off = [\"jwt\"]  # line 29",
        "labels = { level = \"Level\" }  # line 34",
        "buckets = [0.5, 1]  # line 35",
        "include = { names = [\"bench-*\"], images = [], labels = [] }  # line 6",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n--- in ---\n{shown}");
    }
    let token = format!("bearer_token_file = \"{}\"  # line 22", folder.path().join("token").display());
    assert!(shown.contains(&token), "{shown}");
    assert!(shown.contains("client_secret = \"********\""), "{shown}");
}

#[test]
fn what_is_shown_reads_back_the_same() {
    let (_folder, text) = secrets_file();
    let strip = |shown: &str| -> String {
        shown.lines().map(|line| line.split("  # ").next().unwrap_or_default().to_owned() + "\n").collect()
    };
    let first = show(&good(&text, VARIABLES));
    // The mask stands where secrets were; a URL may not hold a user, a proxy may.
    let second = show(&good(&first, &[]));
    assert_eq!(strip(&first), strip(&second));
}

#[test]
fn tests_are_shown_as_they_were_given() {
    let tests = "[[test]]\nname = \"t\"\nsource = \"\"\npath = \"\"\nlines = [\"a $${b}\", \"\"]\n\
                 expect = [{ Level = \"INFO\", \"Fields.n\" = 1.5, Fields = { o = [1, true] } }, {}]\nsinks = [\"console\"]\n";
    let first = good(&format!("{MINIMAL}{tests}"), &[]);
    let shown = show(&first);
    let expected = "expect = [{ Level = \"INFO\", \"Fields.n\" = 1.5, Fields = { o = [1, true] } }, {}]";
    assert!(shown.contains(expected), "{shown}");
    let second = good(&shown, &[]);
    let without_lines = |loaded: &Loaded| {
        let mut tests = loaded.config.tests.clone();
        for test in &mut tests {
            test.line = None;
            for expected in test.expect.iter_mut().flatten() {
                expected.line = None;
                expected.columns.iter_mut().for_each(|column| column.line = None);
            }
        }
        tests
    };
    assert_eq!(without_lines(&first), without_lines(&second));
    assert_eq!(first.config.tests[0].lines, ["a ${b}", ""]);
}

#[test]
fn no_mistake_shows_a_secret() {
    let (_folder, text) = secrets_file();
    // Each line in turn becomes a mistake of another sort.
    let spoil: [&dyn Fn(&str) -> String; 6] = [
        &|line| line.replacen(" = ", "x = ", 1),
        &|line| line.replacen(" = \"", " = [\"", 1) + "]",
        &|line| line.replacen('"', "", 1),
        &|line| line.replace("hunter2", "hunter2\\n"),
        &|line| line.replace("hunter2", "${hunter2-}"),
        &|line| line.replace("http://me:", "me:").replace("es:9200", "me:hunter2@es:9200"),
    ];
    let lines: Vec<&str> = text.lines().collect();
    let mut mistakes = 0;
    for (at, line) in lines.iter().enumerate() {
        for change in spoil {
            let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            changed[at] = change(line);
            if let Err(found) = load_with(&changed.join("\n"), VARIABLES) {
                mistakes += 1;
                assert!(!found.to_string().contains("hunter2"), "{}\n{found}", changed[at]);
            }
        }
    }
    assert!(mistakes > 60, "only {mistakes} were wrong at all");
}
