// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization

/// What has been counted of the connections of a process that leaves, so that each is counted once: when nothing more moves,
/// when the application says that it has drained, and at the drain time-out, whichever of them come.
final class ConnectionTally: Sendable {
    private let counted = Mutex((moved: 0, drained: 0))

    /// - Parameters:
    ///   - moved: how many have moved by now.
    ///   - drained: how many have ended by themselves by now.
    /// - Returns: how many of each have not been counted yet.
    func more(moved: Int, drained: Int) -> (moved: Int, drained: Int) {
        self.counted.withLock { counted in
            let before = counted
            counted = (max(before.moved, moved), max(before.drained, drained))
            return (counted.moved - before.moved, counted.drained - before.drained)
        }
    }
}
