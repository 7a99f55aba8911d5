//! `logferry setup azure`: that what it prints fits the records, that its script makes what it says (against an imitation of
//! the Azure CLI), and that the files of `packaging/azure` are these.

mod imitation;
mod queries;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use logferry::record::column::{AzureType, COLUMNS};
use serde_json::{Value, json};

use crate::support::ferry::Ferry;
use imitation::Cli;

/// What stands in the folder beside what the command writes.
const BY_HAND: &[&str] = &["task.sh"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/azure")
}

/// Path below the folder to text.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (prefix, dir) in [("", folder.to_owned()), ("queries/", folder.join("queries"))] {
        for entry in std::fs::read_dir(dir).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                found.insert(format!("{prefix}{name}"), std::fs::read_to_string(&path).expect("text"));
            }
        }
    }
    found
}

fn printed(arguments: &[&str]) -> String {
    let ended = Ferry::new("").call_plain(&[&["setup", "azure"], arguments].concat());
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
    assert_eq!(ended.stderr, "");
    ended.stdout
}

/// What a table, or a stream, has to have of columns, as JSON.
fn expected(is_table: bool, own: &[&str]) -> Vec<Value> {
    let word = |azure: AzureType| match azure {
        AzureType::String => "string",
        AzureType::Int => "int",
        AzureType::Long => "long",
        AzureType::Real => "real",
        AzureType::Dynamic => "dynamic",
        AzureType::Datetime if is_table => "dateTime",
        AzureType::Datetime => "datetime",
    };
    let columns = COLUMNS.iter().map(|column| json!({"name": column.name, "type": word(column.azure)}));
    columns.chain(own.iter().map(|name| json!({"name": name, "type": "string"}))).collect()
}

/// The lists of columns of a Bicep text, in their order.
fn bicep_columns(text: &str) -> Vec<Vec<Value>> {
    let mut lists = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while lines.by_ref().any(|line| line == "columns: [") {
        let list = lines.by_ref().take_while(|line| *line != "]");
        lists.push(
            list.map(|line| {
                let words: Vec<&str> = line.split('\'').collect();
                assert_eq!([words[0], words[2], words[4]], ["{ name: ", ", type: ", " }"], "{line}");
                json!({"name": words[1], "type": words[3]})
            })
            .collect(),
        );
    }
    lists
}

#[test]
fn the_folder_of_the_repository_is_what_the_command_writes() {
    let written = tempfile::tempdir().expect("a folder");
    let output = written.path().join("new/azure");
    let output = output.to_str().expect("UTF-8");
    let names = printed(&["--output", output]);
    let written = files(Path::new(output));
    let mut kept = files(&folder());
    kept.retain(|name, _| !BY_HAND.contains(&name.as_str()));
    let again = "logferry setup azure --output packaging/azure";
    assert!(written.keys().eq(kept.keys()), "{:?} and {:?}: {again}", written.keys(), kept.keys());
    for (name, text) in &written {
        assert!(*text == kept[name], "packaging/azure/{name} is not what the command writes: {again}");
        assert!(names.contains(&format!("{output}/{name}\n")), "{name} is not said: {names}");
    }
    // What is there is replaced.
    assert_eq!(printed(&["--output", output]), names);
    let shown = printed(&[]);
    assert_eq!(
        shown,
        format!("==> setup.bicep <==\n{}\n==> setup.sh <==\n{}", written["setup.bicep"], written["setup.sh"])
    );
    for (only, name) in [("bicep", "setup.bicep"), ("script", "setup.sh"), ("alert", "alert.bicep")] {
        assert_eq!(printed(&["--only", only]), written[name]);
    }
}

#[test]
fn table_and_stream_have_the_columns_of_the_records() {
    for (arguments, own) in [
        (&["--only", "bicep"][..], &[][..]),
        (&["--only", "bicep", "--dce", "--column", "Team", "--column", "Agent_2"], &["Team", "Agent_2"]),
    ] {
        let text = printed(arguments);
        assert_eq!(bicep_columns(&text), [expected(true, own), expected(false, own)], "{arguments:?}");
        // No bracket is left open; a text that a bracket stands in has both.
        for (open, close) in [('{', '}'), ('[', ']'), ('(', ')')] {
            assert_eq!(text.matches(open).count(), text.matches(close).count(), "{open} {close}");
        }
    }
}

#[test]
fn columns_of_ones_own_come_out_of_the_configuration() {
    let mut ferry = Ferry::new(
        "[run]\nvm_name = \"vm-7\"\nfields = { Team = \"evals\" }\n\
         [record]\ncolumns = { UserID = \"user_id\", Agent = \"agent_name\", TraceID = \"conversation\" }\n\
         [[sources.file]]\nname = \"a\"\ninclude = [\"/runs/{RunID}/{Agent}/*.log\", \"/old/{Agent}.log\"]\n\
         [[sources.docker]]\nname = \"b\"\ncolumns = { TaskID = \"label:task\", Service = \"compose:service\", Team = \"env:TEAM\" }\n",
    );
    let ended = ferry.call(&["setup", "azure", "--only", "bicep", "--column", "Trial"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // What is parsed may be text or a number; a column that a path or a field fills takes what either gives.
    let own = ["Team", "Agent", "Service", "UserID", "Trial"];
    let wanted = [true, false].map(|is_table| {
        let mut columns = expected(is_table, &own);
        let parsed = columns.iter_mut().filter(|column| column["name"] == "Agent" || column["name"] == "UserID");
        parsed.for_each(|column| column["type"] = json!("dynamic"));
        columns
    });
    assert_eq!(bicep_columns(&ended.stdout), wanted);
}

#[test]
fn another_table_is_named_everywhere() {
    let dir = tempfile::tempdir().expect("a folder");
    printed(&["--table", "Runs2_CL", "--output", dir.path().to_str().expect("UTF-8")]);
    for (name, text) in files(dir.path()) {
        assert!(!text.contains("BenchmarkRuns"), "{name}");
        assert!(text.contains("Runs2_CL"), "{name}");
    }
    let bicep = printed(&["--only", "bicep", "--table", "Runs2_CL"]);
    assert!(bicep.contains("outputStream: 'Custom-Runs2_CL'") && bicep.contains("name: 'Runs2_CL'"), "{bicep}");
}

#[test]
fn a_rule_is_direct_or_has_an_endpoint_beside_it() {
    let direct = printed(&["--only", "bicep"]);
    assert!(direct.contains("  kind: 'Direct'\n") && !direct.contains("dataCollectionEndpoint"), "{direct}");
    assert!(direct.contains("output endpoint string = rule.properties.endpoints.logsIngestion\n"));
    let beside = printed(&["--only", "bicep", "--dce"]);
    assert!(!beside.contains("Direct") && beside.contains("dataCollectionEndpointId: endpoint.id\n"), "{beside}");
    assert!(beside.contains("output endpoint string = endpoint.properties.logsIngestion.endpoint\n"));
}

#[test]
fn what_cannot_be_is_refused_and_help_teaches() {
    let mut ferry = Ferry::new("");
    for (arguments, says) in [
        (&["azure", "--table", "Runs"][..], "_CL"),
        (&["azure", "--table", "Ru'ns_CL"], "letters"),
        (&["azure", "--column", "Seq"], "logferry fills itself"),
        (&["azure", "--column", "TenantId"], "reserved"),
        (&["azure", "--column", "a'b"], "letters"),
        (&["azure", "--column", "Team", "--column", "team"], "capitals"),
        (&["azure", "-c", "/no/such.toml"], "/no/such.toml"),
        (&["azure", "--only", "script", "--output", "x"], "cannot be used with"),
        (&["elasticsearch", "--endpoint", "x"], "not available yet"),
        (&["asure"], "azure"),
    ] {
        let ended = ferry.call_plain(&[&["setup"], arguments].concat());
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(says) && ended.stdout.is_empty(), "{arguments:?}: {}", ended.stderr);
    }
    let file = ferry.path("logferry.toml");
    let below_a_file = file.join("azure");
    let ended = ferry.call_plain(&["setup", "azure", "--output", below_a_file.to_str().expect("UTF-8")]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("setup.bicep cannot be written: "), "{}", ended.stderr);
    let help = ferry.call_plain(&["setup", "azure", "--help"]);
    assert!(help.stdout.contains("logferry setup azure --output azure") && help.stdout.contains("./setup.sh"));
    let help = ferry.call_plain(&["setup", "--help"]).stdout;
    assert!(help.contains("azure") && !help.contains("elasticsearch"), "{help}");
}

#[test]
fn the_script_makes_all_of_it_in_an_empty_subscription() {
    let cli = Cli::new(&printed(&["--only", "script", "--column", "Team"]));
    let made = cli.run(&[("RESOURCE_GROUP", "runs"), ("LOCATION", "westeurope"), ("VM", "vm-7")]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let table = cli.body("table");
    assert_eq!(table["properties"]["schema"]["name"], "BenchmarkRuns_CL");
    assert_eq!(table["properties"]["schema"]["columns"], Value::Array(expected(true, &["Team"])));
    let rule = cli.body("rule");
    let workspace =
        "/subscriptions/s-1/resourceGroups/runs/providers/Microsoft.OperationalInsights/workspaces/logferry";
    assert_eq!(
        rule,
        json!({
            "location": "northeurope",
            "kind": "Direct",
            "properties": {
                "streamDeclarations": {"Custom-BenchmarkRuns_CL": {"columns": expected(false, &["Team"])}},
                "destinations": {"logAnalytics": [{"name": "workspace", "workspaceResourceId": workspace}]},
                "dataFlows": [{
                    "streams": ["Custom-BenchmarkRuns_CL"],
                    "destinations": ["workspace"],
                    "transformKql": "source",
                    "outputStream": "Custom-BenchmarkRuns_CL",
                }],
            },
        }),
        "in the region of the workspace"
    );
    let notice = json!({"terminateNotificationProfile": {"enable": true, "notBeforeTimeout": "PT10M"}});
    assert_eq!(cli.body("vm"), json!({"properties": {"scheduledEventsProfile": notice}}));
    let calls = cli.calls();
    for call in [
        "provider register --namespace Microsoft.Insights --wait",
        "group create --name runs --output none --location westeurope",
        "vm identity assign --resource-group runs --name vm-7",
        "role assignment create --role 3913510d-42f4-4e42-8a64-420c390055eb --scope /subscriptions/s-1/resourceGroups/runs/\
         providers/Microsoft.Insights/dataCollectionRules/dcr-logferry --assignee-object-id p-vm-7 --assignee-principal-type \
         ServicePrincipal",
    ] {
        assert!(calls.iter().any(|made| made.starts_with(call)), "{call} is not in {calls:#?}");
    }
    // What it prints is a configuration.
    let ferry = &mut Ferry::new(&made.stdout);
    let shown = ferry.call(&["config", "show"]);
    assert_eq!(shown.code, Some(0), "{}\n{}", made.stdout, shown.stderr);
    assert!(
        shown.stdout.contains("https://dcr-logferry-ab12.northeurope-1.ingest.monitor.azure.com"),
        "{}",
        shown.stdout
    );
    assert!(shown.stdout.contains(imitation::CUSTOMER_ID), "{}", shown.stdout);
}

#[test]
fn the_script_leaves_alone_what_is_there() {
    let cli = Cli::new(&printed(&["--only", "script"]));
    let variables = [("RESOURCE_GROUP", "runs"), ("LOCATION", "westeurope"), ("PRINCIPAL_ID", "p-1")];
    assert_eq!(cli.run(&variables).code, Some(0));
    let first = cli.calls().len();
    let again = cli.run(&[("RESOURCE_GROUP", "runs"), ("SCALE_SET", "pool"), ("NOTICE_MINUTES", "15")]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    let calls = &cli.calls()[first..];
    for never in [
        "provider register",
        "group create",
        "workspace create",
        "--method put --url /subscriptions/s-1/resourceGroups/runs/providers/Microsoft.OperationalInsights",
    ] {
        assert!(!calls.iter().any(|call| call.contains(never)), "{never} is in {calls:#?}");
    }
    for call in [
        "vmss identity assign --resource-group runs --name pool",
        "vmss update --resource-group runs --name pool --enable-terminate-notification true --terminate-notification-time 15",
    ] {
        assert!(calls.iter().any(|made| made.starts_with(call)), "{call} is not in {calls:#?}");
    }
    assert!(calls.iter().any(|call| call.contains("--assignee-object-id p-pool")), "{calls:#?}");
}

#[test]
fn the_script_makes_a_data_collection_endpoint_where_one_is_asked_for() {
    let cli = Cli::new(&printed(&["--only", "script", "--dce"]));
    let made = cli.run(&[("RESOURCE_GROUP", "runs"), ("LOCATION", "westeurope"), ("PUBLIC_ACCESS", "Disabled")]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let access = json!({"networkAcls": {"publicNetworkAccess": "Disabled"}});
    assert_eq!(cli.body("endpoint"), json!({"location": "northeurope", "properties": access}));
    let rule = cli.body("rule");
    let id = "/subscriptions/s-1/resourceGroups/runs/providers/Microsoft.Insights/dataCollectionEndpoints/dce-logferry";
    assert_eq!((&rule["kind"], &rule["properties"]["dataCollectionEndpointId"]), (&Value::Null, &id.into()));
    assert!(
        made.stdout.contains("https://dce-logferry-ab12.northeurope-1.ingest.monitor.azure.com"),
        "{}",
        made.stdout
    );
    assert!(made.stderr.contains("nobody may send yet"), "{}", made.stderr);
}

#[test]
fn the_script_says_what_it_lacks_and_what_azure_refused() {
    let cli = Cli::new(&printed(&["--only", "script"]));
    let group = ("RESOURCE_GROUP", "runs");
    for (variables, says) in [
        (&[][..], "RESOURCE_GROUP=benchmarks"),
        (&[group], "LOCATION=westeurope"),
        (&[group, ("VM", "a"), ("SCALE_SET", "b")], "not both"),
        (&[group, ("NOTICE_MINUTES", "4")], "5 to 15"),
        (&[group, ("FAKE_LOGIN", "no")], "az login"),
        (&[group, ("LOCATION", "westeurope"), ("FAKE_DIRECT", "no")], "without kind Direct"),
        (&[group, ("LOCATION", "westeurope"), ("FAKE_TABLE", "Updating")], "not ready: Updating"),
        // Not seeing a table is no proof that there is none: making it anew would forget how long it keeps records.
        (&[group, ("FAKE_TABLE", "Forbidden")], "AuthorizationFailed"),
    ] {
        let ended = cli.run(variables);
        assert_eq!(ended.code, Some(1), "{variables:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(says), "{variables:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{variables:?}");
    }
    // A Spot VM has everything but the notice: the section is printed, and the exit code tells.
    let spot = cli.run(&[group, ("VM", "spot"), ("FAKE_NOTICE", "refused")]);
    assert_eq!(spot.code, Some(1), "{}", spot.stderr);
    assert!(spot.stdout.contains("[sinks.azure_monitor]") && spot.stderr.contains("Spot cannot"), "{}", spot.stderr);
}

/// Runs the sample of a task that ships its logs in the end.
fn task(ferry: &Ferry, command: &[&str]) -> std::process::Output {
    let binary = Path::new(env!("CARGO_BIN_EXE_logferry")).parent().expect("a folder").to_str().expect("UTF-8");
    std::process::Command::new("bash")
        .arg(folder().join("task.sh"))
        .args(command)
        .env("PATH", format!("{binary}:{}", std::env::var("PATH").expect("PATH")))
        .env("LOGFERRY_CONFIG", ferry.path("logferry.toml"))
        .envs([("RUN_ID", "42"), ("TASK_ID", "17"), ("ATTEMPTS", "2"), ("SHIP_SECONDS", "2"), ("PAUSE_SECONDS", "0")])
        .env("LOG_DIR", ferry.path("logs"))
        .output()
        .expect("bash")
}

#[test]
fn the_sample_task_ships_its_logs_and_says_when_some_are_left() {
    let head = "[run]\nvm_name = \"vm-7\"\nrun_id = \"${RUN_ID}\"\ntask_id = \"${TASK_ID}\"\n[teardown]\ndeadline = \"1s\"\n\
                [[sources.file]]\ninclude = [\"{dir}/logs/*.log\"]\n";
    let ferry = Ferry::new(&format!("{head}[sinks.file]\npath = \"{{dir}}/out/r.ndjson\"\n"));
    let done = task(&ferry, &["bash", "-c", "echo out; echo err >&2; exit 5"]);
    assert_eq!(done.status.code(), Some(5), "the code of the command: {done:?}");
    let records = ferry.records("out/r.ndjson");
    assert_eq!(records.len(), 2, "{records:?}");
    assert!(records.iter().all(|record| record["RunID"] == "42" && record["TaskID"] == "17"), "{records:?}");
    // Nobody listens at port 9, and the records stay.
    let ferry = Ferry::new(&format!("{head}[sinks.elasticsearch]\nendpoints = [\"http://127.0.0.1:9\"]\n"));
    let left = task(&ferry, &["echo", "out"]);
    assert_eq!(left.status.code(), Some(70), "{left:?}");
    assert!(String::from_utf8_lossy(&left.stderr).contains("keep this VM"), "{left:?}");
}
