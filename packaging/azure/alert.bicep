// An alert for each VM that logged for a run, has gone quiet, and left no complete manifest. Made by `logferry setup azure`;
// the query is queries/incomplete-runs.kql.
//
//   az deployment group create --resource-group GROUP --template-file alert.bicep \
//     --parameters workspaceName=WORKSPACE actionGroupIds='["/subscriptions/…/actionGroups/NAME"]'

@description('Log Analytics workspace of this resource group, in which the table BenchmarkRuns_CL is.')
param workspaceName string

@description('Region of the workspace.')
param location string = resourceGroup().location

@description('Resource ids of the action groups that are told.')
param actionGroupIds array = []

@description('0 critical to 4 verbose.')
@minValue(0)
@maxValue(4)
param severity int = 2

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' existing = {
  name: workspaceName
}

resource incomplete 'Microsoft.Insights/scheduledQueryRules@2021-08-01' = {
  name: 'logferry-incomplete-runs'
  location: location
  kind: 'LogAlert'
  properties: {
    displayName: 'logferry: a run without a complete manifest'
    description: 'A VM logged for a run, has been quiet for half an hour, and no complete manifest says that all was delivered. logferry verify names what is missing.'
    enabled: true
    severity: severity
    scopes: [
      workspace.id
    ]
    evaluationFrequency: 'PT15M'
    windowSize: 'P1D'
    autoMitigate: true
    criteria: {
      allOf: [
        {
          query: '''
let quiet = 30m;
let records = BenchmarkRuns_CL
| where TimeGenerated > ago(1d) and isnotempty(RunID);
let manifests = records
| where Source == "logferry" and EventType == "logferry.manifest"
| extend Incarnation = tolong(Fields.incarnation)
| summarize arg_max(Incarnation, TimeGenerated, Fields) by RunID, VMName
| project RunID, VMName, Manifest = TimeGenerated, Complete = tobool(Fields.complete);
records
| where Source != "logferry"
| summarize Records = count(), LastRecord = max(TimeGenerated) by RunID, VMName
| where LastRecord < ago(quiet)
| join kind=leftouter manifests on RunID, VMName
| where isnull(Manifest) or Manifest < LastRecord or not(coalesce(Complete, false))
| project RunID, VMName, Records, LastRecord, Manifest, Complete
'''
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          dimensions: [
            {
              name: 'RunID'
              operator: 'Include'
              values: [
                '*'
              ]
            }
            {
              name: 'VMName'
              operator: 'Include'
              values: [
                '*'
              ]
            }
          ]
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    actions: {
      actionGroups: actionGroupIds
    }
  }
}
