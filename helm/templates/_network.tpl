{{/* The HTTP APIs, as a JSON list: the component that serves the API, and the key of the API's values. The name of the Service
ends with this key. */}}
{{- define "sluice.httpApis" -}}
{{- $found := list -}}
{{- range $api := list (dict "component" "billing" "key" "api") (dict "component" "platform" "key" "platformApi") -}}
{{- if has $api.component (include "sluice.enabled" $ | fromJsonArray) -}}{{- $found = append $found $api -}}{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* A certificate; its values have the form of those of the doors: dict "root" "component" "name" "values". */}}
{{- define "sluice.certificate" -}}
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "sluice.labels" . | nindent 4 }}
spec:
  secretName: {{ .values.certificateSecret }}
  dnsNames: [{{ .values.hostName | quote }}]
  privateKey: {algorithm: ECDSA, size: 256, rotationPolicy: Always}
  usages: [server auth]
  issuerRef: {group: cert-manager.io, kind: {{ .values.certManager.issuerKind }}, name: {{ .values.certManager.issuer }}}
{{- end -}}

{{/* The pod of `helm test`. */}}
{{- define "sluice.testPeer" -}}
- podSelector:
    matchLabels: {{- include "sluice.selectorLabels" (dict "root" . "component" "test") | nindent 6 }}
{{- end -}}

{{- define "sluice.egressToDns" -}}
- ports:
{{- range .Values.networkPolicy.dnsPorts }}
    - {port: {{ int . }}, protocol: UDP}
    - {port: {{ int . }}, protocol: TCP}
{{- end }}
{{- with .Values.networkPolicy.dnsPeers }}
  to: {{- toYaml . | nindent 4 }}
{{- end }}
{{- end -}}

{{/* After the bootstrap, clients use the ports that brokers advertise. `kafkaPorts` lists ports that differ from those of
`kafka.bootstrap`. */}}
{{- define "sluice.egressToDnsAndKafka" -}}
{{ include "sluice.egressToDns" . }}
{{- $ports := concat (include "sluice.ports" .Values.kafka.bootstrap | fromJsonArray) .Values.networkPolicy.kafkaPorts | uniq }}
- ports:
{{- range $ports }}
    - {port: {{ int . }}, protocol: TCP}
{{- end }}
{{- with .Values.networkPolicy.kafkaPeers }}
  to: {{- toYaml . | nindent 4 }}
{{- end }}
{{- if eq .Values.kafka.sasl.mechanism "OAUTHBEARER" }}
{{- $url := urlParse .Values.kafka.oauth.tokenUrl }}
- ports: [{port: {{ regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "80" "443" (eq $url.scheme "http")) | atoi }}, protocol: TCP}]
{{- end }}
{{- end -}}

{{/* Egress to PostgreSQL, if billing keeps its counts there: takes the settings of billing. */}}
{{- define "sluice.egressOfBilling" -}}
{{- if eq (.store | default "redis") "postgresql" -}}
{{- $hosts := splitList "," (urlParse (.postgresql_url | default "postgresql://")).host }}
- ports:
{{- $seen := dict }}
{{- range $hosts }}
{{- $port := regexFind ":[0-9]+$" . | trimPrefix ":" | default "5432" }}
{{- if not (hasKey $seen $port) }}
    - {port: {{ atoi $port }}, protocol: TCP}
{{- $_ := set $seen $port true }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Egress to mail servers on the internet, and to the ports of the routes at any address. */}}
{{- define "sluice.egressOfDeliver" -}}
{{- $settings := (include "sluice.values" (dict "root" . "component" "deliver") | fromYaml).settings -}}
{{- $deliver := $settings.deliver | default dict -}}
{{- with .Values.networkPolicy.deliverPorts -}}
- ports:
{{- range . }}
    - {port: {{ int . }}, protocol: TCP}
{{- end }}
  to:
{{- if $deliver.allow_private_addresses }}
    - ipBlock: {cidr: 0.0.0.0/0}
    - ipBlock: {cidr: "::/0"}
{{- else }}
    - ipBlock:
        cidr: 0.0.0.0/0
        except: [10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16]
    - ipBlock:
        cidr: "::/0"
        except: ["fc00::/7", "fe80::/10"]
{{- end }}
{{- end }}
{{- $routes := values ($deliver.routes | default dict) | sortAlpha | join "," }}
{{- with include "sluice.ports" $routes | fromJsonArray }}
- ports:
{{- range . }}
    - {port: {{ int . }}, protocol: TCP}
{{- end }}
{{- end }}
{{- end -}}
