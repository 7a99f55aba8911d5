//! Default, file, environment: which one wins, and what a variable may look like.

use std::time::Duration;

use super::*;
use crate::sink::Kind;
use crate::sink::http::{Auth, Secret};

fn given(value: &str) -> whereabouts::Value {
    whereabouts::Value::Text(value.to_owned())
}

#[test]
fn the_file_wins_over_the_default_and_the_environment_over_the_file() {
    let text = format!("{MINIMAL}[buffer]\nmax_bytes = \"1GiB\"\nsync = \"1s\"\n");
    let loaded = good(&text, &[("LOGFERRY__BUFFER__SYNC", "2s")]);
    assert_eq!(loaded.config.buffer.max_bytes, 1 << 30);
    assert_eq!(loaded.config.buffer.sync, Duration::from_secs(2));
    assert_eq!(loaded.config.teardown.deadline, Duration::from_secs(240));
}

#[test]
fn variables_give_numbers_sizes_lists_and_tables() {
    let text = "[[sources.file]]\ninclude = [\"/l/*.log\"]\n[sinks.My-Es]\ntype = \"elasticsearch\"\n\
                endpoints = [\"http://a:1\"]\nheaders = { X-A = \"1\" }\n";
    let loaded = good(
        text,
        &[
            ("LOGFERRY__SOURCES__FILE__0__INCLUDE", "/a/*.log, /b/*.log"),
            ("LOGFERRY__SOURCES__FILE__0__EXCLUDE", "[\"/a/x,y.log\"]"),
            ("LOGFERRY__SOURCES__FILE__0__MAX_LINE", "4096"),
            ("LOGFERRY__SINKS__MY_ES__IN_FLIGHT", "7"),
            ("LOGFERRY__SINKS__MY_ES__BATCH_BYTES", "1MiB"),
            ("LOGFERRY__SINKS__MY_ES__ENDPOINTS", "http://b:1,http://c:1"),
            ("LOGFERRY__SINKS__MY_ES__HEADERS", "{ X-B = \"2\" }"),
            ("LOGFERRY__SINKS__MY_ES__WHEN__LEVEL", "ERROR,CRITICAL"),
            ("LOGFERRY__RUN__FIELDS__Team", "evals"),
            ("LOGFERRY__RUN__RUN_ID", "42"),
        ],
    );
    let file = &loaded.config.files[0];
    assert_eq!((file.include.len(), file.exclude.len(), file.ingest.max_line), (2, 1, 4096));
    let sink = sink(&loaded, "My-Es");
    assert_eq!((sink.in_flight, sink.batch_bytes), (7, 1 << 20));
    let Kind::Elasticsearch(options) = &sink.kind else { panic!("{sink:?}") };
    let hosts: Vec<_> = options.endpoints.iter().filter_map(::url::Url::host_str).collect();
    assert_eq!(hosts, ["b", "c"]);
    let headers: Vec<_> = options.http.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(headers, [("X-A", "1"), ("X-B", "2")]);
    let rule = sink.when.as_ref().expect("a rule");
    assert!(rule.matches(|_| Some(b"ERROR")) && !rule.matches(|_| Some(b"INFO")));
    assert_eq!(loaded.config.run.run_id, given("42"));
    assert_eq!(loaded.config.run.fields, [("Team".to_owned(), given("evals"))]);
}

#[test]
fn variables_alone_are_a_whole_configuration() {
    let loaded = good(
        "",
        &[
            ("LOGFERRY__SOURCES__DOCKER__0__NAME", "all"),
            ("LOGFERRY__SOURCES__DOCKER__0__COLUMNS__TASKID", "label:task"),
            ("LOGFERRY__SINKS__ELASTICSEARCH__ENDPOINTS", "http://es:9200"),
            ("LOGFERRY__SINKS__OUT", "{ type = \"console\", format = \"ndjson\" }"),
        ],
    );
    assert_eq!(&*loaded.config.docker[0].name, "all");
    assert_eq!(loaded.config.docker[0].columns[0].0, "TaskID");
    let names: Vec<&str> = loaded.config.sinks.iter().map(|sink| &*sink.name).collect();
    assert_eq!(names, ["elasticsearch", "out"]);
}

#[test]
fn variables_of_other_programs_are_left_alone() {
    good(MINIMAL, &[("LOGFERRY_CONFIG", "/x"), ("LOGFERRY", "x"), ("PATH", "/bin"), ("BUFFER__SYNC", "x")]);
}

#[test]
fn run_columns_come_from_their_usual_variables() {
    let loaded = good(MINIMAL, &[("RUN_ID", "r"), ("TASK_ID", ""), ("BENCHMARK", "swe-bench")]);
    assert!(show(&loaded).contains("run_id = \"r\"  # default \"${RUN_ID:-}\"\n"));
    let run = &loaded.config.run;
    assert_eq!((&run.run_id, &run.task_id, &run.benchmark), (&given("r"), &given(""), &given("swe-bench")));
    assert_eq!(run.vm_name, VmName::Auto);
    let loaded = good(&format!("{MINIMAL}[run]\nvm_name = \"vm-${{N:-0}}\"\n"), &[("N", "7")]);
    assert_eq!(loaded.config.run.vm_name, VmName::Given(given("vm-7")));
}

#[test]
fn a_variable_that_is_overridden_has_no_need_to_be_set_in_vain() {
    let text = "[[sources.docker]]\n[sinks.elasticsearch]\nendpoints = [\"http://es\"]\nin_flight = \"${N:-3}\"\n\
                api_key = \"${ES_KEY}\"\n";
    let loaded = good(text, &[("LOGFERRY__SINKS__ELASTICSEARCH__API_KEY", "k${x")]);
    let Kind::Elasticsearch(options) = &sink(&loaded, "elasticsearch").kind else { panic!() };
    // What the environment gives is taken as it is.
    assert_eq!(options.auth, Auth::ApiKey(Secret::new("k${x")));
    assert_eq!(sink(&loaded, "elasticsearch").in_flight, 3);
}

/// The authentication that these keys of an Elasticsearch sink give, or the message.
fn auth(keys: &str, variables: &[(&str, &str)]) -> Result<Auth, String> {
    let text = format!("[[sources.docker]]\n[sinks.elasticsearch]\nendpoints = [\"http://es\"]\n{keys}\n");
    let loaded = load_with(&text, variables).map_err(|mistakes| mistakes.to_string())?;
    match &sink(&loaded, "elasticsearch").kind {
        Kind::Elasticsearch(options) => Ok(options.auth.clone()),
        _ => Err("another kind".to_owned()),
    }
}

#[test]
fn secrets_come_from_text_variables_and_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        path.display().to_string()
    };
    let good = path("good", b"from file\n");
    let check = |keys: String, variables: &[(&str, &str)], expected: Auth| {
        assert_eq!(auth(&keys, variables), Ok(expected), "{keys}");
    };
    let key = |text: &str| Auth::ApiKey(Secret::new(text));
    check(String::new(), &[], Auth::None);
    check("api_key = \"abc\"".into(), &[], key("abc"));
    check("api_key = \"${K}\"".into(), &[("K", "abc")], key("abc"));
    check("api_key = \"${K:-}\"".into(), &[], Auth::None);
    check(format!("api_key_file = \"{good}\""), &[], key("from file"));
    check(format!("bearer_token_file = \"{good}\""), &[], Auth::Bearer(Secret::new("from file")));
    let basic = Auth::Basic { username: "u".into(), password: Secret::new("from file") };
    check(format!("username = \"u\"\npassword_file = \"{good}\""), &[], basic);
    let file_variable = [("LOGFERRY__SINKS__ELASTICSEARCH__API_KEY_FILE", good.as_str())];
    check("api_key = \"abc\"".into(), &file_variable, key("from file"));
    let key_variable = [("LOGFERRY__SINKS__ELASTICSEARCH__API_KEY", "abc")];
    check(format!("api_key_file = \"{good}\""), &key_variable, key("abc"));

    let refused = |keys: String, expected: &str| {
        let said = auth(&keys, &[]).expect_err(&keys);
        assert!(said.contains(expected), "{keys}\n{said}");
        assert!(!said.contains("hunter2"), "{said}");
    };
    refused(format!("api_key_file = \"{}\"", path("empty", b"\n")), "empty\" is empty");
    refused(format!("api_key_file = \"{}\"", path("two", b"hunter2\nhunter2\n")), "holds more than one line");
    refused(format!("api_key_file = \"{}\"", path("binary", b"hunter2\xff")), "is no text (UTF-8)");
    refused(format!("api_key_file = \"{}\"", path("large", &[b'x'; 70_000])), "has more than 65536 bytes");
    refused(
        "api_key_file = \"/nowhere/key\"".into(),
        "f.toml:4: sinks.elasticsearch.api_key_file: \"/nowhere/key\" cannot be read",
    );
    refused(
        format!("api_key = \"hunter2\"\napi_key_file = \"{good}\""),
        "f.toml:5: sinks.elasticsearch.api_key_file: is given beside api_key",
    );
    refused("api_key = \"hunter2\\nx\"".into(), "holds a line break");
    refused("username = \"u\"".into(), "is given without a password");
}

#[test]
fn the_file_is_found_by_argument_then_variable_then_default() {
    let check = |argument: Option<&str>, variable: &[(&str, &str)], expected: &str| {
        let variables = variable.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let source = Source::find(argument.map(PathBuf::from), &variables);
        assert_eq!(source.path(), Some(Path::new(expected)));
    };
    check(Some("/a"), &[("LOGFERRY_CONFIG", "/b")], "/a");
    check(None, &[("LOGFERRY_CONFIG", "/b")], "/b");
    check(None, &[("LOGFERRY_CONFIG", "")], DEFAULT_PATH);
    check(None, &[], DEFAULT_PATH);
}
