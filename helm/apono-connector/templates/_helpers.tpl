{{- define "apono-connector.name" -}}
{{- .Chart.Name | trunc 63 | trimSuffix "-" -}}
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

{{/* The configuration file, as TOML. */}}
{{- define "apono-connector.config" -}}
{{- $secrets := "/run/secrets/apono-connector" -}}
{{- $apono := dict "url" .Values.apono.url "connector_id" .Values.apono.connectorId "token_file" (printf "%s/apono/%s" $secrets .Values.apono.existingSecret.key) -}}
{{- $okta := list -}}
{{- range $index, $one := .Values.okta -}}
{{- $key := dig "existingSecret" "key" "okta-credentials.json" $one -}}
{{- $table := dict "integration_id" $one.integrationId "organization_url" $one.organizationUrl "credentials_file" (printf "%s/okta-%d/%s" $secrets $index $key) -}}
{{- $okta = append $okta (mergeOverwrite (deepCopy (default dict $one.config)) $table) -}}
{{- end -}}
{{- $state := "/var/lib/apono-connector" -}}
{{- $own := dict "apono" (mergeOverwrite (deepCopy .Values.apono.config) $apono) "okta" $okta "state" (dict "url" (printf "sqlite:%s/state.db" $state)) "audit" (dict "file" (printf "%s/audit.jsonl" $state)) "admin" (dict "listen" "0.0.0.0:8080") -}}
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
