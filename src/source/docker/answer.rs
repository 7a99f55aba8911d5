//! What is kept of an engine's answers about containers. Pure.
//!
//! Only members that somebody uses are kept, for two reasons. A container's environment and command line hold secrets: of
//! the environment only the variables that columns ask for get past here, of the command line nothing. And engines say
//! words that bollard's models do not know (Podman's states, newer kinds of mounts), which would make a container unreadable
//! for the sake of a member that nobody looks at.

use std::str::FromStr;

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, ContainerSummaryStateEnum,
};
use serde_json::{Map, Value};

/// Members of the answer to inspect. Those that are objects are reduced too.
const INSPECTED: &[&str] = &["Id", "Name", "Created", "Image", "LogPath", "Driver", "RestartCount"];
const STATE: &[&str] =
    &["Running", "Paused", "Restarting", "OOMKilled", "Dead", "Pid", "ExitCode", "Error", "StartedAt", "FinishedAt"];
const CONFIG: &[&str] = &["Hostname", "AttachStdin", "Tty", "OpenStdin", "StdinOnce", "Image", "Labels"];
const HOST_CONFIG: &[&str] = &["AutoRemove", "LogConfig", "NetworkMode"];
const GRAPH_DRIVER: &[&str] = &["Name", "Data"];

/// Members of an entry of the list.
const LISTED: &[&str] = &["Id", "Names", "Image", "ImageID", "Created", "Labels", "Status", "HostConfig"];

/// The answer to inspect, with only these variables of the environment.
///
/// # Errors
/// What of it is not of the kind that it has to be.
pub fn inspected(mut answer: Value, variables: &[String]) -> serde_json::Result<ContainerInspectResponse> {
    let mut config = part(&mut answer, "Config", CONFIG);
    if let Some(Value::Array(all)) = answer.pointer_mut("/Config/Env").map(Value::take) {
        let asked = all.into_iter().filter(|text| text.as_str().is_some_and(|text| is_asked(text, variables)));
        config.insert("Env".to_owned(), asked.collect());
    }
    let mut state = part(&mut answer, "State", STATE);
    known_word::<ContainerStateStatusEnum>(&mut state, answer.pointer("/State/Status"), "Status");
    let host_config = part(&mut answer, "HostConfig", HOST_CONFIG);
    let graph_driver = part(&mut answer, "GraphDriver", GRAPH_DRIVER);
    let mut kept = members(&mut answer, INSPECTED);
    kept.insert("State".to_owned(), state.into());
    kept.insert("Config".to_owned(), config.into());
    kept.insert("HostConfig".to_owned(), host_config.into());
    if graph_driver.get("Data").is_some_and(Value::is_object) {
        kept.insert("GraphDriver".to_owned(), graph_driver.into());
    }
    serde_json::from_value(kept.into())
}

/// The answer to list.
///
/// # Errors
/// What of it is not of the kind that it has to be.
pub fn listed(answer: Value) -> serde_json::Result<Vec<ContainerSummary>> {
    let entries: Vec<Value> = serde_json::from_value(answer)?;
    let reduced = entries.into_iter().map(|mut entry| {
        let mut kept = members(&mut entry, LISTED);
        known_word::<ContainerSummaryStateEnum>(&mut kept, entry.get("State"), "State");
        serde_json::from_value(kept.into())
    });
    reduced.collect()
}

fn is_asked(variable: &str, variables: &[String]) -> bool {
    variable.split_once('=').is_some_and(|(name, _)| variables.iter().any(|asked| asked == name))
}

fn part(answer: &mut Value, name: &str, keep: &[&str]) -> Map<String, Value> {
    answer.get_mut(name).map(|part| members(part, keep)).unwrap_or_default()
}

fn members(object: &mut Value, keep: &[&str]) -> Map<String, Value> {
    let taken = |name: &&str| Some(((*name).to_owned(), object.get_mut(*name)?.take()));
    keep.iter().filter_map(taken).collect()
}

/// Keeps a word where the model knows it.
fn known_word<T: FromStr>(kept: &mut Map<String, Value>, word: Option<&Value>, name: &str) {
    if let Some(word) = word.and_then(Value::as_str).filter(|word| word.parse::<T>().is_ok()) {
        kept.insert(name.to_owned(), word.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer() -> Value {
        json!({
            "Id": "0123", "Name": "/task-17", "LogPath": "/var/lib/docker/containers/0123/0123-json.log",
            "Path": "agent", "Args": ["--token", "hush-argument"],
            "State": {"Status": "initialized", "Running": true, "OOMKilled": false, "ExitCode": 3, "Health": {"Status": "odd"}},
            "HostConfig": {"AutoRemove": true, "LogConfig": {"Type": "loki", "Config": {"mode": "non-blocking"}},
                           "NetworkMode": "container:77", "Isolation": "odd", "Binds": ["/hush-bind:/x"]},
            "GraphDriver": {"Name": "vfs", "Data": null},
            "Mounts": [{"Type": "odd"}],
            "Config": {"Image": "agent:latest", "Tty": true, "Labels": {"a": "b"}, "Cmd": ["--token", "hush-argument"],
                       "Env": ["RUN_ID=42=b", "RUN_ID_2=hush", "SECRET=hush", "ODD", "=x", "TASK=", 7]},
        })
    }

    #[test]
    fn of_an_environment_only_what_columns_ask_for_is_kept() {
        let check = |variables: &[&str], expected: &[&str]| {
            let variables: Vec<String> = variables.iter().map(|name| (*name).to_owned()).collect();
            let inspected = inspected(answer(), &variables).expect("an answer");
            let expected: Vec<String> = expected.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(inspected.config.clone().and_then(|config| config.env), Some(expected));
            assert!(!format!("{inspected:?}").contains("hush"), "{inspected:?}");
        };
        check(&[], &[]);
        check(&["RUN_ID"], &["RUN_ID=42=b"]);
        check(&["TASK", "RUN_ID", "MISSING", ""], &["RUN_ID=42=b", "=x", "TASK="]);
    }

    #[test]
    fn words_that_the_models_do_not_know_are_left_out() {
        let inspected = inspected(answer(), &[]).expect("an answer");
        let state = inspected.state.expect("a state");
        assert_eq!((state.status, state.running, state.exit_code), (None, Some(true), Some(3)));
        let host_config = inspected.host_config.expect("a host configuration");
        assert_eq!((host_config.auto_remove, host_config.network_mode.as_deref()), (Some(true), Some("container:77")));
        assert_eq!(host_config.log_config.and_then(|log| log.typ).as_deref(), Some("loki"));
        assert!(inspected.log_path.is_some() && inspected.graph_driver.is_none());
        let known =
            json!({"State": {"Status": "exited"}, "GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": "/u"}}});
        let known = super::inspected(known, &[]).expect("an answer");
        assert_eq!(known.state.and_then(|state| state.status), Some(ContainerStateStatusEnum::EXITED));
        assert_eq!(known.graph_driver.expect("kept").data["UpperDir"], "/u");
    }

    #[test]
    fn a_list_is_read_whatever_its_containers_do() {
        let list = json!([
            {"Id": "a", "Names": ["/one"], "Image": "x", "State": "initialized", "Mounts": [{"Type": "odd"}], "Labels": null},
            {"Id": "b", "State": "running", "Health": {"Status": "odd"}, "Labels": {"l": "v"}},
        ]);
        let listed = listed(list).expect("a list");
        assert_eq!(listed.iter().map(|entry| entry.id.as_deref()).collect::<Vec<_>>(), [Some("a"), Some("b")]);
        assert_eq!((&listed[0].state, &listed[1].state), (&None, &Some(ContainerSummaryStateEnum::RUNNING)));
        assert!(super::listed(json!({"message": "no list"})).is_err());
    }
}
