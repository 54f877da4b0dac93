#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
#
# Upgrades `tableflip-demo serve` again and again by SIGHUP while ab or wrk makes a new connection for every request, and
# fails if a single request failed or an upgrade did not happen.
#
# Usage: Scripts/flip-under-load.sh PATH-OF-THE-BUILT-tableflip-demo [COUNT=200] [ab|wrk]
set -euo pipefail
demo=${1:?the path of the built tableflip-demo}
count=${2:-200}
client=${3:-ab}
command -v "$client" >/dev/null || { echo "flip-under-load: $client is missing (Debian: apt-get install apache2-utils wrk)" >&2; exit 1; }

folder=$(mktemp -d)
server= load=
clean_up() {
    [ -z "$load" ] || kill -KILL "$load" 2>/dev/null || true
    # The generation in charge is named by the PID file, the first one is our child.
    [ ! -s "$folder/pid" ] || kill -KILL "$(cat "$folder/pid")" 2>/dev/null || true
    [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true
    rm -rf "$folder"
}
trap clean_up EXIT

# Every generation writes its events to one pipe, a line of JSON each; reading it is how we wait.
mkfifo "$folder/events"
"$demo" serve --listen 127.0.0.1:0 --pid-file "$folder/pid" --drain-timeout 20s --pause-timeout 10s --json-events \
    >"$folder/events" 2>"$folder/log" &
server=$!
exec 3<"$folder/events"
wait_for() { # a phase; sets $line
    while IFS= read -r -t 30 -u 3 line; do
        case $line in
        *'"phase":"failed"'* | *'"phase":"rolledBack"'*) echo "flip-under-load: $line" >&2; return 1 ;;
        *"\"phase\":\"$1\""*) return 0 ;;
        esac
    done
    echo "flip-under-load: no $1 within 30 s" >&2
    tail -5 "$folder/log" >&2
    return 1
}
wait_for listening
port=$(sed -E 's/.*"port":([0-9]+).*/\1/' <<<"$line")
url=http://127.0.0.1:$port/

if [ "$client" = ab ]; then
    ab -q -l -c 8 -t 300 -n 100000000 "$url" >"$folder/load" 2>&1 &
else
    # An answer that takes longer than --timeout is one of its socket errors.
    wrk --timeout 10s -t 1 -c 8 -d 300s -H 'Connection: close' "$url" >"$folder/load" 2>&1 &
fi
load=$!


begin=$(date +%s%N)
for number in $(seq "$count"); do
    kill -HUP "$(cat "$folder/pid")"
    wait_for predecessorLeft
    # The first one has ended: its number may be another process's from now on.
    [ -z "$server" ] || { wait "$server" || true; server=; }
done
took=$((($(date +%s%N) - begin) / 1000000))
kill -0 "$load" || { cat "$folder/load" >&2; echo "flip-under-load: $client gave up" >&2; exit 1; }
kill -INT "$load"
wait "$load" || true
load=

if [ "$client" = ab ]; then
    requests=$(awk '/^Complete requests/ {print $3}' "$folder/load")
    failed=$(awk '/^(Failed requests|Write errors|Non-2xx responses)/ {sum += $NF} END {print sum + 0}' "$folder/load")
else
    requests=$(awk '/requests in/ {print $1}' "$folder/load")
    failed=$(awk '/Socket errors/ {gsub(",", ""); sum += $4 + $6 + $8 + $10} /Non-2xx/ {sum += $NF} END {print sum + 0}' "$folder/load")
fi
answers=$(curl -fsS --max-time 5 "$url")
[ "$answers" = "$(cat "$folder/pid")" ] || { echo "flip-under-load: $answers answers, not the process in the PID file" >&2; exit 1; }
kill -TERM "$answers"
wait_for stopping

echo "flip-under-load: $count upgrades in $took ms, $requests requests by $client, $failed failed"
if [ "${requests:-0}" -lt "$count" ] || [ "$failed" -ne 0 ]; then
    cat "$folder/load" >&2
    exit 1
fi
