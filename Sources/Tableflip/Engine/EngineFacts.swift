// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import TableflipCore

/// What the engine has found out and any thread may ask.
final class EngineFacts: Sendable {
    struct Values: Sendable {
        var generation = 1
        var hasPredecessor = false
        /// As far as this process has seen.
        var predecessorLives = false
        var isServing = false
        var isOwner = false
        var isWell = true
    }

    private let values = Mutex(Values())

    var current: Values { self.values.withLock { $0 } }

    func update(_ body: (inout Values) -> Void) { self.values.withLock { body(&$0) } }

    /// What a call of the application's fails at knows neither this process nor the one before: who serves all the same is
    /// said here.
    func telling(_ error: UpgradeError) -> UpgradeError {
        // It was handed on.
        guard error.serving != .successor else { return error }
        let now = self.current
        return error.whileServing(now.isServing || now.predecessorLives ? .predecessor : .nobody)
    }

    func telling<Result: ~Copyable>(_ call: () throws(UpgradeError) -> Result) throws(UpgradeError) -> Result {
        do throws(UpgradeError) {
            return try call()
        } catch {
            throw self.telling(error)
        }
    }
}
