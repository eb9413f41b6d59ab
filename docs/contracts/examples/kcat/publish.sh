#!/bin/sh
# Publishes one CloudEvent with kcat, from a shell:
#
#   sh publish.sh BOOTSTRAP CLIENT MESSAGE.eml
#
# kcat splits standard input at line ends, but a file that is an argument becomes one record.
set -eu

# For a cluster with TLS and passwords, add -X security.protocol=SASL_SSL
# -X sasl.mechanism=SCRAM-SHA-512 -X sasl.username=... -X sasl.password=...
kcat -P -b "$1" -t "mail.intake.$2" \
    -X enable.idempotence=true \
    -H ce_specversion=1.0 \
    -H "ce_id=$(cat /proc/sys/kernel/random/uuid)" \
    -H ce_type=com.example.newsletter.send \
    -H ce_source=/example/newsletter \
    -H content-type=message/rfc822 \
    "$3"
