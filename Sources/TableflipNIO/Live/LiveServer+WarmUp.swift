// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore
import NIOPosix

extension LiveServer {
    /// Serves one request of its own, so that the first ones of others do not wait for what a process does only once:
    /// pages of the program are read, types are made, caches are filled. To be called before ``Upgrader/ready()``, while
    /// the predecessor still serves:
    ///
    /// ```swift
    /// try await server.warmUp(with: Array("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".utf8))
    /// try await upgrader.ready()
    /// ```
    ///
    /// The request comes over a connection from the loopback address 127.0.0.1, by way of a socket that nobody else knows
    /// and that is closed afterwards. The application's handlers see it like any other.
    ///
    /// What is sent is sent as it is. A server that speaks TLS does not take that for a request: there this throws, whatever
    /// the request. Nor does one that hands its connections to the program as a sequence, before the program iterates over
    /// it.
    /// - Parameters:
    ///   - request: what is sent.
    ///   - limit: how long the first bytes of the answer may take.
    /// - Throws: ``WarmUpFailed`` when there is no answer, else what NIO throws. The server can go on nonetheless.
    public func warmUp(with request: [UInt8], within limit: Duration = .seconds(1)) async throws {
        let loop = self.loops[0]
        let server = try await ServerBootstrap(group: loop.eventLoop)
            .childChannelInitializer { loop.value.initialise($0) }
            .bind(host: "127.0.0.1", port: 0).get()
        defer { server.close(promise: nil) }
        guard let address = server.localAddress else { throw WarmUpFailed() }
        let answered = loop.eventLoop.makePromise(of: Void.self)
        do {
            let client = try await ClientBootstrap(group: loop.eventLoop)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(Answer(answered))
                    }
                }
                .connect(to: address).get()
            let deadline = loop.eventLoop.scheduleTask(in: TimeAmount(limit)) { client.close(promise: nil) }
            client.writeAndFlush(ByteBuffer(bytes: request), promise: nil)
            try await answered.futureResult.get()
            deadline.cancel()
            client.close(promise: nil)
        } catch {
            answered.fail(error)
            throw error
        }
    }

    /// There was no answer to the request of ``warmUp(with:within:)``, or none in time.
    public struct WarmUpFailed: Error, CustomStringConvertible {
        /// What happened.
        public var description: String { "the server did not answer its own request" }
    }

    private final class Answer: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        private let answered: EventLoopPromise<Void>

        init(_ answered: EventLoopPromise<Void>) { self.answered = answered }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) { self.answered.succeed() }

        // After an answer it says nothing.
        func channelInactive(context: ChannelHandlerContext) { self.answered.fail(WarmUpFailed()) }
    }
}
#endif  // NIO
