// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

#if os(Linux)
@Suite(.fewAtATime, .timeLimit(.minutes(15)))
struct ThousandTests {
    /// What must not grow.
    private struct Size: Equatable {
        var arguments: Data
        var environment: [Data]
        /// Of the private variable: how often it is there.
        var channels: Int
        var descriptors: Int
        var namedThreads: [String]
        var threads: Int
        /// Resident, in kilobytes.
        var memory: Int

        /// Of a process in which nothing happens. Swift's pool ends its threads after some seconds without work, of
        /// which no event tells: the least of ten seconds counts.
        init(of process: CInt) async throws {
            self.arguments = ProcessFacts.arguments(of: process)
            self.environment = ProcessFacts.environment(of: process)
            self.channels = ProcessFacts.channels(of: process).count
            self.descriptors = ProcessFacts(of: process).descriptors.count
            self.threads = .max
            let end = ContinuousClock.now + .seconds(10)
            while ContinuousClock.now < end {
                self.threads = min(self.threads, ProcessFacts.threadCount(of: process))
                try await Task.sleep(for: .milliseconds(100))
            }
            self.namedThreads = ProcessFacts.threads(of: process)
            self.memory = ProcessFacts.residentKilobytes(of: process)
        }
    }

    @Test(
        .enabled(
            if: ProcessInfo.processInfo.environment["TABLEFLIP_ALONE"] != nil,
            "weighs a process, so it runs alone: TABLEFLIP_ALONE=1 swift test --filter ThousandTests"
        )
    )
    func `After a thousand upgrades in a row a process is as large as after ten`() async throws {
        try await Server.withProcess(.plain, Server.Start()) { server in
            try await server.line(of: server.first, startingWith: "event owner")
            let first = ProcessFacts.environment(of: server.first)
            #expect(!first.isEmpty && ProcessFacts.channels(of: server.first).isEmpty)
            var tenth: Size?
            for generation in 2...1001 {
                let old = server.current
                let mark = server.mark
                server.requestUpgrade(of: old)
                let left = try await server.line(from: mark, startingWith: "event predecessorLeft \(old)")
                #expect(left.generation == generation)
                server.current = left.process
                if generation == 10 { tenth = try await Size(of: left.process) }
            }
            let before = try #require(tenth)
            #expect(before.channels == 1)
            // What the tenth has, the first one had.
            #expect(before.environment == first)
            var now = try await Size(of: server.current)
            #expect(before.memory > 0 && before.descriptors > 0 && before.threads > 2, "\(before)")
            #expect(
                abs(now.memory - before.memory) * 20 <= before.memory, "\(now.memory) kB, after ten \(before.memory)")
            now.memory = before.memory
            #expect(now == before)
            #expect(server.namedProcess == server.current)
            #expect(server.log.history.endings.values.allSatisfy { $0 == .exited(0) })
        }
    }
}
#endif
