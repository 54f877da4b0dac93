// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Tableflip
import Testing

@testable import TableflipNIO

@Suite(.timeLimit(.minutes(1))) struct LoopConnectionsTests {
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
}
#endif  // NIO
