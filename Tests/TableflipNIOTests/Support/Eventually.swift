// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// Waits until something is so, half a minute at most; whoever asks looks again.
func eventually(_ isSo: () -> Bool) async {
    let deadline = ContinuousClock.now + .seconds(30)
    while !isSo(), ContinuousClock.now < deadline { await Task.yield() }
}
