// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Dispatch
import NIOCore
import NIOHTTP1
import NIOPosix
import Tableflip
import TableflipTesting
import Testing

@testable import TableflipNIO

/// A stop that meets what nobody has read yet.
@Suite(.timeLimit(.minutes(5))) struct StopTests {
    private final class Hello: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard case .end = self.unwrapInboundIn(data) else { return }
            let head = HTTPResponseHead(version: .http1_1, status: .ok, headers: ["Content-Length": "0"])
            context.write(self.wrapOutboundOut(.head(head)), promise: nil)
            context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
        }
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

        func channelInactive(context: ChannelHandlerContext) { self.whole.succeed(self.words) }
    }

    @Test(arguments: [true, false])
    func `a request that has arrived is answered, though nobody has read it yet`(_ hasAskedBefore: Bool) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let upgrader = try StubUpgrader().upgrader
        let listener = try upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0))
        let server = try await LiveServer.start(on: listener, of: upgrader, group: group) { connection in
            try connection.channel.pipeline.syncOperations.configureHTTPServerPipeline()
            try connection.movesHTTP1()
            try connection.channel.pipeline.syncOperations.addHandler(Hello())
        }
        try await upgrader.ready()

        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let (first, whole) = (loop.makePromise(of: Void.self), loop.makePromise(of: String.self))
        let client = try await ClientBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Ear(first: first, whole: whole))
                }
            }
            .connect(host: "127.0.0.1", port: Int(try #require(listener.port))).get()
        let request = ByteBuffer(string: "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        let deadline = ContinuousClock.now + .seconds(60)
        if hasAskedBefore {
            try await client.writeAndFlush(request).get()
            try await first.futureResult.get()
        } else {
            first.succeed()
            while server.connectionCounts.open == 0, ContinuousClock.now < deadline { await Task.yield() }
        }

        // The only loop of the server is told to stop when it is about to look at its sockets again, and not before.
        let mayStop = DispatchSemaphore(value: 0)
        let connections = server.loops[0]
        let isBusy = loop.makePromise(of: Void.self)
        let stopped = group.next().flatSubmit {
            isBusy.succeed()
            mayStop.wait()
            return connections.value.finish(now: true)
        }
        do {
            defer { mayStop.signal() }
            try await isBusy.futureResult.get()
            try await client.writeAndFlush(request).get()
        }
        let answers = try await whole.futureResult.get()
        #expect(answers.ranges(of: "200 OK").count == (hasAskedBefore ? 2 : 1), "\(answers)")
        #expect(answers.contains("close"), "the last answer says that it is the last: \(answers)")
        try await stopped.get()
        upgrader.stop()
        try await server.drained()
        try await group.shutdownGracefully()
    }
}
#endif  // NIO
