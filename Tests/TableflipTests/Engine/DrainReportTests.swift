// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

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
                try await successor.peer.expect(.bye(.init()))
            }
        }
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
