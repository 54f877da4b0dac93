// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization

/// A value that is set once and waited for by many.
final class Latch<Value: Sendable>: Sendable {
    private struct State {
        var value: Value?
        var waiting = [Int: CheckedContinuation<Value?, Never>]()
        var next = 0
    }

    private let state = Mutex(State())

    /// nil until it is set.
    var current: Value? { self.state.withLock { $0.value } }

    /// Sets the value, unless it has been set before.
    func set(_ value: Value) {
        let waiting = self.state.withLock { state in
            guard state.value == nil else { return [CheckedContinuation<Value?, Never>]() }
            state.value = value
            defer { state.waiting = [:] }
            return Array(state.waiting.values)
        }
        // Never resumed under the lock: what runs next may come back here.
        for continuation in waiting { continuation.resume(returning: value) }
    }

    /// Waits for the value.
    /// - Returns: it, or nil when the task was cancelled before it was set.
    func wait() async -> Value? {
        let id = self.state.withLock { state in
            state.next += 1
            return state.next
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let now: Value?? = self.state.withLock { state in
                    if let value = state.value { return .some(value) }
                    if Task.isCancelled { return .some(nil) }
                    state.waiting[id] = continuation
                    return nil
                }
                if let now { continuation.resume(returning: now) }
            }
        } onCancel: {
            let continuation = self.state.withLock { $0.waiting.removeValue(forKey: id) }
            continuation?.resume(returning: nil)
        }
    }
}
