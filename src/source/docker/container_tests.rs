//! Tests of [`super`]: selection, columns, descriptors.

use super::*;
use crate::ingest;
use crate::source::docker::Host;

fn options() -> Options {
    Options {
        name: "containers".into(),
        host: Host::Auto,
        include: Select::default(),
        exclude: Select::default(),
        columns: Vec::new(),
        ingest: ingest::Options::default(),
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn select(names: &[&str], images: &[&str], labels: &[&str]) -> Select {
    Select { names: strings(names), images: strings(images), labels: strings(labels) }
}

fn candidate() -> Candidate {
    Candidate {
        id: "0123".into(),
        name: "task-17".into(),
        image: "registry:5000/agent:latest".into(),
        labels: HashMap::from([("bench.task_id".into(), "17".into()), ("logferry.skip".into(), String::new())]),
    }
}

#[test]
fn containers_are_selected_by_globs() {
    let check = |include: Select, exclude: Select, expected: bool| {
        let options = Options { include, exclude, ..options() };
        assert_eq!(candidate().is_selected(&options), expected, "{:?} {:?}", options.include, options.exclude);
    };
    let none = Select::default;
    check(none(), none(), true);
    check(select(&["*"], &[], &[]), none(), true);
    check(select(&["other", "task-*"], &[], &[]), none(), true);
    check(select(&["/task-*"], &[], &[]), none(), false);
    check(select(&["task-*"], &["*/agent:*"], &["bench.*"]), none(), true);
    check(select(&["task-*"], &["postgres*"], &[]), none(), false);
    check(select(&[], &[], &["bench.task_id=1?"]), none(), true);
    check(select(&[], &[], &["bench.task_id=18"]), none(), false);
    check(none(), select(&[], &[], &["logferry.skip"]), false);
    check(none(), select(&[], &[], &["logferry.skip=true"]), true);
    check(none(), select(&["task-17"], &[], &[]), false);
    check(select(&["task-17"], &[], &[]), select(&[], &["postgres"], &[]), true);
}

fn container() -> Container {
    let inspected = serde_json::json!({
        "Id": "0123", "Name": "/task-17", "Image": "sha256:77",
        "State": {"Running": true, "StartedAt": "2026-11-20T23:24:43.1Z"},
        "Config": {"Image": "agent:latest", "Tty": true, "Labels": {"bench.task_id": "17"},
                   "Env": ["RUN_ID=42=b", "EMPTY=", "SECRET=hush", "ODD"]},
    });
    Container::of_inspect("0123", serde_json::from_value(inspected).expect("an answer to inspect"))
}

#[test]
fn columns_are_taken_from_labels_and_environment_before_those_of_the_run() {
    let from = |name: &str, from: ColumnFrom| (name.to_owned(), from);
    let options = Options {
        columns: vec![
            from("TaskID", ColumnFrom::Label("bench.task_id".into())),
            from("RunID", ColumnFrom::Env("RUN_ID".into())),
            from("Benchmark", ColumnFrom::Env("EMPTY".into())),
            from("Missing", ColumnFrom::Label("missing".into())),
        ],
        ..options()
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let run = RunColumns(vec![pair("RunID", "of the run"), pair("Benchmark", "swe"), pair("VMName", "vm-7")]);
    let origin = OriginId([7; 16]);
    let constants = container().constants(&options, &run, Some(Stream::Stderr), origin);
    let origin = origin.to_string();
    let expected = [
        ("TaskID", "17"),
        ("RunID", "42=b"),
        ("Benchmark", "swe"),
        ("VMName", "vm-7"),
        ("Source", "containers"),
        ("Container", "task-17"),
        ("ContainerID", "0123"),
        ("Image", "agent:latest"),
        ("Stream", "stderr"),
        ("Origin", origin.as_str()),
    ];
    assert_eq!(constants.iter().collect::<Vec<_>>(), expected);
    assert_eq!(container().logger(), "docker.task-17");
    assert_eq!(container().life, Life { running: true, started_at: "2026-11-20T23:24:43.1Z".into(), exit: None });
}

#[test]
fn columns_name_what_compose_and_the_engine_call_a_container() {
    let check = |labels: &[(&str, &str)], from: &ColumnFrom, expected: &str| {
        let mut container = container();
        container.candidate.labels =
            labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        assert_eq!(container.column(from), expected, "{labels:?} {from:?}");
    };
    let docker = [("com.docker.compose.project", "bench"), ("com.docker.compose.service", "agent")];
    let podman = [("io.podman.compose.project", "pods"), ("io.podman.compose.service", "pod")];
    check(&docker, &ColumnFrom::ComposeProject, "bench");
    check(&docker, &ColumnFrom::ComposeService, "agent");
    check(&podman, &ColumnFrom::ComposeProject, "pods");
    check(&podman, &ColumnFrom::ComposeService, "pod");
    check(&[podman[0], docker[0]], &ColumnFrom::ComposeProject, "bench");
    check(&[], &ColumnFrom::ComposeProject, "");
    check(&[], &ColumnFrom::Name, "task-17");
    check(&[], &ColumnFrom::Id, "0123");
    check(&[], &ColumnFrom::Image, "agent:latest");
}

#[test]
fn a_list_names_containers_without_slash_and_without_links() {
    let summary = serde_json::json!({"Id": "0123", "Names": ["/web/db", "/db"], "Image": "postgres", "Labels": {}});
    let candidate = Candidate::of_summary(serde_json::from_value(summary).expect("a summary")).expect("an id");
    assert_eq!((candidate.name.as_str(), candidate.image.as_str()), ("db", "postgres"));
}

#[test]
fn descriptors_name_source_container_and_stream() {
    for source in ["containers", "", "with\0nul"] {
        let descriptor = Descriptor { source: source.into(), container: "ab12".into(), stream: Some(Stream::Stderr) };
        assert_eq!(Descriptor::decode(&descriptor.encode()), Some(descriptor));
    }
    for other in
        [b"".as_slice(), b"docker1\0", b"docker1\0a\0b\0stdin", b"docker2\0a\0b\0stdout", b"file1\0a\0b\0stdout"]
    {
        assert_eq!(Descriptor::decode(other), None, "{other:?}");
    }
}
