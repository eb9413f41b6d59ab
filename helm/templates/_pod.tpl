{{/* The pod of a component: dict "root" "component". */}}

{{- define "sluice.podSecurity" -}}
runAsNonRoot: true
{{- range $key, $value := .Values.podSecurity }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }}: {{ int64 $value }}
{{- end }}
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "sluice.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "sluice.podAnnotations" -}}
{{- $annotations := (include "sluice.values" . | fromYaml).podAnnotations -}}
{{- if and (eq .component "deliver") .root.Values.sending.sourceAddresses -}}
{{- $annotations = merge (dict "sluice/source-addresses" (join "," .root.Values.sending.sourceAddresses)) $annotations -}}
{{- end -}}
{{- with $annotations -}}{{- toYaml . -}}{{- end -}}
{{- end -}}

{{- define "sluice.pod" -}}
{{- $root := .root -}}
{{- $values := include "sluice.values" . | fromYaml -}}
{{- $facts := get (include "sluice.facts" .root | fromJson) .component -}}
{{- $secrets := include "sluice.secrets" . | fromJsonArray -}}
serviceAccountName: {{ include "sluice.serviceAccountName" .root }}
automountServiceAccountToken: false
# Otherwise Kubernetes adds variables for services, which look like settings of Sluice.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ include "sluice.graceSeconds" $values }}
securityContext: {{- include "sluice.podSecurity" .root | nindent 2 }}
{{- include "sluice.pullSecrets" .root }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- include "sluice.nodes" $values }}
{{- with $values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with $values.dnsConfig }}
dnsConfig: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $values.spread }}
topologySpreadConstraints:
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: {{ $values.spread }}
    # Nodes with taints that the pods do not tolerate are not counted as nodes without pods.
    nodeTaintsPolicy: Honor
    labelSelector:
      matchLabels: {{- include "sluice.selectorLabels" $ | nindent 8 }}
{{- end }}
{{- end }}
containers:
  - name: {{ .component }}
    image: {{ include "sluice.image" .root | quote }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    args: {{ prepend $facts.arguments $facts.module | toJson }}
    securityContext: {{- include "sluice.containerSecurity" . | nindent 6 }}
    env: {{- include "sluice.environment" . | nindent 6 }}
    ports:
      - {name: telemetry, containerPort: 9100}
{{- range $port := include "sluice.doorPorts" . | fromJsonArray }}
      - {name: {{ $port.name }}, containerPort: {{ $port.target }}}
{{- end }}
    resources: {{- toYaml $values.resources | nindent 6 }}
    startupProbe:
      httpGet: {path: /live, port: telemetry}
      periodSeconds: 2
      failureThreshold: {{ div (int $values.probes.startSeconds) 2 }}
    livenessProbe:
      httpGet: {path: /live, port: telemetry}
      periodSeconds: {{ $values.probes.livePeriodSeconds }}
      timeoutSeconds: 5
      failureThreshold: {{ $values.probes.liveFailures }}
    readinessProbe:
      httpGet: {path: /ready, port: telemetry}
      periodSeconds: {{ $values.probes.readyPeriodSeconds }}
      timeoutSeconds: 3
      failureThreshold: 2
{{- if $values.preStopSeconds }}
    lifecycle:
      preStop: {sleep: {seconds: {{ $values.preStopSeconds }}}}
{{- end }}
    volumeMounts: {{- include "sluice.mounts" $secrets | nindent 6 }}
{{- with $values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
{{- end }}
volumes: {{- include "sluice.volumes" $secrets | nindent 2 }}
{{- with $values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Names of secrets, as text or as objects with a name; takes the root context. */}}
{{- define "sluice.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ ternary . (get (ternary dict . (kindIs "string" .)) "name") (kindIs "string" .) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The nodes that a pod may run on: values of a component. */}}
{{- define "sluice.nodes" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Values that the pods of the topics job and of `helm test` take from the defaults: dict "root" "own" (their values). */}}
{{- define "sluice.hookPlacing" -}}
{{- with .root.Values.defaults.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- include "sluice.nodes" .root.Values.defaults }}
{{- with .root.Values.defaults.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Annotations of these pods: their own, and those of the defaults with other keys: dict "root" "own" (their values). */}}
{{- define "sluice.hookAnnotations" -}}
{{- with merge (deepCopy .own.podAnnotations) .root.Values.defaults.podAnnotations -}}{{- toYaml . -}}{{- end -}}
{{- end -}}

{{/* Labels by which the Services and policies of doors select pods, the same in every component: dict "root" "component". */}}
{{- define "sluice.doorLabels" -}}
{{- range $door := include "sluice.doors" . | fromJsonArray }}
sluice/{{ $door }}-door: "true"
{{- end }}
{{- end -}}

{{/* Labels that select the pods of a door: dict "root" "door" (front or bounce). */}}
{{- define "sluice.doorSelector" -}}
app.kubernetes.io/name: {{ include "sluice.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
sluice/{{ .door }}-door: "true"
{{- end -}}

{{/* Ports that a component serves beside telemetry, as JSON: name, target, and the service's port. */}}
{{- define "sluice.doorPorts" -}}
{{- $ports := list -}}
{{- range $door := include "sluice.doors" . | fromJsonArray -}}
{{- with $.root.Values.frontDoor -}}
{{- if eq $door "front" -}}
{{- if .ports.smtp -}}{{- $ports = append $ports (dict "door" "front-door" "name" "smtp" "target" 2525 "port" (int .ports.smtp)) -}}{{- end -}}
{{- if .ports.submission -}}{{- $ports = append $ports (dict "door" "front-door" "name" "submission" "target" 2587 "port" (int .ports.submission)) -}}{{- end -}}
{{- if .ports.smtps -}}{{- $ports = append $ports (dict "door" "front-door" "name" "smtps" "target" 2465 "port" (int .ports.smtps)) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- with $.root.Values.bounceDoor -}}
{{- if eq $door "bounce" -}}{{- $ports = append $ports (dict "door" "bounce-door" "name" "bounce" "target" 2526 "port" (int .port)) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq .component "platform" -}}
{{- $ports = append $ports (dict "door" "platformApi" "name" "http" "target" 8026 "port" (int .root.Values.platformApi.port)) -}}
{{- else if eq .component "billing" -}}
{{- $ports = append $ports (dict "door" "api" "name" "http" "target" 8080 "port" (int .root.Values.api.port)) -}}
{{- end -}}
{{- toJson $ports -}}
{{- end -}}
