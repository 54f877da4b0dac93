// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Testing

extension LiveTests {
    /// Answers without any upgrade.
    @Suite(.timeLimit(.minutes(5)))
    struct AnswerTests {
        @Test(arguments: ["/delay/3000000h", "/bytes/1?over=3000000h", "/delay/1e300ms", "/delay/nans"])
        func `A time that is too long is refused`(path: String) async throws {
            try await Demo.with { demo in
                let connection = try demo.connect()
                try connection.send(Request.get(path))
                let answer = try connection.answer()
                try require(answer.status == 400, "\(answer)")
                try connection.ask(demo.process)
            }
        }

        @Test
        func `An answer to HEAD has no body, which would be taken for the next answer`() async throws {
            try await Demo.with { demo in
                let connection = try demo.connect()
                try connection.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
                let head = try connection.answerHead()
                try require(head.status == 405, "\(head)")
                try connection.ask(demo.process)
            }
        }

        @Test(arguments: ["", "Connection: keep-alive\r\n"])
        func `A client of HTTP 1_0 gets no chunks, and the end with the end of the connection`(
            header: String
        ) async throws {
            try await Demo.with { demo in
                let connection = try demo.connect()
                try connection.send("GET /bytes/40000 HTTP/1.0\r\n\(header)\r\n")
                let head = try connection.answerHead()
                try require(head.status == 200 && !head.isChunked && head.saysClose, "\(head)")
                try require(try connection.bytes(40000).allSatisfy { $0 == UInt8(ascii: "x") }, "another body")
                try connection.expectEnd()
            }
        }

        /// More than the kernel's buffers hold: most of the answer is still to be sent when the client's end arrives.
        @Test
        func `A client that has finished gets the whole answer to what it asked before`() async throws {
            try await Demo.with { demo in
                let (connection, size) = (try demo.connect(), 32 << 20)
                try connection.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: \(size)\r\n\r\n")
                let piece = [UInt8](repeating: UInt8(ascii: "p"), count: 1 << 20)
                for _ in 0..<size >> 20 { try connection.send(piece) }
                try connection.finishSending()
                let head = try connection.answerHead()
                try require(try head.status == 200 && head.length() == size, "\(head)")
                for _ in 0..<size >> 20 { try require(try Array(connection.bytes(1 << 20)) == piece, "another body") }
                try connection.expectEnd()
            }
        }
    }
}
