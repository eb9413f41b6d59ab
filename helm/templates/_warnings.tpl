{{/* Warnings about values that work but may be unintended, as a JSON list of sentences. */}}
{{- define "sluice.warnings" -}}
{{- $found := list -}}
{{- $values := .Values -}}
{{- $enabled := include "sluice.enabled" . | fromJsonArray -}}
{{- if $values.kafka.allowLowReplication -}}
{{- if or (lt (int $values.kafka.replication) 3) (lt (int $values.kafka.minInSyncReplicas) 2) -}}
{{- $found = append $found "kafka: fewer than 3 copies, or fewer than 2 in sync: accepted mail can be lost with one broker." -}}
{{- end -}}
{{- end -}}
{{- if and (gt (int $values.kafka.replication) 1) (eq (int $values.kafka.minInSyncReplicas) (int $values.kafka.replication)) -}}
{{- $found = append $found "kafka.minInSyncReplicas equals kafka.replication: while one broker is down nothing can be written, and mail waits." -}}
{{- end -}}
{{- if not $values.kafka.tls.enabled -}}
{{- $found = append $found (printf "kafka.tls.enabled is false: mail%s travels unencrypted between the services and Kafka." (ternary ", and the password of kafka.sasl," "" (eq $values.kafka.sasl.mechanism "PLAIN"))) -}}
{{- end -}}
{{- if not $values.kafka.sasl.mechanism -}}
{{- if not $values.kafka.tls.clientSecret -}}
{{- $found = append $found "kafka: neither SASL nor a client certificate: who may write to an intake topic is that client, so anyone who reaches the brokers is any client." -}}
{{- end -}}
{{- end -}}
{{- if and (or $values.kafka.sasl.mechanism $values.kafka.tls.clientSecret) (not (include "sluice.ownLogins" $values.kafka)) -}}
{{- $found = append $found "kafka: all components log in as one user, which needs the rights of all of them and of the operator; write {name} in kafka.sasl.secret (or username), kafka.tls.clientSecret or kafka.oauth.clientId, so that each has a user of its own." -}}
{{- end -}}
{{- if and $values.redis.host (not $values.redis.secret) -}}
{{- $found = append $found "redis.secret is empty: Redis is used without a password." -}}
{{- end -}}
{{- if has "deliver" $enabled -}}
{{- $deliver := (include "sluice.values" (dict "root" . "component" "deliver") | fromYaml).settings.deliver | default dict -}}
{{- if and (not $deliver.reach_internet) (not (hasKey ($deliver.routes | default dict) "*")) -}}
{{- $found = append $found "settings.deliver: mail goes to the mail servers of its recipients; confirm this with reach_internet: true, or give a route for \"*\"." -}}
{{- end -}}
{{- if and (not $values.sending.dkim.secret) (not $values.sending.dkim.keysSecret) -}}
{{- $found = append $found "sending.dkim names no secret: mail is not signed, and large providers refuse much of it." -}}
{{- end -}}
{{- if not $values.sending.sourceAddresses -}}
{{- $found = append $found "sending.sourceAddresses is empty: mail leaves from whatever address the nodes have; fix them with a NAT or egress gateway, and name them." -}}
{{- end -}}
{{- end -}}
{{- if (include "sluice.values" (dict "root" . "component" "deliver") | fromYaml).settings.deliver -}}
{{- $sources := (include "sluice.values" (dict "root" . "component" "deliver") | fromYaml).settings.deliver.sources | default dict -}}
{{- if and (has "deliver" $enabled) $sources -}}
{{- $found = append $found "settings.deliver.sources: each process must have these addresses on an interface, and pods have them only with a network of their own (such as Multus); otherwise their mail is deferred. For a NAT or egress gateway name the addresses in sending.sourceAddresses alone." -}}
{{- end -}}
{{- end -}}
{{- $kedas := list -}}
{{- range $name := $enabled -}}
{{- if eq (include "sluice.values" (dict "root" $ "component" $name) | fromYaml).autoscaling.mode "keda" -}}{{- $kedas = append $kedas $name -}}{{- end -}}
{{- end -}}
{{- if and $kedas $values.kafka.tls.enabled (not $values.kafka.tls.checkHostName) -}}
{{- $found = append $found "kafka.tls.checkHostName is false, but KEDA always checks it: it cannot ask Kafka, and scales on processor time alone." -}}
{{- end -}}
{{- if and (has "validate" $enabled) (not (has "responses" $enabled)) (not (include "sluice.validateCounts" .)) -}}
{{- $found = append $found "validate.counts_bounces is false and components.responses is disabled: returned mail waits, and no bounce counts, unless another release runs it." -}}
{{- end -}}
{{- if and $values.bounceDoor.enabled (not $values.returnPath.secret) -}}
{{- $found = append $found "bounceDoor is enabled without returnPath.secret: bounces to return paths are refused, as none can be verified." -}}
{{- end -}}
{{- if and (has "platform" $enabled) (not $values.returnPath.secret) -}}
{{- $found = append $found "components.platform is enabled without returnPath.secret: it cannot verify the links for unsubscribing." -}}
{{- end -}}
{{- if not $values.networkPolicy.enabled -}}
{{- $found = append $found "networkPolicy.enabled is false: every pod of the cluster reaches the metrics, and the billing API with an access key." -}}
{{- end -}}
{{- range $api := include "sluice.httpApis" . | fromJsonArray -}}
{{- with (get $values $api.key).ingress -}}
{{- if and .enabled (not .certificateSecret) -}}
{{- $found = append $found (printf "%s.ingress.certificateSecret is empty: access keys are in every request, so the controller needs a certificate of its own." $api.key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq $values.topics.manage "none" -}}
{{- $found = append $found "topics.manage is none: the services create missing topics; run `sluice topics plan` for differences." -}}
{{- end -}}
{{- if and $values.monitoring.podMonitor.enabled $values.monitoring.serviceMonitor.enabled -}}
{{- $found = append $found "monitoring: podMonitor and serviceMonitor are both enabled, so everything is scraped twice." -}}
{{- end -}}
{{- range $name := $enabled -}}
{{- $own := include "sluice.values" (dict "root" $ "component" $name) | fromYaml -}}
{{- $fewest := ternary (int $own.replicas) (int $own.autoscaling.min) (eq $own.autoscaling.mode "none") -}}
{{- if lt $fewest 2 -}}
{{- $found = append $found (printf "components.%s: a single process; its work waits while it restarts." $name) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}
