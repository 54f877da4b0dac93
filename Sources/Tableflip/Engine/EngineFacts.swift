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
        /// Everything that was carried is closed here.
        var closed: Closed?
    }

    /// Why.
    enum Closed: Sendable {
        case handedOn
        case stopped
        /// The predecessor serves, or is to.
        case givenBack

        var words: String {
            switch self {
            case .handedOn: "the service was handed on"
            case .stopped: "the service has stopped"
            case .givenBack: "the predecessor has the service"
            }
        }
    }

    private let values = Mutex(Values())

    var current: Values { self.values.withLock { $0 } }

    func update(_ body: (inout Values) -> Void) { self.values.withLock { body(&$0) } }

    /// What a call of the application's fails at knows neither this process nor the one before: who serves all the same is
    /// said here.
    func telling(_ error: UpgradeError) -> UpgradeError {
        let now = self.current
        return switch now.closed {
        case .handedOn: error.whileServing(.successor)
        case .stopped: error.whileServing(.nobody)
        case .givenBack: error.whileServing(now.predecessorLives ? .predecessor : .nobody)
        case nil: error.whileServing(now.isServing || now.predecessorLives ? .predecessor : .nobody)
        }
    }

    func telling<Result: ~Copyable>(_ call: () throws(UpgradeError) -> Result) throws(UpgradeError) -> Result {
        do throws(UpgradeError) {
            return try call()
        } catch {
            throw self.telling(error)
        }
    }
}
