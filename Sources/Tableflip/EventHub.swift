// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization

/// Hands each event to every sequence that listens.
final class EventHub: Sendable {
    private struct State {
        var listeners = [Int: AsyncStream<UpgradeEvent>.Continuation]()
        var next = 0
        /// What happened before anybody could listen: taking over begins before the upgrader has been made.
        var early: [UpgradeEvent]? = []
    }

    /// A program that never listens must not collect events for ever.
    private static let earlyLimit = 64

    private let state = Mutex(State())

    func subscribe() -> UpgradeEvents {
        let (stream, continuation) = AsyncStream.makeStream(
            of: UpgradeEvent.self, bufferingPolicy: .bufferingNewest(256)
        )
        let id = self.state.withLock { state in
            state.next += 1
            state.listeners[state.next] = continuation
            // Under the lock, lest what happens now comes first. Nobody can have ended the new stream yet.
            for event in state.early.take() ?? [] { continuation.yield(event) }
            return state.next
        }
        continuation.onTermination = { [weak self] _ in
            self?.state.withLock { _ = $0.listeners.removeValue(forKey: id) }
        }
        return UpgradeEvents(stream: stream)
    }

    func emit(_ event: UpgradeEvent) {
        // Yielding under the lock could run a termination handler that wants the lock.
        let listeners = self.state.withLock { state in
            if let count = state.early?.count, count < Self.earlyLimit { state.early?.append(event) }
            return state.listeners.isEmpty ? [] : Array(state.listeners.values)
        }
        for listener in listeners { listener.yield(event) }
    }
}
