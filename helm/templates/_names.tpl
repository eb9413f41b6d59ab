{{/* Names, labels and small calculations. Every define takes the root context unless it says otherwise. */}}

{{- define "sluice.name" -}}
{{- .Values.nameOverride | default .Chart.Name -}}
{{- end -}}

{{- define "sluice.fullname" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{- $own := include "sluice.name" . -}}
{{- $name = ternary .Release.Name (printf "%s-%s" .Release.Name $own) (contains $own .Release.Name) -}}
{{- end -}}
{{- /* A StatefulSet's name adds the component, and with a hash it becomes a label of at most 63 characters. */ -}}
{{- if gt (len $name) 40 -}}
{{- /* Two long names with the same beginning stay two names. */ -}}
{{- $name = printf "%s-%s" ($name | trunc 31 | trimSuffix "-") (sha256sum $name | trunc 8) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- define "sluice.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "sluice.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "sluice.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change: dict "root" "component". */}}
{{- define "sluice.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sluice.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* dict "root" "component". */}}
{{- define "sluice.labels" -}}
{{ include "sluice.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | trunc 63 | regexFind ".*[A-Za-z0-9]" | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The facts of the code about each component, as JSON: files/components.json. */}}
{{- define "sluice.facts" -}}
{{- .Files.Get "files/components.json" -}}
{{- end -}}

{{/* Values of one component over the defaults, as YAML: dict "root" "component". */}}
{{- define "sluice.values" -}}
{{- $own := get .root.Values.components .component | default dict -}}
{{- $all := mergeOverwrite (deepCopy .root.Values.defaults) (deepCopy $own) -}}
{{- $_ := set $all "settings" (mergeOverwrite (deepCopy .root.Values.settings) (deepCopy (default dict $all.settings))) -}}
{{- toYaml $all -}}
{{- end -}}

{{/* Names of the components that run, as a JSON list. */}}
{{- define "sluice.enabled" -}}
{{- $names := list -}}
{{- range $name := include "sluice.facts" . | fromJson | keys | sortAlpha -}}
{{- if (include "sluice.values" (dict "root" $ "component" $name) | fromYaml).enabled -}}
{{- $names = append $names $name -}}
{{- end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* The ports of a list of `host:port`, separated by commas, once each, as a JSON list. */}}
{{- define "sluice.ports" -}}
{{- $ports := list -}}
{{- range splitList "," . -}}
{{- with regexFind ":[0-9]+$" (trim .) -}}
{{- $ports = append $ports (trimPrefix ":" . | atoi) -}}
{{- end -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}

{{/* Seconds that a component may take to stop: its values. */}}
{{- define "sluice.stopSeconds" -}}
{{- $drain := 45.0 -}}
{{- with .settings.runtime -}}{{- if hasKey . "drain_timeout_s" -}}{{- $drain = .drain_timeout_s -}}{{- end -}}{{- end -}}
{{- add (ceil (float64 $drain)) .preStopSeconds -}}
{{- end -}}

{{/* Seconds that Kubernetes waits for it: its values. */}}
{{- define "sluice.graceSeconds" -}}
{{- if .terminationGracePeriodSeconds -}}
{{- .terminationGracePeriodSeconds -}}
{{- else -}}
{{- add (include "sluice.stopSeconds" .) 10 -}}
{{- end -}}
{{- end -}}

{{/* Addresses for SMTP at a port, as a JSON list: a socket for IPv6 takes no IPv4. dict "root" "port". */}}
{{- define "sluice.listen" -}}
{{- $found := list (printf "0.0.0.0:%d" (int .port)) -}}
{{- if eq .root.Values.bindAddress "::" -}}{{- $found = append $found (printf "[::]:%d" (int .port)) -}}{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* The lanes, with `default`, as a JSON list. */}}
{{- define "sluice.lanes" -}}
{{- $names := list "default" -}}
{{- range $name, $domains := .Values.lanes -}}
{{- if $domains -}}{{- $names = append $names $name -}}{{- end -}}
{{- end -}}
{{- $names | uniq | toJson -}}
{{- end -}}

{{/* The component that serves a door: dict "root" "door" (front or bounce). */}}
{{- define "sluice.doorOwner" -}}
{{- ternary .door "ingest" (has .door (include "sluice.enabled" .root | fromJsonArray)) -}}
{{- end -}}

{{/* The doors that a component serves, as a JSON list of "front" and "bounce": dict "root" "component". */}}
{{- define "sluice.doors" -}}
{{- $doors := list -}}
{{- range $door := list "front" "bounce" -}}
{{- if and (get $.root.Values (printf "%sDoor" $door)).enabled (eq $.component (include "sluice.doorOwner" (dict "root" $.root "door" $door))) -}}
{{- $doors = append $doors $door -}}
{{- end -}}
{{- end -}}
{{- toJson $doors -}}
{{- end -}}

{{/* Whether validate reads returned mail and counts bounces; unless it is set, only while no other component does. */}}
{{- define "sluice.validateCounts" -}}
{{- $validate := (include "sluice.values" (dict "root" . "component" "validate") | fromYaml).settings.validate | default dict -}}
{{- if hasKey $validate "counts_bounces" -}}
{{- if $validate.counts_bounces -}}true{{- end -}}
{{- else if not (has "responses" (include "sluice.enabled" . | fromJsonArray)) -}}true{{- end -}}
{{- end -}}

{{/* Whether a component has a section of the settings: dict "root" "component" "section"; "true" or "". */}}
{{- define "sluice.has" -}}
{{- if has .section (get (include "sluice.facts" .root | fromJson) .component).sections -}}true{{- end -}}
{{- end -}}

{{/* Most processes of a component that can get work from Kafka; 0: no limit. dict "root" "component". */}}
{{- define "sluice.mostReplicas" -}}
{{- $facts := get (include "sluice.facts" .root | fromJson) .component -}}
{{- if or (not $facts.group) (include "sluice.doors" . | fromJsonArray) -}}
0
{{- else if eq .component "ingest" -}}
{{- int .root.Values.kafka.intakePartitions -}}
{{- else -}}
{{- int .root.Values.kafka.partitions -}}
{{- end -}}
{{- end -}}
