// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization
import Tableflip
import TableflipTesting
import Testing

@testable import TableflipNIO

@Suite(.timeLimit(.minutes(5))) struct LiveConnectionTests {
    @Test(arguments: [("", []), ("http/1", []), ("websocket", [0, 255, 1]), ("é", [9])] as [(String, [UInt8])])
    func `what a connection resumes from survives the wire`(_ name: String, _ state: [UInt8]) {
        let resumed = LiveConnection.Resumed(protocolName: name, state: state)
        #expect(LiveConnection.Resumed(resumed.bytes) == resumed)
    }

    @Test(arguments: [[], [1], [5, 1, 2]] as [[UInt8]])
    func `what is cut short is nothing to resume from`(_ bytes: [UInt8]) {
        #expect(LiveConnection.Resumed(bytes) == nil)
    }

    /// What was said at its beginning, say, by a proxy.
    @Test func `what an application saves of a HTTP/1 connection is there when it goes on`() async throws {
        let upgrader = try StubUpgrader().upgrader
        let listener = try upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0))
        let last = Last()
        let server = try await LiveServer.start(on: listener, of: upgrader) { connection in
            let known = connection.resumed.map { "again " + String(decoding: $0.state, as: UTF8.self) } ?? "192.0.2.1"
            try connection.channel.pipeline.syncOperations.configureHTTPServerPipeline()
            try connection.movesHTTP1(saving: { Array(known.utf8) })
            try connection.channel.pipeline.syncOperations.addHandler(Known(known))
            last.head.withLock { $0 = NIOLoopBound(connection.head, eventLoop: connection.channel.eventLoop) }
        }
        try await upgrader.ready()
        let client = try await self.client(of: listener)
        try await client.executeThenClose { inbound, outbound in
            var answers = inbound.makeAsyncIterator()
            for expected in ["<192.0.2.1>", "<again 192.0.2.1>", "<again again 192.0.2.1>"] {
                try await outbound.write(ByteBuffer(string: "GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
                var answer = ""
                while !answer.hasSuffix(">"), let bytes = try await answers.next() { answer += String(buffer: bytes) }
                #expect(answer.hasSuffix(expected), "\(answer)")
                // To where it was.
                let head = try #require(last.head.withLock { $0 })
                let parked = try await head.eventLoop.submit { head.value.park() }.get()
                try await server.adopt([try #require(parked)])
            }
        }
        // Not to be waited for: it counts as on their way what was taken out of it here.
        upgrader.stop()
        try await server.channel.close().get()
    }

    private func client(of listener: Listener) async throws -> NIOAsyncChannel<ByteBuffer, ByteBuffer> {
        try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .connect(host: "127.0.0.1", port: Int(try #require(listener.port))) { channel in
                channel.eventLoop.makeCompletedFuture { try NIOAsyncChannel(wrappingChannelSynchronously: channel) }
            }
    }

    private static let proxy1 = Array("PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n".utf8)
    /// Begins with empty lines, which may stand before a request as well.
    private static let proxy2: [UInt8] =
        [13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10, 0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 1, 0, 1, 0, 2]

    @Test(arguments: [(proxy1, 0), (proxy2, 0), (proxy2, 4), (proxy2, 6)])
    func `a connection whose proxy has not spoken to the end does not move, and is answered`(
        _ preamble: [UInt8], _ before: Int
    ) async throws {
        let upgrader = try StubUpgrader().upgrader
        let listener = try upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0))
        let (begun, beginning) = AsyncStream.makeStream(of: NIOLoopBound<ConnectionHead>.self)
        let server = try await LiveServer.start(on: listener, of: upgrader) { connection in
            let pipeline = connection.channel.pipeline.syncOperations
            let head = NIOLoopBound(connection.head, eventLoop: connection.channel.eventLoop)
            let proxy = Preamble(preamble) { if $0 == min(before, 4) { beginning.yield(head) } }
            try pipeline.addHandler(proxy)
            try pipeline.configureHTTPServerPipeline()
            try connection.movesHTTP1(saving: { proxy.client })
            try pipeline.addHandler(Known("served"))
        }
        try await upgrader.ready()
        let client = try await self.client(of: listener)
        try await client.executeThenClose { inbound, outbound in
            if before > 0 { try await outbound.write(ByteBuffer(bytes: preamble[..<before])) }
            let head = try #require(await begun.first { _ in true })
            let (parked, couldMove) = try await head.eventLoop.submit {
                (head.value.park(), head.value.couldMove)
            }.get()
            try #require(parked == nil && !couldMove)
            try await outbound.write(ByteBuffer(bytes: preamble[before...]))
            try await outbound.write(ByteBuffer(string: "GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
            var answer = ""
            for try await bytes in inbound {
                answer += String(buffer: bytes)
                if answer.hasSuffix(">") { break }
            }
            #expect(answer.hasPrefix("HTTP/1.1 200 OK") && answer.hasSuffix("<served>"), "\(answer)")
            #expect(answer.lowercased().contains("connection: close"))
        }
        upgrader.stop()
        try await server.channel.close().get()
    }

    /// Takes what the proxy says off the beginning; `whenRead` is told how much of it has come, and first that nothing has.
    private final class Preamble: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias InboundOut = ByteBuffer

        private let expected: [UInt8]
        private let whenRead: (Int) -> Void
        private var read: [UInt8] = []
        /// What the proxy has said, as soon as it has.
        private(set) var client: [UInt8]?

        init(_ expected: [UInt8], whenRead: @escaping (Int) -> Void) {
            self.expected = expected
            self.whenRead = whenRead
        }

        func channelActive(context: ChannelHandlerContext) {
            context.fireChannelActive()
            self.whenRead(0)
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard self.client == nil else { return context.fireChannelRead(data) }
            self.read += Array(self.unwrapInboundIn(data).readableBytesView)
            self.whenRead(self.read.count)
            guard self.read.starts(with: self.expected) else { return }
            self.client = self.expected
            let rest = ByteBuffer(bytes: self.read[self.expected.count...])
            if rest.readableBytes > 0 { context.fireChannelRead(self.wrapInboundOut(rest)) }
        }
    }

    private final class Last: Sendable {
        let head = Mutex<NIOLoopBound<ConnectionHead>?>(nil)
    }

    /// Answers with what it knows.
    private final class Known: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        private let body: ByteBuffer

        init(_ known: String) { self.body = ByteBuffer(string: "<\(known)>") }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard case .end = self.unwrapInboundIn(data) else { return }
            let headers: HTTPHeaders = ["Content-Length": "\(self.body.readableBytes)"]
            context.write(
                self.wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: .ok, headers: headers))),
                promise: nil)
            context.write(self.wrapOutboundOut(.body(.byteBuffer(self.body))), promise: nil)
            context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
        }
    }
}
#endif  // NIO
