// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import TableflipCore

/// The readers of this process's sockets.
final class ReaderRegistry: Sendable {
    private struct State {
        var all: [any SocketReader] = []
        /// The same readers, as long as none of them needs a task.
        var prompt: [any PromptReader]? = []
    }

    private let state = Mutex(State())

    func add(_ reader: any SocketReader) {
        // Asked now, where there is time: the first time takes the runtime a while.
        let prompt = reader as? any PromptReader
        self.state.withLock { state in
            state.all.append(reader)
            if let prompt { state.prompt?.append(prompt) } else { state.prompt = nil }
        }
    }

    var all: [any SocketReader] { self.state.withLock { $0.all } }
    var prompt: [any PromptReader]? { self.state.withLock { $0.prompt } }

    var connectionCounts: ConnectionCounts { self.all.map(\.connectionCounts).reduce(.init(), +) }

    /// Who takes a connection that was accepted on this listener.
    func reader(for listener: String) -> (any SocketReader)? {
        let all = self.all
        return all.first { $0.listenerName == listener } ?? all.first { $0.listenerName == nil }
    }
}
