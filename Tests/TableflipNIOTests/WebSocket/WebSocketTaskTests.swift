// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore
import NIOPosix
import NIOWebSocket
import TableflipTesting
import Testing

@testable import Tableflip
@testable import TableflipNIO

/// A WebSocket that is served by a task.
@Suite(.timeLimit(.minutes(5))) struct WebSocketTaskTests {
    private typealias Socket = NIOAsyncChannel<WebSocketFrame, WebSocketFrame>

    @Test func `a task answers what it was given before its connection moves`() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let upgrader = try StubUpgrader().upgrader
        let listener = try upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0))
        let (server, sockets) = try await LiveServer.start(on: listener, of: upgrader, group: group) { connection in
            let pipeline = connection.channel.pipeline.syncOperations
            try pipeline.addHandlers(WebSocketFrameEncoder(), ByteToMessageHandler(WebSocketFrameDecoder()))
            let unanswered = Unanswered(connection)
            try connection.movesWebSocket(owesAnswer: { unanswered.count > 0 }, saving: { [] })
            try pipeline.addHandler(unanswered)
            return try Socket(wrappingChannelSynchronously: connection.channel)
        }
        try await upgrader.ready()
        let (asked, mayAnswer) = (loop.makePromise(of: Void.self), loop.makePromise(of: Void.self))
        let served = Task { try await Self.serve(sockets, asked: asked, mayAnswer: mayAnswer.futureResult) }
        let port = Int(try #require(listener.port))
        let client = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        let exporter = ConnectionExporter(inbox: try EngineInbox())
        try await client.executeThenClose { inbound, outbound in
            // A text message, masked with zeros.
            try await outbound.write(ByteBuffer(bytes: [0x81, 0x82, 0, 0, 0, 0] + Array("hi".utf8)))
            try await asked.futureResult.get()
            let connections = server.loops[0]
            try await loop.submit { _ = connections.value.move(to: exporter) }.get()
            // What moves at once has moved by then.
            try await loop.scheduleTask(in: .milliseconds(1)) {}.futureResult.get()
            #expect(server.connectionCounts.open == 1)
            mayAnswer.succeed()
            try await served.value
            #expect(server.connectionCounts.open == 0)
            var answer = ByteBuffer()
            for try await bytes in inbound where answer.readableBytes < 4 {
                answer.writeImmutableBuffer(bytes)
                if answer.readableBytes >= 4 { break }
            }
            #expect(answer == ByteBuffer(bytes: [0x81, 2] + Array("hi".utf8)))
        }
        upgrader.stop()
        try await server.channel.close().get()
        try await group.shutdownGracefully()
    }

    /// One connection, up to its end.
    private static func serve(
        _ sockets: AsyncStream<Socket>, asked: EventLoopPromise<Void>, mayAnswer: EventLoopFuture<Void>
    ) async throws {
        for await socket in sockets {
            return try await socket.executeThenClose { inbound, outbound in
                for try await message in inbound {
                    asked.succeed()
                    try await mayAnswer.get()
                    try await outbound.write(WebSocketFrame(fin: true, opcode: .text, data: message.unmaskedData))
                }
            }
        }
    }

    /// As the documentation of `movesWebSocket` has it.
    private final class Unanswered: ChannelDuplexHandler {
        typealias InboundIn = WebSocketFrame
        typealias InboundOut = WebSocketFrame
        typealias OutboundIn = WebSocketFrame
        typealias OutboundOut = WebSocketFrame

        private let connection: LiveConnection
        private(set) var count = 0

        init(_ connection: LiveConnection) { self.connection = connection }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            if self.endsMessage(self.unwrapInboundIn(data)) { self.count += 1 }
            context.fireChannelRead(data)
        }

        func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
            context.write(data, promise: promise)
            guard self.endsMessage(self.unwrapOutboundIn(data)) else { return }
            self.count -= 1
            self.connection.settled()
        }

        private func endsMessage(_ frame: WebSocketFrame) -> Bool {
            frame.fin && [.text, .binary, .continuation].contains(frame.opcode)
        }
    }
}
#endif  // NIO
