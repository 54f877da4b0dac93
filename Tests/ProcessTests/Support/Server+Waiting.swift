// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport
import Testing

/// What a test does to a service, and sees of it.
extension Server {
    /// What successors will do wrong; empty for nothing.
    func misbehave(_ behaviour: String) throws {
        try Data((behaviour + "\n").utf8).write(to: self.directory.appending(path: "behaviour"), options: .atomic)
    }

    func signal(_ process: CInt, _ signal: CInt) {
        #expect(kill(process, signal) == 0, "\(process) is gone")
    }

    /// A line of this process that is not older than the mark.
    @discardableResult
    func line(
        of process: CInt? = nil, from mark: Int = 0, _ what: String, _ words: @escaping @Sendable (String) -> Bool
    ) async throws -> Line {
        try await self.log.wait(for: what) { $0.first(process, from: mark, words) }
    }

    @discardableResult
    func line(of process: CInt? = nil, from mark: Int = 0, startingWith prefix: String) async throws -> Line {
        try await self.line(of: process, from: mark, "a line \"\(prefix)…\"") { $0.hasPrefix(prefix) }
    }

    /// The place in the history at which whatever is said from now on begins.
    var mark: Int { self.log.history.lines.count }

    func ending(of process: CInt) async throws -> Ending {
        try await self.log.wait(for: "the end of \(process)") { $0.endings[process] }
    }

    /// Waits until there is no process left.
    func everythingToEnd() async throws {
        try await self.log.wait(for: "the end of everything") { $0.childrenHaveEnded && $0.outputHasEnded ? () : nil }
    }

    /// Waits for an answer, to a request that begins after this call, from this process.
    func answer(from process: CInt) async throws {
        // The request that is under way may have been answered before.
        let count = (self.log.history.answers[process] ?? 0) + 1
        try await self.log.wait(for: "an answer from \(process)") { $0.answers[process, default: 0] > count ? () : nil }
    }

    /// Waits for something that nothing tells of, neither a line nor an event of the kernel: looks again and again.
    /// - Returns: whether it came.
    func eventually(_ condition: @escaping @Sendable () -> Bool) async -> Bool {
        let end = ContinuousClock.now + patience
        while !condition() {
            if ContinuousClock.now >= end { return false }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return true
    }

    func facts(of process: CInt) -> ProcessFacts {
        self.client?.held { ProcessFacts(of: process) } ?? ProcessFacts(of: process)
    }

    /// Sooner or later the process has the descriptors and children again that it had before.
    func expect(_ process: CInt, toBeAs before: ProcessFacts) async {
        // The look that is waited for is the one that is judged: a moment later there may be more again.
        let end = ContinuousClock.now + patience
        var now = self.facts(of: process)
        while now != before, ContinuousClock.now < end {
            try? await Task.sleep(for: .milliseconds(10))
            now = self.facts(of: process)
        }
        #expect(now == before)
    }
}
