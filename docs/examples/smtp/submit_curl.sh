#!/bin/sh
# Submits one message with curl, from a shell:
#
#   sh submit_curl.sh URL NETRC SENDER RECIPIENT MESSAGE.eml [CURL OPTION]...
#
# URL is smtp://HOST:587 (STARTTLS) or smtps://HOST:465. NETRC is a file that only you may
# read, with the line `machine HOST login CLIENT password PASSWORD`. curl sends the file unchanged,
# so each line must end with CRLF (`unix2dos MESSAGE.eml`), or the reply is 550. The replies of
# the server are printed; the second to last one contains the mail id.
set -eu

url=$1 netrc=$2 sender=$3 recipient=$4 message=$5
shift 5
curl --silent --show-error --ssl-reqd --dump-header - \
    --url "$url" --netrc-file "$netrc" \
    --mail-from "$sender" --mail-rcpt "$recipient" \
    --upload-file "$message" "$@"
