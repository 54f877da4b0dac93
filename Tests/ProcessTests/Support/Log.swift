// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport

/// One line of the probe: `PID GENERATION WORD …`.
struct Line: Hashable, Sendable, CustomStringConvertible {
    var process: CInt
    var generation: Int
    var words: String
    /// When it was read, for people who look for the reason of a failure.
    var time = ContinuousClock.now

    init?(_ text: some StringProtocol) {
        let parts = text.split(separator: " ", maxSplits: 2)
        guard parts.count == 3, let process = CInt(parts[0]), let generation = Int(parts[1]) else { return nil }
        self.process = process
        self.generation = generation
        self.words = String(parts[2])
    }

    var description: String { "\(self.process) \(self.generation) \(self.words)" }

    func description(since start: ContinuousClock.Instant) -> String { "\(self.time - start): \(self.description)" }
}

/// How a process ended.
enum Ending: Hashable, Sendable {
    case exited(CInt)
    case killed(CInt)

    /// wait(2); its macros are nothing that Swift could call.
    init(status: CInt) { self = status & 0x7f == 0 ? .exited(status >> 8 & 0xff) : .killed(status & 0x7f) }
}

/// Everything that a service and its client have done so far.
struct History: Sendable {
    let start = ContinuousClock.now
    var lines: [Line] = []
    /// Of processes that were children of this one when they ended: the first generation, and orphans.
    var endings: [CInt: Ending] = [:]
    /// Answers to the client's requests, by the process that gave them.
    var answers: [CInt: Int] = [:]
    /// No process has the standard output any more.
    var outputHasEnded = false
    /// No process of the service is left as a child of this one.
    var childrenHaveEnded = false

    func first(_ process: CInt? = nil, from mark: Int = 0, _ words: (String) -> Bool) -> Line? {
        self.lines.dropFirst(mark).first { (process == nil || $0.process == process) && words($0.words) }
    }
}

/// Did not happen in time; and everything that did.
struct Overdue: Error, CustomStringConvertible {
    var description: String
}

/// The history, and everybody who waits for more of it.
final class Log: Sendable {
    private struct State {
        var history = History()
        /// Each looks, and says whether it has seen what it waited for.
        var waiters: [@Sendable (History) -> Bool] = []
    }

    private let state = Locked(State())

    var history: History { self.state.withLock { $0.history } }

    func record(_ change: (inout History) -> Void) {
        self.state.withLock { state in
            change(&state.history)
            let history = state.history
            state.waiters.removeAll { $0(history) }
        }
    }

    /// Looks now and after everything that happens, until there is something to see.
    func wait<Value: Sendable>(
        for what: String, within limit: Duration = patience, _ look: @escaping @Sendable (History) -> Value?
    ) async throws -> Value {
        let (values, continuation) = AsyncStream.makeStream(of: Value.self)
        let waiter: @Sendable (History) -> Bool = { history in
            guard let value = look(history) else { return false }
            continuation.yield(value)
            continuation.finish()
            return true
        }
        self.state.withLock { state in if !waiter(state.history) { state.waiters.append(waiter) } }
        let deadline = Task {
            try await Task.sleep(for: limit)
            continuation.finish()
        }
        defer { deadline.cancel() }
        for await value in values { return value }
        throw Overdue(description: "\(what): not within \(limit)")
    }
}
