// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Testing

extension LiveTests {
    /// A connection whose protocol is not HTTP any more.
    @Suite(.timeLimit(.minutes(5)))
    struct WebSocketTests {
        @Test
        func `Ten thousand numbered messages come back in order on one connection through 20 upgrades`() async throws {
            try await Demo.with { demo in
                var socket = try WebSocket(demo.connect())
                for _ in 0..<20 {
                    let upgrade = try demo.startUpgrade()
                    try socket.exchange(500, window: 16)
                    // On and on while the connection moves.
                    while !demo.hasEnded(upgrade) { try socket.exchange(20, window: 16) }
                    try demo.end(upgrade)
                }
                try require(socket.count >= 10_000, "\(socket.count) messages")
            }
        }
    }
}

/// A client of RFC 6455 that sends numbers.
private struct WebSocket {
    private(set) var count = 0
    private let connection: Connection

    init(_ connection: Connection) throws {
        self.connection = connection
        // The key and what must be answered are those of RFC 6455, 1.3.
        try connection.send(
            Request.get(
                "/ws", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
            )
        )
        let head = try connection.answerHead()
        try require(
            head.status == 101 && head.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "\(head)")
    }

    /// Sends so many messages, never more than `window` ahead of their echoes. Every seventh goes in two pieces.
    mutating func exchange(_ messages: Int, window: Int) throws {
        let end = self.count + messages
        var sent = self.count
        while self.count < end {
            while sent < min(end, self.count + window) {
                let frame = Self.frame("message \(sent)")
                let cut = sent % 7 == 0 ? sent % frame.count : 0
                try self.connection.send(frame[..<cut])
                try self.connection.send(frame[cut...])
                sent += 1
            }
            let payload = Array("message \(self.count)".utf8)
            let echo = try self.connection.bytes(2 + payload.count)
            // A whole text message (0x81), not masked, of this length.
            try require(
                echo.elementsEqual([0x81, UInt8(payload.count)] + payload),
                "message \(self.count) came back as \(Array(echo))")
            self.count += 1
        }
    }

    private static func frame(_ text: String) -> [UInt8] {
        let mask: [UInt8] = [0x12, 0x34, 0x56, 0x78]
        let payload = text.utf8.enumerated().map { $0.element ^ mask[$0.offset % 4] }
        return [0x81, 0x80 | UInt8(payload.count)] + mask + payload
    }
}

extension Demo {
    fileprivate func hasEnded(_ upgrade: Upgrade) -> Bool {
        self.events.all.contains { $0.phase == "predecessorLeft" && $0.peer == upgrade.old }
    }
}
