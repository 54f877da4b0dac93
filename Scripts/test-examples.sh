#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
#
# Builds the programs in Examples/ and takes each through several upgrades while a client uses it and checks what it gets.
#
# usage: Scripts/test-examples.sh [EXAMPLE]...
# SKIP_BUILD=1 takes what has been built.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
for tool in python3:python3 openssl:openssl ab:apache2-utils h2load:nghttp2-client; do
    command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "test-examples: missing: ${missing[*]}. To install: apt-get install ${missing[*]}"
    [ "${CI:-}" != true ] || exit 1
    command -v python3 >/dev/null || exit 0
fi

[ $# -gt 0 ] || set -- tcp-echo udp-echo http-async websocket-chat owner-worker tls-http2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if [ "${SKIP_BUILD:-}" != 1 ]; then
    swift format lint --strict --recursive Examples/Package.swift Examples/Sources
    # Debug output of a build is long and says little unless it fails.
    swift build --package-path Examples >"$log" 2>&1 || { tail -60 "$log"; exit 1; }
fi
bin=$(swift build --package-path Examples --show-bin-path)
exec timeout --kill-after=10 600 python3 Scripts/test-examples.py "$bin" "$@"
