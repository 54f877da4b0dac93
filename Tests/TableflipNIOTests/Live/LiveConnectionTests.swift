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
        let client = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .connect(host: "127.0.0.1", port: Int(try #require(listener.port))) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
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
