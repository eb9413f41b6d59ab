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
{{- /* Kubernetes writes a StatefulSet's name (this name and the component) and a hash into a label, of at most 63 characters. */ -}}
{{- if gt (len $name) 40 -}}
{{- /* The hash keeps two long names with the same beginning different. */ -}}
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

{{/* All labels of a resource: dict "root" "component". */}}
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

{{/* Values of Kafka with the login of one account in place of `{name}`, as YAML: dict "root" "account". */}}
{{- define "sluice.kafka" -}}
{{- $kafka := deepCopy .root.Values.kafka -}}
{{- range $place := list (list "sasl" "secret") (list "sasl" "username") (list "tls" "clientSecret") (list "oauth" "clientId") -}}
{{- $section := get $kafka (first $place) -}}
{{- $_ := set $section (last $place) (get $section (last $place) | replace "{name}" $.account) -}}
{{- end -}}
{{- toYaml $kafka -}}
{{- end -}}

{{/* Values of Kafka with the login of a component. Its account has the name of its service: dict "root" "component". */}}
{{- define "sluice.kafkaOf" -}}
{{- include "sluice.kafka" (dict "root" .root "account" (get (include "sluice.facts" .root | fromJson) .component).service) -}}
{{- end -}}

{{/* Whether a component gets the keys of the return path: dict "root" "component"; "true" or "". */}}
{{- define "sluice.hasReturnPath" -}}
{{- with .root.Values.returnPath -}}
{{- if and .secret (or .used (ne $.component "deliver")) -}}{{- include "sluice.has" (merge (dict "section" "return_path") $) -}}{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether each account has a separate user in Kafka; takes the values of Kafka. */}}
{{- define "sluice.ownLogins" -}}
{{- $user := ternary .tls.clientSecret (.sasl.username | default .sasl.secret) (eq .sasl.mechanism "") -}}
{{- if contains "{name}" (ternary .oauth.clientId $user (eq .sasl.mechanism "OAUTHBEARER")) -}}true{{- end -}}
{{- end -}}

{{/* Names of the components that run, as a JSON list. */}}
{{- define "sluice.enabled" -}}
{{- $names := list -}}
{{- range $name := include "sluice.facts" . | fromJson | keys | sortAlpha -}}
{{- /* Many templates use this list, so it does not merge all values of each component. */ -}}
{{- $own := get $.Values.components $name | default dict -}}
{{- if ternary $own.enabled $.Values.defaults.enabled (hasKey $own "enabled") -}}
{{- $names = append $names $name -}}
{{- end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* The different ports in a comma-separated list of `host:port`, as a JSON list. */}}
{{- define "sluice.ports" -}}
{{- $ports := list -}}
{{- range splitList "," . -}}
{{- with regexFind ":[0-9]+$" (trim .) -}}
{{- $ports = append $ports (trimPrefix ":" . | atoi) -}}
{{- end -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}

{{/* Seconds that a component may take to stop; takes the values of the component. */}}
{{- define "sluice.stopSeconds" -}}
{{- $drain := 45.0 -}}
{{- with .settings.runtime -}}{{- if hasKey . "drain_timeout_s" -}}{{- $drain = .drain_timeout_s -}}{{- end -}}{{- end -}}
{{- add (ceil (float64 $drain)) .preStopSeconds -}}
{{- end -}}

{{/* Seconds that Kubernetes waits for a component to stop; takes the values of the component. */}}
{{- define "sluice.graceSeconds" -}}
{{- if .terminationGracePeriodSeconds -}}
{{- .terminationGracePeriodSeconds -}}
{{- else -}}
{{- add (include "sluice.stopSeconds" .) 10 -}}
{{- end -}}
{{- end -}}

{{/* The addresses that an SMTP server listens on, as a JSON list; a socket for IPv6 accepts no IPv4: dict "root" "port". */}}
{{- define "sluice.listen" -}}
{{- $found := list (printf "0.0.0.0:%d" (int .port)) -}}
{{- if eq .root.Values.bindAddress "::" -}}{{- $found = append $found (printf "[::]:%d" (int .port)) -}}{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* The lanes, with `default`, as a JSON list. */}}
{{- define "sluice.lanes" -}}
{{- $names := list "default" -}}
{{- range $name, $_ := include "sluice.laneDomains" . | fromJson -}}{{- $names = append $names $name -}}{{- end -}}
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

{{/* "true" if the validate service reads returned mail and counts bounces, else "". If the setting is not set, it does so unless
the component `responses` is enabled. */}}
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

{{/* Bytes of mail that a component may hold in memory, by its settings: dict "root" "component". */}}
{{- define "sluice.heldBytes" -}}
{{- $settings := (include "sluice.values" . | fromYaml).settings -}}
{{- $doors := include "sluice.doors" . | fromJsonArray -}}
{{- $sum := 0 -}}
{{- range $held := (get (include "sluice.facts" .root | fromJson) .component).held -}}
{{- if or (not $held.door) (has $held.door $doors) -}}
{{- $sum = add $sum (int64 (get (get $settings $held.section | default dict) $held.key | default $held.default)) -}}
{{- end -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

{{/* The settings that limit these bytes, with their sections: dict "root" "component". */}}
{{- define "sluice.heldSettings" -}}
{{- $found := list -}}
{{- $doors := include "sluice.doors" . | fromJsonArray -}}
{{- range $held := (get (include "sluice.facts" .root | fromJson) .component).held -}}
{{- if or (not $held.door) (has $held.door $doors) -}}{{- $found = append $found (printf "%s.%s" $held.section $held.key) -}}{{- end -}}
{{- end -}}
{{- join " and " $found -}}
{{- end -}}

{{/* The number of bytes of an amount of memory in the notation of Kubernetes. */}}
{{- define "sluice.bytes" -}}
{{- $text := toString . -}}
{{- $number := regexFind "^[0-9.]+([eE][+-]?[0-9]+)?" $text -}}
{{- $unit := trimPrefix $number $text -}}
{{- $powers := dict "k" 1 "K" 1 "M" 2 "G" 3 "T" 4 "P" 5 "E" 6 -}}
{{- $bytes := float64 $number -}}
{{- if $unit -}}
{{- $base := ternary 1024.0 1000.0 (hasSuffix "i" $unit) -}}
{{- range until (int (get $powers (trimSuffix "i" $unit) | default 0)) -}}{{- $bytes = mulf $bytes $base -}}{{- end -}}
{{- end -}}
{{- int64 $bytes -}}
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
