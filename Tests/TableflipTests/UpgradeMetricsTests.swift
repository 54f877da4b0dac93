// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CoreMetrics
import MetricsTestKit
import TableflipTesting
import Testing

@testable import Tableflip

@Suite(.timeLimit(.minutes(5))) struct UpgradeMetricsTests {
    private let system = TestMetrics()

    private func event(
        _ phase: UpgradeEvent.Phase, generation: Int = 1, after elapsed: Duration = .zero
    ) -> UpgradeEvent {
        UpgradeEvent(phase: phase, generation: generation, peer: 0, elapsed: elapsed, error: nil)
    }

    private func count(_ outcome: String) -> Int64 {
        self.system.counterTotal(label: "tableflip.upgrades", dimensions: [("outcome", outcome)])
    }

    private func times(_ phase: String) -> [Int64] {
        self.system.timers(label: "tableflip.phase.duration", dimensions: [("phase", phase)]).flatMap(\.values)
    }

    @Test func `a true upgrader counts what becomes of its upgrades`() async throws {
        let stub = try withMetricsFactory(self.system) {
            try StubUpgrader(
                configuration: .init(pauseTimeout: .seconds(30), successor: .init(executable: "/bin/sh")))
        }
        await #expect(throws: UpgradeError.self) { try await stub.upgrader.upgrade() }
        try await stub.upgrader.ready()
        // A process serves a moment before it owns.
        for await event in stub.upgrader.events where event.phase == .owner { break }
        #expect(try self.system.expectGauge("tableflip.generation").values == [1])
        stub.nextSuccessor(.exits(status: 1))
        await #expect(throws: UpgradeError.self) { try await stub.upgrader.upgrade() }
        let report = try await stub.upgrader.upgrade()

        #expect(self.count("refused") == 1 && self.count("failed") == 1 && self.count("rolledBack") == 0)
        // The successor counts it.
        #expect(self.count("committed") == 0)
        #expect(self.times("handedOver").count >= 1 && self.times("spawned").count == 2)
        for phase in ["ready", "go", "committed"] { #expect(self.times(phase).count == 1, "\(phase)") }
        let sum = ["spawned", "handedOver", "ready", "go", "committed"].reduce(0) { $0 + (self.times($1).last ?? 0) }
        #expect(.nanoseconds(sum) <= report.duration && sum > 0)
    }

    @Test func `a phase's time is counted from the one before it`() {
        let metrics = UpgradeMetrics(factory: self.system)
        metrics.record(self.event(.serving, after: .seconds(3)))
        metrics.record(self.event(.owner, after: .seconds(4)))
        for _ in 0..<2 {
            metrics.record(self.event(.requested))
            metrics.record(self.event(.spawned, after: .milliseconds(2)))
            metrics.record(self.event(.handedOver, after: .milliseconds(5)))
            metrics.record(self.event(.failed, after: .seconds(10)))
        }
        #expect(self.times("serving") == [3_000_000_000] && self.times("owner") == [1_000_000_000])
        #expect(self.times("spawned") == [2_000_000, 2_000_000])
        #expect(self.times("handedOver") == [3_000_000, 3_000_000])
        #expect(self.count("failed") == 2)
    }

    @Test func `a rehearsal is no upgrade`() {
        let metrics = UpgradeMetrics(factory: self.system)
        for phase in [UpgradeEvent.Phase.requested, .spawned, .handedOver, .failed, .refused] {
            var event = self.event(phase)
            event.isRehearsal = true
            metrics.record(event)
        }
        #expect(self.system.counters.isEmpty && self.system.timers.isEmpty)
    }

    @Test func `a failure after go is a rollback`() {
        let metrics = UpgradeMetrics(factory: self.system)
        for phase in [UpgradeEvent.Phase.requested, .spawned, .handedOver, .ready, .go, .rolledBack] {
            metrics.record(self.event(phase))
        }
        #expect(self.count("rolledBack") == 1 && self.count("failed") == 0)
    }

    @Test(arguments: [(1, 0), (2, 1), (7, 1)])
    func `the successor counts the upgrade that made it the owner`(_ generation: Int, _ committed: Int64) throws {
        let metrics = UpgradeMetrics(factory: self.system)
        metrics.record(self.event(.owner, generation: generation))
        #expect(self.count("committed") == committed)
        #expect(try self.system.expectGauge("tableflip.generation").values == [Double(generation)])
    }

    @Test func `connections are counted by what became of them`() {
        let metrics = UpgradeMetrics(factory: self.system)
        metrics.connections(moved: 3, drained: 2)
        metrics.connections(cut: 1)
        metrics.connections(moved: 1)
        func total(_ how: String) -> Int64 {
            self.system.counterTotal(label: "tableflip.connections", dimensions: [("how", how)])
        }
        #expect(total("moved") == 4 && total("drained") == 2 && total("cut") == 1)
    }

    @Test func `nothing is made before there is something to record`() {
        let metrics = UpgradeMetrics(factory: self.system)
        metrics.record(self.event(.stopping))
        metrics.connections()
        #expect(self.system.counters.isEmpty && self.system.timers.isEmpty && self.system.recorders.isEmpty)
    }
}
