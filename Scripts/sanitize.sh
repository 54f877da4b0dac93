#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
#
# The library's tests, without NIO, under the thread and the address sanitizer.
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for sanitizer in thread address; do
    ASAN_OPTIONS=detect_leaks=0 swift test --no-parallel --disable-default-traits --sanitize="$sanitizer" \
        --scratch-path ".build-$sanitizer" --filter 'TableflipCoreTests|TableflipSystemTests|TableflipTests' 2>&1 | tee "$log"
    if grep -E 'WARNING: ThreadSanitizer|ERROR: AddressSanitizer' "$log"; then exit 1; fi
done
