// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import Tableflip

/// A reader that only writes down what it is told, and does what the test says.
final class FakeReader: AdoptingReader {
    struct Script: Sendable {
        var pause: @Sendable () async throws -> Void = {}
        var resume: @Sendable () async throws -> Void = {}
        var export: @Sendable (ConnectionExporter) async throws -> Void = { _ in }
        var adopt: @Sendable (Adopted) async throws -> Void = { _ in }
        var counts = ConnectionCounts()
    }

    /// A connection that was adopted, in a form that may be kept.
    struct Adopted: Sendable {
        var descriptor: Held
        var listener: String
        var unread: [UInt8]
        var state: [UInt8]
    }

    let name: String
    let listenerName: String?
    let journal: Journal
    private let script: Mutex<Script>

    init(_ name: String = "reader", for listener: String? = nil, _ journal: Journal = Journal()) {
        self.name = name
        self.listenerName = listener
        self.journal = journal
        self.script = Mutex(Script())
    }

    func script(_ change: (inout Script) -> Void) { self.script.withLock { change(&$0) } }

    var connectionCounts: ConnectionCounts { self.script.withLock { $0.counts } }

    func pause() async throws {
        self.journal.note("\(self.name): pause")
        try await self.script.withLock { $0.pause }()
        self.journal.note("\(self.name): paused")
    }

    func resume() async throws {
        self.journal.note("\(self.name): resume")
        try await self.script.withLock { $0.resume }()
        self.journal.note("\(self.name): resumed")
    }

    func export(to successor: ConnectionExporter) async throws {
        self.journal.note("\(self.name): export")
        try await self.script.withLock { $0.export }(successor)
        self.journal.note("\(self.name): exported")
    }

    func adopt(_ connections: [LiveDescriptor]) async throws {
        for connection in connections {
            self.journal.note("\(self.name): adopt")
            guard let descriptor = connection.takeDescriptor() else { continue }
            let adopted = Adopted(
                descriptor: Held(descriptor), listener: connection.listener, unread: connection.unread,
                state: connection.state
            )
            try await self.script.withLock { $0.adopt }(adopted)
            self.journal.note("\(self.name): adopted")
        }
    }
}

/// A reader that knows of nothing but pausing.
struct DefaultReader: SocketReader {
    var listenerName: String? = nil

    func pause() async throws {}
    func resume() async throws {}
}

/// What a reader says when it cannot.
struct Unwilling: Error, CustomStringConvertible {
    var description: String { "not in the mood" }
}
