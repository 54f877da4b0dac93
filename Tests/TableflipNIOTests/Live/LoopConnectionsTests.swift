// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Logging
import NIOCore
import NIOPosix
import Synchronization
import Tableflip
import TableflipSystem
import Testing

@testable import TableflipNIO

@Suite(.timeLimit(.minutes(5))) struct LoopConnectionsTests {
    /// Those that are told last have waited for the first already.
    @Test func `what was about to move is served at once when nobody takes it, whenever it is told to end`() throws {
        let bench = Bench(spread: .seconds(3600)) { try $0.movesHTTP1() }
        let clients = try (0..<3).map { _ in try bench.connect() }
        for client in clients { try client.ask("/first") }
        try bench.move()
        for client in clients {
            client.answer()
            try client.ask("/second")
            #expect(client.asked == ["/first"], "it moves next")
        }
        bench.connections.stopMoving()
        bench.turn()
        for client in clients { #expect(client.asked == ["/first", "/second"]) }
    }

    /// They end as they come, so that there is none at every moment in between.
    @Test func `a loop is not empty while some of what came waits to be adopted`() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let peers = try (0..<6).map { _ in try ChannelSocket.pair() }
        let setUps = SetUps()
        let adopted = try await loop.flatSubmit {
            let connections = LoopConnections(
                loop: loop, listener: "web", counts: LiveCounts(), spread: .zero,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            ) { connection in
                setUps.count.add(1, ordering: .relaxed)
                return connection.channel.eventLoop.makeCompletedFuture {
                    try connection.channel.pipeline.syncOperations.addHandler(EndsAtOnce())
                }
            }
            _ = connections.adopt(
                peers.map {
                    LiveDescriptor(takingOwnershipOf: OwnedDescriptor(takingOwnershipOf: $0.ours), listener: "web")
                }
            )
            return connections.emptied().map { setUps.count.load(ordering: .relaxed) }
        }.get()
        #expect(adopted == 6)
        for pair in peers { OwnedDescriptor(takingOwnershipOf: pair.theirs).close() }
        try await group.shutdownGracefully()
    }

    private final class SetUps: Sendable {
        let count = Atomic<Int>(0)
    }

    private final class EndsAtOnce: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        func channelActive(context: ChannelHandlerContext) { context.close(promise: nil) }
    }
}
#endif  // NIO
