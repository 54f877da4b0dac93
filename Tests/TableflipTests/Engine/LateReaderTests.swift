// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem
import Testing

@testable import Tableflip

/// Readers that are registered after `ready()`: nobody would ask them for anything, and the service would be deaf.
@Suite(.timeLimit(.minutes(5))) struct LateReaderTests {
    private let journal = Journal()
    private var late: FakeReader { FakeReader("late", self.journal) }

    private func said(by name: String) -> [String] { self.journal.all.filter { $0.hasPrefix("\(name):") } }

    @Test(arguments: Kernel.allCases)
    func `one that comes when the others read is resumed alone, and pauses with them`(_ kernel: Kernel) async throws {
        let late = self.late
        let resuming = Latch<Void>()
        late.script { $0.resume = { resuming.set(()) } }
        try await Stage.serving(kernel, reader: FakeReader("first", self.journal)) { stage in
            stage.upgrader.register(late)
            try await resuming.value("the late reader's resumption")
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.takeOver()
            _ = try await upgrade.value
            for name in ["first", "late"] {
                let calls = ["resume", "resumed", "pause", "paused"].map { "\(name): \($0)" }
                #expect(self.said(by: name).starts(with: calls))
            }
            #expect(stage.log.lines.contains("a reader was registered after ready() listener=any"))
        }
    }

    @Test(arguments: Kernel.allCases)
    func `one that comes where there was none is resumed`(_ kernel: Kernel) async throws {
        let late = self.late
        let resuming = Latch<Void>()
        late.script { $0.resume = { resuming.set(()) } }
        try await Stage.serving(kernel) { stage in
            stage.upgrader.register(late)
            try await resuming.value("the late reader's resumption")
        }
    }

    @Test(arguments: Kernel.allCases)
    func `one that comes while the successor reads waits for the way back`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel, reader: FakeReader("first", self.journal)) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            try await successor.enterProbation()
            stage.upgrader.register(self.late)
            try await stage.fence()
            #expect(self.said(by: "late").isEmpty)
            try await successor.end(.signalled(11))
            _ = try await upgrade.failure
            #expect(self.said(by: "late") == ["late: resume", "late: resumed"])
        }
    }

    /// The predecessor goes on all the same: there is nothing better to do. But not in silence, and the late one reads.
    @Test(arguments: Kernel.allCases, [true, false])
    func `one that comes while another cannot read again is resumed, and it is said`(
        _ kernel: Kernel, _ says: Bool
    ) async throws {
        let first = FakeReader("first", self.journal)
        var patience = Patience.ofTests
        if !says { patience.generous = .seconds(10) }
        try await Stage.serving(kernel, reader: first, patience: patience) { stage in
            let (resuming, mayFail) = (Latch<Void>(), Latch<Void>())
            let journal = self.journal
            first.script {
                $0.resume = {
                    resuming.set(())
                    if says {
                        _ = await mayFail.wait()
                        throw Unwilling()
                    }
                    try? await Task.sleep(for: .seconds(3600))
                    if Task.isCancelled { journal.note("first: cancelled") }
                }
            }
            defer { mayFail.set(()) }
            let late = self.late
            let lateReads = Latch<Void>()
            late.script { $0.resume = { lateReads.set(()) } }
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            try await successor.enterProbation()
            try await successor.end(.signalled(11))
            try await resuming.value("the first reader's resumption")
            stage.upgrader.register(late)
            try await stage.fence()
            if says { mayFail.set(()) }
            #expect(try await upgrade.failure.isRollback)
            try await lateReads.value("the late reader's resumption")
            if !says { try await eventually("its end") { self.said(by: "first").contains("first: cancelled") } }
            #expect(stage.log.lines.contains { $0.hasPrefix("a reader did not resume: ") })
        }
    }

    @Test(arguments: Kernel.allCases, [true, false])
    func `one that cannot read gives the service back, in the probation`(_ kernel: Kernel, _ says: Bool) async throws {
        let predecessor = try FakePredecessor(kernel)
        let late = self.late
        let end = Latch<Void>()
        late.script {
            $0.resume = {
                if says { throw Unwilling() }
                _ = await end.wait()
            }
        }
        defer { end.set(()) }
        var patience = Patience.ofTests
        if !says { patience.generous = .seconds(10) }
        try await Stage.successor(kernel, of: predecessor, patience: patience) { stage in
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            try await ready.value
            stage.upgrader.register(late)
            try await predecessor.peer.expectAbort(.resumeFailed)
            try await predecessor.peer.say(.bye(.init()))
            guard case .handedBack = await stage.upgrader.exit else { throw TimedOut(what: "handing back") }
        }
    }

    @Test(arguments: Kernel.allCases)
    func `one that comes when the process leaves is not asked`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            stage.upgrader.stop()
            _ = await stage.upgrader.exit
            stage.upgrader.register(self.late)
            try await stage.fence()
            #expect(self.journal.all.isEmpty)
        }
    }
}
