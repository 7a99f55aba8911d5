//! An imitation of the Azure CLI for the script: it keeps every call and body, remembers what was made, and answers the
//! words that the script asks for. It checks nothing that Azure would check.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::support::ferry::Ended;

/// Id of the workspace for its queries.
pub const CUSTOMER_ID: &str = "11111111-2222-3333-4444-555555555555";

const AZ: &str = r#"#!/usr/bin/env bash
set -euo pipefail
echo "$*" >>"$FAKE/calls"
option() { # NAME; its value
  local wanted=$1
  shift
  while (($#)); do
    [[ $1 != "$wanted" ]] || { echo "$2"; return; }
    shift
  done
}
there() { [[ -e $FAKE/$1 ]]; }
query=$(option --query "$@")
insights=/providers/Microsoft.Insights
case "$*" in
  "account show"*) [[ ${FAKE_LOGIN:-} != no ]] || exit 1; echo s-1 ;;
  "provider show"*) there "$(option --namespace "$@")" && echo Registered || echo NotRegistered ;;
  "provider register"*) touch "$FAKE/$(option --namespace "$@")" ;;
  "group exists"*) there group && echo true || echo false ;;
  "group create"*) touch "$FAKE/group" ;;
  "monitor log-analytics workspace show"*)
    there workspace || { echo "ERROR: (ResourceNotFound) it is not there" >&2; exit 3; }
    case $query in
      id) echo "/subscriptions/s-1/resourceGroups/runs/providers/Microsoft.OperationalInsights/workspaces/logferry" ;;
      customerId) echo CUSTOMER ;;
      location) echo northeurope ;;
      *) exit 9 ;;
    esac ;;
  "monitor log-analytics workspace create"*) touch "$FAKE/workspace" ;;
  "vm show"*"identity.principalId"* | "vmss show"*"identity.principalId"*) echo "p-$(option --name "$@")" ;;
  "vm show"*) echo "/subscriptions/s-1/resourceGroups/runs/providers/Microsoft.Compute/virtualMachines/$(option --name "$@")" ;;
  "vm identity assign"* | "vmss identity assign"* | "vmss update"* | "role assignment create"*) ;;
  rest*)
    url=$(option --url "$@") method=$(option --method "$@") body=$(option --body "$@")
    [[ $url == *"?api-version="* ]] || exit 9
    case $url in
      */tables/*) kind=table ;;
      *$insights/dataCollectionRules/*) kind=rule ;;
      *$insights/dataCollectionEndpoints/*) kind=endpoint ;;
      */virtualMachines/*) kind=vm ;;
      *) exit 9 ;;
    esac
    if [[ $method != get ]]; then
      [[ $kind != vm || ${FAKE_NOTICE:-} != refused ]] || { echo "OperationNotAllowed" >&2; exit 1; }
      [[ $method != patch || $kind == vm ]] || there "$kind.json" || exit 3
      case $body in @*) cp "${body#@}" "$FAKE/$kind.json" ;; *) echo "$body" >"$FAKE/$kind.json" ;; esac
      exit 0
    fi
    [[ $kind != table || ${FAKE_TABLE:-} != Forbidden ]] || { echo "ERROR: Forbidden({\"code\":\"AuthorizationFailed\"})" >&2; exit 1; }
    there "$kind.json" || { echo "ERROR: Not Found({})" >&2; exit 3; }
    name=${url%%\?*} name=${name##*/}
    address="https://$name-ab12.northeurope-1.ingest.monitor.azure.com"
    case $kind:$query in
      table:) ;;
      table:properties.provisioningState)
        # Ready at the second look.
        if [[ ${FAKE_TABLE:-} ]]; then echo "$FAKE_TABLE"; elif there looked; then echo Succeeded; else echo Updating; fi
        touch "$FAKE/looked" ;;
      rule:properties.immutableId) echo dcr-00000000000000000000000000000007 ;;
      rule:properties.endpoints.logsIngestion) [[ ${FAKE_DIRECT:-} == no ]] && echo None || echo "$address" ;;
      endpoint:properties.logsIngestion.endpoint) echo "$address" ;;
      *) exit 9 ;;
    esac ;;
  *) echo "az: what is $*?" >&2; exit 9 ;;
esac
"#;

/// The script, beside an `az` of ours.
pub struct Cli {
    dir: tempfile::TempDir,
}

impl Cli {
    pub fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, text) in [("setup.sh", script), ("az", &AZ.replace("CUSTOMER", CUSTOMER_ID))] {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("a file");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        Cli { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn run(&self, variables: &[(&str, &str)]) -> Ended {
        let path = std::env::var("PATH").expect("PATH");
        let output = Command::new("bash")
            .arg(self.path("setup.sh"))
            .env_clear()
            .env("PATH", format!("{}:{path}", self.dir.path().display()))
            .env("FAKE", self.dir.path())
            .env("TABLE_PAUSE_SECONDS", "0")
            .envs(variables.iter().copied())
            .output()
            .expect("bash");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The arguments of each call, in order.
    pub fn calls(&self) -> Vec<String> {
        std::fs::read_to_string(self.path("calls")).expect("calls").lines().map(str::to_owned).collect()
    }

    /// What was put last for `table`, `rule`, `endpoint` or `vm`.
    pub fn body(&self, kind: &str) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(self.path(&format!("{kind}.json"))).expect("a body")).expect("JSON")
    }
}
