// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

/// A process whose table of descriptors is full, or nearly so (EMFILE).
@Suite(.fewAtATime)
struct ShortageTests {
    /// How many descriptors are free from here on; nil: as many as ever.
    private func leave(_ free: Int?, of server: Server) async throws {
        let mark = server.mark
        try server.letGo("FIFO", free.map { "\($0)" } ?? "-")
        try await server.line(of: server.current, from: mark, startingWith: free.map { "shortage \($0)" } ?? "plenty")
    }

    /// Whatever has no room, the old process serves on: with each number of free descriptors, up to enough of them.
    @Test(arguments: [Variant.plain, .portableReader])
    func `An upgrade for which there are too few descriptors fails in words, and harms nobody`(
        _ variant: Variant
    ) async throws {
        try await Server.with(variant, ["--shortage", "FIFO"]) { server in
            var codes: [String] = []
            // From here on there is a limit, and it stays.
            try await self.leave(nil, of: server)
            for free in 0..<10 {
                let before = server.facts(of: server.current)
                // Without a descriptor left nothing can be accepted.
                server.client?.hold()
                try await self.leave(free, of: server)
                let mark = server.mark
                let asked = ContinuousClock.now
                let outcome = try await server.upgrade()
                if outcome.phase == "committed" {
                    server.client?.release()
                    try await server.follow(to: outcome.peer, from: server.current)
                    break
                }
                codes.append(outcome.code)
                #expect(outcome.phase == "failed")
                let words = try await server.line(of: server.current, from: mark, startingWith: "words \(outcome.code)")
                #expect(words.words.contains("open files"), "\(words)")
                #expect(words.words.contains("ulimit -n"), "\(words)")
                // It has a beginning, from which its time is counted, even where there is no channel.
                #expect(server.log.history.first(server.current, from: mark) { $0 == "event requested 0" } != nil)
                let time = try await server.line(of: server.current, from: mark, startingWith: "microseconds ")
                let elapsed = try #require(time.words.split(separator: " ").last.flatMap { Int($0) })
                #expect(.microseconds(elapsed) < asked.duration(to: .now), "\(outcome)")
                try await self.leave(nil, of: server)
                server.client?.release()
                try await server.answer(from: server.current)
                await server.expect(server.current, toBeAs: before)
            }
            #expect(codes.contains("system") && codes.contains("spawnFailed"), "\(codes)")
            try await server.replace()
        }
    }

    @Test(arguments: [Variant.plain, .portableReader])
    func `A process that has no descriptor left removes its PID file when it stops`(_ variant: Variant) async throws {
        try await Server.with(variant, ["--shortage", "FIFO"]) { server in
            try await self.leave(nil, of: server)
            server.client?.hold()
            try await self.leave(0, of: server)
            server.stopClient()
            server.signal(server.current, SIGTERM)
            try await server.everythingToEnd()
            #expect(!FileManager.default.fileExists(atPath: server.pidFile.path))
        }
    }

    @Test(arguments: [Variant.plain, .portableReader])
    func `When accept fails for want of descriptors, the listeners stay open and what waits is answered later`(
        _ variant: Variant
    ) async throws {
        try await Server.with(variant, ["--shortage", "FIFO"]) { server in
            try await self.leave(nil, of: server)
            let before = server.facts(of: server.current)
            // No connection is open meanwhile, whose number would be free when it ends.
            server.client?.hold()
            try await self.leave(0, of: server)
            // The client's next request waits in the queue.
            server.client?.release()
            try await server.line(of: server.current, startingWith: "accept-failed")
            #expect(try await server.upgrade().phase == "failed")
            try await self.leave(nil, of: server)
            try await server.answer(from: server.current)
            await server.expect(server.current, toBeAs: before)
            try await server.replace()
        }
    }
}
