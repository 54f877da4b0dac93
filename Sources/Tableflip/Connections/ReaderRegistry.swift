// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import TableflipCore

/// The readers of this process's sockets.
final class ReaderRegistry: Sendable {
    /// Those that are asked for something together.
    struct Roll: Sendable {
        fileprivate(set) var all: [any SocketReader] = []
        /// The same readers, as long as none of them needs a task.
        fileprivate(set) var prompt: [any PromptReader]? = []

        fileprivate mutating func add(_ reader: any SocketReader, _ prompt: (any PromptReader)?) {
            self.all.append(reader)
            if let prompt { self.prompt?.append(prompt) } else { self.prompt = nil }
        }
    }

    private struct State {
        var roll = Roll()
        /// Not asked for anything yet.
        var newcomers = Roll()
        /// The application is ready: who comes now is late.
        var isSealed = false
    }

    private let state = Mutex(State())

    /// - Returns: whether the reader is late.
    func add(_ reader: any SocketReader) -> Bool {
        // Asked now, where there is time: the first time takes the runtime a while.
        let prompt = reader as? any PromptReader
        return self.state.withLock { state in
            state.roll.add(reader, prompt)
            state.newcomers.add(reader, prompt)
            return state.isSealed
        }
    }

    func seal() { self.state.withLock { $0.isSealed = true } }

    /// All of them, to be asked for something.
    func call() -> Roll {
        self.state.withLock { state in
            state.newcomers = Roll()
            return state.roll
        }
    }

    /// Those that have come since the last call.
    func callNewcomers() -> Roll {
        self.state.withLock { state in
            defer { state.newcomers = Roll() }
            return state.newcomers
        }
    }

    var all: [any SocketReader] { self.state.withLock { $0.roll.all } }

    var connectionCounts: ConnectionCounts { self.all.map(\.connectionCounts).reduce(.init(), +) }

    /// Who serves a connection that the predecessor has accepted on this listener.
    func adopter(for listener: String) -> (any AdoptingReader)? { self.reader(for: listener) as? any AdoptingReader }

    /// Who takes a connection that was accepted on this listener.
    func reader(for listener: String) -> (any SocketReader)? {
        let all = self.all
        return all.first { $0.listenerName == listener } ?? all.first { $0.listenerName == nil }
    }
}
