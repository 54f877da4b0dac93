// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore
import Synchronization
import Tableflip
import TableflipTesting
import Testing

@testable import TableflipNIO

@Suite(.timeLimit(.minutes(5))) struct WarmUpTests {
    /// Sends back what comes, or nothing.
    private final class Echo: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        let answers: Bool

        init(answers: Bool) { self.answers = answers }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            if self.answers { context.writeAndFlush(data, promise: nil) }
        }
    }

    private func server(_ upgrader: Upgrader, answers: Bool, _ setUps: SetUps) async throws -> LiveServer {
        let listener = try upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0))
        return try await LiveServer.start(on: listener, of: upgrader) { connection in
            setUps.count.add(1, ordering: .relaxed)
            try connection.channel.pipeline.syncOperations.addHandler(Echo(answers: answers))
        }
    }

    private final class SetUps: Sendable {
        let count = Atomic<Int>(0)
    }

    @Test func `a server answers itself before it is ready, and keeps nothing of it`() async throws {
        let (upgrader, setUps) = (try StubUpgrader().upgrader, SetUps())
        let server = try await self.server(upgrader, answers: true, setUps)
        try await server.warmUp(with: [1, 2, 3])
        #expect(setUps.count.load(ordering: .relaxed) == 1)
        try await upgrader.ready()
        upgrader.stop()
        // Returns when every connection has ended.
        try await server.drained()
        #expect(server.connectionCounts.open == 0)
    }

    @Test func `one that does not answer says so when its time is over`() async throws {
        let (upgrader, setUps) = (try StubUpgrader().upgrader, SetUps())
        let server = try await self.server(upgrader, answers: false, setUps)
        await #expect(throws: LiveServer.WarmUpFailed.self) {
            try await server.warmUp(with: [1], within: .milliseconds(50))
        }
        #expect(setUps.count.load(ordering: .relaxed) == 1)
        upgrader.stop()
    }
}
#endif  // NIO
