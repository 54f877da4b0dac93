// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Logging
import NIOCore
import NIOEmbedded
import Testing

@testable import Tableflip
@testable import TableflipNIO

/// What a protocol is asked, and when.
@Suite struct LiveProtocolTests {
    @Test(arguments: ["a\n", "a\nb\n"])
    func `rest is asked for when all portions have been delivered`(_ lines: String) throws {
        let channel = try self.move { connection in
            let lines = Lines(connection)
            try connection.channel.pipeline.syncOperations.addHandler(lines)
            connection.moves(as: lines)
        }
        try channel.writeInbound(ByteBuffer(string: lines))
        let protocolObject = try channel.pipeline.syncOperations.handler(type: Lines.self)
        #expect(protocolObject.answered == 1, "it moves next")
        #expect(protocolObject.wasAskedAtRest && !protocolObject.wasAskedTooEarly)
        let head = try channel.pipeline.syncOperations.handler(type: ConnectionHead.self)
        #expect(head.isQueued)
    }

    @Test(arguments: [(1, true), (0, true), (1 << 19, false)])
    func `what cannot move any more while others do is told to end`(_ count: Int, _ hasEnd: Bool) throws {
        let channel = try self.move { connection in
            let endless = Endless()
            try connection.channel.pipeline.syncOperations.addHandler(endless)
            connection.moves(as: endless)
        }
        let protocolObject = try channel.pipeline.syncOperations.handler(type: Endless.self)
        if count > 0 { try channel.writeInbound(ByteBuffer(repeating: 0, count: count)) }
        if hasEnd { channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed) }
        #expect(!protocolObject.isTold, "not from within a read")
        channel.embeddedEventLoop.run()
        #expect(protocolObject.isTold)
    }

    /// It would end behind the message that it is at.
    @Test func `what cannot move any more is told so behind the messages that came before its end`() throws {
        let channel = try self.move { connection in
            let slow = Slow(connection)
            try connection.channel.pipeline.syncOperations.addHandler(slow)
            connection.moves(as: slow)
        }
        let protocolObject = try channel.pipeline.syncOperations.handler(type: Slow.self)
        try channel.writeInbound(ByteBuffer(string: "a\nb\n"))
        channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        channel.embeddedEventLoop.run()
        #expect(protocolObject.heard == 1 && !protocolObject.isTold)
        protocolObject.answer()
        channel.embeddedEventLoop.run()
        #expect(protocolObject.heard == 2 && protocolObject.isTold)
    }

    /// A connection of a process that has just been replaced; nothing moves before the time goes on.
    private func move(_ setUp: @escaping @Sendable (LiveConnection) throws -> Void) throws -> EmbeddedChannel {
        let loop = EmbeddedEventLoop()
        let connections = LoopConnections(
            loop: loop, listener: "lines", counts: LiveCounts(), spread: .zero,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        ) { connection in connection.channel.eventLoop.makeCompletedFuture { try setUp(connection) } }
        let channel = EmbeddedChannel(loop: loop)
        try connections.initialise(channel).wait()
        channel.connect(to: try .init(unixDomainSocketPath: "/client"), promise: nil)
        loop.run()
        _ = connections.move(to: ConnectionExporter(inbox: try EngineInbox()))
        return channel
    }

    /// Waits for the end of its first message.
    private final class Endless: ChannelInboundHandler, LiveProtocol {
        typealias InboundIn = ByteBuffer
        static let name = "endless"

        private(set) var isTold = false

        var isAtRest: Bool { true }
        func portion(of unread: ByteBuffer) -> LivePortion { .incomplete }
        func finish() { self.isTold = true }
    }

    /// Answers each line when it is told to.
    private final class Slow: ChannelInboundHandler, LiveProtocol {
        typealias InboundIn = ByteBuffer
        static let name = "slow"

        private let connection: LiveConnection
        private var owes = false
        private(set) var heard = 0
        private(set) var isTold = false

        init(_ connection: LiveConnection) { self.connection = connection }

        var isAtRest: Bool { !self.owes }
        func portion(of unread: ByteBuffer) -> LivePortion { self.owes ? .afterAnswer : .bytes(2) }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.owes = true
            self.heard += 1
        }

        func answer() {
            self.owes = false
            self.connection.settled()
        }

        func finish() { self.isTold = true }
    }

    /// Answers each line inside the call that brings it.
    private final class Lines: ChannelInboundHandler, LiveProtocol {
        typealias InboundIn = ByteBuffer
        static let name = "lines"

        private let connection: LiveConnection
        private var isDelivered = true
        private(set) var answered = 0
        private(set) var wasAskedTooEarly = false
        private(set) var wasAskedAtRest = false

        init(_ connection: LiveConnection) { self.connection = connection }

        var isAtRest: Bool {
            if self.isDelivered { self.wasAskedAtRest = true } else { self.wasAskedTooEarly = true }
            return true
        }

        func portion(of unread: ByteBuffer) -> LivePortion { .bytes(2) }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.isDelivered = false
            self.answered += 1
            self.connection.settled()
        }

        func delivered(_ bytes: ByteBuffer) { self.isDelivered = true }
    }
}
#endif  // NIO
