#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
#
# Tableflip and everything below it work without Foundation: loading it is most of a small program's start, and start-up
# time is upgrade time. Proven twice: no source imports it, and a program that uses the library does not load it.
#
# Usage: Scripts/check-no-foundation.sh PATH-OF-THE-BUILT-tableflip-probe
set -euo pipefail
cd "$(dirname "$0")/.."
probe=${1:?the path of the built tableflip-probe}

if grep -rnE '^[^/]*import.*(Foundation|Dispatch)' Sources/CTableflip Sources/TableflipCore Sources/TableflipSystem Sources/Tableflip; then
    echo "check-no-foundation: the lines above import it" >&2
    exit 1
fi
[ -x "$probe" ] || { echo "check-no-foundation: $probe is not there" >&2; exit 1; }
loaded=$(ldd "$probe")
grep -q libswiftCore <<<"$loaded" || { echo "check-no-foundation: ldd does not work on $probe" >&2; exit 1; }
if grep -i foundation <<<"$loaded"; then
    echo "check-no-foundation: $probe loads it" >&2
    exit 1
fi
echo "check-no-foundation: no import, not loaded"
