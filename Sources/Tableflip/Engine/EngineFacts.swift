// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization

/// What the engine has found out and any thread may ask.
final class EngineFacts: Sendable {
    struct Values: Sendable {
        var generation = 1
        var hasPredecessor = false
        var isServing = false
        var isOwner = false
        var isWell = true
    }

    private let values = Mutex(Values())

    var current: Values { self.values.withLock { $0 } }

    func update(_ body: (inout Values) -> Void) { self.values.withLock { body(&$0) } }
}
