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
        #expect(server.connectionCounts.open == 1)
        try await client.close().get()
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
#endif  // NIO
