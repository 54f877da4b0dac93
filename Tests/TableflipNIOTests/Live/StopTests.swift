// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Dispatch
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization
import Tableflip
import TableflipTesting
import Testing

@testable import TableflipNIO

/// A stop that meets what nobody has read yet.
@Suite(.timeLimit(.minutes(5))) struct StopTests {
    private final class Hello: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        let size: Int
        /// The kernel has the first answer.
        private var sent: EventLoopPromise<Void>?

        init(size: Int = 0, sent: EventLoopPromise<Void>? = nil) {
            self.size = size
            self.sent = sent
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard case .end = self.unwrapInboundIn(data) else { return }
            let head = HTTPResponseHead(version: .http1_1, status: .ok, headers: ["Content-Length": "\(self.size)"])
            let body = ByteBuffer(repeating: UInt8(ascii: "x"), count: self.size)
            context.write(self.wrapOutboundOut(.head(head)), promise: nil)
            context.write(self.wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
            context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: self.sent.take())
        }
    }

    /// Never answers.
    private final class Silent: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        let silence: Silence

        init(_ silence: Silence) { self.silence = silence }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            if case .end = self.unwrapInboundIn(data) { self.silence.heard.add(1, ordering: .relaxed) }
        }
    }

    private final class Silence: Sendable {
        /// How many requests have been.
        let heard = Atomic(0)
    }

    /// All that a client hears, up to the end.
    private final class Ear: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private var words = ""
        private var first: EventLoopPromise<Void>?
        private let whole: EventLoopPromise<String>

        init(first: EventLoopPromise<Void>, whole: EventLoopPromise<String>) {
            self.first = first
            self.whole = whole
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.words += String(buffer: self.unwrapInboundIn(data))
            self.first.take()?.succeed()
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            self.whole.fail(error)
            context.close(promise: nil)
        }

        func channelInactive(context: ChannelHandlerContext) {
            self.first.take()?.succeed()
            self.whole.succeed(self.words)
        }
    }

    /// A server with one event loop, which a test can keep busy, and a client on another.
    private struct Scene {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let upgrader: Upgrader
        let server: LiveServer
        let port: Int
        let loop = MultiThreadedEventLoopGroup.singleton.next()

        init(_ setUp: @escaping @Sendable (LiveConnection) throws -> Void) async throws {
            self.upgrader = try StubUpgrader().upgrader
            let listener = try self.upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0))
            self.server = try await LiveServer.start(
                on: listener, of: self.upgrader, group: self.group, setUp: setUp)
            try await self.upgrader.ready()
            self.port = Int(try #require(listener.port))
        }

        func connect(reads: Bool = true) async throws -> Client {
            let (first, whole) = (self.loop.makePromise(of: Void.self), self.loop.makePromise(of: String.self))
            let channel = try await ClientBootstrap(group: self.loop)
                .channelOption(.autoRead, value: reads)
                .channelOption(.socketOption(.so_rcvbuf), value: reads ? 1 << 17 : 4096)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(Ear(first: first, whole: whole))
                    }
                }
                .connect(host: "127.0.0.1", port: self.port).get()
            return Client(channel: channel, first: first.futureResult, whole: whole.futureResult)
        }

        /// Lets the server's loop run something that it comes to after `meanwhile`, without a look at its sockets between.
        func whileBusy<Result: Sendable>(
            _ meanwhile: () async throws -> Void, then body: @escaping @Sendable () -> EventLoopFuture<Result>
        ) async throws -> EventLoopFuture<Result> {
            let mayGoOn = DispatchSemaphore(value: 0)
            let isBusy = self.loop.makePromise(of: Void.self)
            let result = self.group.next().flatSubmit {
                isBusy.succeed()
                mayGoOn.wait()
                return body()
            }
            defer { mayGoOn.signal() }
            try await isBusy.futureResult.get()
            try await meanwhile()
            return result
        }

        var finishing: @Sendable () -> EventLoopFuture<Void> {
            let connections = self.server.loops[0]
            return { connections.value.finish(now: true) }
        }

        func end() async throws {
            self.upgrader.stop()
            try await self.server.drained()
            try await self.group.shutdownGracefully()
        }
    }

    private struct Client {
        let channel: any Channel
        /// Something has come.
        let first: EventLoopFuture<Void>
        /// All that has come, up to the end.
        let whole: EventLoopFuture<String>

        func ask() async throws {
            try await self.channel.writeAndFlush(ByteBuffer(string: "GET / HTTP/1.1\r\nHost: x\r\n\r\n")).get()
        }
    }

    @Sendable private static func serveHello(_ connection: LiveConnection) throws {
        try connection.channel.pipeline.syncOperations.configureHTTPServerPipeline()
        try connection.movesHTTP1()
        try connection.channel.pipeline.syncOperations.addHandler(Hello())
    }

    @Test(arguments: [true, false])
    func `a request that has arrived is answered, though nobody has read it yet`(_ hasAskedBefore: Bool) async throws {
        let scene = try await Scene(Self.serveHello)
        let client = try await scene.connect()
        if hasAskedBefore {
            try await client.ask()
            try await client.first.get()
        } else {
            await eventually { scene.server.connectionCounts.open > 0 }
        }
        let stopped = try await scene.whileBusy({ try await client.ask() }, then: scene.finishing)
        let answers = try await client.whole.get()
        #expect(answers.ranges(of: "200 OK").count == (hasAskedBefore ? 2 : 1), "\(answers)")
        #expect(answers.contains("close"), "the last answer says that it is the last: \(answers)")
        try await stopped.get()
        try await scene.end()
    }

    @Test func `a request on a connection that nobody has accepted yet is answered`() async throws {
        let scene = try await Scene(Self.serveHello)
        var clients: [Client] = []
        let accepted = try await scene.whileBusy {
            // More than are accepted at once.
            for _ in 0..<20 {
                let client = try await scene.connect()
                try await client.ask()
                clients.append(client)
            }
        } then: { [server = scene.server] in
            server.acceptRest()
        }
        try await accepted.get()
        try await scene.end()
        for client in clients { #expect(try await client.whole.get().contains("200 OK")) }
    }

    @Test(arguments: [true, false])
    func `a server that nobody waits for any more is closed, with the connections that are left`(
        _ isTold: Bool
    ) async throws {
        let silence = Silence()
        let scene = try await Scene { connection in
            try connection.channel.pipeline.syncOperations.configureHTTPServerPipeline()
            try connection.movesHTTP1()
            try connection.channel.pipeline.syncOperations.addHandler(Silent(silence))
        }
        let clients = [try await scene.connect(), try await scene.connect()]
        for client in clients { try await client.ask() }
        await eventually { silence.heard.load(ordering: .relaxed) == 2 }
        if isTold { scene.upgrader.stop() }
        let server = scene.server
        let drained = Task { try await server.drained() }
        if isTold { _ = await scene.upgrader.exit }
        drained.cancel()
        await #expect(throws: CancellationError.self) { try await drained.value }
        for client in clients { #expect(try await client.whole.get() == "") }
        #expect(scene.server.connectionCounts.open == 0)
        #expect(scene.server.connectionCounts.drained == 0)
        try await scene.end()
    }

    @Test func `a connection by which nothing has come yet ends, whatever it will speak`() async throws {
        let scene = try await Scene { _ in }
        let client = try await scene.connect()
        await eventually { scene.server.connectionCounts.open > 0 }
        try await scene.end()
        #expect(try await client.whole.get() == "")
    }

    @Test func `what a client has not fetched from the kernel yet is not cut off by what it asks next`() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let (sent, size) = (loop.makePromise(of: Void.self), 100_000)
        let scene = try await Scene { connection in
            try connection.channel.syncOptions?.setOption(.socketOption(.so_sndbuf), value: 2 * size)
            try connection.channel.pipeline.syncOperations.configureHTTPServerPipeline()
            try connection.movesHTTP1()
            try connection.channel.pipeline.syncOperations.addHandler(Hello(size: size, sent: sent))
        }
        let client = try await scene.connect(reads: false)
        try await client.ask()
        try await sent.futureResult.get()
        let stopped = scene.group.next().flatSubmit { scene.finishing() }
        // It has been told by now.
        try await scene.group.next().submit {}.get()
        try await client.ask()
        try await client.channel.setOption(.autoRead, value: true).get()
        let answer = try await client.whole.get()
        #expect(answer.count { $0 == "x" } >= size, "\(answer.count) bytes")
        try await stopped.get()
        try await scene.end()
    }
}
#endif  // NIO
