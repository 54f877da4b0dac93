// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Logging
import NIOCore
import NIOEmbedded
import NIOHTTP1

@testable import Tableflip
@testable import TableflipNIO

/// HTTP/1 connections on a loop that only the test turns.
final class Bench {
    let loop = EmbeddedEventLoop()
    let connections: LoopConnections

    /// `spread`: over how much time connections are told to end.
    init(spread: Duration = .zero, _ setUp: @escaping @Sendable (LiveConnection) throws -> Void) {
        self.connections = LoopConnections(
            loop: self.loop, listener: "web", counts: LiveCounts(), spread: spread,
            logger: Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() }
        ) { connection in
            connection.channel.eventLoop.makeCompletedFuture {
                try connection.channel.pipeline.syncOperations.configureHTTPServerPipeline()
                try setUp(connection)
                try connection.channel.pipeline.syncOperations.addHandler(Application())
            }
        }
    }

    /// `unread` is what it has brought along; taken back are those whose successor has died.
    func connect(unread: String = "", isTakenBack: Bool = false) throws -> Client {
        let channel = EmbeddedChannel(loop: self.loop)
        try self.connections.initialise(channel, unread: Array(unread.utf8), isTakenBack: isTakenBack).wait()
        try channel.pipeline.syncOperations.addHandler(Socket(), position: .first)
        let client = try Client(channel)
        channel.connect(to: try .init(unixDomainSocketPath: "/client"), promise: nil)
        self.loop.run()
        return client
    }

    /// As when the process has been replaced. Nobody takes what is sent, and nothing is before the time goes on.
    func move() throws { _ = self.connections.move(to: ConnectionExporter(inbox: try EngineInbox())) }

    func finish(now: Bool = false) { _ = self.connections.finish(now: now) }

    func turn() { self.loop.run() }

    /// What is left of a connection that is closed while its peer may still speak.
    func linger() { self.loop.advanceTime(by: .seconds(5)) }

    /// What it has no room for waits, and a close throws that away, as NIO does.
    final class Socket: ChannelOutboundHandler {
        typealias OutboundIn = IOData
        typealias OutboundOut = IOData

        /// The peer does not read.
        var isFull = false { didSet { if !self.isFull { self.sendAll() } } }
        private(set) var outputEnded = false
        private var waiting: [(NIOAny, EventLoopPromise<Void>?)] = []
        private var context: ChannelHandlerContext?

        func handlerAdded(context: ChannelHandlerContext) { self.context = context }
        func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

        func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
            self.waiting.append((data, promise))
        }

        func flush(context: ChannelHandlerContext) { if !self.isFull { self.sendAll() } }

        func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
            guard mode == .all else {
                self.outputEnded = true
                return promise?.succeed() ?? ()
            }
            let lost = self.waiting
            self.waiting = []
            context.close(promise: promise)
            for (_, promise) in lost { promise?.fail(ChannelError.ioOnClosedChannel) }
        }

        /// Something that has not been sent yet.
        func leaveUnsent() { self.context?.write(NIOAny(IOData.byteBuffer(ByteBuffer(string: "-"))), promise: nil) }

        private func sendAll() {
            while !self.waiting.isEmpty {
                let (data, promise) = self.waiting.removeFirst()
                self.context?.writeAndFlush(data, promise: promise)
            }
        }
    }

    /// Keeps what it is asked until the test answers; what it is asked at `/now` it answers at once.
    fileprivate final class Application: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        var asked: [String] = []
        var sawEnd = false
        var context: ChannelHandlerContext?

        func handlerAdded(context: ChannelHandlerContext) { self.context = context }
        func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch self.unwrapInboundIn(data) {
            case .head(let head): self.asked.append(head.uri)
            case .body: break
            case .end: if self.asked.last == "/now" { self.answer(.ok) }
            }
        }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if event as? ChannelEvent == .inputClosed { self.sawEnd = true }
        }

        func answer(
            _ status: HTTPResponseStatus, version: HTTPVersion = .http1_1, promise: EventLoopPromise<Void>? = nil
        ) {
            guard let context else { return }
            let headers: HTTPHeaders = status == .ok ? ["Content-Length": "0"] : [:]
            let head = HTTPResponseHead(version: version, status: status, headers: headers)
            context.write(self.wrapOutboundOut(.head(head)), promise: nil)
            context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: promise)
        }
    }

    /// The peer of one connection, and the application behind it.
    struct Client {
        let channel: EmbeddedChannel
        private let application: Application
        let head: ConnectionHead
        let socket: Socket

        fileprivate init(_ channel: EmbeddedChannel) throws {
            self.channel = channel
            self.application = try channel.pipeline.syncOperations.handler(type: Application.self)
            self.head = try channel.pipeline.syncOperations.handler(type: ConnectionHead.self)
            self.socket = try channel.pipeline.syncOperations.handler(type: Socket.self)
        }

        var isOpen: Bool { self.channel.isActive }
        var asked: [String] { self.application.asked }
        /// Its application knows that it says nothing more.
        var sawEnd: Bool { self.application.sawEnd }

        func send(_ text: String) throws {
            try self.channel.writeInbound(ByteBuffer(string: text))
            self.channel.embeddedEventLoop.run()
        }

        func ask(_ path: String, _ headers: String...) throws {
            try self.send("GET \(path) HTTP/1.1\r\n" + headers.map { $0 + "\r\n" }.joined() + "\r\n")
        }

        /// It may go on to read.
        func finishSending() {
            self.channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
            self.channel.embeddedEventLoop.run()
        }

        func answer(
            _ status: HTTPResponseStatus = .ok, version: HTTPVersion = .http1_1, promise: EventLoopPromise<Void>? = nil
        ) {
            self.application.answer(status, version: version, promise: promise)
            self.channel.embeddedEventLoop.run()
        }

        /// All that has come since it was last asked for.
        func heard() throws -> String {
            var words = ""
            while let next = try self.channel.readOutbound(as: IOData.self) {
                if case .byteBuffer(let bytes) = next { words += String(buffer: bytes) }
            }
            return words.lowercased()
        }
    }
}
#endif  // NIO
