// What logferry needs in Azure: the table of the workspace, the data collection rule that writes to it, and the right to
// send to the rule. Made by `logferry setup azure`; the columns are those of logferry's records.
//
//   az deployment group create --resource-group GROUP --template-file setup.bicep \
//     --parameters workspaceName=WORKSPACE principalIds='["OBJECT-ID"]' --query properties.outputs
//
// The outputs are what [sinks.azure_monitor] of logferry.toml asks for. The workspace is there already; setup.sh makes one.

@description('Log Analytics workspace of this resource group.')
param workspaceName string

@description('Region of the workspace: the rule must be in the same.')
param location string = resourceGroup().location

@description('Name of the data collection rule, of at most 30 characters.')
@maxLength(30)
param ruleName string = 'dcr-logferry'

@description('Object ids of the identities that send: of VMs, scale sets, user-assigned identities.')
param principalIds array = []

@allowed(['ServicePrincipal', 'User', 'Group'])
param principalType string = 'ServicePrincipal'

@description('Days for which the table is kept; -1: as the workspace says.')
param retentionInDays int = -1
param totalRetentionInDays int = -1

@description('Minutes of notice that a VM gets before it is deleted.')
@minValue(5)
@maxValue(15)
param terminateNoticeMinutes int = 10

// Monitoring Metrics Publisher: the built-in role that may send to a rule.
var publisherRole = '3913510d-42f4-4e42-8a64-420c390055eb'

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' existing = {
  name: workspaceName
}

resource table 'Microsoft.OperationalInsights/workspaces/tables@2022-10-01' = {
  parent: workspace
  name: 'BenchmarkRuns_CL'
  properties: {
    plan: 'Analytics'
    retentionInDays: retentionInDays
    totalRetentionInDays: totalRetentionInDays
    schema: {
      name: 'BenchmarkRuns_CL'
      columns: [
        { name: 'TimeGenerated', type: 'dateTime' }
        { name: 'EventTime', type: 'dateTime' }
        { name: 'RunID', type: 'string' }
        { name: 'TaskID', type: 'string' }
        { name: 'Benchmark', type: 'string' }
        { name: 'VMName', type: 'string' }
        { name: 'Source', type: 'string' }
        { name: 'FilePath', type: 'string' }
        { name: 'Container', type: 'string' }
        { name: 'ContainerID', type: 'string' }
        { name: 'Image', type: 'string' }
        { name: 'Stream', type: 'string' }
        { name: 'LoggerName', type: 'string' }
        { name: 'Level', type: 'string' }
        { name: 'Message', type: 'string' }
        { name: 'Exception', type: 'dynamic' }
        { name: 'EventType', type: 'string' }
        { name: 'TraceID', type: 'string' }
        { name: 'SpanID', type: 'string' }
        { name: 'DurationMs', type: 'real' }
        { name: 'ModelName', type: 'string' }
        { name: 'PromptTokens', type: 'long' }
        { name: 'CompletionTokens', type: 'long' }
        { name: 'TotalTokens', type: 'long' }
        { name: 'Cost', type: 'real' }
        { name: 'Status', type: 'string' }
        { name: 'ErrorType', type: 'string' }
        { name: 'Fields', type: 'dynamic' }
        { name: 'Part', type: 'int' }
        { name: 'Parts', type: 'int' }
        { name: 'Origin', type: 'string' }
        { name: 'EventID', type: 'string' }
        { name: 'Seq', type: 'long' }
      ]
    }
  }
}

// A rule of kind Direct has an endpoint of its own. One that was made without cannot get it: delete it first.
resource rule 'Microsoft.Insights/dataCollectionRules@2023-03-11' = {
  name: ruleName
  location: location
  kind: 'Direct'
  dependsOn: [
    table
  ]
  properties: {
    streamDeclarations: {
      'Custom-BenchmarkRuns_CL': {
        columns: [
          { name: 'TimeGenerated', type: 'datetime' }
          { name: 'EventTime', type: 'datetime' }
          { name: 'RunID', type: 'string' }
          { name: 'TaskID', type: 'string' }
          { name: 'Benchmark', type: 'string' }
          { name: 'VMName', type: 'string' }
          { name: 'Source', type: 'string' }
          { name: 'FilePath', type: 'string' }
          { name: 'Container', type: 'string' }
          { name: 'ContainerID', type: 'string' }
          { name: 'Image', type: 'string' }
          { name: 'Stream', type: 'string' }
          { name: 'LoggerName', type: 'string' }
          { name: 'Level', type: 'string' }
          { name: 'Message', type: 'string' }
          { name: 'Exception', type: 'dynamic' }
          { name: 'EventType', type: 'string' }
          { name: 'TraceID', type: 'string' }
          { name: 'SpanID', type: 'string' }
          { name: 'DurationMs', type: 'real' }
          { name: 'ModelName', type: 'string' }
          { name: 'PromptTokens', type: 'long' }
          { name: 'CompletionTokens', type: 'long' }
          { name: 'TotalTokens', type: 'long' }
          { name: 'Cost', type: 'real' }
          { name: 'Status', type: 'string' }
          { name: 'ErrorType', type: 'string' }
          { name: 'Fields', type: 'dynamic' }
          { name: 'Part', type: 'int' }
          { name: 'Parts', type: 'int' }
          { name: 'Origin', type: 'string' }
          { name: 'EventID', type: 'string' }
          { name: 'Seq', type: 'long' }
        ]
      }
    }
    destinations: {
      logAnalytics: [
        {
          name: 'workspace'
          workspaceResourceId: workspace.id
        }
      ]
    }
    dataFlows: [
      {
        streams: [
          'Custom-BenchmarkRuns_CL'
        ]
        destinations: [
          'workspace'
        ]
        transformKql: 'source'
        outputStream: 'Custom-BenchmarkRuns_CL'
      }
    ]
  }
}

// A new assignment may take half an hour to hold; logferry keeps everything until then.
resource publishers 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for principalId in principalIds: {
  name: guid(rule.id, principalId, publisherRole)
  scope: rule
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', publisherRole)
  }
}]

// endpoint, dcr_id, stream and workspace_id of [sinks.azure_monitor].
output endpoint string = rule.properties.endpoints.logsIngestion
output dcrId string = rule.properties.immutableId
output stream string = 'Custom-BenchmarkRuns_CL'
output workspaceId string = workspace.properties.customerId

// A template cannot change a single property of a VM that is there (setup.sh does). For the template that makes the VM:
// `scheduledEventsProfile` of the properties of a VM, or of `virtualMachineProfile` of a scale set. Not for Spot.
output scheduledEventsProfile object = {
  terminateNotificationProfile: {
    enable: true
    notBeforeTimeout: 'PT${terminateNoticeMinutes}M'
  }
}
