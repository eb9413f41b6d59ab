{{/* Values that the operator's pod takes from the components: settings, but no secrets. Every define takes the root context
unless it says otherwise. */}}

{{/* The settings, as YAML. The section of a service has the values of its component; sections that all services use have the
values of `defaults`. */}}
{{- define "sluice.operatorSettings" -}}
{{- $settings := mergeOverwrite (deepCopy .Values.settings) (deepCopy .Values.defaults.settings) -}}
{{- $enabled := include "sluice.enabled" . | fromJsonArray -}}
{{- range $section, $component := dict "ingest" "ingest" "validate" "validate" "api" "platform" "deliver" "deliver" "billing" "billing" -}}
{{- if has $component $enabled -}}
{{- $own := (include "sluice.values" (dict "root" $ "component" $component) | fromYaml).settings -}}
{{- with get $own $section -}}{{- $_ := set $settings $section . -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{/* A list of named entries for the pod, as JSON: the entries of `defaults` whose names the pod does not use itself, then the
pod's own entries: dict "root" "key". */}}
{{- define "sluice.operatorList" -}}
{{- $own := get .root.Values.operator .key -}}
{{- $names := list -}}
{{- range $own -}}{{- $names = append $names .name -}}{{- end -}}
{{- $found := list -}}
{{- range get .root.Values.defaults .key -}}
{{- if not (has .name $names) -}}{{- $found = append $found . -}}{{- end -}}
{{- end -}}
{{- concat $found $own | toJson -}}
{{- end -}}

{{/* Secrets of the pod: a JSON list of name and secret. */}}
{{- define "sluice.operatorSecrets" -}}
{{- $found := include "sluice.kafkaSecrets" (include "sluice.kafka" (dict "root" . "account" "operator") | fromYaml) | fromJsonArray -}}
{{- if .Values.redis.host -}}{{- $found = concat $found (include "sluice.redisSecrets" .Values.redis | fromJsonArray) -}}{{- end -}}
{{- concat $found (include "sluice.operatorList" (dict "root" . "key" "secretMounts") | fromJsonArray) | toJson -}}
{{- end -}}
