{{- define "sluice.scalingBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: 30
  policies: [{type: Percent, value: 100, periodSeconds: 60}]
# Processes are removed one by one, so that each hands over its partitions before the next one stops.
scaleDown:
  stabilizationWindowSeconds: {{ .scaleDownSeconds }}
  policies: [{type: Pods, value: 1, periodSeconds: 60}]
{{- end -}}

{{/* Groups and topics whose lag is used for scaling, with one topic for each lane, as a JSON list: dict "root" "component". */}}
{{- define "sluice.lags" -}}
{{- $found := list -}}
{{- $facts := get (include "sluice.facts" .root | fromJson) .component -}}
{{- range $topic := $facts.lag -}}
{{- if eq $topic "<lane>" -}}
{{- range $lane := include "sluice.lanes" $.root | fromJsonArray -}}{{- $found = append $found (dict "group" $facts.group "topic" (printf "mail.outbound.%s" $lane)) -}}{{- end -}}
{{- else -}}
{{- $found = append $found (dict "group" $facts.group "topic" $topic) -}}
{{- end -}}
{{- end -}}
{{- if or (ne .component "validate") (include "sluice.validateCounts" .root) -}}
{{- $found = concat $found $facts.also -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* This define and all defines below take the values of Kafka. */}}
{{- define "sluice.kedaNeedsLogin" -}}
{{- if or .sasl.mechanism .tls.caSecret .tls.clientSecret -}}true{{- end -}}
{{- end -}}

{{/* KEDA's name for the SASL mechanism. */}}
{{- define "sluice.kedaSasl" -}}
{{- get (dict "PLAIN" "plaintext" "SCRAM-SHA-256" "scram_sha256" "SCRAM-SHA-512" "scram_sha512" "OAUTHBEARER" "oauthbearer") .sasl.mechanism -}}
{{- end -}}

{{- define "sluice.kedaLogin" -}}
secretTargetRef:
{{- if .sasl.mechanism }}
  - {parameter: password, name: {{ .sasl.secret }}, key: {{ .sasl.passwordKey }}}
{{- if and (ne .sasl.mechanism "OAUTHBEARER") (not .sasl.username) }}
  - {parameter: username, name: {{ .sasl.secret }}, key: {{ .sasl.usernameKey }}}
{{- end }}
{{- end }}
{{- if .tls.caSecret }}
  - {parameter: ca, name: {{ .tls.caSecret }}, key: {{ .tls.caKey }}}
{{- end }}
{{- if .tls.clientSecret }}
  - {parameter: cert, name: {{ .tls.clientSecret }}, key: {{ .tls.certificateKey }}}
  - {parameter: key, name: {{ .tls.clientSecret }}, key: {{ .tls.privateKey }}}
{{- end }}
{{- if and .sasl.mechanism .sasl.username }}
# This variable and all variables below are read from the environment of the pods.
env:
  - {parameter: username, name: SLUICE_KAFKA__SASL_USERNAME}
{{- else if eq .sasl.mechanism "OAUTHBEARER" }}
env:
  - {parameter: username, name: SLUICE_KAFKA__OAUTH_CLIENT_ID}
  - {parameter: oauthTokenEndpointUri, name: SLUICE_KAFKA__OAUTH_TOKEN_URL}
{{- if .oauth.scope }}
  - {parameter: scopes, name: SLUICE_KAFKA__OAUTH_SCOPE}
{{- end }}
{{- end }}
{{- end -}}
