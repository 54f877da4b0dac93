#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
#
# The library's tests, without NIO and without those that start whole servers, under the thread and the address
# sanitizer. Leaks are looked for by the tests themselves, descriptor by descriptor: Swift's runtime keeps memory.
#
# usage: Scripts/sanitize.sh [thread|address]...
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS="suppressions=$PWD/Scripts/tsan-suppressions.txt"
[ $# -gt 0 ] || set -- thread address
for sanitizer; do
    status=0
    timeout --kill-after=10 1800 swift test --no-parallel --disable-default-traits --sanitize="$sanitizer" \
        --scratch-path ".build-$sanitizer" --filter '^(TableflipCoreTests|TableflipSystemTests|TableflipTests)\.' \
        >"$log" 2>&1 || status=$?
    if [ "$status" != 0 ] || grep -qE 'WARNING: ThreadSanitizer|ERROR: AddressSanitizer' "$log"; then
        grep -A70 -E 'WARNING: ThreadSanitizer|ERROR: AddressSanitizer|error:|✘' "$log" | head -200 || true
        echo "$sanitizer: failed (status $status)"
        exit 1
    fi
    echo "$sanitizer: $(tail -1 "$log")"
done
