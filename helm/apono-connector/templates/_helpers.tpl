{{- define "apono-connector.name" -}}
{{- .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Of the pods that test it. */}}
{{- define "apono-connector.testName" -}}
{{- include "apono-connector.name" . | trunc 58 -}}-test
{{- end -}}

{{- define "apono-connector.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "apono-connector.selector" -}}
app.kubernetes.io/name: {{ include "apono-connector.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "apono-connector.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{ include "apono-connector.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* Name, namespace and labels of an object; `part` is added to the name. */}}
{{- define "apono-connector.metadata" -}}
name: {{ include "apono-connector.fullname" .root }}{{ with .part }}-{{ . }}{{ end }}
namespace: {{ default .root.Release.Namespace .namespace }}
labels:
  {{- include "apono-connector.labels" .root | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "apono-connector.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "apono-connector.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "apono-connector.image" -}}
{{- $name := printf "%s/%s" .Values.image.registry .Values.image.name | trimPrefix "/" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- if hasPrefix "sha256:" $tag -}}
{{- printf "%s@%s" $name $tag -}}
{{- else -}}
{{- printf "%s:%s" $name $tag -}}
{{- end -}}
{{- end -}}

{{- define "apono-connector.aponoSecret" -}}
{{- default (printf "%s-apono" (include "apono-connector.fullname" .)) .Values.apono.existingSecret.name -}}
{{- end -}}

{{/* Whether there are several pods. */}}
{{- define "apono-connector.isFleet" -}}
{{- if gt (int .Values.replicas) 1 }}yes{{ end -}}
{{- end -}}

{{/* Over nodes and zones, unless something else is given, as a list of YAML. */}}
{{- define "apono-connector.spread" -}}
{{- $given := .Values.topologySpreadConstraints -}}
{{- if and (not $given) (include "apono-connector.isFleet" .) -}}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" -}}
{{- $given = append $given (dict "maxSkew" 1 "topologyKey" . "whenUnsatisfiable" "ScheduleAnyway") -}}
{{- end -}}
{{- end -}}
{{- $own := dict "labelSelector" (dict "matchLabels" (include "apono-connector.selector" . | fromYaml)) -}}
{{- $spread := list -}}
{{- range $given -}}
{{- $spread = append $spread (hasKey . "labelSelector" | ternary . (merge (deepCopy .) $own)) -}}
{{- end -}}
{{- toYaml $spread -}}
{{- end -}}

{{/* The ports of `state.postgres.url`, which may name several servers, as a list of YAML. */}}
{{- define "apono-connector.databasePorts" -}}
{{- $ports := list -}}
{{- $servers := regexReplaceAll "^[^:]+://([^@/]*@)?" .Values.state.postgres.url "" | splitList "/" | first -}}
{{- range splitList "," $servers -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default "5432" | int) -}}
{{- end -}}
{{- toYaml (uniq $ports) -}}
{{- end -}}

{{/* The configuration file, as TOML. */}}
{{- define "apono-connector.config" -}}
{{- $secrets := "/run/secrets/apono-connector" -}}
{{- $apono := dict "url" .Values.apono.url "connector_id" .Values.apono.connectorId "token_file" (printf "%s/apono/%s" $secrets .Values.apono.existingSecret.key) -}}
{{- $okta := list -}}
{{- range $index, $one := .Values.okta -}}
{{- $key := dig "existingSecret" "key" "okta-credentials.json" $one -}}
{{- $table := dict "integration_id" $one.integrationId "organization_url" $one.organizationUrl "credentials_file" (printf "%s/okta-%d/%s" $secrets $index $key) -}}
{{- if $.Values.killSwitch.configMap -}}
{{- $_ := set $table "access" (dict "policy" (dict "kill_switch_file" "/run/apono-connector/kill-switch/stop")) -}}
{{- end -}}
{{- $okta = append $okta (mergeOverwrite (deepCopy (default dict $one.config)) $table) -}}
{{- end -}}
{{- $state := "/var/lib/apono-connector" -}}
{{- $kept := dict "url" (printf "sqlite:%s/state.db" $state) -}}
{{- with .Values.state.postgres -}}
{{- if .url -}}
{{- $kept = dict "url" .url "password_file" (printf "%s/postgres/%s" $secrets .existingSecret.key) "directory" $state -}}
{{- end -}}
{{- end -}}
{{- $own := dict "apono" (mergeOverwrite (deepCopy .Values.apono.config) $apono) "okta" $okta "state" $kept "audit" (dict "file" (printf "%s/audit.jsonl" $state)) "admin" (dict "listen" "0.0.0.0:8080") -}}
{{- $http := dict -}}
{{- if .Values.caBundle.existingConfigMap -}}
{{- $_ := set $http "ca_bundle_file" (printf "/run/secrets/apono-connector/ca/%s" .Values.caBundle.key) -}}
{{- end -}}
{{- if .Values.proxy.existingSecret.name -}}
{{- $_ := set $http "proxy_credentials_file" (printf "%s/proxy/%s" $secrets .Values.proxy.existingSecret.key) -}}
{{- end -}}
{{- if $http -}}
{{- $_ := set $own "http" $http -}}
{{- end -}}
{{- toToml (mergeOverwrite (deepCopy .Values.config) $own) -}}
{{- end -}}

{{/* Of the pod, and of those that test it. */}}
{{- define "apono-connector.podSpec" -}}
serviceAccountName: {{ include "apono-connector.serviceAccount" . }}
automountServiceAccountToken: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- if not (kindIs "invalid" .Values.hostUsers) }}
hostUsers: {{ .Values.hostUsers }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- if not (.Capabilities.APIVersions.Has "security.openshift.io/v1") }}
  # The image's group, so that the volume can be written to. OpenShift gives one of its own.
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "apono-connector.container" -}}
image: {{ include "apono-connector.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- if or .Values.proxy.httpsProxy .Values.proxy.noProxy .Values.apono.metadata }}
env:
  {{- with .Values.proxy.httpsProxy }}
  - name: HTTPS_PROXY
    value: {{ . | quote }}
  {{- end }}
  {{- with .Values.proxy.noProxy }}
  - name: NO_PROXY
    value: {{ . | quote }}
  {{- end }}
  {{- with .Values.apono.metadata }}
  - name: CONNECTOR_METADATA
    value: {{ toJson . | quote }}
  {{- end }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities:
    drop: ["ALL"]
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - name: config
    mountPath: /etc/apono-connector
    readOnly: true
  - name: state
    mountPath: /var/lib/apono-connector
  - name: apono
    mountPath: /run/secrets/apono-connector/apono
    readOnly: true
  {{- range $index, $_ := .Values.okta }}
  - name: okta-{{ $index }}
    mountPath: /run/secrets/apono-connector/okta-{{ $index }}
    readOnly: true
  {{- end }}
  {{- if .Values.state.postgres.url }}
  - name: postgres
    mountPath: /run/secrets/apono-connector/postgres
    readOnly: true
  {{- end }}
  {{- if .Values.caBundle.existingConfigMap }}
  - name: ca
    mountPath: /run/secrets/apono-connector/ca
    readOnly: true
  {{- end }}
  {{- if .Values.proxy.existingSecret.name }}
  - name: proxy
    mountPath: /run/secrets/apono-connector/proxy
    readOnly: true
  {{- end }}
  {{- range $index, $name := .Values.extraSecrets }}
  - name: extra-{{ $index }}
    mountPath: /run/secrets/apono-connector/extra/{{ $name }}
    readOnly: true
  {{- end }}
  {{- if .Values.killSwitch.configMap }}
  - name: kill-switch
    mountPath: /run/apono-connector/kill-switch
    readOnly: true
  {{- end }}
{{- end -}}

{{/* All but the state. */}}
{{- define "apono-connector.volumes" -}}
- name: config
  configMap:
    name: {{ include "apono-connector.fullname" . }}
- name: apono
  secret:
    secretName: {{ include "apono-connector.aponoSecret" . }}
    defaultMode: 0440
{{- range $index, $one := .Values.okta }}
- name: okta-{{ $index }}
  secret:
    secretName: {{ default (printf "%s-okta-%d" (include "apono-connector.fullname" $) $index) (dig "existingSecret" "name" "" $one) }}
    defaultMode: 0440
{{- end }}
{{- with .Values.state.postgres }}
{{- if .url }}
- name: postgres
  secret:
    secretName: {{ .existingSecret.name }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- with .Values.caBundle.existingConfigMap }}
- name: ca
  configMap:
    name: {{ . }}
{{- end }}
{{- with .Values.proxy.existingSecret.name }}
- name: proxy
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- range $index, $name := .Values.extraSecrets }}
- name: extra-{{ $index }}
  secret:
    secretName: {{ $name }}
    defaultMode: 0440
{{- end }}
{{- with .Values.killSwitch.configMap }}
- name: kill-switch
  configMap:
    name: {{ . }}
    optional: true
{{- end }}
{{- end -}}
