//! What a right configuration becomes: the options of each stage.

use std::time::Duration;

use super::*;
use crate::azure::credential;
use crate::azure::imds::property::{Compute, Property};
use crate::azure::imds::{self, EventKind};
use crate::ingest::{Ansi, Multiline, Parser, Pattern, Start, Zone};
use crate::sink::console::Format;
use crate::sink::http::{Auth, Compression, Secret};
use crate::sink::{Kind, file};
use crate::source::docker::{ColumnFrom, Host};
use crate::source::file::StartAt;

#[test]
fn the_shortest_configuration_has_every_default() {
    let config = good(MINIMAL, &[]).config;
    let run = &config.run;
    assert!(run.run_id.is_empty() && run.task_id.is_empty() && run.benchmark.is_empty() && run.fields.is_empty());
    assert_eq!(run.vm_name, VmName::Auto);
    assert_eq!(config.state_dir, Path::new("/var/lib/logferry"));
    assert_eq!((config.buffer.max_bytes, config.buffer.sync), (4 << 30, Duration::from_millis(200)));
    let file = &config.files[0];
    assert_eq!((&*file.name, file.start_at, file.ignore_older), ("files", StartAt::Beginning, None));
    let ingest = &file.ingest;
    assert_eq!((&ingest.parser, &ingest.multiline, ingest.max_line), (&Parser::Auto, &Multiline::Auto, 1 << 20));
    assert_eq!(ingest.ansi, Ansi::Strip);
    assert_eq!(ingest.zone, Zone::Utc);
    assert_eq!(*ingest.routes, [None]);
    let teardown = Teardown {
        deadline: Duration::from_secs(240),
        wait_containers: Duration::from_secs(30),
        scheduled_events: ScheduledEvents::Auto,
        events: vec![EventKind::Terminate, EventKind::Preempt, EventKind::Redeploy, EventKind::Reboot],
        approve: Approve::WhenIdle,
        margin: Duration::from_secs(10),
        imds: imds::address(),
    };
    assert_eq!(config.teardown, teardown);
    assert_eq!(config.http_listen, "127.0.0.1:9577".parse().ok());
    assert_eq!(config.log, Log { level: "info".into(), format: LogFormat::Text });
    let sink = &config.sinks[0];
    assert_eq!((&*sink.name, sink.batch_bytes, sink.in_flight), ("console", 5 << 20, 1));
    assert_eq!((sink.max_age, sink.when.as_ref()), (Duration::from_secs(1), None));
    assert!(matches!(&sink.kind, Kind::Console(o) if o.format == Format::Pretty && !o.colour));
}

#[test]
fn routes_are_the_rules_of_the_sinks_in_the_order_of_the_file() {
    let text = "[[sources.file]]\ninclude = [\"/runs/{RunID}/{Suite}/*.log\"]\n[[sources.docker]]\n\
                [sinks.z]\ntype = \"console\"\nwhen = { Level = \"ERROR\", Suite = [\"a*\", \"b\"] }\n\
                [sinks.a]\ntype = \"console\"\n[sinks.m]\ntype = \"console\"\nwhen = {}\n";
    let config = good(text, &[]).config;
    let names: Vec<&str> = config.sinks.iter().map(|sink| &*sink.name).collect();
    assert_eq!(names, ["z", "a", "m"]);
    let routes = &config.files[0].ingest.routes;
    assert!(Arc::ptr_eq(routes, &config.docker[0].ingest.routes));
    let matches = |level: &'static [u8], suite: &'static [u8]| {
        let rule = routes[0].as_ref().expect("a rule");
        rule.matches(|name| Some(if name == "Level" { level } else { suite }))
    };
    assert!(matches(b"ERROR", b"abc") && matches(b"ERROR", b"b"));
    assert!(!matches(b"INFO", b"b") && !matches(b"ERROR", b"c"));
    assert_eq!(routes[1..], [None, None]);
}

#[test]
fn docker_keys() {
    let text = "[sinks.console]\n[[sources.docker]]\nhost = \"tcp://127.0.0.1:2375\"\n\
                include = { names = [\"bench-*\"] }\nexclude = { images = [\"x\"] }\n\
                columns = { TaskID = \"label:bench.task_id\", RunID = \"env:RUN_ID\", Agent = \"label:a:b\" }\n\
                timezone = \"Europe/Berlin\"\nmultiline = \"none\"\nparser = \"json\"\n";
    let docker = &good(text, &[]).config.docker[0];
    assert_eq!(docker.host, Host::Address("tcp://127.0.0.1:2375".into()));
    assert_eq!((docker.include.names.as_slice(), docker.include.images.len()), (&["bench-*".to_owned()][..], 0));
    // What is not said keeps its default.
    assert_eq!(
        (docker.exclude.images.as_slice(), docker.exclude.labels.as_slice()),
        (&["x".to_owned()][..], &["logferry.skip".to_owned()][..])
    );
    let columns = [
        ("TaskID".to_owned(), ColumnFrom::Label("bench.task_id".into())),
        ("RunID".to_owned(), ColumnFrom::Env("RUN_ID".into())),
        ("Agent".to_owned(), ColumnFrom::Label("a:b".into())),
    ];
    assert_eq!(docker.columns, columns);
    assert!(matches!(&docker.ingest.zone, Zone::Named(zone) if zone.iana_name() == Some("Europe/Berlin")));
    assert_eq!((&docker.ingest.parser, &docker.ingest.multiline), (&Parser::Json, &Multiline::None));
    for host in ["unix:///run/user/1000/docker.sock", "http://127.0.0.1:80", "https://engine:2376", "auto"] {
        good(&format!("[sinks.console]\n[[sources.docker]]\nhost = \"{host}\"\n"), &[]);
    }
}

#[test]
fn a_pattern_may_say_where_records_begin() {
    let check = |keys: &str, variables: &[(&str, &str)], start: &str| {
        let text = format!("[sinks.console]\n[[sources.docker]]\n{keys}\n");
        let loaded = good(&text, variables);
        let expected = Multiline::Start(Start::new(start).expect("a pattern"));
        assert_eq!(loaded.config.docker[0].ingest.multiline, expected, "{keys}");
    };
    check("multiline = { start = '^\\d{4}-' }", &[], "^\\d{4}-");
    check("[sources.docker.multiline]\nstart = \"^>>\"", &[], "^>>");
    check("", &[("LOGFERRY__SOURCES__DOCKER__0__MULTILINE", "{ start = '^>>' }")], "^>>");
    check("multiline = \"none\"", &[("LOGFERRY__SOURCES__DOCKER__0__MULTILINE__START", "^>>")], "^>>");
    let loaded = good("[sinks.console]\n[[sources.docker]]\nmultiline = { start = '^>>' }\n", &[]);
    assert!(show(&loaded).contains("multiline = { start = \"^>>\" }  # line 3"), "{}", show(&loaded));
}

#[test]
fn parsers_and_what_becomes_of_colours() {
    let check = |keys: &str, parser: &Parser, ansi: Ansi| {
        let text = format!("[sinks.console]\n[[sources.docker]]\n{keys}\n");
        let ingest = &good(&text, &[]).config.docker[0].ingest;
        assert_eq!((&ingest.parser, ingest.ansi), (parser, ansi), "{keys}");
    };
    check("parser = \"logfmt\"", &Parser::Logfmt, Ansi::Strip);
    check("parser = \"syslog\"\nansi = \"keep\"", &Parser::Syslog, Ansi::Keep);
    let pattern = Pattern::new(r"^(?<level>\w+) (?<message>.*)$").expect("a pattern");
    check("parser = \"regex\"\npattern = '^(?<level>\\w+) (?<message>.*)$'", &Parser::Regex(pattern), Ansi::Strip);
}

#[test]
fn a_docker_host_that_is_no_address_is_a_mistake_where_it_counts() {
    let auto = "[sinks.console]\n[[sources.docker]]\n";
    let named = "[sinks.console]\n[[sources.docker]]\nhost = \"unix:///run/docker.sock\"\n";
    let bad = [("DOCKER_HOST", "ssh://user:hush@engine")];
    let message = message(auto, &bad);
    assert!(
        message.contains("variable DOCKER_HOST: sources.docker: \"ssh://********@engine\" is no address"),
        "{message}"
    );
    assert!(message.contains("expected: unix:///PATH, tcp://HOST:PORT"), "{message}");
    good(named, &bad);
    good(MINIMAL, &bad);
    good(auto, &[("DOCKER_HOST", "tcp://engine:2375")]);
    good(auto, &[("DOCKER_HOST", "")]);
}

#[test]
fn docker_columns_come_from_what_is_known_of_a_container() {
    let check = |from: &str, expected: Option<ColumnFrom>| {
        let text = format!("[sinks.console]\n[[sources.docker]]\ncolumns = {{ Mine = \"{from}\" }}\n");
        match expected {
            Some(expected) => assert_eq!(good(&text, &[]).config.docker[0].columns, [("Mine".to_owned(), expected)]),
            None => assert!(message(&text, &[]).contains("expected: \"label:NAME\", \"env:NAME\""), "{from}"),
        }
    };
    check("label:a.b/c", Some(ColumnFrom::Label("a.b/c".into())));
    check("env:RUN_ID", Some(ColumnFrom::Env("RUN_ID".into())));
    check("compose:project", Some(ColumnFrom::ComposeProject));
    check("compose:service", Some(ColumnFrom::ComposeService));
    check("name", Some(ColumnFrom::Name));
    check("id", Some(ColumnFrom::Id));
    check("image", Some(ColumnFrom::Image));
    let wrong =
        ["", "label", "label:", "env:", "env:A=B", "compose", "compose:", "compose:number", "name:", "Name", "names"];
    for wrong in wrong {
        check(wrong, None);
    }
}

#[test]
fn sink_keys() {
    let text = r#"
[[sources.docker]]
[sinks.es]
type = "elasticsearch"
endpoints = ["https://a:9200", "http://b/prefix"]
index = "logs-{RunID}"
compression = "none"
batch_bytes = 2048
in_flight = 32
max_age = "50ms"
timeout = "5s"
proxy = "http://me:secret@proxy:3128"
headers = { X-Tenant = "t" }
bearer_token = "b"
[sinks.file]
path = "/srv/out.ndjson"
max_bytes = "1MiB"
keep = 3
[sinks.console]
format = "ndjson"
"#;
    let loaded = good(text, &[]);
    let es = sink(&loaded, "es");
    assert_eq!((es.batch_bytes, es.in_flight, es.max_age), (2048, 32, Duration::from_millis(50)));
    let Kind::Elasticsearch(options) = &es.kind else { panic!() };
    let urls: Vec<&str> = options.endpoints.iter().map(::url::Url::as_str).collect();
    assert_eq!(urls, ["https://a:9200/", "http://b/prefix"]);
    assert_eq!(options.auth, Auth::Bearer(Secret::new("b")));
    assert_eq!(options.compression, Compression::None);
    assert_eq!(options.http.timeout, Duration::from_secs(5));
    assert_eq!(options.http.proxy.as_deref(), Some("http://me:secret@proxy:3128"));
    let Kind::File(file::Options { path, max_bytes, keep }) = &sink(&loaded, "file").kind else { panic!() };
    assert_eq!((path.as_path(), *max_bytes, *keep), (Path::new("/srv/out.ndjson"), 1 << 20, 3));
    assert!(matches!(&sink(&loaded, "console").kind, Kind::Console(o) if o.format == Format::Ndjson));
}

#[test]
fn azure_monitor_and_each_kind_of_credential() {
    let check = |endpoint: &str, credential: &str, expected: credential::Options| {
        let dcr = "dcr-0123456789abcdef0123456789abcdef";
        let text = format!(
            "[[sources.docker]]\n[sinks.azure_monitor]\nendpoint = \"{endpoint}\"\ndcr_id = \"{dcr}\"\n\
             stream = \"Custom-X_CL\"\n{credential}\n"
        );
        let loaded = good(&text, &[]);
        let sink = sink(&loaded, "azure_monitor");
        assert!(sink.batch_bytes < 1_000_000, "{}", sink.batch_bytes);
        let Kind::AzureMonitor(options) = &sink.kind else { panic!() };
        assert_eq!(options.credential, expected, "{credential}");
        assert_eq!((options.dcr_id.as_str(), options.stream.as_str()), (dcr, "Custom-X_CL"));
    };
    use credential::Options as O;
    let https = "https://x-abcd.westeurope-1.ingest.monitor.azure.com";
    check(https, "", O::AUTO);
    check("http://127.0.0.1:8080", "credential = { kind = \"auto\" }", O::AUTO);
    check("http://[::1]:8080", "credential = { kind = \"azure_cli\" }", O::AzureCli);
    check("http://localhost:8080", "credential = { kind = \"workload_identity\" }", O::WorkloadIdentity);
    check(https, "credential = { kind = \"managed_identity\" }", O::ManagedIdentity { client_id: None });
    let managed = O::ManagedIdentity { client_id: Some("c".into()) };
    check(https, "credential = { kind = \"managed_identity\", client_id = \"c\" }", managed);
    let app = || credential::App { tenant_id: "t".into(), client_id: "c".into(), client_secret: Secret::new("s") };
    let secret = O::ClientSecret(app());
    let keys = "{ kind = \"client_secret\", tenant_id = \"t\", client_id = \"c\", client_secret = \"s\" }";
    check(https, &format!("credential = {keys}"), secret);
    let auto = |client_id: Option<&str>, secret| O::Auto { client_id: client_id.map(str::to_owned), secret };
    check(https, &format!("credential = {}", keys.replace("client_secret\", t", "auto\", t")), auto(None, Some(app())));
    check(https, "credential = { client_id = \"c\" }", auto(Some("c"), None));
    // What the environment does not set is not there.
    let unset = "credential = { tenant_id = \"${NONE:-}\", client_id = \"${NONE:-}\", client_secret = \"${NONE:-}\" }";
    check(https, unset, O::AUTO);
}

#[test]
fn what_verify_needs_of_azure_is_there_where_it_was_given() {
    let check = |keys: &str, expected: [Option<&str>; 3]| {
        let text = format!(
            "[[sources.docker]]\n[sinks.azure_monitor]\nendpoint = \"https://x.ingest.monitor.azure.com\"\n\
             dcr_id = \"dcr-0123456789abcdef0123456789abcdef\"\nstream = \"Custom-X_CL\"\n{keys}\n"
        );
        let loaded = good(&text, &[]);
        let Kind::AzureMonitor(options) = &sink(&loaded, "azure_monitor").kind else { panic!() };
        let endpoint = options.query_endpoint.as_ref().map(|url| url.as_str());
        assert_eq!([options.workspace_id.as_deref(), options.table.as_deref(), endpoint], expected, "{keys}");
    };
    check("", [None; 3]);
    check("workspace_id = \"\"\ntable = \"\"\nquery_endpoint = \"\"", [None; 3]);
    let id = "0123abcd-1234-5678-9abc-0123456789ab";
    check(&format!("workspace_id = \"{}\"", id.to_uppercase()), [Some(id), None, None]);
    check("table = \"Runs_CL\"", [None, Some("Runs_CL"), None]);
    check("query_endpoint = \"http://127.0.0.1:8080\"", [None, None, Some("http://127.0.0.1:8080/")]);
    let azure = "https://api.loganalytics.azure.com";
    check(&format!("query_endpoint = \"{azure}\""), [None, None, Some("https://api.loganalytics.azure.com/")]);
}

#[test]
fn limits_hold_at_their_edges() {
    let sinks = |count: usize| (0..count).map(|n| format!("[sinks.s{n}]\ntype = \"console\"\n")).collect::<String>();
    let docker = "[[sources.docker]]\n";
    assert_eq!(good(&format!("{docker}{}", sinks(32)), &[]).config.sinks.len(), 32);
    assert!(message(&format!("{docker}{}", sinks(33)), &[]).contains("sinks: has 33 sinks"));
    let check = |line: &str, good_one: bool| {
        let text = format!("[sinks.console]\nIN_SINK\n{docker}IN_SOURCE\n[buffer]\nIN_BUFFER\n");
        let place = match line.split(' ').next() {
            Some("max_line" | "name") => "IN_SOURCE",
            Some("max_bytes" | "sync") => "IN_BUFFER",
            _ => "IN_SINK",
        };
        let text = text.replace(place, line);
        let text = text.replace("IN_SINK", "").replace("IN_SOURCE", "").replace("IN_BUFFER", "");
        assert_eq!(load_with(&text, &[]).is_ok(), good_one, "{line}");
    };
    let long = "n".repeat(64);
    for line in ["batch_bytes = 1024", "batch_bytes = \"100MiB\"", "in_flight = 1", "in_flight = 32"] {
        check(line, true);
    }
    for line in ["max_line = 64", "max_line = \"16MiB\"", "max_bytes = \"32MiB\"", "sync = \"1ms\"", "sync = \"60s\""] {
        check(line, true);
    }
    check(&format!("name = \"{long}\""), true);
    for line in ["batch_bytes = 1023", "batch_bytes = 104857601", "in_flight = 0", "in_flight = 33", "in_flight = -1"] {
        check(line, false);
    }
    for line in ["max_line = 63", "max_line = 16777217", "max_bytes = 33554431", "max_bytes = -1", "sync = \"0s\""] {
        check(line, false);
    }
    for line in ["sync = \"61s\"", "in_flight = 1.5", "name = \"\"", "name = \"ä\""] {
        check(line, false);
    }
    check(&format!("name = \"{long}n\""), false);
}

#[test]
fn switched_off_and_default_are_no_mistakes() {
    let text = format!(
        "{MINIMAL}[http]\nlisten = \"off\"\n[teardown]\nscheduled_events = \"off\"\napprove = \"never\"\n\
         margin = \"10s\"\n[record]\ncolumns = {{}}\nredact = []\n"
    );
    assert_eq!(good(&text, &[]).config.http_listen, None);
    let events = [("LOGFERRY__TEARDOWN__EVENTS", "Terminate,Preempt,Redeploy,Reboot"), ("LOGFERRY__HTTP__LISTEN", "")];
    assert_eq!(good(MINIMAL, &events).config.http_listen, None);
}

#[test]
fn columns_may_be_what_imds_says_of_the_vm() {
    let tag = |name: &str| whereabouts::Value::Imds(Property::Tag(name.to_owned()));
    let text = "[run]\nrun_id = \"${R:-imds:tag/Run ID}\"\ntask_id = \"imds:tag/TaskID\"\nbenchmark = \"an imds:tag/x\"\n\
                vm_name = \"imds:compute/vmId\"\nfields = { Region = \"imds:compute/location\", Team = \"evals\" }\n";
    let run = good(&format!("{MINIMAL}{text}"), &[]).config.run;
    assert_eq!((&run.run_id, &run.task_id), (&tag("Run ID"), &tag("TaskID")));
    assert_eq!(run.benchmark, whereabouts::Value::Text("an imds:tag/x".to_owned()));
    assert_eq!(run.vm_name, VmName::Given(whereabouts::Value::Imds(Property::Compute(Compute::VmId))));
    let region = whereabouts::Value::Imds(Property::Compute(Compute::Location));
    let team = whereabouts::Value::Text("evals".to_owned());
    assert_eq!(run.fields, [("Region".to_owned(), region), ("Team".to_owned(), team)]);
    let run = good(MINIMAL, &[("RUN_ID", "imds:tag/RunID")]).config.run;
    assert_eq!(run.run_id, tag("RunID"));
}

#[test]
fn announced_events_are_polled_as_configured() {
    let text = "[teardown]\nscheduled_events = \"on\"\nevents = []\napprove = \"never\"\nmargin = \"0s\"\n\
                imds = \"http://127.0.0.1:8080\"\n";
    let teardown = good(&format!("{MINIMAL}{text}"), &[]).config.teardown;
    assert_eq!((teardown.scheduled_events, teardown.approve), (ScheduledEvents::On, Approve::Never));
    assert_eq!((teardown.events.len(), teardown.margin), (0, Duration::ZERO));
    assert_eq!(teardown.imds.as_str(), "http://127.0.0.1:8080/");
    let one = [("LOGFERRY__TEARDOWN__EVENTS", "Preempt")];
    assert_eq!(good(MINIMAL, &one).config.teardown.events, [EventKind::Preempt]);
}

#[test]
fn secrets_are_redacted_unless_a_kind_is_off_and_by_own_patterns() {
    let check = |record: &str, expected: &str| {
        let config = good(&format!("{MINIMAL}{record}"), &[]).config;
        let text = "password=a1 secret=b2 EMP123456";
        assert_eq!(config.redactor.column("Team", text.to_owned()), expected, "{record}");
        assert!(config.files.iter().all(|file| Arc::ptr_eq(&file.ingest.redactor, &config.redactor)));
    };
    check("", "password=[REDACTED:password] secret=[REDACTED:secret] EMP123456");
    check("[record]\nredact_off = [\"password\"]\n", "password=a1 secret=[REDACTED:secret] EMP123456");
    check("[record]\nredact_off = \"all\"\n", "password=a1 secret=b2 EMP123456");
    let own = "[record]\nredact_off = [\"all\"]\n[[record.redact]]\npattern = \"EMP[0-9]+\"\n";
    check(own, "password=a1 secret=b2 [REDACTED:custom]");
    check(&format!("{own}kind = \"employee\"\n"), "password=a1 secret=b2 [REDACTED:employee]");
}

#[test]
fn the_address_of_http_is_any_with_a_port() {
    let check = |text: &str, expected: Option<&str>| {
        let loaded = load_with(&format!("{MINIMAL}[http]\nlisten = \"{text}\"\n"), &[]);
        let address = loaded.ok().and_then(|loaded| loaded.config.http_listen);
        assert_eq!(address.map(|address| address.to_string()).as_deref(), expected, "{text}");
    };
    check("127.0.0.1:0", Some("127.0.0.1:0"));
    check("0.0.0.0:9577", Some("0.0.0.0:9577"));
    check("[::1]:80", Some("[::1]:80"));
    check("localhost:9577", None);
    check("9577", None);
}

#[test]
fn what_must_be_there_depends_on_the_purpose() {
    let check = |text: &str, purpose: Purpose, expected: usize| {
        let source = Source::Text { name: "f".into(), text: text.into() };
        let variables = Variables::default();
        let loaded = load(Request { source: &source, variables: &variables, purpose, colour: true });
        assert_eq!(loaded.map_or_else(|mistakes| mistakes.len(), |_| 0), expected, "{text} {purpose:?}");
    };
    check("", Purpose::Pipeline, 2);
    check("", Purpose::Sinks, 1);
    check("", Purpose::Any, 0);
    check("[sinks.console]\n", Purpose::Pipeline, 1);
    check("[sinks.console]\n", Purpose::Sinks, 0);
}
