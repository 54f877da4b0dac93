// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import TableflipCore
import TableflipSystem

/// Answers a caller; called exactly once.
typealias Reply<Value> = @Sendable (Result<Value, UpgradeError>) -> Void

/// What the rest of the program tells the engine.
enum EngineInput: Sendable {
    case ready(Reply<Void>)
    case upgrade(UpgradeRequest)
    /// The operator ends the probation early: for good, or by going back.
    case commit(Reply<UpgradeReport>)
    case rollBack(String, Reply<Void>)
    case stop
    /// A stop that means nothing to a process that is leaving already.
    case leave
    /// The application cannot come to serve.
    case giveUp(UpgradeError, Reply<Void>)
    /// The readers have finished what they were last asked; stale numbers are dropped.
    case readersFinished(number: Int, UpgradeError?)
    case exportFinished
    case announce(Int)
    case export([LiveDescriptor], Reply<Void>)
    /// The connections of one batch are in the hands of their readers.
    case adopted(batch: Int, left: Int)
    case hooksAdded
    /// After `ready()`, by the name of its listener.
    case readerAddedLate(listener: String?)
    /// The check of this process's probation has returned.
    case checked(UpgradeError?)
    /// The hooks have returned; stale numbers are dropped.
    case ownershipChanged(number: Int, UpgradeError?)
    /// The PID file names this process, or cannot.
    case pidFilePublished(number: Int, UpgradeError?)
    /// The same of vetoes, with the words of one.
    case vetoesHeard(number: Int, String?)
}

/// The one way into the engine from other threads.
final class EngineInbox: Sendable {
    private let inputs = Mutex<[EngineInput]>([])
    let wakeUp: WakeUp

    init() throws(SystemCallError) { self.wakeUp = try WakeUp() }

    func send(_ input: EngineInput) {
        self.inputs.withLock { $0.append(input) }
        self.wakeUp.signal()
    }

    func take() -> [EngineInput] {
        self.wakeUp.clear()
        return self.inputs.withLock { inputs in
            defer { inputs = [] }
            return inputs
        }
    }
}
