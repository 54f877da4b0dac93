// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Synchronization

/// A thread that does nothing but read a file, and notes whenever it says something else than before.
final class PIDFileWatch: Sendable {
    private struct State {
        var isStopped = false
        /// An empty text where there was no file.
        var seen: [String] = []
        var count = 0
    }

    private let state = Mutex(State())

    init(_ file: URL) {
        Thread.detachNewThread {
            for _ in 0..<10_000_000 {
                let isOver = self.state.withLock { state in
                    let text = (try? String(contentsOf: file, encoding: .utf8)) ?? ""
                    if state.seen.last != text { state.seen.append(text) }
                    state.count += 1
                    return state.isStopped
                }
                if isOver { return }
            }
        }
    }

    /// - Returns: everything that it said, in order.
    func stop() -> [String] {
        self.state.withLock { state in
            state.isStopped = true
            return state.seen
        }
    }
}
