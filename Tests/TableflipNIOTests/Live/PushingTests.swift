// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Logging
import NIOCore
import NIOEmbedded
import Testing

@testable import Tableflip
@testable import TableflipNIO

/// A connection whose application writes when it likes.
@Suite struct PushingTests {
    @Test func `a connection whose output is never empty is served until it is`() throws {
        let loop = EmbeddedEventLoop()
        let socket = Bench.Socket()
        let connections = LoopConnections(
            loop: loop, listener: "web", counts: LiveCounts(), spread: .zero,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        ) { connection in
            connection.channel.eventLoop.makeCompletedFuture {
                connection.moves(as: EveryByte())
                try connection.channel.pipeline.syncOperations.addHandler(Application())
            }
        }
        let channel = EmbeddedChannel(loop: loop)
        try connections.initialise(channel).wait()
        let application = try channel.pipeline.syncOperations.handler(type: Application.self)
        try channel.pipeline.syncOperations.addHandler(socket, position: .first)
        channel.connect(to: try .init(unixDomainSocketPath: "/client"), promise: nil)
        socket.isFull = true
        socket.leaveUnsent()
        _ = connections.move(to: ConnectionExporter(inbox: try EngineInbox()))
        loop.advanceTime(by: .milliseconds(1))
        try channel.writeInbound(ByteBuffer(string: "a"))
        loop.advanceTime(by: .milliseconds(1))
        #expect(application.heard.isEmpty, "it moves as soon as all has been sent")
        socket.isFull = false
        socket.isFull = true
        socket.leaveUnsent()
        loop.advanceTime(by: .milliseconds(1))
        try channel.writeInbound(ByteBuffer(string: "b"))
        loop.advanceTime(by: .milliseconds(1))
        #expect(application.heard == "ab")
    }

    /// Each byte is a message, and nothing is answered.
    private final class EveryByte: LiveProtocol {
        static let name = "test/1"
        var isAtRest: Bool { true }

        func portion(of unread: ByteBuffer) -> LivePortion { .bytes(1) }
    }

    private final class Application: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        private(set) var heard = ""

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.heard += String(buffer: self.unwrapInboundIn(data))
        }
    }
}
#endif  // NIO
