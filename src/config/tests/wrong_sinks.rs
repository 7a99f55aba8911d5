//! Wrong sinks and the whole message for each.

use super::wrong::check;

#[test]
fn a_sink_without_type_or_with_a_wrong_one() {
    check(
        r#"
[[sources.docker]]
[sinks.es]
endpoints = ["http://es:9200"]
[sinks.elasticsearh]
[sinks.out]
type = "consol"
"#,
        &[],
        r#"
f.toml:3: sinks.es: has no type, and its name "es" is none
    expected: type = one of "elasticsearch", "azure_monitor", "file", "console"

f.toml:5: sinks.elasticsearh: has no type, and its name "elasticsearh" is none
    did you mean: [sinks.elasticsearch]
    expected: type = one of "elasticsearch", "azure_monitor", "file", "console"

f.toml:7: sinks.out.type: "consol" is no type of sink
    did you mean: "console"
    expected: type = one of "elasticsearch", "azure_monitor", "file", "console"

3 mistakes in f.toml
"#,
    );
}

#[test]
fn elasticsearch_urls_and_credentials() {
    check(
        r#"
[[sources.docker]]
[sinks.elasticsearch]
endpoints = [
  "https://elastic:hunter2@es:9200",
  "es:9200",
  "http://es:9200/?token=hunter2",
  "ftp://es",
]
index = "-logs"
api_key = "hunter2"
username = "elastic"
[sinks.b]
type = "elasticsearch"
password = "hunter2"
"#,
        &[],
        r#"
f.toml:5: sinks.elasticsearch.endpoints[0]: the URL holds a user or a password
    expected: the URL without them, and username and password (or password_file) beside it

f.toml:6: sinks.elasticsearch.endpoints[1]: "es:9200" does not begin with http:// or https://
    did you mean: "http://es:9200"
    expected: a URL such as "https://es.example.com:9200"

f.toml:7: sinks.elasticsearch.endpoints[2]: the URL goes on with a query (?) or a fragment (#)
    expected: a URL such as "https://es.example.com:9200"

f.toml:8: sinks.elasticsearch.endpoints[3]: "ftp://es" does not begin with http:// or https://
    expected: a URL such as "https://es.example.com:9200"

f.toml:10: sinks.elasticsearch.index: "-logs" INDEX
    expected: the name of a data stream or index, such as "logs-benchmark-default"

f.toml:12: sinks.elasticsearch.username: is given beside api_key
    expected: one way to authenticate only

f.toml:13: sinks.b.endpoints: is missing
    expected: URLs of the cluster, such as ["http://127.0.0.1:9200"]

f.toml:15: sinks.b.password: is given without a user
    expected: username beside it

8 mistakes in f.toml
"#
        .replace("INDEX", &crate::sink::elasticsearch::IndexName::parse("-logs").expect_err("a dash"))
        .as_str(),
    );
}

#[test]
fn azure_monitor_with_everything_wrong() {
    check(
        r#"
[[sources.docker]]
[sinks.azure_monitor]
endpoint = "http://x.ingest.monitor.azure.com"
dcr_id = "my-rule"
stream = "BenchmarkRuns_CL"
credential = { kind = "client_secret", tenant_id = "t" }
api_key = "hunter2"
workspace_id = "/subscriptions/1/workspaces/logs"
table = "Custom-BenchmarkRuns_CL"
query_endpoint = "http://api.loganalytics.io"
[sinks.b]
type = "azure_monitor"
credential = { kind = "azure_cli", client_secret = "hunter2" }
[sinks.c]
type = "azure_monitor"
endpoint = "https://x.ingest.monitor.azure.com"
dcr_id = "dcr-00000000000000000000000000000000"
stream = "Custom-C_CL"
credential = { tenant_id = "t", client_id = "c" }
[sinks.d]
type = "azure_monitor"
endpoint = "https://x.ingest.monitor.azure.com"
dcr_id = "dcr-00000000000000000000000000000000"
stream = "Custom-D_CL"
credential = { kind = "auto", client_secret = "hunter2", client_id = "c" }
"#,
        &[],
        r#"
f.toml:4: sinks.azure_monitor.endpoint: "http://x.ingest.monitor.azure.com" would send tokens without encryption
    did you mean: "https://x.ingest.monitor.azure.com"
    expected: https, or http to a loopback address only

f.toml:5: sinks.azure_monitor.dcr_id: "my-rule" is no immutable id of a data collection rule
    expected: the immutable id of the data collection rule: dcr- and 32 digits or letters a to f

f.toml:6: sinks.azure_monitor.stream: "BenchmarkRuns_CL" is no name of a custom stream: it begins with Custom-
    did you mean: "Custom-BenchmarkRuns_CL"
    expected: the stream that the data collection rule declares, such as "Custom-BenchmarkRuns_CL"

f.toml:7: sinks.azure_monitor.credential.client_id: is missing
    expected: the application (client) id of the app registration

f.toml:7: sinks.azure_monitor.credential.client_secret: is missing
    expected: client_secret, or client_secret_file with a path

f.toml:8: sinks.azure_monitor.api_key: is not for Azure Monitor
    expected: credential = { kind = … } instead

f.toml:9: sinks.azure_monitor.workspace_id: "/subscriptions/1/workspaces/logs" is no id of a Log Analytics workspace
    expected: the id that the workspace's overview page shows (its customerId), such as "00000000-0000-0000-0000-000000000000"

f.toml:10: sinks.azure_monitor.table: "Custom-BenchmarkRuns_CL" is no name of a table
    did you mean: "BenchmarkRuns_CL"
    expected: the name of a table, such as "BenchmarkRuns_CL"

f.toml:11: sinks.azure_monitor.query_endpoint: "http://api.loganalytics.io" would send tokens without encryption
    did you mean: "https://api.loganalytics.io"
    expected: https, or http to a loopback address only

f.toml:12: sinks.b.endpoint: is missing
    expected: the logs ingestion endpoint, such as "https://NAME-abcd.westeurope-1.ingest.monitor.azure.com"

f.toml:12: sinks.b.dcr_id: is missing
    expected: the immutable id of the data collection rule: dcr- and 32 digits or letters a to f

f.toml:12: sinks.b.stream: is missing
    expected: the stream that the data collection rule declares, such as "Custom-BenchmarkRuns_CL"

f.toml:14: sinks.b.credential.client_secret: has no meaning for this kind of credential
    expected: nothing: leave it out

f.toml:20: sinks.c.credential.tenant_id: has no meaning without client_secret
    expected: the two, or neither

f.toml:26: sinks.d.credential.tenant_id: is missing
    expected: the directory (tenant) id of the app registration

15 mistakes in f.toml
"#,
    );
}

#[test]
fn rules_that_would_never_match() {
    check(
        r#"
[[sources.docker]]
[sinks.console]
when = { level = "INFO", Level = ["info", "WARN", "ERROR"], LoggerName = [], EventID = "x" }
"#,
        &[],
        r#"
f.toml:4: sinks.console.when.level: is no column
    did you mean: Level
    expected: a column of the record, such as Level, LoggerName, Source, TaskID or Fields.status

f.toml:4: sinks.console.when.Level[0]: "info" never matches: it is not how records spell their level
    did you mean: "INFO"
    expected: TRACE, DEBUG, INFO, WARNING, ERROR or CRITICAL (what a log calls otherwise is mapped to these), or a glob in capitals

f.toml:4: sinks.console.when.Level[1]: "WARN" never matches: it is not how records spell their level
    did you mean: "WARNING"
    expected: TRACE, DEBUG, INFO, WARNING, ERROR or CRITICAL (what a log calls otherwise is mapped to these), or a glob in capitals

f.toml:4: sinks.console.when.LoggerName: has no glob, so no record would match
    expected: a glob or a list of globs in quotes, such as "urllib3*" or ["INFO", "ERROR"], or { regex = "timeout after \\d+" }

f.toml:4: sinks.console.when.EventID: is not known before a record is sent
    expected: a column of the record, such as Level, LoggerName, Source, TaskID or Fields.status

5 mistakes in f.toml
"#,
    );
}

#[test]
fn a_file_sink_that_a_source_would_read_again() {
    check(
        r#"
[[sources.file]]
name = "all"
include = ["/var/log/logferry/*"]
[[sources.file]]
name = "not-these"
include = ["/srv/*"]
exclude = ["/srv/*.ndjson*"]
[sinks.file]
[sinks.good]
type = "file"
path = "/srv/records.ndjson"
[sinks.same]
type = "file"
path = "/srv/records.ndjson"
[sinks.relative]
type = "file"
path = "records.ndjson"
"#,
        &[],
        r#"
f.toml:9: sinks.file.path: "/var/log/logferry/records.ndjson" (or what it is renamed to) is read by the source "all"
    expected: a path that no include matches; or the path with a * at its end in the source's exclude

f.toml:15: sinks.same.path: is the path of sinks.good too
    expected: a path of its own

f.toml:18: sinks.relative.path: "records.ndjson" is not an absolute path
    expected: an absolute path, such as "/var/lib/logferry"

3 mistakes in f.toml
"#,
    );
}
