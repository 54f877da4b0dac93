// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if ServiceLifecycle
import Logging
import ServiceLifecycle
import Tableflip
import TableflipServiceLifecycle
import TableflipTesting
import Testing

@Suite(.timeLimit(.minutes(5))) struct WhileOwnerTests {
    private struct Broken: Error, Equatable {}

    /// A consumer that ends when it may.
    private struct Consumer: Service {
        let record: Record
        var runs = Signal()
        var isEnding = Signal()
        var mayEnd = Signal()

        func run() async throws {
            self.record.note("consumer runs")
            self.runs.fire()
            // Where it is cancelled before it hears of its shutdown, it throws.
            try? await gracefulShutdown()
            self.isEnding.fire()
            await self.mayEnd.wait()
            self.record.note(Task.isCancelled ? "consumer was cancelled" : "consumer has ended")
        }
    }

    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    private let record = Record()

    private func stub(hookTimeout: Duration = .seconds(30)) throws -> StubUpgrader {
        var patience = Patience()
        patience.generous = .seconds(60)
        return try StubUpgrader(
            configuration: .init(
                drainTimeout: .seconds(90), pauseTimeout: .seconds(30), hookTimeout: hookTimeout,
                successor: .init(executable: "/bin/sh")), logger: self.logger, patience: patience)
    }

    /// The work begins a moment before this process is in charge, and may be upgraded.
    private func untilOwner(_ events: UpgradeEvents) async {
        for await event in events where event.phase == .owner { break }
    }

    @Test func `it runs while this process is the owner, and has ended before the successor is`() async throws {
        let stub = try self.stub()
        let consumer = Consumer(record: self.record)
        let isPrepared = Signal()
        let early = stub.upgrader.events
        async let running: Void = stub.upgrader.runServices(
            [WhileOwner(stub.upgrader) { consumer }], logger: self.logger
        ) { await isPrepared.wait() }
        #expect(self.record.all.isEmpty)
        isPrepared.fire()
        await consumer.runs.wait()
        await self.untilOwner(early)
        let events = stub.upgrader.events
        async let upgrade = stub.upgrader.upgrade()
        await consumer.isEnding.wait()
        #expect(!stub.upgrader.isOwner && stub.upgrader.exitReason == nil)
        self.record.note("may end")
        consumer.mayEnd.fire()
        for await event in events where event.phase == .committed { break }
        #expect(self.record.all == ["consumer runs", "may end", "consumer has ended"])
        _ = try await upgrade
        try await running
    }

    @Test func `a successor that fails leaves the work here, and it is begun anew`() async throws {
        let stub = try self.stub()
        let consumers = [Consumer(record: self.record), Consumer(record: self.record)]
        for consumer in consumers { consumer.mayEnd.fire() }
        let made = Record()
        let events = stub.upgrader.events
        async let running: Void = stub.upgrader.runServices(
            [
                WhileOwner(stub.upgrader) {
                    made.note("made")
                    return consumers[made.all.count - 1]
                }
            ], logger: self.logger)
        await consumers[0].runs.wait()
        await self.untilOwner(events)
        stub.nextSuccessor(.handsBack("not today"))
        let error = try #require(await #expect(throws: UpgradeError.self) { try await stub.upgrader.upgrade() })
        #expect(error.message.contains("not today"))
        await consumers[1].runs.wait()
        #expect(self.record.all == ["consumer runs", "consumer has ended", "consumer runs"])
        stub.upgrader.stop()
        try await running
        #expect(self.record.all.last == "consumer has ended" && made.all.count == 2)
    }

    @Test func `a service that does not end in time is cancelled`() async throws {
        let stub = try self.stub(hookTimeout: .milliseconds(500))
        // Its stream ends with its task.
        let consumer = Consumer(record: self.record)
        let events = stub.upgrader.events
        async let running: Void = stub.upgrader.runServices(
            [WhileOwner(stub.upgrader) { consumer }], logger: self.logger)
        await consumer.runs.wait()
        await self.untilOwner(events)
        try await stub.upgrader.upgrade()
        #expect(self.record.all == ["consumer runs", "consumer was cancelled"])
        try await running
    }

    @Test func `a group that is shut down ends it, and waits for nobody`() async throws {
        let stub = try self.stub()
        let consumer = Consumer(record: self.record)
        consumer.mayEnd.fire()
        let group = ServiceGroup(
            configuration: .init(
                services: [
                    .init(service: WhileOwner(stub.upgrader) { consumer }),
                    UpgraderService(upgrader: stub.upgrader).configuration,
                ], logger: self.logger))
        async let running: Void = group.run()
        await consumer.runs.wait()
        await group.triggerGracefulShutdown()
        try await running
        #expect(self.record.all == ["consumer runs", "consumer has ended"])
    }

    @Test func `a group that is cancelled ends it, and waits for nobody`() async throws {
        let stub = try self.stub()
        let consumer = Consumer(record: self.record)
        let (upgrader, logger) = (stub.upgrader, self.logger)
        let running = Task {
            try await upgrader.runServices([WhileOwner(upgrader) { consumer }], logger: logger)
        }
        await consumer.runs.wait()
        running.cancel()
        _ = await running.result
        #expect(await upgrader.exit == .stopped)
        #expect(stub.exitStatus == nil)
    }

    @Test func `a service that throws ends the group`() async throws {
        let stub = try self.stub()
        let (upgrader, record) = (stub.upgrader, self.record)
        await #expect(throws: Broken()) {
            try await upgrader.runServices(
                [WhileOwner(upgrader) { RecordedService(name: "A", record: record, start: { throw Broken() }) }],
                logger: self.logger)
        }
        #expect(await upgrader.exit == .stopped)
    }

    @Test(arguments: [true, false])
    func `a service that throws while it ends fails a stop, and is logged in an upgrade`(_ isStop: Bool) async throws {
        struct Flushing: Service {
            func run() async throws {
                try? await gracefulShutdown()
                throw Broken()
            }
        }
        let stub = try self.stub()
        let upgrader = stub.upgrader
        let events = upgrader.events
        let (logger, server) = (self.logger, RecordedService(name: "server", record: self.record))
        let last = RecordedService(name: "last", record: self.record)
        let running = Task {
            try await upgrader.runServices([server, WhileOwner(upgrader) { Flushing() }, last], logger: logger)
        }
        await self.untilOwner(events)
        if isStop {
            upgrader.stop()
            await #expect(throws: Broken()) { try await running.value }
        } else {
            try await upgrader.upgrade()
            try await running.value
        }
        #expect(self.record.all.suffix(2) == ["last shut down", "server shut down"])
    }

    @Test func `a service that returns is not started again, and the others go on`() async throws {
        struct Migration: Service {
            let hasRun: Signal
            func run() async { self.hasRun.fire() }
        }
        let stub = try self.stub()
        let hasRun = Signal()
        let events = stub.upgrader.events
        async let running: Void = stub.upgrader.runServices(
            [
                RecordedService(name: "server", record: self.record),
                WhileOwner(stub.upgrader) { Migration(hasRun: hasRun) },
            ], logger: self.logger)
        await hasRun.wait()
        await self.untilOwner(events)
        #expect(self.record.all == ["server runs"])
        try await stub.upgrader.upgrade()
        try await running
        #expect(self.record.all == ["server runs", "server shut down"])
    }
}
#endif
