// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Logging
import NIOCore
import NIOPosix
import Synchronization
import Tableflip
import TableflipTesting
import Testing

@testable import TableflipNIO

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A server channel that has closed: accept(2) failed as it should not, say.
@Suite(.timeLimit(.minutes(5))) struct AcceptGateTests {
    /// What was logged as an error.
    private final class Errors: Sendable {
        private let messages = Mutex<[String]>([])
        var all: [String] { self.messages.withLock { $0 } }

        func note(_ message: String) { self.messages.withLock { $0.append(message) } }
    }

    private struct Recorder: LogHandler {
        let errors: Errors
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.error

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { self.metadata[key] }
            set { self.metadata[key] = newValue }
        }

        func log(event: LogEvent) { self.errors.note("\(event.message)") }
    }

    private func server(_ errors: Errors = Errors()) async throws -> (LiveServer, Upgrader, UInt16) {
        let upgrader = try StubUpgrader(logger: Logger(label: "test") { _ in Recorder(errors: errors) }).upgrader
        let listener = try upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0))
        let server = try await LiveServer.start(on: listener, of: upgrader) { _ in }
        try await upgrader.ready()
        return (server, upgrader, try #require(listener.port))
    }

    @Test func `it does not keep the process from being replaced`() async throws {
        let (server, upgrader, _) = try await self.server()
        try await server.channel.close().get()
        try await upgrader.upgrade()
        try await server.drained()
    }

    @Test func `it does not keep the process from finishing what it has begun`() async throws {
        let (server, upgrader, port) = try await self.server()
        let client = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .connect(host: "127.0.0.1", port: Int(port)).get()
        await eventually { server.connectionCounts.open > 0 }
        try await server.channel.close().get()
        upgrader.stop()
        async let drained: Void = server.drained()
        // The server may be quicker: nothing has come by it.
        do { try await client.close().get() } catch ChannelError.alreadyClosed {}
        try await drained
        #expect(server.connectionCounts.open == 0)
    }

    @Test func `it is told, unless its gate has closed it`() async throws {
        let (errors, quiet) = (Errors(), Errors())
        let (broken, _, _) = try await self.server(errors)
        try await broken.channel.close().get()
        let (server, upgrader, _) = try await self.server(quiet)
        upgrader.stop()
        try await server.drained()
        for server in [broken, server] { try await server.channel.eventLoop.submit {}.get() }
        #expect(errors.all.count == 1 && errors.all.first?.contains("accepts nothing more") == true)
        #expect(quiet.all == [])
    }
}

/// A server channel that something else has made: gRPC Swift, say.
@Suite(.timeLimit(.minutes(5))) struct InstalledGateTests {
    private final class Framework: Sendable {
        let gate = Mutex<AcceptGate?>(nil)
        /// Connections whose set-up has begun.
        let begun = Atomic(0)
        let isPaused = Atomic(false)

        func install(on channel: any Channel, for listener: Listener, of upgrader: Upgrader) -> EventLoopFuture<Void> {
            channel.eventLoop.makeCompletedFuture {
                let gate = try AcceptGate.install(on: channel, for: listener, of: upgrader)
                self.gate.withLock { $0 = gate }
            }
        }
    }

    @Test func `it accepts when it may, has the listener's queue, and is paused when all are set up`() async throws {
        let upgrader = try StubUpgrader().upgrader
        let path = "/tmp/tableflip-gate-\(getpid()).sock"
        let listener = try upgrader.listen(on: .unix(path: path), options: .init(backlog: 1))
        let group = MultiThreadedEventLoopGroup.singleton
        let mayEnd = group.next().makePromise(of: Void.self)
        let framework = Framework()
        let server = try await ServerBootstrap(group: group)
            .serverChannelInitializer { framework.install(on: $0, for: listener, of: upgrader) }
            .bind(try listener.duplicate().release()) { child in
                framework.begun.add(1, ordering: .relaxed)
                return mayEnd.futureResult.hop(to: child.eventLoop)
            }
        let gate = try #require(framework.gate.withLock { $0 })
        let connect = { try await ClientBootstrap(group: group).connect(unixDomainSocketPath: path).get() }
        let clients = [try await connect(), try await connect()]
        // Linux queues one more than the number.
        await #expect(throws: (any Error).self) { _ = try await connect() }
        #expect(framework.begun.load(ordering: .relaxed) == 0)
        try await upgrader.ready()
        await eventually { framework.begun.load(ordering: .relaxed) == 2 }
        let paused = gate.pausing().map { framework.isPaused.store(true, ordering: .relaxed) }
        for _ in 0..<2 { try await server.channel.eventLoop.submit {}.get() }
        let isPaused = framework.isPaused.load(ordering: .relaxed)
        #expect(!isPaused, "two are being set up")
        mayEnd.succeed()
        try await paused.get()
        try await server.executeThenClose { inbound in
            var accepted = inbound.makeAsyncIterator()
            for _ in clients {
                let child: Void? = try await accepted.next()
                #expect(child != nil)
            }
        }
        for client in clients { try await client.close().get() }
        upgrader.stop()
        _ = await upgrader.exit
    }

    private struct Refused: Error {}

    @Test func `a connection whose set-up fails does not keep it from pausing`() async throws {
        let upgrader = try StubUpgrader().upgrader
        let listener = try upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0))
        let group = MultiThreadedEventLoopGroup.singleton
        let framework = Framework()
        let server = try await ServerBootstrap(group: group)
            .serverChannelInitializer { framework.install(on: $0, for: listener, of: upgrader) }
            .bind(try listener.duplicate().release()) { (child) -> EventLoopFuture<Void> in
                child.close(promise: nil)
                return child.eventLoop.makeFailedFuture(Refused())
            }
        try await upgrader.ready()
        let client = try await ClientBootstrap(group: group)
            .connect(host: "127.0.0.1", port: Int(try #require(listener.port))).get()
        try await client.closeFuture.get()
        try await #require(framework.gate.withLock { $0 }).pausing().get()
        try await server.channel.close().get()
        upgrader.stop()
        _ = await upgrader.exit
    }
}
#endif  // NIO
