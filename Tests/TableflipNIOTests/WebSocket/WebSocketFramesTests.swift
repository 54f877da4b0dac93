// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Logging
import NIOCore
import NIOEmbedded
import NIOWebSocket
import Testing

@testable import Tableflip
@testable import TableflipNIO

@Suite struct WebSocketFramesTests {
    private let loop = EmbeddedEventLoop()

    private func connect() throws -> (LoopConnections, EmbeddedChannel, ConnectionHead) {
        let connections = LoopConnections(
            loop: self.loop, listener: "web", counts: LiveCounts(), spread: .zero,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        ) { connection in
            let channel = connection.channel
            return channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandlers(
                    WebSocketFrameEncoder(), ByteToMessageHandler(WebSocketFrameDecoder()))
                try connection.movesWebSocket(saving: { [] })
            }
        }
        let channel = EmbeddedChannel(loop: self.loop)
        try connections.initialise(channel).wait()
        channel.connect(to: try .init(unixDomainSocketPath: "/client"), promise: nil)
        self.loop.run()
        return (connections, channel, try channel.pipeline.syncOperations.handler(type: ConnectionHead.self))
    }

    private func push(_ text: String, isLast: Bool, on channel: EmbeddedChannel) {
        let frame = WebSocketFrame(
            fin: isLast, opcode: text == "first" ? .text : .continuation, data: ByteBuffer(string: text))
        channel.writeAndFlush(frame, promise: nil)
        self.loop.run()
    }

    @Test(arguments: [false, true])
    func `a connection moves behind a message of several frames, whose peer says nothing`(_ beganBefore: Bool) throws {
        let (connections, channel, head) = try self.connect()
        if beganBefore { self.push("first", isLast: false, on: channel) }
        _ = connections.move(to: ConnectionExporter(inbox: try EngineInbox()))
        if !beganBefore { self.push("first", isLast: false, on: channel) }
        self.loop.advanceTime(by: .milliseconds(1))
        #expect(!head.isQueued)
        self.push("second", isLast: false, on: channel)
        #expect(!head.isQueued && head.couldMove)
        self.push("last", isLast: true, on: channel)
        #expect(head.isQueued, "nothing else would bring it back")
    }

    @Test func `a ping in between does not end a message`() throws {
        let (connections, channel, head) = try self.connect()
        self.push("first", isLast: false, on: channel)
        _ = connections.move(to: ConnectionExporter(inbox: try EngineInbox()))
        self.loop.advanceTime(by: .milliseconds(1))
        channel.writeAndFlush(WebSocketFrame(fin: true, opcode: .ping, data: ByteBuffer()), promise: nil)
        self.loop.run()
        #expect(!head.isQueued)
    }
}
#endif  // NIO
