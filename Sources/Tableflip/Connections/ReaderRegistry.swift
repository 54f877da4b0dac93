// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import TableflipCore

/// The readers of this process's sockets.
final class ReaderRegistry: Sendable {
    private let readers = Mutex<[any SocketReader]>([])

    func add(_ reader: any SocketReader) { self.readers.withLock { $0.append(reader) } }

    var all: [any SocketReader] { self.readers.withLock { $0 } }

    var connectionCounts: ConnectionCounts { self.all.map(\.connectionCounts).reduce(.init(), +) }

    /// Who takes a connection that was accepted on this listener.
    func reader(for listener: String) -> (any SocketReader)? {
        let all = self.all
        return all.first { $0.listenerName == listener } ?? all.first { $0.listenerName == nil }
    }
}
