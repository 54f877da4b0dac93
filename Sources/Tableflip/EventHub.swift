// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization

/// Hands each event to every sequence that listens.
final class EventHub: Sendable {
    private struct State {
        var listeners: [Int: AsyncStream<UpgradeEvent>.Continuation] = [:]
        var next = 0
    }

    private let state = Mutex(State())

    func subscribe() -> UpgradeEvents {
        let (stream, continuation) = AsyncStream.makeStream(
            of: UpgradeEvent.self, bufferingPolicy: .bufferingNewest(256)
        )
        let id = self.state.withLock { state in
            state.next += 1
            state.listeners[state.next] = continuation
            return state.next
        }
        continuation.onTermination = { [weak self] _ in
            self?.state.withLock { _ = $0.listeners.removeValue(forKey: id) }
        }
        return UpgradeEvents(stream: stream)
    }

    func emit(_ event: UpgradeEvent) {
        // Yielding under the lock could run a termination handler that wants the lock.
        for listener in self.state.withLock({ Array($0.listeners.values) }) { listener.yield(event) }
    }
}
