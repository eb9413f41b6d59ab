{{/* Refuses values that must not be installed. Each text begins with the path of the value and says how to fix it. */}}

{{- define "sluice.check" -}}
{{- $values := .Values -}}
{{- if not $values.image.repository -}}
{{- fail "image.repository: required: the image in your registry, without a tag" -}}
{{- end -}}
{{- if not $values.kafka.bootstrap -}}
{{- fail "kafka.bootstrap: required: host:port[,host:port] of your brokers" -}}
{{- end -}}
{{- $full := include "sluice.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $full) -}}
{{- fail (printf "fullnameOverride: required, because %q cannot be the name of a Service: letters, digits and hyphens, with a letter first" $full) -}}
{{- end -}}
{{- include "sluice.checkKafka" $values.kafka -}}
{{- include "sluice.checkDoors" . -}}
{{- include "sluice.checkHttpApis" . -}}
{{- include "sluice.checkCertificates" . -}}
{{- if hasKey (.Values.defaults.settings.kafka | default dict) "topic_configs" -}}
{{- fail "defaults.settings.kafka.topic_configs: the topics have to have the same; move it to settings.kafka" -}}
{{- end -}}
{{- if and (eq $values.topics.manage "strimzi") (not $values.topics.strimzi.cluster) -}}
{{- fail "topics.strimzi.cluster: required with topics.manage strimzi: the name of the Kafka resource" -}}
{{- end -}}
{{- $enabled := include "sluice.enabled" . | fromJsonArray -}}
{{- if not $enabled -}}{{- fail "components: all are disabled; enable at least one" -}}{{- end -}}
{{- range $name := $enabled -}}
{{- $context := dict "root" $ "component" $name -}}
{{- include "sluice.checkComponent" $context -}}
{{- if and (include "sluice.has" (merge (dict "section" "redis") $context)) (not $values.redis.host) -}}
{{- fail (printf "redis.host: required by %s" $name) -}}
{{- end -}}
{{- end -}}
{{- if $values.operator.enabled -}}
{{- include "sluice.checkVolumes" (dict "path" "operator" "secrets" (include "sluice.operatorSecrets" . | fromJsonArray) "volumes" (include "sluice.operatorList" (dict "root" . "key" "extraVolumes") | fromJsonArray)) -}}
{{- end -}}
{{- if and (has "deliver" $enabled) (not $values.sending.ehloName) -}}
{{- fail "sending.ehloName: required by deliver: the name in the PTR record of the addresses that mail leaves from" -}}
{{- end -}}
{{- end -}}

{{- define "sluice.checkKafka" -}}
{{- if not .allowLowReplication -}}
{{- $otherwise := "on a cluster with fewer than three brokers, where this is accepted, also set kafka.allowLowReplication: true" -}}
{{- if lt (int .replication) 3 -}}
{{- fail (printf "kafka.replication: %d, expected 3 or more copies of each topic: with fewer, one broker that fails loses accepted mail or stops the pipeline; %s and kafka.minInSyncReplicas: 1" (int .replication) $otherwise) -}}
{{- end -}}
{{- if lt (int .minInSyncReplicas) 2 -}}
{{- fail (printf "kafka.minInSyncReplicas: %d, expected 2 or more: mail that only one broker has when it is acknowledged is lost with that broker; %s" (int .minInSyncReplicas) $otherwise) -}}
{{- end -}}
{{- end -}}
{{- if gt (int .minInSyncReplicas) (int .replication) -}}
{{- fail (printf "kafka.minInSyncReplicas: %d is more than kafka.replication (%d), so nothing could be written; lower it" (int .minInSyncReplicas) (int .replication)) -}}
{{- end -}}
{{- if and .sasl.mechanism (not .sasl.secret) -}}
{{- fail (printf "kafka.sasl.secret: required with kafka.sasl.mechanism %s" .sasl.mechanism) -}}
{{- end -}}
{{- if and (or .sasl.secret .sasl.username) (not .sasl.mechanism) -}}
{{- fail "kafka.sasl.mechanism: required with kafka.sasl.secret and username" -}}
{{- end -}}
{{- if and (eq .sasl.mechanism "OAUTHBEARER") (or (not .oauth.tokenUrl) (not .oauth.clientId)) -}}
{{- fail "kafka.oauth: tokenUrl and clientId are required with kafka.sasl.mechanism OAUTHBEARER" -}}
{{- end -}}
{{- if and .sasl.username (eq .sasl.mechanism "OAUTHBEARER") -}}
{{- fail "kafka.sasl.username: not for OAUTHBEARER, which logs in as kafka.oauth.clientId; remove it" -}}
{{- end -}}
{{- if and (or .tls.caSecret .tls.clientSecret) (not .tls.enabled) -}}
{{- fail "kafka.tls.enabled: must be true if kafka.tls names a secret" -}}
{{- end -}}
{{- end -}}

{{- define "sluice.checkDoors" -}}
{{- $root := . -}}
{{- range $name := list "frontDoor" "bounceDoor" -}}
{{- $door := get $root.Values $name -}}
{{- if $door.enabled -}}
{{- $part := trimSuffix "Door" $name -}}
{{- if not (has (include "sluice.doorOwner" (dict "root" $root "door" $part)) (include "sluice.enabled" $root | fromJsonArray)) -}}
{{- fail (printf "%s.enabled: needs components.ingest or components.%s" $name $part) -}}
{{- end -}}
{{- if not $door.hostName -}}{{- fail (printf "%s.hostName: required" $name) -}}{{- end -}}
{{- if not $door.certificateSecret -}}
{{- fail (printf "%s.certificateSecret: required: a secret with tls.crt and tls.key; with certManager the name of the one to write" $name) -}}
{{- end -}}
{{- if and $door.certManager.enabled (not $door.certManager.issuer) -}}
{{- fail (printf "%s.certManager.issuer: required" $name) -}}
{{- end -}}
{{- if and (ne $door.service.type "ClusterIP") (eq $door.service.externalTrafficPolicy "Cluster") (not $door.proxies) -}}
{{- fail (printf "%s.service.externalTrafficPolicy: Cluster hides the addresses of the peers, which the limits and logins use; write Local, or let the balancers send PROXY protocol headers and list in %s.proxies the nodes, from which their connections then arrive" $name $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name := list "frontDoor" "bounceDoor" -}}
{{- $door := get $root.Values $name -}}
{{- range $door.proxies -}}
{{- $least := ternary 16 8 (contains ":" .) -}}
{{- if and (contains "/" .) (lt (splitList "/" . | last | atoi) $least) -}}
{{- fail (printf "%s.proxies: %s is too wide, expected /%d or longer: all its addresses may claim to be any peer in a PROXY protocol header; list the addresses of the balancers or nodes" $name . $least) -}}
{{- end -}}
{{- end -}}
{{- if and $door.enabled (hasSuffix "DualStack" $door.service.ipFamilyPolicy) (ne $root.Values.bindAddress "::") -}}
{{- fail (printf "%s.service.ipFamilyPolicy: %s needs bindAddress \"::\", so that the processes listen on IPv6 too" $name $door.service.ipFamilyPolicy) -}}
{{- end -}}
{{- end -}}
{{- range $part := list "front" "bounce" -}}
{{- if and (has $part (include "sluice.enabled" $root | fromJsonArray)) (not (get $root.Values (printf "%sDoor" $part)).enabled) -}}
{{- fail (printf "components.%s.enabled: the component serves only the door; enable %sDoor, or disable the component" $part $part) -}}
{{- end -}}
{{- end -}}
{{- with $root.Values.frontDoor -}}
{{- if and .enabled (not (or .ports.smtp .ports.submission .ports.smtps)) -}}
{{- fail "frontDoor.ports: at least one must not be 0" -}}
{{- end -}}
{{- $ports := without (list (int .ports.smtp) (int .ports.submission) (int .ports.smtps)) 0 -}}
{{- if and .enabled (ne (len $ports) (len (uniq $ports))) -}}
{{- fail "frontDoor.ports: two ports are the same; give each a different port, or 0 to leave it out" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sluice.checkHttpApis" -}}
{{- range $api := include "sluice.httpApis" . | fromJsonArray -}}
{{- $values := get $.Values $api.key -}}
{{- range $way := list "ingress" "httpRoute" -}}
{{- $wanted := get $values $way -}}
{{- $path := printf "%s.%s" $api.key $way -}}
{{- if $wanted.enabled -}}
{{- if not $wanted.hostName -}}{{- fail (printf "%s.hostName: required" $path) -}}{{- end -}}
{{- if and $.Values.networkPolicy.enabled (not $values.allowFrom) -}}
{{- fail (printf "%s.allowFrom: required with %s: the peers (of a NetworkPolicy) that forward requests; otherwise the NetworkPolicy blocks them" $api.key $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $values.ingress -}}
{{- if and .enabled .certManager.enabled (not .certManager.issuer) -}}
{{- fail (printf "%s.ingress.certManager.issuer: required" $api.key) -}}
{{- end -}}
{{- if and .enabled .certManager.enabled (not .certificateSecret) -}}
{{- fail (printf "%s.ingress.certificateSecret: required with certManager: the name of the secret to write" $api.key) -}}
{{- end -}}
{{- end -}}
{{- if and $values.httpRoute.enabled (not $values.httpRoute.parentRefs) -}}
{{- fail (printf "%s.httpRoute.parentRefs: required: the Gateway, as a list of name and namespace" $api.key) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* If cert-manager wrote two certificates to one secret, they would replace each other endlessly. */}}
{{- define "sluice.checkCertificates" -}}
{{- $found := dict -}}
{{- $asked := list (list "frontDoor" .Values.frontDoor) (list "bounceDoor" .Values.bounceDoor) -}}
{{- range $api := include "sluice.httpApis" . | fromJsonArray -}}
{{- $asked = append $asked (list (printf "%s.ingress" $api.key) (get $.Values $api.key).ingress) -}}
{{- end -}}
{{- range $asked -}}
{{- $path := first . -}}
{{- with last . -}}
{{- if and .enabled .certManager.enabled -}}
{{- if hasKey $found .certificateSecret -}}
{{- fail (printf "%s.certificateSecret: %s is also written for %s; name another secret" $path .certificateSecret (get $found .certificateSecret)) -}}
{{- end -}}
{{- $_ := set $found .certificateSecret $path -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Checks the values of one component: dict "root" "component". */}}
{{- define "sluice.checkComponent" -}}
{{- $values := include "sluice.values" . | fromYaml -}}
{{- $own := get .root.Values.components .component | default dict -}}
{{- if hasKey ((dig "settings" dict $own).kafka | default dict) "topic_configs" -}}
{{- fail (printf "components.%s.settings.kafka.topic_configs: all components and the topics have to have the same; move it to settings.kafka" .component) -}}
{{- end -}}
{{- $most := include "sluice.mostReplicas" . | int -}}
{{- $scaling := $values.autoscaling -}}
{{- $wanted := ternary (int $values.replicas) (int $scaling.max) (eq $scaling.mode "none") -}}
{{- $path := printf "components.%s.%s" .component (ternary "replicas" "autoscaling.max" (eq $scaling.mode "none")) -}}
{{- if and $most (gt $wanted $most) -}}
{{- fail (printf "%s: %d processes share %d partitions, so some would never get work; lower it, or raise kafka.%s" $path $wanted $most (ternary "intakePartitions" "partitions" (eq .component "ingest"))) -}}
{{- end -}}
{{- if and (ne $scaling.mode "none") (gt (int $scaling.min) (int $scaling.max)) -}}
{{- fail (printf "components.%s.autoscaling: min %d is more than max %d; lower min, or raise max" .component (int $scaling.min) (int $scaling.max)) -}}
{{- end -}}
{{- /* `<prefix><namespace>.<name>-<component>-<number>` becomes part of a transactional id. */ -}}
{{- $instance := printf "%s%s.%s-%s-999" .root.Values.instancePrefix .root.Release.Namespace (include "sluice.fullname" .root) .component -}}
{{- if gt (len $instance) 128 -}}
{{- fail (printf "instancePrefix: %d characters of %s...; with name and namespace at most 128" (len $instance) (trunc 40 $instance)) -}}
{{- end -}}
{{- /* The process itself and its buffers take about 256 MiB beside the mail. */ -}}
{{- with ($values.resources.limits | default dict).memory -}}
{{- $held := include "sluice.heldBytes" $ | int64 -}}
{{- $needed := add $held 268435456 | int64 -}}
{{- if and $held (gt $needed (include "sluice.bytes" . | int64)) -}}
{{- fail (printf "components.%s.resources.limits.memory: %v, expected %dMi or more: its settings let it hold %d MiB of mail, and it would be killed; raise it, or lower %s" $.component . (div (add $needed 1048575) 1048576) (div $held 1048576) (include "sluice.heldSettings" $)) -}}
{{- end -}}
{{- end -}}
{{- include "sluice.checkVolumes" (dict "path" (printf "components.%s" .component) "secrets" (include "sluice.secrets" . | fromJsonArray) "volumes" $values.extraVolumes) -}}
{{- $stop := include "sluice.stopSeconds" $values | int -}}
{{- $grace := include "sluice.graceSeconds" $values | int -}}
{{- if le $grace $stop -}}
{{- fail (printf "components.%s.terminationGracePeriodSeconds: %d s end before preStopSeconds and runtime.drain_timeout_s (together %d s): mail in flight would be sent twice; write more than %d, or 0 to have it computed" .component $grace $stop $stop) -}}
{{- end -}}
{{- end -}}

{{/* Two volumes of one pod must not have the same name: dict "path" (of the pod's values) "secrets" "volumes". */}}
{{- define "sluice.checkVolumes" -}}
{{- $names := list "tmp" -}}
{{- range .secrets -}}
{{- $volume := printf "secret-%s" .name -}}
{{- if has $volume $names -}}
{{- fail (printf "%s.secretMounts: the name %s is used twice, or by the chart itself; choose another one" $.path .name) -}}
{{- end -}}
{{- $names = append $names $volume -}}
{{- end -}}
{{- range .volumes -}}
{{- if has .name $names -}}
{{- fail (printf "%s.extraVolumes: the name %s is used twice, or by the chart itself; choose another one" $.path .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
