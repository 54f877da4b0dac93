// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

#if os(Linux)
/// Between the moment at which the old process has stopped to accept and that at which the new one starts.
@Suite(.fewAtATime)
struct QueueTests {
    /// Brings a service to that moment: the successor is stopped (SIGSTOP) when it is told go.
    private func betweenTheTwo(
        _ variant: Variant, _ body: (Server, _ successor: CInt, _ waiting: Connection) async throws -> Void
    ) async throws {
        // The old process is not to take the stopped one for one that hangs before the test goes on.
        let arguments = ["--reader", "--pause-wait", "FIFO", "--pause-timeout", "30000", "--looks", "200"]
        try await Server.with(variant, arguments) { server in
            // What the client asks meanwhile waits as well, and is answered.
            let mark = server.mark
            server.requestUpgrade(of: server.first)
            // The old process pauses when it gets a byte, and says go then.
            try await server.line(of: server.first, from: mark, startingWith: "event ready")
            let successor = try await server.successor(of: server.first)
            server.signal(successor, SIGSTOP)
            #expect(await server.eventually { ProcessFacts.state(of: successor) == "T" })
            try server.letGo("FIFO")
            try await server.line(of: server.first, from: mark, startingWith: "event go")
            let waiting = try Connection(server.port)
            try waiting.ask()
            try await body(server, successor, waiting)
        }
    }

    @Test(arguments: [Variant.reader, .portableReader])
    func `A connection that is made while neither process reads is answered by the new one`(
        _ variant: Variant
    ) async throws {
        try await self.betweenTheTwo(variant) { server, successor, waiting in
            server.signal(successor, SIGCONT)
            #expect(try await waiting.answer() == successor)
            try await server.follow(to: successor, from: server.first)
        }
    }

    @Test(arguments: [Variant.reader, .portableReader])
    func `A connection that is made while neither process reads is answered by the old one when the new one dies`(
        _ variant: Variant
    ) async throws {
        try await self.betweenTheTwo(variant) { server, successor, waiting in
            server.signal(successor, SIGKILL)
            #expect(try await waiting.answer() == server.first)
            try await server.answer(from: server.first)
        }
    }
}
#endif
