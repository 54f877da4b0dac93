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

    /// With `isLate`, each message is answered after ten milliseconds.
    private func connect(isLate: Bool = false) throws -> (LoopConnections, EmbeddedChannel, ConnectionHead) {
        let connections = LoopConnections(
            loop: self.loop, listener: "web", counts: LiveCounts(), spread: .zero,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        ) { connection in
            let channel = connection.channel
            return channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandlers(
                    WebSocketFrameEncoder(), ByteToMessageHandler(WebSocketFrameDecoder()))
                let late = Late(connection)
                try connection.movesWebSocket(owesAnswer: { late.owed > 0 }, saving: { [] })
                if isLate { try channel.pipeline.syncOperations.addHandler(late) }
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

    private final class Late: ChannelInboundHandler {
        typealias InboundIn = WebSocketFrame
        typealias OutboundOut = WebSocketFrame

        private let connection: LiveConnection
        private(set) var owed = 0

        init(_ connection: LiveConnection) { self.connection = connection }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard self.unwrapInboundIn(data).opcode == .text else { return }
            self.owed += 1
            context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(10)) {
                let answer = WebSocketFrame(fin: true, opcode: .text, data: ByteBuffer(string: "answer"))
                context.writeAndFlush(self.wrapOutboundOut(answer), promise: nil)
                self.owed -= 1
                self.connection.settled()
            }
        }
    }

    /// The opcodes of what the peer has been sent since this was last asked.
    private func heard(on channel: EmbeddedChannel) throws -> [UInt8] {
        var bytes = ByteBuffer()
        while case .byteBuffer(let next) = try channel.readOutbound(as: IOData.self) {
            bytes.writeImmutableBuffer(next)
        }
        var opcodes: [UInt8] = []
        while let (first, length) = bytes.readMultipleIntegers(as: (UInt8, UInt8).self) {
            opcodes.append(first & 0x0f)
            bytes.moveReaderIndex(forwardBy: Int(length))
        }
        return opcodes
    }

    /// A text message, masked with zeros.
    private static let message = ByteBuffer(bytes: [0x81, 0x82, 0, 0, 0, 0] + Array("hi".utf8))

    @Test func `a message that is answered later is answered before the connection moves, and no other`() throws {
        let (connections, channel, head) = try self.connect(isLate: true)
        _ = connections.move(to: ConnectionExporter(inbox: try EngineInbox()))
        try channel.writeInbound(Self.message)
        self.loop.advanceTime(by: .milliseconds(1))
        try channel.writeInbound(Self.message)
        #expect(!head.isQueued && head.couldMove && head.isHolding)
        self.loop.advanceTime(by: .milliseconds(9))
        #expect(try self.heard(on: channel) == [1])
        #expect(head.isQueued && head.isHolding, "nothing else would bring it back")
    }

    @Test func `a message that is answered later is answered before a stop says goodbye`() throws {
        let (connections, channel, _) = try self.connect(isLate: true)
        try channel.writeInbound(Self.message)
        _ = connections.finish(now: true)
        self.loop.run()
        #expect(try self.heard(on: channel) == [])
        self.loop.advanceTime(by: .milliseconds(10))
        #expect(try self.heard(on: channel) == [1, 8])
    }

    @Test(arguments: [false, true])
    func `a message of several frames is sent to its end before a stop says goodbye`(_ stays: Bool) throws {
        let (connections, channel, head) = try self.connect()
        if stays { head.stay() }
        self.push("first", isLast: false, on: channel)
        _ = connections.finish(now: true)
        self.loop.run()
        #expect(try self.heard(on: channel) == [1])
        self.push("last", isLast: true, on: channel)
        #expect(try self.heard(on: channel) == [0, 8])
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
