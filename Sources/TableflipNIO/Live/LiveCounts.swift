// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Synchronization
import Tableflip

/// The connections of one server, counted over all event loops.
final class LiveCounts: Sendable {
    private let open = Atomic<Int>(0)
    private let drained = Atomic<Int>(0)

    func opened() { self.open.add(1, ordering: .relaxed) }

    func left(drained isDrained: Bool) {
        self.open.subtract(1, ordering: .relaxed)
        if isDrained { self.drained.add(1, ordering: .relaxed) }
    }

    var current: ConnectionCounts {
        ConnectionCounts(open: self.open.load(ordering: .relaxed), drained: self.drained.load(ordering: .relaxed))
    }
}
#endif  // NIO
