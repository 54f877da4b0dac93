// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

/// A service that is stopped as a whole, as `docker pause` does it, for longer than anything is waited for. Nobody is late
/// then.
@Suite(.fewAtATime)
struct SuspensionTests {
    /// Stops processes, and lets so much time pass.
    private func suspend(_ processes: [CInt], _ server: Server, for time: Duration) async throws {
        for process in processes { server.signal(process, SIGSTOP) }
        #expect(await server.eventually { processes.allSatisfy { ProcessFacts.isStopped($0) } })
        // What is waited for is the time itself.
        try await Task.sleep(for: time)
    }

    @Test(arguments: [Variant.reader, .portableReader], [true, false])
    func `A service that is suspended in a probation goes on with it, whoever wakes first`(
        _ variant: Variant, _ successorIsFirst: Bool
    ) async throws {
        // A successor waits 13 s for its commit then.
        let arguments = ["--owner-lock", "--probation", "4000", "--deadlines", "1500"]
        try await Server.with(variant, .init(arguments: arguments.map { Array($0.utf8) })) { server in
            let old = server.first
            let mark = server.mark
            server.requestUpgrade(of: old)
            let line = try await server.line(of: old, from: mark, startingWith: "event probation")
            let successor = try #require(CInt(line.words.split(separator: " ").last ?? ""))
            try await server.line(of: successor, startingWith: "event serving")
            server.client?.hold()
            try await self.suspend([old, successor], server, for: .seconds(15))
            server.signal(successorIsFirst ? successor : old, SIGCONT)
            server.client?.release()
            if successorIsFirst { try await server.answer(from: successor) }
            server.signal(successorIsFirst ? old : successor, SIGCONT)
            #expect(try await server.outcome(of: old, from: mark).phase == "committed")
            try await server.follow(to: successor, from: old)
            let locks = server.log.history.lines.filter { $0.words.hasPrefix("lock ") }
            let words = locks.map { "\($0.process == successor ? "S" : "P") \($0.words)" }
            #expect(words == ["P lock taken", "P lock released", "S lock taken"])
        }
    }

    @Test func `A drain that is suspended has all of its time`() async throws {
        try await Server.with(.reader, ["--drain-timeout", "10000", "--linger", "FIFO"]) { server in
            let (old, mark) = (server.first, server.mark)
            server.requestUpgrade(of: old)
            let outcome = try await server.outcome(of: old, from: mark)
            try await server.line(of: old, startingWith: "leaving replaced")
            try await self.suspend([old], server, for: .seconds(11))
            server.signal(old, SIGCONT)
            let ending = try? await server.log.wait(for: "its end, at once", within: .seconds(1)) { $0.endings[old] }
            #expect(ending == nil)
            try server.letGo("FIFO")
            #expect(try await server.ending(of: old) == .exited(0))
            try await server.follow(to: outcome.peer, from: old)
        }
    }
}
