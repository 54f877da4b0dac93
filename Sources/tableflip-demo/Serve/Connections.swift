// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Synchronization

/// How many connections are open, and whether they should be finished.
///
/// A draining server answers each next request with `Connection: close`. An idle connection is not closed before its
/// client has spoken again, or the drain time-out ends the process: its next request may be on its way.
final class Connections: Sendable {
    private struct State {
        var count = 0
        var isDraining = false
        var whenEmpty: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())

    var count: Int { self.state.withLock { $0.count } }
    var isDraining: Bool { self.state.withLock { $0.isDraining } }

    func opened() { self.state.withLock { $0.count += 1 } }

    func closed() {
        let waiting = self.state.withLock { state -> CheckedContinuation<Void, Never>? in
            state.count -= 1
            guard state.count == 0 else { return nil }
            defer { state.whenEmpty = nil }
            return state.whenEmpty
        }
        waiting?.resume()
    }

    /// Returns when the last connection has closed.
    func drain() async {
        await withCheckedContinuation { continuation in
            let isEmpty = self.state.withLock { state in
                state.isDraining = true
                if state.count > 0 { state.whenEmpty = continuation }
                return state.count == 0
            }
            if isEmpty { continuation.resume() }
        }
    }
}
#endif  // NIO
