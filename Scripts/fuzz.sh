#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
#
# Feeds COUNT random, cut-off and mutated frames, with and without descriptors, to the frame decoder, the channel and the
# decoder of the control socket, optimised. Fails if one crashes it, takes too long, leaks a descriptor or memory, or is accepted and would not be sent
# the same way. The same SEED makes the same frames.
#
# usage: Scripts/fuzz.sh [COUNT=10000000] [SEED]
set -euo pipefail
cd "$(dirname "$0")/.."

count=${1:-10000000}
seed=${2:-$((RANDOM * 32768 + RANDOM))}
swift build -c release --product tableflip-fuzz >&2
# Twenty seconds for ten million frames where nothing else runs.
timeout --kill-after=5 300 "$(swift build -c release --show-bin-path)/tableflip-fuzz" "$count" "$seed" \
    Tests/TableflipCoreTests/Fixtures/v1/*.hex Tests/TableflipCoreTests/Fixtures/control-v1/*.hex
