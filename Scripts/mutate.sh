#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright (c) the swift-tableflip authors
#
# Applies each mutation of the two machines and requires that the explorer notices. Takes two minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
TABLEFLIP_MUTATIONS=1 timeout --kill-after=10 1800 swift test --filter MutationTests
