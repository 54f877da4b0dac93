// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem
import Testing

@testable import Tableflip

/// Work that only one of two processes may do.
@Suite(.timeLimit(.minutes(3))) struct OwnershipTests {
    private struct Refused: Error, CustomStringConvertible {
        let description: String
    }

    private let journal = Journal()

    /// Work that is written down.
    private func add(
        _ name: String, to stage: Stage, begin: @escaping @Sendable () async throws -> Void = {},
        end: @escaping @Sendable () async throws -> Void = {}
    ) {
        let journal = self.journal
        stage.upgrader.addOwnershipHooks(
            becameOwner: {
                journal.note("\(name) begins")
                try await begin()
                journal.note("\(name) has begun")
            },
            losingOwnership: {
                journal.note("\(name) ends")
                try await end()
                journal.note("\(name) has ended")
            }
        )
    }

    /// Waits until its task is cancelled.
    private static func untilCancelled() async throws {
        _ = await Latch<Void>().wait()
        throw CancellationError()
    }

    // MARK: A first process

    @Test(arguments: Kernel.allCases)
    func `a first process owns the service before it is ready`(_ kernel: Kernel) async throws {
        try await Stage.first(kernel) { stage in
            self.add("A", to: stage)
            self.add("B", to: stage)
            #expect(!stage.upgrader.isOwner && self.journal.all.isEmpty)
            try await stage.upgrader.ready()
            #expect(self.journal.all == ["A begins", "A has begun", "B begins", "B has begun"])
            #expect(stage.upgrader.isOwner)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a first process whose work cannot begin does not serve`(_ kernel: Kernel) async throws {
        try await Stage.first(kernel) { stage in
            self.add("A", to: stage)
            self.add("B", to: stage, begin: { throw Refused(description: "no lock") })
            let error = try await stage.requestReady().failure
            #expect(error.code == .ownershipFailed && error.message.contains("no lock") && error.serving == .nobody)
            #expect(self.journal.all == ["A begins", "A has begun", "B begins", "A ends", "A has ended"])
            #expect(!stage.upgrader.isOwner)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `who comes late to an owner begins at once`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let hasBegun = Latch<Void>()
            self.add("A", to: stage, begin: { hasBegun.set(()) })
            try await hasBegun.value("the hook")
            // And only once, whoever comes after it.
            let second = Latch<Void>()
            self.add("B", to: stage, begin: { second.set(()) })
            try await second.value("the other hook")
            #expect(self.journal.all.filter { $0 == "A begins" }.count == 1)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a process that stops leaves when its work has ended`(_ kernel: Kernel) async throws {
        try await Stage.first(kernel) { stage in
            let mayEnd = Latch<Void>()
            let isEnding = Latch<Void>()
            self.add("A", to: stage)
            self.add(
                "B", to: stage,
                end: {
                    isEnding.set(())
                    _ = await mayEnd.wait()
                }
            )
            try await stage.upgrader.ready()
            stage.upgrader.stop()
            try await isEnding.value("losingOwnership")
            try await stage.fence()
            #expect(stage.context.exit.current == nil && !stage.upgrader.isOwner)
            // Told again in its own words, it is still the same stop.
            stage.upgrader.leave()
            try await stage.fence()
            #expect(stage.exited.current == nil)
            mayEnd.set(())
            let reason = try await stage.context.exit.value()
            #expect(reason == .stopped)
            #expect(self.journal.all.suffix(4) == ["B ends", "B has ended", "A ends", "A has ended"])
        }
    }

    @Test(arguments: Kernel.allCases, ["becameOwner", "losingOwnership"])
    func `a process whose hook does not return leaves all the same, and says which one it was`(
        _ kernel: Kernel, _ hook: String
    ) async throws {
        let end = Latch<Void>()
        defer { end.set(()) }
        try await Stage.serving(kernel, { $0.hookTimeout = .seconds(2) }) { stage in
            let called = Latch<Void>()
            let hangs: @Sendable () async throws -> Void = {
                called.set(())
                await Task { _ = await end.wait() }.value
            }
            if hook == "becameOwner" {
                self.add("A", to: stage, begin: hangs)
                try await called.value(hook)
            } else {
                self.add("A", to: stage, end: hangs)
                try await eventually("A") { stage.context.hooks.hasWork(.end) }
            }
            stage.upgrader.stop()
            #expect(try await stage.context.exit.value() == .stopped)
            #expect(stage.log.lines.filter { $0.hasSuffix("in time") } == ["\(hook) did not return in time"])
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a stop that comes with the ownership is not lost`(_ kernel: Kernel) async throws {
        let never = Latch<Void>()
        try await Stage.first(kernel) { stage in
            let isBeginning = Latch<Void>()
            self.add(
                "A", to: stage,
                begin: {
                    isBeginning.set(())
                    _ = await never.wait()
                }
            )
            let ready = stage.requestReady()
            try await isBeginning.value("becameOwner")
            // In the hook's place, so that both are there at once.
            try await stage.sendTogether([.ownershipChanged(number: 1, nil), .stop])
            _ = try await ready.value
            let reason = try await stage.context.exit.value()
            #expect(reason == .stopped)
        }
        never.set(())
    }

    @Test(arguments: Kernel.allCases)
    func `work that does not end keeps no process from leaving`(_ kernel: Kernel) async throws {
        let never = Latch<Void>()
        try await Stage.first(kernel, { $0.hookTimeout = .milliseconds(500) }) { stage in
            // It does not listen to its cancellation either.
            self.add("A", to: stage, end: { await Task { _ = await never.wait() }.value })
            try await stage.upgrader.ready()
            stage.upgrader.stop()
            let reason = try await stage.context.exit.value()
            #expect(reason == .stopped)
        }
        never.set(())
    }

    // MARK: A predecessor

    @Test(arguments: Kernel.allCases)
    func `commit is said when all work has ended and not before`(_ kernel: Kernel) async throws {
        try await Stage.first(kernel) { stage in
            let mayEnd = Latch<Void>()
            let isEnding = Latch<Void>()
            self.add(
                "A", to: stage,
                end: {
                    isEnding.set(())
                    _ = await mayEnd.wait()
                }
            )
            self.add("B", to: stage)
            try await stage.upgrader.ready()
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.becomeReady()
            try await successor.peer.expect(.go)
            try await isEnding.value("losingOwnership")
            #expect(self.journal.all.suffix(3) == ["B ends", "B has ended", "A ends"])
            try await stage.fence()
            #expect(try await successor.peer.isQuiet)
            #expect(!stage.upgrader.isOwner)
            mayEnd.set(())
            try await successor.peer.expect(.commit)
            #expect(self.journal.all.last == "A has ended")
            try await successor.peer.say(.committed)
            _ = try await upgrade.value
            guard case .replaced = try await stage.context.exit.value() else {
                Issue.record("it was not replaced")
                return
            }
            // Nothing is ended twice.
            #expect(self.journal.all.filter { $0.hasSuffix("ends") }.count == 2)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `work that cannot end keeps the service here`(_ kernel: Kernel) async throws {
        try await Stage.first(kernel) { stage in
            self.add("A", to: stage)
            self.add("B", to: stage, end: { throw Refused(description: "in the middle of a job") })
            self.add("C", to: stage)
            try await stage.upgrader.ready()
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.becomeReady()
            try await successor.peer.expect(.go)
            try await successor.peer.expectAbort(.ownershipFailed)
            // Until it has said that it paused nothing is taken back.
            try await stage.fence()
            #expect(self.journal.all.suffix(3) == ["C ends", "C has ended", "B ends"])
            try await successor.peer.say(.abort(.init(code: "ownershipFailed", message: "as you say", cure: "")))
            let error = try await upgrade.failure
            #expect(error.code == .ownershipFailed && error.message.contains("in the middle of a job"))
            try await eventually("C") { self.journal.all.suffix(2) == ["C begins", "C has begun"] }
            #expect(stage.upgrader.isOwner)
            #expect(self.journal.all.filter { $0 == "B begins" || $0 == "A ends" } == ["B begins"])
        }
    }

    @Test(arguments: Kernel.allCases)
    func `work that takes too long to end keeps the service here`(_ kernel: Kernel) async throws {
        try await Stage.first(kernel, { $0.hookTimeout = .milliseconds(500) }) { stage in
            self.add("A", to: stage, end: { try await Self.untilCancelled() })
            try await stage.upgrader.ready()
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.becomeReady()
            try await successor.peer.expect(.go)
            try await successor.peer.expectAbort(.ownershipFailed)
            try await successor.end(.exited(1))
            let error = try await upgrade.failure
            #expect(error.message.contains("did not finish"))
            #expect(self.journal.all == ["A begins", "A has begun", "A ends"])
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor that dies after commit leaves the work here`(_ kernel: Kernel) async throws {
        try await Stage.first(kernel) { stage in
            self.add("A", to: stage)
            try await stage.upgrader.ready()
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.comeToCommit()
            #expect(self.journal.all.suffix(2) == ["A ends", "A has ended"])
            try await successor.end(.signalled(9))
            _ = try await upgrade.failure
            try await eventually("the work") { self.journal.all.suffix(2) == ["A begins", "A has begun"] }
            #expect(stage.upgrader.isOwner)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor that dies in its probation never had the work`(_ kernel: Kernel) async throws {
        try await Stage.first(kernel) { stage in
            self.add("A", to: stage)
            try await stage.upgrader.ready()
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            try await successor.enterProbation()
            #expect(stage.upgrader.isOwner)
            try await successor.end(.signalled(9))
            _ = try await upgrade.failure
            try await stage.fence()
            #expect(self.journal.all == ["A begins", "A has begun"])
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a stop in the middle of giving up ends all work, and then leaves`(_ kernel: Kernel) async throws {
        try await Stage.first(kernel) { stage in
            let mayEnd = Latch<Void>()
            let isEnding = Latch<Void>()
            self.add("A", to: stage)
            self.add(
                "B", to: stage,
                end: {
                    isEnding.set(())
                    _ = await mayEnd.wait()
                }
            )
            try await stage.upgrader.ready()
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.becomeReady()
            try await successor.peer.expect(.go)
            try await isEnding.value("losingOwnership")
            stage.upgrader.stop()
            #expect(try await upgrade.failure.code == .stopping)
            #expect(stage.context.exit.current == nil)
            mayEnd.set(())
            let reason = try await stage.context.exit.value()
            #expect(reason == .stopped)
            #expect(self.journal.all.suffix(4) == ["B ends", "B has ended", "A ends", "A has ended"])
            try await successor.end(.exited(0))
        }
    }

    // MARK: A successor

    @Test(arguments: Kernel.allCases)
    func `a successor begins after commit and not before, and says so when it has`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        try await Stage.successor(kernel, of: predecessor) { stage in
            let isBeginning = Latch<Void>()
            let mayBegin = Latch<Void>()
            self.add(
                "A", to: stage,
                begin: {
                    isBeginning.set(())
                    _ = await mayBegin.wait()
                }
            )
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            _ = try await ready.value
            try await stage.fence()
            #expect(self.journal.all.isEmpty && !stage.upgrader.isOwner)
            try await predecessor.peer.say(.commit)
            try await isBeginning.value("becameOwner")
            #expect(stage.upgrader.isOwner)
            try await stage.fence()
            #expect(try await predecessor.peer.isQuiet)
            mayBegin.set(())
            try await predecessor.peer.expect(.committed)
            #expect(self.journal.all == ["A begins", "A has begun"])
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor whose work cannot begin gives the service back with nothing begun`(
        _ kernel: Kernel
    ) async throws {
        let directory = try TemporaryDirectory()
        let file = PIDFile(path: directory("service.pid"), process: 222)
        let predecessor = try FakePredecessor(kernel)
        try await Stage.successor(kernel, pidFile: file, of: predecessor) { stage in
            self.add("A", to: stage)
            self.add("B", to: stage, begin: { throw Refused(description: "no lock") })
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            _ = try await ready.value
            try await predecessor.peer.say(.commit)
            try await predecessor.peer.expectAbort(.ownershipFailed)
            #expect(self.journal.all == ["A begins", "A has begun", "B begins", "A ends", "A has ended"])
            // That is said before anything that a disk may hold up.
            try await stage.fence()
            #expect(!stage.upgrader.isOwner && directory.names.isEmpty)
            try await predecessor.peer.say(.bye(.init()))
            guard case .handedBack(let failure) = try await stage.context.exit.value() else {
                Issue.record("it did not hand back")
                return
            }
            #expect(failure.message.contains("no lock") && failure.serving == .predecessor)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor whose work begins and cannot end again is ended`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        try await Stage.successor(kernel, of: predecessor) { stage in
            self.add("A", to: stage, end: { throw Refused(description: "cannot end") })
            self.add("B", to: stage, begin: { throw Refused(description: "no lock") })
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            _ = try await ready.value
            try await predecessor.peer.say(.commit)
            let status = try await stage.exited.value()
            #expect(status == 1)
            // It never says that the predecessor may go on with it.
            guard case .ended = try await predecessor.peer.next() else {
                Issue.record("it said something")
                return
            }
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor of a dead process is the owner, and tries again what could not begin`(
        _ kernel: Kernel
    ) async throws {
        let predecessor = try FakePredecessor(kernel)
        try await Stage.successor(kernel, of: predecessor) { stage in
            let attempts = Journal()
            self.add("A", to: stage)
            self.add(
                "B", to: stage,
                begin: {
                    attempts.note("attempt")
                    if attempts.all.count == 1 { throw Refused(description: "not yet") }
                }
            )
            try await predecessor.die()
            try await stage.upgrader.ready()
            try await eventually("B") { self.journal.all.last == "B has begun" }
            #expect(stage.upgrader.isOwner && attempts.all.count == 2)
        }
    }

    // MARK: Vetoes

    @Test(arguments: Kernel.allCases)
    func `a veto refuses an upgrade, and nothing is started`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let journal = self.journal
            stage.upgrader.addUpgradeVeto { journal.note("first") }
            stage.upgrader.addUpgradeVeto {
                journal.note("second")
                if journal.all.count == 2 { throw Refused(description: "a migration is running") }
            }
            let error = try await stage.requestUpgrade().failure
            #expect(error.code == .vetoed && error.message.contains("a migration is running"))
            #expect(error.serving == .predecessor)
            let told = try await stage.events.first(.refused)
            #expect(told.error == error)
            #expect(!stage.events.phases.contains(.requested))
            // The next one is asked anew.
            let upgrade = stage.requestUpgrade()
            _ = try await stage.spawner.next().takeOver()
            _ = try await upgrade.value
            #expect(journal.all == ["first", "second", "first", "second"])
        }
    }

    @Test(arguments: Kernel.allCases)
    func `while vetoes are heard no other upgrade begins`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let isAsked = Latch<Void>()
            let answer = Latch<Void>()
            stage.upgrader.addUpgradeVeto {
                isAsked.set(())
                _ = await answer.wait()
            }
            let upgrade = stage.requestUpgrade()
            try await isAsked.value("the veto")
            let refused = try await stage.requestUpgrade().failure
            #expect(refused.code == .upgradeRunning && refused.message.contains("vetoes"))
            answer.set(())
            _ = try await stage.spawner.next().takeOver()
            _ = try await upgrade.value
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a veto that does not answer in time refuses`(_ kernel: Kernel) async throws {
        let never = Latch<Void>()
        try await Stage.serving(kernel, { $0.hookTimeout = .milliseconds(500) }) { stage in
            stage.upgrader.addUpgradeVeto { await Task { _ = await never.wait() }.value }
            let error = try await stage.requestUpgrade().failure
            #expect(error.code == .vetoed && error.cure.contains("hookTimeout"))
        }
        never.set(())
    }

    @Test(arguments: Kernel.allCases)
    func `a stop while vetoes are heard refuses the upgrade`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let isAsked = Latch<Void>()
            stage.upgrader.addUpgradeVeto {
                isAsked.set(())
                try await Self.untilCancelled()
            }
            let upgrade = stage.requestUpgrade()
            try await isAsked.value("the veto")
            stage.upgrader.stop()
            #expect(try await upgrade.failure.code == .stopping)
        }
    }
}
