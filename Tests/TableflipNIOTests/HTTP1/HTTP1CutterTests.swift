// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore
import NIOEmbedded
import NIOHTTP1
import Testing

@testable import TableflipNIO

/// The cutter beside NIO's own decoder, which has the last word.
@Suite struct HTTP1CutterTests {
    /// A decoder that is given what a cutter says, as a connection does it.
    private final class Bench: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart

        private let channel = EmbeddedChannel()
        private(set) var cutter = HTTP1Cutter()
        private var waiting = ByteBuffer()
        /// The requests that the decoder has made, and behind how many bytes each was whole.
        private(set) var ends: [Int] = []
        private(set) var requests: [String] = []
        private(set) var given = 0
        private(set) var errors = 0
        private var body = 0

        init() throws {
            try self.channel.pipeline.syncOperations.addHandlers([
                ByteToMessageHandler(HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes)), self,
            ])
            self.channel.pipeline.fireChannelActive()
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch self.unwrapInboundIn(data) {
            case .head(let head):
                self.cutter.decodedHead(
                    .init(lengths: head.headers["content-length"], codings: head.headers["transfer-encoding"])
                )
                self.requests.append("\(head.method) \(head.uri)")
                self.body = 0
            case .body(let bytes): self.body += bytes.readableBytes
            case .end:
                self.cutter.decodedEnd()
                self.requests[self.requests.count - 1] += " \(self.body)"
            }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            self.errors += 1
            self.cutter.giveUp()
        }

        func receive(_ bytes: some Sequence<UInt8>) throws {
            self.waiting.writeBytes(bytes)
            while self.waiting.readableBytes > 0, case .bytes(let count) = self.cutter.portion(of: self.waiting) {
                guard let next = self.waiting.readSlice(length: count), count > 0 else { return }
                let before = self.requests.count
                self.given += count
                _ = try? self.channel.writeInbound(next)  // what the decoder throws comes as an error too
                self.cutter.delivered(
                    count, isBlank: next.readableBytesView.allSatisfy { $0 == 13 || $0 == 10 }
                )
                if self.cutter.isAtBoundary, self.requests.count > self.ends.count { self.ends.append(self.given) }
                #expect(self.requests.count - before <= 1, "never two requests at a time")
            }
        }

        var unused: Int { self.waiting.readableBytes }
    }

    private static let get = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
    private static let streams: [(name: String, messages: [String], requests: [String])] = [
        ("one", [get], ["GET /a 0"]),
        ("three at once", [get, get, get], ["GET /a 0", "GET /a 0", "GET /a 0"]),
        ("a body", ["POST /c HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", get], ["POST /c 5", "GET /a 0"]),
        (
            "a body that looks like a request",
            [
                "POST /c HTTP/1.1\r\nContent-Length: \(get.utf8.count)\r\n\r\n\(get)", get,
            ], ["POST /c \(get.utf8.count)", "GET /a 0"]
        ),
        ("an empty body", ["POST /c HTTP/1.1\r\nContent-Length: 0\r\n\r\n", get], ["POST /c 0", "GET /a 0"]),
        (
            "space around the length", ["POST /c HTTP/1.1\r\nContent-Length:  5 \r\n\r\nhello", get],
            [
                "POST /c 5", "GET /a 0",
            ]
        ),
        (
            "chunks",
            [
                "PUT /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
                get,
            ], ["PUT /d 15", "GET /a 0"]
        ),
        (
            "chunks full of empty lines",
            [
                "PUT /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n\r\n\r\n\r\n\r\n\r\n4\r\n\n\n\n\n\r\n0\r\n\r\n",
                get,
            ], ["PUT /d 12", "GET /a 0"]
        ),
        (
            "trailers",
            [
                "PUT /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n1\r\nx\r\n0\r\nX: 1\r\nY: 2\r\n\r\n",
                get,
            ], ["PUT /d 1", "GET /a 0"]
        ),
    ]

    @Test(arguments: streams.indices)
    func `each message is cut at its end, wherever the network cuts`(_ index: Int) throws {
        let (name, messages, requests) = Self.streams[index]
        let bytes = Array(messages.joined().utf8)
        var ends: [Int] = []
        for message in messages { ends.append((ends.last ?? 0) + message.utf8.count) }
        // Whole, byte by byte, and in two pieces at every place.
        var cuts: [[Int]] = [[], Array(1..<bytes.count)]
        cuts += (1..<bytes.count).map { [$0] }
        for cut in cuts {
            let bench = try Bench()
            var start = 0
            for end in cut + [bytes.count] {
                try bench.receive(bytes[start..<end])
                start = end
            }
            #expect(bench.requests == requests, "\(name) cut at \(cut.prefix(3))")
            #expect(bench.ends == ends, "\(name) cut at \(cut.prefix(3))")
            #expect(bench.cutter.isAtBoundary && bench.unused == 0, "\(name) cut at \(cut.prefix(3))")
        }
    }

    @Test func `an incomplete head waits here and not in the decoder`() throws {
        let bytes = Array(Self.get.utf8)
        for length in 1..<bytes.count {
            let bench = try Bench()
            try bench.receive(bytes[..<length])
            #expect(bench.given == 0 && bench.unused == length && bench.cutter.isAtBoundary)
        }
    }

    @Test func `empty lines between requests are skipped`() throws {
        let bench = try Bench()
        try bench.receive("\r\n\r\n\r\n\(Self.get)\r\n\(Self.get)".utf8)
        #expect(bench.requests == ["GET /a 0", "GET /a 0"])
        #expect(bench.cutter.isAtBoundary && bench.unused == 0)
    }

    @Test func `a head of 90 kilobytes goes down in pieces, and what follows is cut`() throws {
        let long = "GET /long HTTP/1.1\r\nX: \(String(repeating: "x", count: 60_000))\r\nY: \r\n\r\n"
        let bytes = Array((long + Self.get).utf8)
        for piece in [1000, 4096, 65_536] {
            let bench = try Bench()
            for start in stride(from: 0, to: bytes.count, by: piece) {
                try bench.receive(bytes[start..<min(start + piece, bytes.count)])
            }
            #expect(bench.errors == 0)
            #expect(bench.requests == ["GET /long 0", "GET /a 0"])
            #expect(bench.cutter.isAtBoundary)
        }
    }

    @Test(arguments: [
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        "GET / HTTP/1.1\nHost: x\n\n",
        "nonsense\r\n\r\n",
        "\u{0}\u{1}\u{2}\r\n\r\n",
    ])
    func `what is not certain is never called a boundary`(_ stream: String) throws {
        let bench = try Bench()
        try bench.receive((stream + Self.get).utf8)
        // The decoder gets everything, as without a cutter.
        #expect(bench.cutter.isOpaque)
        #expect(bench.unused == 0)
    }

    @Test func `what is never cut remembers no more of ten requests than of two`() {
        func after(_ count: Int) -> HTTP1Cutter {
            var cutter = HTTP1Cutter()
            for _ in 0..<count {
                cutter.decodedHead(.none)
                cutter.decodedEnd()
            }
            return cutter
        }
        #expect(after(10) == after(2))
        #expect(after(2) != after(1))
    }

    @Test func `random streams in random pieces`() throws {
        var random = SystemRandomNumberGenerator()
        let seed = UInt64.random(in: 0 ... .max, using: &random)
        var generator = SplitMix(state: seed)
        for _ in 0..<300 {
            var stream: [UInt8] = []
            var expected: [String] = []
            for number in 0..<Int.random(in: 1...6, using: &generator) {
                let size = Int.random(in: 0...400, using: &generator)
                let body = (0..<size).map { _ in "ab\r\n0".utf8.randomElement(using: &generator) ?? 0 }
                switch Int.random(in: 0..<3, using: &generator) {
                case 0:
                    stream += "GET /\(number) HTTP/1.1\r\n\r\n".utf8
                    expected.append("GET /\(number) 0")
                case 1:
                    stream += "POST /\(number) HTTP/1.1\r\nContent-Length: \(size)\r\n\r\n".utf8 + body
                    expected.append("POST /\(number) \(size)")
                default:
                    stream += "PUT /\(number) HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".utf8
                    var rest = body[...]
                    while !rest.isEmpty {
                        let piece = rest.prefix(Int.random(in: 1...90, using: &generator))
                        rest = rest.dropFirst(piece.count)
                        stream += "\(String(piece.count, radix: 16))\r\n".utf8 + piece + "\r\n".utf8
                    }
                    stream += "0\r\n\r\n".utf8
                    expected.append("PUT /\(number) \(size)")
                }
            }
            let bench = try Bench()
            var start = 0
            while start < stream.count {
                let end = min(stream.count, start + Int.random(in: 1...120, using: &generator))
                try bench.receive(stream[start..<end])
                start = end
            }
            #expect(bench.requests == expected, "seed \(seed)")
            #expect(bench.cutter.isAtBoundary, "seed \(seed)")
        }
    }
}

/// A generator that can be started again from its seed (Steele, Lea, Flood: Fast splittable pseudorandom number
/// generators, 2014).
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
#endif  // NIO
