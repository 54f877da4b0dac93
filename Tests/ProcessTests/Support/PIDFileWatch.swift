// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation

/// A thread that does nothing but read a file, and notes whenever it says something else than before.
final class PIDFileWatch: Sendable {
    private struct State {
        var isStopped = false
        /// An empty text where there was no file.
        var seen: [String] = []

        mutating func look(at file: URL) {
            let text = PIDFileWatch.read(file)
            if self.seen.last != text { self.seen.append(text) }
        }
    }

    private let file: URL
    private let state = Locked(State())

    init(_ file: URL) {
        self.file = file
        self.state.withLock { $0.look(at: file) }
        Thread.detachNewThread {
            for _ in 0..<10_000_000 {
                let isOver = self.state.withLock { state in
                    state.look(at: file)
                    return state.isStopped
                }
                if isOver { return }
                sched_yield()  // without the lock, for whoever wants it
            }
        }
    }

    /// Two system calls, so that there is no time in between at which the file is not looked at.
    private static func read(_ file: URL) -> String {
        let descriptor = open(file.path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = Foundation.read(descriptor, &bytes, bytes.count)
        return String(decoding: bytes[..<max(0, count)], as: UTF8.self)
    }

    /// - Returns: everything that it said, in order.
    func stop() -> [String] {
        self.state.withLock { state in
            state.look(at: self.file)
            state.isStopped = true
            return state.seen
        }
    }
}
