{{/* Environment of a component: dict "root" "component". The settings are described in docs/settings.md. */}}

{{- define "sluice.environment" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: SLUICE_RUNTIME__INSTANCE
  value: {{ printf "%s$(POD_NAMESPACE).$(POD_NAME)" .root.Values.instancePrefix | quote }}
{{ include "sluice.kafkaEnvironment" (include "sluice.kafkaOf" . | fromYaml) }}
- name: SLUICE_KAFKA__STATIC_MEMBERSHIP
  value: "true"
- name: SLUICE_TELEMETRY__HTTP_HOST
  value: {{ .root.Values.bindAddress | quote }}
- name: SLUICE_TELEMETRY__HTTP_PORT
  value: "9100"
{{- if include "sluice.has" (merge (dict "section" "redis") .) }}
{{ include "sluice.redisEnvironment" .root }}
{{- end }}
{{- if include "sluice.hasReturnPath" . }}
- name: SLUICE_RETURN_PATH__KEYS_FILE
  value: /etc/sluice/return-path/{{ .root.Values.returnPath.key }}
{{- end }}
{{- if include "sluice.has" (merge (dict "section" "validate") .) }}
- name: SLUICE_VALIDATE__LANES
  value: {{ include "sluice.laneDomains" .root | quote }}
{{- end }}
{{- include "sluice.partEnvironment" . }}
{{- if eq .component "deliver" }}
{{- include "sluice.deliverEnvironment" .root }}
{{- else if eq .component "platform" }}
- name: SLUICE_API__HTTP_HOST
  value: {{ .root.Values.bindAddress | quote }}
- name: SLUICE_API__HTTP_PORT
  value: "8026"
{{- else if eq .component "billing" }}
- name: SLUICE_BILLING__HTTP_HOST
  value: {{ .root.Values.bindAddress | quote }}
- name: SLUICE_BILLING__HTTP_PORT
  value: "8080"
{{- end }}
{{- include "sluice.settingsEnvironment" . }}
{{- with (include "sluice.values" . | fromYaml).extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Environment of every process that opens Kafka; takes the values of Kafka. */}}
{{- define "sluice.kafkaEnvironment" -}}
{{- $kafka := . -}}
- name: SLUICE_KAFKA__BOOTSTRAP
  value: {{ $kafka.bootstrap | quote }}
- name: SLUICE_KAFKA__REPLICATION
  value: {{ int $kafka.replication | quote }}
- name: SLUICE_KAFKA__MIN_INSYNC_REPLICAS
  value: {{ int $kafka.minInSyncReplicas | quote }}
- name: SLUICE_KAFKA__ALLOW_LOW_REPLICATION
  value: {{ $kafka.allowLowReplication | quote }}
- name: SLUICE_KAFKA__PARTITIONS
  value: {{ int $kafka.partitions | quote }}
- name: SLUICE_KAFKA__INTAKE_PARTITIONS
  value: {{ int $kafka.intakePartitions | quote }}
- name: SLUICE_KAFKA__SECURITY_PROTOCOL
  value: {{ printf "%s%s" (ternary "SASL_" "" (ne $kafka.sasl.mechanism "")) (ternary "SSL" "PLAINTEXT" $kafka.tls.enabled) }}
{{- if $kafka.tls.enabled }}
- name: SLUICE_KAFKA__TLS_CHECK_HOST_NAME
  value: {{ $kafka.tls.checkHostName | quote }}
{{- if $kafka.tls.caSecret }}
- name: SLUICE_KAFKA__TLS_CA_FILE
  value: /etc/sluice/kafka-ca/{{ $kafka.tls.caKey }}
{{- end }}
{{- if $kafka.tls.clientSecret }}
- name: SLUICE_KAFKA__TLS_CERTIFICATE_FILE
  value: /etc/sluice/kafka-client/{{ $kafka.tls.certificateKey }}
- name: SLUICE_KAFKA__TLS_KEY_FILE
  value: /etc/sluice/kafka-client/{{ $kafka.tls.privateKey }}
{{- end }}
{{- end }}
{{- if $kafka.sasl.mechanism }}
- name: SLUICE_KAFKA__SASL_MECHANISM
  value: {{ $kafka.sasl.mechanism }}
{{- if eq $kafka.sasl.mechanism "OAUTHBEARER" }}
- name: SLUICE_KAFKA__OAUTH_TOKEN_URL
  value: {{ $kafka.oauth.tokenUrl | replace "$" "$$" | quote }}
- name: SLUICE_KAFKA__OAUTH_CLIENT_ID
  value: {{ $kafka.oauth.clientId | replace "$" "$$" | quote }}
- name: SLUICE_KAFKA__OAUTH_CLIENT_SECRET_FILE
  value: /etc/sluice/kafka-sasl/{{ $kafka.sasl.passwordKey }}
{{- with $kafka.oauth.scope }}
- name: SLUICE_KAFKA__OAUTH_SCOPE
  value: {{ . | replace "$" "$$" | quote }}
{{- end }}
{{- else }}
- name: SLUICE_KAFKA__SASL_USERNAME
{{- if $kafka.sasl.username }}
  value: {{ $kafka.sasl.username | replace "$" "$$" | quote }}
{{- else }}
  valueFrom: {secretKeyRef: {name: {{ $kafka.sasl.secret }}, key: {{ $kafka.sasl.usernameKey }}}}
{{- end }}
- name: SLUICE_KAFKA__SASL_PASSWORD_FILE
  value: /etc/sluice/kafka-sasl/{{ $kafka.sasl.passwordKey }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "sluice.redisEnvironment" -}}
{{- $redis := .Values.redis -}}
{{- $host := ternary (printf "[%s]" $redis.host) $redis.host (contains ":" $redis.host) -}}
- name: SLUICE_REDIS__URL
  value: {{ printf "%s://%s:%d/%d" (ternary "rediss" "redis" $redis.tls.enabled) $host (int $redis.port) (int $redis.database) | quote }}
{{- with $redis.username }}
- name: SLUICE_REDIS__USERNAME
  value: {{ . | replace "$" "$$" | quote }}
{{- end }}
{{- if $redis.secret }}
- name: SLUICE_REDIS__PASSWORD_FILE
  value: /etc/sluice/redis/{{ $redis.passwordKey }}
{{- end }}
{{- if and $redis.tls.enabled $redis.tls.caSecret }}
- name: SLUICE_REDIS__TLS_CA_FILE
  value: /etc/sluice/redis-ca/{{ $redis.tls.caKey }}
{{- end }}
{{- if and $redis.tls.enabled $redis.tls.clientSecret }}
- name: SLUICE_REDIS__TLS_CERTIFICATE_FILE
  value: /etc/sluice/redis-client/tls.crt
- name: SLUICE_REDIS__TLS_KEY_FILE
  value: /etc/sluice/redis-client/tls.key
{{- end }}
{{- end -}}

{{/* Recipient domains by lane as JSON: the value `lanes`, or the shipped lanes if it is null. */}}
{{- define "sluice.laneDomains" -}}
{{- if kindIs "invalid" .Values.lanes -}}
{{- (.Files.Get "files/topics.json" | fromJson).lanes | toJson -}}
{{- else -}}
{{- toJson .Values.lanes -}}
{{- end -}}
{{- end -}}

{{/* Which parts of ingest and validate run in this component: dict "root" "component". */}}
{{- define "sluice.partEnvironment" -}}
{{- $doors := include "sluice.doors" . | fromJsonArray -}}
{{- if has .component (list "front" "bounce") }}
- name: SLUICE_INGEST__READS_INTAKES
  value: "false"
{{- end }}
{{- if has "front" $doors }}
{{- include "sluice.frontDoorEnvironment" .root }}
{{- end }}
{{- if has "bounce" $doors }}
{{- include "sluice.bounceDoorEnvironment" .root }}
{{- end }}
{{- if eq .component "validate" }}
{{- $given := (include "sluice.values" . | fromYaml).settings.validate | default dict }}
{{- if not (or (hasKey $given "counts_bounces") (include "sluice.validateCounts" .root)) }}
- name: SLUICE_VALIDATE__COUNTS_BOUNCES
  value: "false"
{{- end }}
{{- end }}
{{- end -}}

{{- define "sluice.frontDoorEnvironment" -}}
{{- $root := . -}}
{{- with .Values.frontDoor }}
{{- $plain := list -}}
{{- if .ports.smtp -}}{{- $plain = concat $plain (include "sluice.listen" (dict "root" $root "port" 2525) | fromJsonArray) -}}{{- end -}}
{{- if .ports.submission -}}{{- $plain = concat $plain (include "sluice.listen" (dict "root" $root "port" 2587) | fromJsonArray) -}}{{- end }}
- name: SLUICE_INGEST__SMTP_LISTEN
  value: {{ toJson $plain | quote }}
{{- if .ports.smtps }}
- name: SLUICE_INGEST__SMTPS_LISTEN
  value: {{ include "sluice.listen" (dict "root" $root "port" 2465) | quote }}
{{- end }}
- name: SLUICE_INGEST__SMTP_HOST_NAME
  value: {{ .hostName | quote }}
- name: SLUICE_INGEST__SMTP_PROXIES
  value: {{ toJson .proxies | quote }}
- name: SLUICE_INGEST__TLS_CERTIFICATE_FILE
  value: /etc/sluice/front-door/tls.crt
- name: SLUICE_INGEST__TLS_KEY_FILE
  value: /etc/sluice/front-door/tls.key
{{- end }}
{{- end -}}

{{- define "sluice.bounceDoorEnvironment" -}}
{{- $root := . -}}
{{- with .Values.bounceDoor }}
- name: SLUICE_INGEST__BOUNCE_LISTEN
  value: {{ include "sluice.listen" (dict "root" $root "port" 2526) | quote }}
- name: SLUICE_INGEST__BOUNCE_HOST_NAME
  value: {{ .hostName | quote }}
- name: SLUICE_INGEST__BOUNCE_PROXIES
  value: {{ toJson .proxies | quote }}
- name: SLUICE_INGEST__BOUNCE_TLS_CERTIFICATE_FILE
  value: /etc/sluice/bounce-door/tls.crt
- name: SLUICE_INGEST__BOUNCE_TLS_KEY_FILE
  value: /etc/sluice/bounce-door/tls.key
{{- end }}
{{- end -}}

{{- define "sluice.deliverEnvironment" }}
- name: SLUICE_DELIVER__EHLO_NAME
  value: {{ .Values.sending.ehloName | quote }}
{{- with .Values.sending.dkim }}
{{- if .keysSecret }}
- name: SLUICE_DELIVER__DKIM_KEYS
  value: /etc/sluice/dkim-keys
{{- end }}
{{- if .secret }}
- name: SLUICE_DELIVER__DKIM_KEY_FILE
  value: /etc/sluice/dkim/{{ .key }}
- name: SLUICE_DELIVER__DKIM_SELECTOR
  value: {{ .selector | quote }}
{{- end }}
{{- end }}
{{- with .Values.sending.logins }}
{{- if .secret }}
- name: SLUICE_DELIVER__LOGINS_FILE
  value: /etc/sluice/logins/{{ .key }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The settings of the sections that the service reads: text is unchanged, everything else is JSON. Kubernetes replaces
$(NAME) and $$ in a value, so each $ is doubled. */}}
{{- define "sluice.settingsEnvironment" -}}
{{- $settings := (include "sluice.values" . | fromYaml).settings -}}
{{- $sections := (get (include "sluice.facts" .root | fromJson) .component).sections -}}
{{- include "sluice.sectionsEnvironment" (dict "settings" $settings "sections" $sections) -}}
{{- end -}}

{{/* The variables for some sections of the settings: dict "settings" "sections" (names of sections). */}}
{{- define "sluice.sectionsEnvironment" -}}
{{- range $section := .sections | sortAlpha -}}
{{- range $key, $value := get $.settings $section | default dict }}
{{- if not (kindIs "invalid" $value) }}
- name: SLUICE_{{ upper $section }}__{{ upper $key }}
  value: {{ ternary $value (toJson $value) (kindIs "string" $value) | replace "$" "$$" | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
