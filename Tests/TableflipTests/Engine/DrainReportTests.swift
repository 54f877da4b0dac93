// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CoreMetrics
import MetricsTestKit
import TableflipCore
import TableflipSystem
import Testing

@testable import Tableflip

/// What a successor is told of the drain, for those who watch.
@Suite(.timeLimit(.minutes(3))) struct DrainReportTests {
    private static let listening = Message.Hello(generation: 2, process: 0, features: Message.Hello.hearsDraining)

    /// An upgrade whose predecessor drains until `mayEnd`.
    private func drain(
        _ kernel: Kernel, _ hello: Message.Hello,
        _ play: (FakeReader, FakeSuccessor, _ mayEnd: Latch<Void>) async throws -> Void
    ) async throws {
        let reader = FakeReader()
        let mayEnd = Latch<Void>()
        reader.script {
            $0.counts = ConnectionCounts(open: 3)
            $0.export = { _ in _ = await mayEnd.wait() }
        }
        try await Stage.serving(kernel, reader: reader) { stage in
            stage.spawner.plan { $0.hello = hello }
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.takeOver()
            _ = try await upgrade.value
            try await play(reader, successor, mayEnd)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor that asks for it hears how many connections are left, up to none`(_ kernel: Kernel) async throws {
        try await self.drain(kernel, Self.listening) { reader, successor, mayEnd in
            for left in [3, 2, 7] {
                reader.script { $0.counts.open = left }
                try await successor.peer.expect(.draining(.init(left: UInt32(left))))
            }
            // A number that an application has got wrong.
            reader.script { $0.counts.open = -1 }
            try await successor.peer.expect(.draining(.init(left: 0)))
            reader.script { $0.counts = ConnectionCounts(open: 0, drained: 3) }
            mayEnd.set(())
            while case let message = try await successor.peer.nextMessage().message, message != .bye(.init(drained: 3))
            {
                #expect(message == .draining(.init(left: 0)))
            }
        }
    }

    @Test(arguments: Kernel.allCases)
    func `an older successor, which has not asked, hears nothing of it`(_ kernel: Kernel) async throws {
        for features in [0, Message.Hello.answersPings] {
            let hello = Message.Hello(generation: 2, process: 0, features: features)
            try await self.drain(kernel, hello) { _, successor, mayEnd in
                // There would be a last word at the latest now.
                mayEnd.set(())
                // It may have been asked for a sign of life before it was heard to be the owner.
                var said = try await successor.peer.nextMessage().message
                while said == .ping { said = try await successor.peer.nextMessage().message }
                #expect(said == .bye(.init()))
            }
        }
    }

    /// What became of the connections of a process that was replaced: two have ended by themselves, one moves, and one
    /// stays. `end` is how its drain ends.
    private func counts(
        _ kernel: Kernel, drainTimeout: Duration = .seconds(600),
        _ end: (Stage, FakeReader, FakeSuccessor, _ mayEnd: Latch<Void>) async throws -> Void
    ) async throws -> [Int64] {
        let system = TestMetrics()
        let reader = FakeReader()
        let (hasMoved, mayEnd) = (Latch<Void>(), Latch<Void>())
        let pair = try Pair()
        reader.script {
            $0.counts = ConnectionCounts(open: 2, drained: 2)
            $0.export = { successor in
                successor.announce(1)
                try await successor.send([LiveDescriptor(takingOwnershipOf: pair.duplicate(), listener: "web")])
                reader.script { $0.counts.open = 1 }
                hasMoved.set(())
                _ = await mayEnd.wait()
            }
        }
        try await Stage.serving(kernel, reader: reader, { $0.drainTimeout = drainTimeout }, metrics: system) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.takeOver()
            _ = try await upgrade.value
            guard case .connections = try await successor.peer.nextMessage().message else {
                throw TimedOut(what: "a connection")
            }
            try await successor.peer.say(.acknowledgement(.init(.connections, received: 1)))
            try await hasMoved.value("the connection's move")
            try await end(stage, reader, successor, mayEnd)
        }
        return ["moved", "drained", "cut"].map {
            system.counterTotal(label: "tableflip.connections", dimensions: [("how", $0)])
        }
    }

    @Test(arguments: Kernel.allCases)
    func `what has moved and ended is counted also where the drain time-out cuts the rest`(
        _ kernel: Kernel
    ) async throws {
        // Time for the one to move, on a machine that is busy.
        let counts = try await self.counts(kernel, drainTimeout: .seconds(10)) { stage, _, _, _ in
            let status = try await stage.exited.value("the end")
            #expect(status == 0)
        }
        #expect(counts == [1, 2, 1])
    }

    @Test(arguments: Kernel.allCases)
    func `what has moved and ended is counted where the successor dies, and nothing twice`(
        _ kernel: Kernel
    ) async throws {
        let counts = try await self.counts(kernel) { stage, reader, successor, mayEnd in
            try await successor.end(.signalled(9))
            mayEnd.set(())
            try await stage.context.exported.value("the end of the export")
            reader.script { $0.counts = ConnectionCounts(open: 0, drained: 3) }
            await stage.upgrader.drained()
            await stage.upgrader.drained()
        }
        #expect(counts == [1, 3, 0])
    }

    @Test(arguments: Kernel.allCases)
    func `what ends in a process that stops is counted when it says that it has drained`(_ kernel: Kernel) async throws
    {
        let system = TestMetrics()
        let reader = FakeReader()
        try await Stage.serving(kernel, reader: reader, metrics: system) { stage in
            let drained = Task { await stage.upgrader.drained() }
            reader.script { $0.counts = ConnectionCounts(drained: 4) }
            stage.upgrader.stop()
            await drained.value
            #expect(stage.exited.current == nil)
        }
        #expect(system.counterTotal(label: "tableflip.connections", dimensions: [("how", "drained")]) == 4)
    }

    @Test func `a word is said when there is something new`() {
        let now = Moment.now
        var report = DrainReport(at: now)
        #expect(report.deadline > now)
        #expect(report.word(0, at: now) == nil, "what is over in a moment is not worth a word")
        #expect(report.word(2, at: now + .seconds(1))?.left == 2)
        #expect(report.deadline > now + .seconds(1))
        #expect(report.word(2, at: now + .seconds(2)) == nil)
        #expect(report.word(0, at: now + .seconds(3))?.left == 0)
        #expect(report.word(0, at: now + .seconds(4)) == nil)
        #expect(report.word(.max, at: now + .seconds(5))?.left == .max)
    }

    @Test(arguments: Kernel.allCases)
    func `a predecessor that speaks of its drain before the commit is misbehaving`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        try await Stage.successor(kernel, of: predecessor) { stage in
            try await predecessor.peer.say(.draining(.init(left: 1)))
            try await predecessor.peer.expectAbort(.predecessorMisbehaved)
        }
    }
}
