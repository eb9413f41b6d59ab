{{/* Secrets that a process needs to connect to Kafka; takes the values of Kafka. */}}
{{- define "sluice.kafkaSecrets" -}}
{{- $found := list -}}
{{- if and .tls.enabled .tls.caSecret -}}{{- $found = append $found (dict "name" "kafka-ca" "secret" .tls.caSecret) -}}{{- end -}}
{{- if and .tls.enabled .tls.clientSecret -}}{{- $found = append $found (dict "name" "kafka-client" "secret" .tls.clientSecret) -}}{{- end -}}
{{- if .sasl.mechanism -}}{{- $found = append $found (dict "name" "kafka-sasl" "secret" .sasl.secret) -}}{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* Secrets that a process needs to connect to Redis; takes the values of Redis. */}}
{{- define "sluice.redisSecrets" -}}
{{- $found := list -}}
{{- if .secret -}}{{- $found = append $found (dict "name" "redis" "secret" .secret) -}}{{- end -}}
{{- if and .tls.enabled .tls.caSecret -}}{{- $found = append $found (dict "name" "redis-ca" "secret" .tls.caSecret) -}}{{- end -}}
{{- if and .tls.enabled .tls.clientSecret -}}{{- $found = append $found (dict "name" "redis-client" "secret" .tls.clientSecret) -}}{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* Secrets of a component, each mounted at /etc/sluice/<name>: a JSON list of name and secret. dict "root" "component". */}}
{{- define "sluice.secrets" -}}
{{- $values := .root.Values -}}
{{- $found := include "sluice.kafkaSecrets" (include "sluice.kafkaOf" . | fromYaml) | fromJsonArray -}}
{{- if include "sluice.has" (merge (dict "section" "redis") .) -}}
{{- $found = concat $found (include "sluice.redisSecrets" $values.redis | fromJsonArray) -}}
{{- end -}}
{{- range $door := include "sluice.doors" . | fromJsonArray -}}
{{- $found = append $found (dict "name" (printf "%s-door" $door) "secret" (get $values (printf "%sDoor" $door)).certificateSecret) -}}
{{- end -}}
{{- if and (eq .component "deliver") $values.sending.dkim.keysSecret -}}
{{- $found = append $found (dict "name" "dkim-keys" "secret" $values.sending.dkim.keysSecret) -}}
{{- end -}}
{{- if and (eq .component "deliver") $values.sending.dkim.secret -}}
{{- $found = append $found (dict "name" "dkim" "secret" $values.sending.dkim.secret) -}}
{{- end -}}
{{- if and (eq .component "deliver") $values.sending.logins.secret -}}
{{- $found = append $found (dict "name" "logins" "secret" $values.sending.logins.secret) -}}
{{- end -}}
{{- if include "sluice.hasReturnPath" . -}}
{{- $found = append $found (dict "name" "return-path" "secret" $values.returnPath.secret) -}}
{{- end -}}
{{- with (include "sluice.values" . | fromYaml).secretMounts -}}{{- $found = concat $found . -}}{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* Volumes for a list of secrets. Each secret is mounted as a whole folder, so that the pod sees changes without a restart. */}}
{{- define "sluice.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
{{- range . }}
- name: secret-{{ .name }}
  secret: {secretName: {{ .secret }}, defaultMode: 0440}
{{- end }}
{{- end -}}

{{- define "sluice.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- range . }}
- {name: secret-{{ .name }}, mountPath: /etc/sluice/{{ .name }}, readOnly: true}
{{- end }}
{{- end -}}
