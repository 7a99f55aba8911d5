#!/usr/bin/env bash
# What logferry needs in Azure, made with the Azure CLI: resource group and workspace where they are not there, the table
# BenchmarkRuns_CL, the data collection rule that writes to it, the right of a VM to send to the rule, and the notice that the
# VM gets before it is deleted. Prints the section of logferry.toml. Made by `logferry setup azure`; the columns are those of
# logferry's records.
#   az login
#   RESOURCE_GROUP=benchmarks LOCATION=westeurope VM=vm-7 ./setup.sh >>logferry.toml
# It may be run again, for another VM or after an upgrade: it changes only what is not as it should be.
# Env: RESOURCE_GROUP; LOCATION, for what has to be made; WORKSPACE (logferry); RULE (dcr-logferry); and who sends:
#   VM, or SCALE_SET, of COMPUTE_GROUP (RESOURCE_GROUP): it gets a system-assigned identity, the role, and the notice;
#   PRINCIPAL_ID (with PRINCIPAL_TYPE, ServicePrincipal): object id of another identity that gets the role, such as a
#     user-assigned one. With both, the VM keeps the identities that it has;
#   NOTICE_MINUTES (10): 5 to 15. Not for Spot.
set -euo pipefail

RESOURCE_GROUP=${RESOURCE_GROUP:?"the resource group, such as RESOURCE_GROUP=benchmarks"}
LOCATION=${LOCATION:-}
WORKSPACE=${WORKSPACE:-logferry}
RULE=${RULE:-dcr-logferry}
VM=${VM:-}
SCALE_SET=${SCALE_SET:-}
COMPUTE_GROUP=${COMPUTE_GROUP:-$RESOURCE_GROUP}
PRINCIPAL_ID=${PRINCIPAL_ID:-}
PRINCIPAL_TYPE=${PRINCIPAL_TYPE:-ServicePrincipal}
NOTICE_MINUTES=${NOTICE_MINUTES:-10}

TABLE=BenchmarkRuns_CL
STREAM=Custom-BenchmarkRuns_CL
PUBLISHER_ROLE=3913510d-42f4-4e42-8a64-420c390055eb # Monitoring Metrics Publisher
TABLE_API=2022-10-01
RULE_API=2023-03-11 # older ones do not show the endpoint of a rule
COMPUTE_API=2024-03-01
TABLE_TRIES=60
TABLE_PAUSE_SECONDS=${TABLE_PAUSE_SECONDS:-5}

say() { echo "setup.sh: $*" >&2; }

die() {
  say "$*"
  exit 1
}

rest() { # METHOD PATH OPTION…; a call to the resource manager of the cloud that az is logged in to
  az rest --only-show-errors --method "$1" --url "$2" "${@:3}"
}

value() { # an answer of az that is one word; "None" is none
  local word
  word=$("$@" --output tsv) || return
  [[ $word == None ]] || echo "$word"
}

command -v az >/dev/null || die "no Azure CLI on this machine: https://aka.ms/azure-cli"
[[ ! $VM || ! $SCALE_SET ]] || die "VM or SCALE_SET, not both"
[[ $NOTICE_MINUTES =~ ^([5-9]|1[0-5])$ ]] || die "NOTICE_MINUTES is 5 to 15, not '$NOTICE_MINUTES'"
SUBSCRIPTION=$(value az account show --query id) || die "az login first"
BODY=$(mktemp)
trap 'rm -f "$BODY"' EXIT

# An empty subscription knows none of the services yet.
for provider in Microsoft.OperationalInsights Microsoft.Insights; do
  if [[ $(value az provider show --namespace "$provider" --query registrationState) != Registered ]]; then
    say "registering $provider"
    az provider register --namespace "$provider" --wait --output none
  fi
done

if [[ $(az group exists --name "$RESOURCE_GROUP") != true ]]; then
  say "making the resource group $RESOURCE_GROUP"
  az group create --name "$RESOURCE_GROUP" --output none \
    --location "${LOCATION:?"the region of the new resource group, such as LOCATION=westeurope"}"
fi

not_found() { [[ $1 =~ Not\ ?Found ]]; } # WORDS; of a refusal

workspace() { # QUERY
  value az monitor log-analytics workspace show --only-show-errors \
    --resource-group "$RESOURCE_GROUP" --workspace-name "$WORKSPACE" --query "$1"
}
if ! ANSWER=$(workspace id 2>&1); then
  not_found "$ANSWER" || die "$ANSWER"
  say "making the workspace $WORKSPACE"
  az monitor log-analytics workspace create --output none \
    --resource-group "$RESOURCE_GROUP" --workspace-name "$WORKSPACE" ${LOCATION:+--location "$LOCATION"}
fi
WORKSPACE_ID=$(workspace id)
CUSTOMER_ID=$(workspace customerId)
LOCATION=$(workspace location) # the rule must be in the same

cat >"$BODY" <<TABLE
{
  "properties": {
    "schema": {
      "name": "$TABLE",
      "columns": [
        {"name": "TimeGenerated", "type": "dateTime"},
        {"name": "EventTime", "type": "dateTime"},
        {"name": "RunID", "type": "string"},
        {"name": "TaskID", "type": "string"},
        {"name": "Benchmark", "type": "string"},
        {"name": "VMName", "type": "string"},
        {"name": "Source", "type": "string"},
        {"name": "FilePath", "type": "string"},
        {"name": "Container", "type": "string"},
        {"name": "ContainerID", "type": "string"},
        {"name": "Image", "type": "string"},
        {"name": "Stream", "type": "string"},
        {"name": "LoggerName", "type": "string"},
        {"name": "Level", "type": "string"},
        {"name": "Message", "type": "string"},
        {"name": "Exception", "type": "dynamic"},
        {"name": "EventType", "type": "string"},
        {"name": "TraceID", "type": "string"},
        {"name": "SpanID", "type": "string"},
        {"name": "DurationMs", "type": "real"},
        {"name": "ModelName", "type": "string"},
        {"name": "PromptTokens", "type": "long"},
        {"name": "CompletionTokens", "type": "long"},
        {"name": "TotalTokens", "type": "long"},
        {"name": "Cost", "type": "real"},
        {"name": "Status", "type": "string"},
        {"name": "ErrorType", "type": "string"},
        {"name": "Fields", "type": "dynamic"},
        {"name": "Part", "type": "int"},
        {"name": "Parts", "type": "int"},
        {"name": "Origin", "type": "string"},
        {"name": "EventID", "type": "string"},
        {"name": "Seq", "type": "long"}
      ]
    }
  }
}
TABLE
# A PUT sets plan and retention of a table that is there back to the defaults; a PATCH leaves them.
TABLE_URL="$WORKSPACE_ID/tables/$TABLE?api-version=$TABLE_API"
METHOD="patch"
if ! ANSWER=$(rest get "$TABLE_URL" --output none 2>&1); then
  not_found "$ANSWER" || die "$ANSWER"
  METHOD="put"
fi
say "table $TABLE ($METHOD)"
rest "$METHOD" "$TABLE_URL" --body "@$BODY" --output none
for ((try = 1; ; try++)); do
  STATE=$(value rest get "$TABLE_URL" --query properties.provisioningState 2>/dev/null) || STATE="not there yet"
  [[ $STATE != Succeeded ]] || break
  ((try < TABLE_TRIES)) || die "the table $TABLE is not ready: $STATE"
  sleep "$TABLE_PAUSE_SECONDS"
done

GROUP_ID="/subscriptions/$SUBSCRIPTION/resourceGroups/$RESOURCE_GROUP"
RULE_ID="$GROUP_ID/providers/Microsoft.Insights/dataCollectionRules/$RULE"
# A rule of kind Direct has an endpoint of its own. One that was made without cannot get it: delete it first.
say "data collection rule $RULE"
cat >"$BODY" <<RULE
{
  "location": "$LOCATION",
  "kind": "Direct",
  "properties": {
    "streamDeclarations": {
      "$STREAM": {
        "columns": [
          {"name": "TimeGenerated", "type": "datetime"},
          {"name": "EventTime", "type": "datetime"},
          {"name": "RunID", "type": "string"},
          {"name": "TaskID", "type": "string"},
          {"name": "Benchmark", "type": "string"},
          {"name": "VMName", "type": "string"},
          {"name": "Source", "type": "string"},
          {"name": "FilePath", "type": "string"},
          {"name": "Container", "type": "string"},
          {"name": "ContainerID", "type": "string"},
          {"name": "Image", "type": "string"},
          {"name": "Stream", "type": "string"},
          {"name": "LoggerName", "type": "string"},
          {"name": "Level", "type": "string"},
          {"name": "Message", "type": "string"},
          {"name": "Exception", "type": "dynamic"},
          {"name": "EventType", "type": "string"},
          {"name": "TraceID", "type": "string"},
          {"name": "SpanID", "type": "string"},
          {"name": "DurationMs", "type": "real"},
          {"name": "ModelName", "type": "string"},
          {"name": "PromptTokens", "type": "long"},
          {"name": "CompletionTokens", "type": "long"},
          {"name": "TotalTokens", "type": "long"},
          {"name": "Cost", "type": "real"},
          {"name": "Status", "type": "string"},
          {"name": "ErrorType", "type": "string"},
          {"name": "Fields", "type": "dynamic"},
          {"name": "Part", "type": "int"},
          {"name": "Parts", "type": "int"},
          {"name": "Origin", "type": "string"},
          {"name": "EventID", "type": "string"},
          {"name": "Seq", "type": "long"}
        ]
      }
    },
    "destinations": {
      "logAnalytics": [{"name": "workspace", "workspaceResourceId": "$WORKSPACE_ID"}]
    },
    "dataFlows": [
      {
        "streams": ["$STREAM"],
        "destinations": ["workspace"],
        "transformKql": "source",
        "outputStream": "$STREAM"
      }
    ]
  }
}
RULE
rest put "$RULE_ID?api-version=$RULE_API" --body "@$BODY" --output none
DCR_ID=$(value rest get "$RULE_ID?api-version=$RULE_API" --query properties.immutableId)
INGESTION=$(value rest get "$RULE_ID?api-version=$RULE_API" --query properties.endpoints.logsIngestion)
[[ $INGESTION ]] || die "the rule $RULE has no endpoint: it was made without kind Direct; delete it, or name another RULE"

# Who sends.
if [[ $VM && ! $PRINCIPAL_ID ]]; then
  say "identity of the VM $VM"
  az vm identity assign --resource-group "$COMPUTE_GROUP" --name "$VM" --output none
  PRINCIPAL_ID=$(value az vm show --resource-group "$COMPUTE_GROUP" --name "$VM" --query identity.principalId)
elif [[ $SCALE_SET && ! $PRINCIPAL_ID ]]; then
  say "identity of the scale set $SCALE_SET"
  az vmss identity assign --resource-group "$COMPUTE_GROUP" --name "$SCALE_SET" --output none
  PRINCIPAL_ID=$(value az vmss show --resource-group "$COMPUTE_GROUP" --name "$SCALE_SET" --query identity.principalId)
fi
if [[ $PRINCIPAL_ID ]]; then
  say "role Monitoring Metrics Publisher on $RULE for $PRINCIPAL_ID (it may take half an hour to hold)"
  az role assignment create --role "$PUBLISHER_ROLE" --scope "$RULE_ID" --assignee-object-id "$PRINCIPAL_ID" \
    --assignee-principal-type "$PRINCIPAL_TYPE" --output none
else
  say "nobody may send yet: run it again with VM, SCALE_SET or PRINCIPAL_ID"
fi

# The notice, without which a deletion gives no time to deliver what is left.
NOTICED=yes
if [[ $VM ]]; then
  say "$NOTICE_MINUTES minutes of notice for the VM $VM"
  VM_ID=$(value az vm show --resource-group "$COMPUTE_GROUP" --name "$VM" --query id)
  PROFILE="{\"enable\": true, \"notBeforeTimeout\": \"PT${NOTICE_MINUTES}M\"}"
  rest patch "$VM_ID?api-version=$COMPUTE_API" --output none --body \
    "{\"properties\": {\"scheduledEventsProfile\": {\"terminateNotificationProfile\": $PROFILE}}}" || NOTICED=no
elif [[ $SCALE_SET ]]; then
  say "$NOTICE_MINUTES minutes of notice for the scale set $SCALE_SET; instances that are there get it with their next" \
    "update: az vmss update-instances --resource-group $COMPUTE_GROUP --name $SCALE_SET --instance-ids '*'"
  az vmss update --resource-group "$COMPUTE_GROUP" --name "$SCALE_SET" --enable-terminate-notification true \
    --terminate-notification-time "$NOTICE_MINUTES" --output none || NOTICED=no
fi

cat <<CONFIGURATION
[sinks.azure_monitor]
endpoint     = "$INGESTION"
dcr_id       = "$DCR_ID"
stream       = "$STREAM"
workspace_id = "$CUSTOMER_ID"
CONFIGURATION
[[ $NOTICED == yes ]] || die "all is made but the notice: Azure refused it (Spot cannot have one)"
