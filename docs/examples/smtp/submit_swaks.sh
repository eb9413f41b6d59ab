#!/bin/sh
# Submits one message with swaks and shows the whole dialogue:
#
#   SWAKS_OPT_auth_password=... sh submit_swaks.sh HOST:PORT CLIENT SENDER RECIPIENT MESSAGE.eml \
#       --tls|--tls-on-connect [SWAKS OPTION]...
#
# The certificate is verified only with --tls-verify. swaks adds a line end at the end of the
# message, and replaces every \n in the text of the message by a line end.
set -eu

server=$1 client=$2 sender=$3 recipient=$4 message=$5
shift 5
swaks --server "$server" --tls-verify \
    --auth PLAIN --auth-user "$client" \
    --from "$sender" --to "$recipient" --data "@$message" "$@"
