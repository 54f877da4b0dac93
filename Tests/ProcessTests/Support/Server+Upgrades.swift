// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

extension Server {
    /// What came of asking a process for an upgrade: the event that ended it.
    struct Outcome: Hashable, Sendable {
        /// `committed`, `failed` or `refused`.
        var phase: String
        var peer: CInt
        /// Empty for `committed`.
        var code: String
    }

    func requestUpgrade(of process: CInt) { self.signal(process, SIGHUP) }

    /// The end of the upgrade that was asked for at the mark. `begun`: one that had begun by then does not count, nor one
    /// that is refused. Whoever heard of the last one from the control socket may have been told before it was written down.
    func outcome(of process: CInt, from mark: Int, begun: Bool = false) async throws -> Outcome {
        try await self.log.wait(for: "the outcome of an upgrade") { history in
            history.lines.dropFirst(mark).lazy.filter { $0.process == process }
                .drop { begun && !$0.words.hasPrefix("event requested ") }
                .compactMap { Outcome($0.words) }.first
        }
    }

    /// Asks the process in charge for an upgrade, and waits for its outcome.
    func upgrade() async throws -> Outcome {
        let mark = self.mark
        self.requestUpgrade(of: self.current)
        return try await self.outcome(of: self.current, from: mark)
    }

    /// An upgrade that must succeed, up to the end of the old process.
    func replace() async throws {
        let (old, mark) = (self.current, self.mark)
        self.requestUpgrade(of: old)
        let outcome = try await self.outcome(of: old, from: mark, begun: true)
        try #require(outcome.phase == "committed", "\(outcome)")
        try await self.follow(to: outcome.peer, from: old)
    }

    /// The process that the last upgrade of this one led, or leads, to.
    func successor(of process: CInt) async throws -> CInt {
        let line = try await self.log.wait(for: "a successor of \(process)") { history in
            history.lines.last { $0.process == process && $0.words.hasPrefix("event handedOver") }
        }
        return try #require(line.words.split(separator: " ").last.flatMap { CInt($0) })
    }

    /// From here on this process is the one in charge; the old one leaves.
    func follow(to successor: CInt, from old: CInt) async throws {
        self.current = successor
        try await self.line(of: successor, startingWith: "serving")
        try await self.line(of: successor, startingWith: "event owner")
        try await self.line(of: successor, startingWith: "event predecessorLeft \(old)")
        if let ending = self.log.history.endings[old] { #expect(ending == .exited(0)) }
        try await self.answer(from: successor)
        #expect(await self.eventually { ProcessFacts.state(of: old) == nil }, "\(old) was not reaped")
        #expect(self.namedProcess == successor)
    }

    /// Who the PID file says is in charge.
    var namedProcess: CInt? {
        (try? String(contentsOf: self.pidFile, encoding: .utf8)).flatMap { CInt($0.trimmingCharacters(in: .newlines)) }
    }

    /// Whatever `body` does, the process in charge is as before afterwards: it serves, no descriptor, no child and no
    /// other process is left, the PID file names it, and the next upgrade works.
    func unharmed(leavingOrphans orphans: Int = 0, _ body: () async throws -> Void) async throws {
        let current = self.current
        let before = self.facts(of: current)
        let (group, others) = (self.first, ProcessFacts.processes(inGroup: self.first))
        try await body()
        try await self.answer(from: current)
        let isAsBefore = await self.eventually {
            let now = ProcessFacts.processes(inGroup: group)
            return now.isSuperset(of: others) && (now.count == others.count + orphans || others.isEmpty)
        }
        #expect(isAsBefore, "\(self.processes), where there were \(others)")
        await self.expect(current, toBeAs: before)
        #expect(before.children == [] && ProcessFacts.state(of: current) != "Z")
        #expect(self.namedProcess == current)
        try self.misbehave("")
        try await self.replace()
    }
}

extension Server.Outcome {
    /// `event failed 123 successorExited`
    fileprivate init?(_ words: String) {
        let parts = words.split(separator: " ")
        guard parts.count >= 3, parts[0] == "event",
            ["committed", "failed", "rolledBack", "refused"].contains(parts[1])
        else {
            return nil
        }
        self.phase = String(parts[1])
        self.peer = CInt(parts[2]) ?? 0
        self.code = parts.count > 3 ? String(parts[3]) : ""
    }
}
