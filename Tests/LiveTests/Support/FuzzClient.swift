// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// A client that sends requests of every kind on one connection, cut anywhere, and checks each answer.
struct FuzzClient {
    private enum Expectation {
        case process
        case body([UInt8])
    }

    private(set) var answers = 0
    private let connection: Connection
    private var random: SplitMix64

    init(_ connection: Connection, seed: UInt64) {
        self.connection = connection
        self.random = SplitMix64(seed: seed)
    }

    /// Sends a few requests, reads as many answers.
    mutating func round() throws {
        var bytes: [UInt8] = []
        var expectations: [Expectation] = []
        for _ in 0..<Int.random(in: 1...6, using: &self.random) {
            let (request, expectation) = self.request()
            bytes += request
            expectations.append(expectation)
        }
        try self.send(bytes)
        for expectation in expectations {
            let answer = try self.connection.answer()
            try require(answer.status == 200 && !answer.saysClose, "\(answer.status) \(answer.headers)")
            switch expectation {
            case .process: try require(Int(answer.text.dropLast()) != nil, "no process id: \(answer.text.prefix(80))")
            case .body(let body): try require(answer.body == body, "a wrong body: \(answer.text.prefix(80))")
            }
            self.answers += 1
        }
        // A few rest for a moment, and must hear nothing.
        if Int.random(in: 0..<4, using: &self.random) == 0 { try self.pause() }
    }

    private mutating func send(_ bytes: [UInt8]) throws {
        let cuts = (0..<Int.random(in: 0...6, using: &self.random))
            .map { _ in Int.random(in: 0...bytes.count, using: &self.random) }.sorted()
        var start = 0
        for cut in cuts + [bytes.count] {
            try self.connection.send(bytes[start..<cut])
            start = cut
            if Bool.random(using: &self.random) {
                _ = try self.connection.isReadable(within: .random(in: 0...5, using: &self.random))
            }
        }
    }

    private mutating func pause() throws {
        let isReadable = try self.connection.isReadable(within: .random(in: 0...20, using: &self.random))
        try require(!isReadable, "something came that nobody has asked for, or the end")
    }

    private mutating func request() -> ([UInt8], Expectation) {
        let before = Int.random(in: 0..<8, using: &self.random) == 0 ? "\r\n" : ""
        switch Int.random(in: 0..<6, using: &self.random) {
        case 0, 1: return (Array((before + Request.get).utf8), .process)
        case 2:
            let delay = Int.random(in: 0...5, using: &self.random)
            return (Array((before + Request.get("/delay/\(delay)ms")).utf8), .process)
        case 3:
            let count = Int.random(in: 0...40_000, using: &self.random)
            let request = Array((before + Request.get("/bytes/\(count)")).utf8)
            return (request, .body(Array(repeating: UInt8(ascii: "x"), count: count)))
        case 4:
            let body = self.body(upTo: 3000)
            let head = before + "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: \(body.count)\r\n\r\n"
            return (Array(head.utf8) + body, .body(body))
        default: return self.chunked(before)
        }
    }

    private mutating func chunked(_ before: String) -> ([UInt8], Expectation) {
        var bytes = Array((before + "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").utf8)
        var whole: [UInt8] = []
        for _ in 0..<Int.random(in: 0...5, using: &self.random) {
            let chunk = self.body(upTo: 200)
            guard !chunk.isEmpty else { continue }
            bytes += Array("\(String(chunk.count, radix: 16))\r\n".utf8) + chunk + Array("\r\n".utf8)
            whole += chunk
        }
        let trailer = Bool.random(using: &self.random) ? "X-Trailer: 1\r\n" : ""
        return (bytes + Array("0\r\n\(trailer)\r\n".utf8), .body(whole))
    }

    /// Half of its bytes are ends of lines.
    private mutating func body(upTo limit: Int) -> [UInt8] {
        let count = Int.random(in: 0...limit, using: &self.random)
        return (0..<count).map { _ in
            let choice = UInt8.random(in: .min ... .max, using: &self.random)
            return choice < 64 ? UInt8(ascii: "\r") : choice < 128 ? UInt8(ascii: "\n") : choice
        }
    }
}
