// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore

/// Connections that fit into one message.
struct ConnectionBatch {
    private let maximumCount: Int
    private var entries: [Message.ConnectionBatch.Entry] = []
    /// Borrowed until they are acknowledged.
    private var numbers: [CInt] = []
    private var size = 0

    init(atMost count: Int) { self.maximumCount = count }

    func hasRoom(for connection: LiveDescriptor) -> Bool {
        self.entries.isEmpty
            || self.entries.count < self.maximumCount
                && self.size + Self.size(of: connection) <= Int(FrameHeader.maximumLength)
    }

    mutating func append(_ connection: LiveDescriptor, _ number: CInt) {
        self.entries.append(
            .init(listener: connection.listener, unread: connection.unread, state: connection.state)
        )
        self.numbers.append(number)
        self.size += Self.size(of: connection)
    }

    mutating func take() -> (entries: [Message.ConnectionBatch.Entry], numbers: [CInt]) {
        defer { self = .init(atMost: self.maximumCount) }
        return (self.entries, self.numbers)
    }

    /// With the lengths before each field, and a share of what stands before the entries.
    private static func size(of connection: LiveDescriptor) -> Int {
        16 + connection.listener.utf8.count + connection.unread.count + connection.state.count
    }
}
