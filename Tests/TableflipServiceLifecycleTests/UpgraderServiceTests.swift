// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if ServiceLifecycle
import Logging
import ServiceLifecycle
import Tableflip
import TableflipServiceLifecycle
import TableflipTesting
import Testing

@Suite(.timeLimit(.minutes(5))) struct UpgraderServiceTests {
    private struct Broken: Error, Equatable {}

    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    private let record = Record()

    private func stub(pidFile: String? = nil) throws -> StubUpgrader {
        try StubUpgrader(
            configuration: .init(
                pidFile: pidFile, drainTimeout: .seconds(90), pauseTimeout: .seconds(30), hookTimeout: .seconds(30),
                successor: .init(executable: "/bin/sh")))
    }

    private func service(
        _ name: String, start: @escaping @Sendable () async throws -> Void = {}
    ) -> RecordedService {
        RecordedService(name: name, record: self.record, start: start)
    }

    private func group(_ services: [any Service], _ upgrader: UpgraderService) -> ServiceGroup {
        ServiceGroup(
            configuration: .init(
                services: services.map { .init(service: $0) } + [upgrader.configuration], logger: self.logger))
    }

    private func untilServing(_ events: UpgradeEvents) async {
        for await event in events where event.phase == .owner { break }
    }

    @Test func `a successor takes over, and the services are shut down from the last to the first`() async throws {
        let stub = try self.stub()
        let events = stub.upgrader.events
        async let running: Void = stub.upgrader.runServices(
            [self.service("database"), self.service("server")], logger: self.logger)
        await self.untilServing(events)
        try await stub.upgrader.upgrade()
        try await running
        #expect(self.record.all.suffix(2) == ["server shut down", "database shut down"])
        guard case .replaced = await stub.upgrader.exit else {
            Issue.record("it was not replaced")
            return
        }
        #expect(stub.exitStatus == nil)
    }

    @Test func `a successor that fails shuts nothing down`() async throws {
        let stub = try self.stub()
        let events = stub.upgrader.events
        async let running: Void = stub.upgrader.runServices([self.service("server")], logger: self.logger)
        await self.untilServing(events)
        stub.nextSuccessor(.exits(status: 3))
        await #expect(throws: UpgradeError.self) { try await stub.upgrader.upgrade() }
        #expect(self.record.all == ["server runs"])
        stub.upgrader.stop()
        try await running
        #expect(self.record.all == ["server runs", "server shut down"])
    }

    @Test func `it takes over when the services are prepared and not before`() async throws {
        let stub = try self.stub()
        let events = stub.upgrader.events
        let isPrepared = Signal()
        let record = self.record
        async let running: Void = stub.upgrader.runServices([self.service("server")], logger: self.logger) {
            await isPrepared.wait()
            record.note("prepared")
        }
        let early = try #require(await #expect(throws: UpgradeError.self) { try await stub.upgrader.upgrade() })
        #expect(early.code == .notReady)
        isPrepared.fire()
        await self.untilServing(events)
        #expect(self.record.all.contains("prepared"))
        try await stub.upgrader.upgrade()
        try await running
    }

    @Test func `the group is shut down, and stops the upgrader once`() async throws {
        let stub = try self.stub()
        let events = stub.upgrader.events
        let group = self.group([self.service("server")], UpgraderService(upgrader: stub.upgrader))
        async let running: Void = group.run()
        await self.untilServing(events)
        await group.triggerGracefulShutdown()
        try await running
        #expect(stub.upgrader.exitReason == .stopped)
        #expect(self.record.all == ["server runs", "server shut down"])
        // By now the upgrader has heard everything that it was told.
        await #expect(throws: UpgradeError.self) { try await stub.upgrader.upgrade() }
        #expect(stub.exitStatus == nil)
    }

    @Test func `a stop and a shutdown at the same time are one stop`() async throws {
        for _ in 0..<20 {
            let stub = try self.stub()
            let events = stub.upgrader.events
            let group = self.group([self.service("server")], UpgraderService(upgrader: stub.upgrader))
            async let running: Void = group.run()
            await self.untilServing(events)
            stub.upgrader.stop()
            await group.triggerGracefulShutdown()
            try await running
            await #expect(throws: UpgradeError.self) { try await stub.upgrader.upgrade() }
            #expect(stub.upgrader.exitReason == .stopped && stub.exitStatus == nil)
        }
    }

    @Test func `a stop while the services prepare ends them without an error`() async throws {
        let stub = try self.stub()
        let isPreparing = Signal()
        async let running: Void = stub.upgrader.runServices([self.service("server")], logger: self.logger) {
            isPreparing.fire()
            try await untilCancelled()
        }
        await isPreparing.wait()
        stub.upgrader.stop()
        try await running
        #expect(stub.upgrader.exitReason == .stopped)
        #expect(self.record.all.last == "server shut down")
    }

    @Test func `a group that is shut down before it runs never serves`() async throws {
        let stub = try self.stub()
        let group = self.group(
            [self.service("server")],
            UpgraderService(upgrader: stub.upgrader, whenPrepared: { try await untilCancelled() }))
        await group.triggerGracefulShutdown()
        try await group.run()
        #expect(stub.upgrader.exitReason == .stopped)
    }

    @Test func `services that cannot prepare end the process, and the error is theirs`() async throws {
        let stub = try self.stub()
        await #expect(throws: Broken()) {
            try await stub.upgrader.runServices([self.service("server")], logger: self.logger) { throw Broken() }
        }
        guard case .failed(let failure) = await stub.upgrader.exit else {
            Issue.record("it did not fail")
            return
        }
        #expect(failure.code == .initialisationFailed && failure.message.contains("Broken"))
        #expect(self.record.all.last == "server shut down")
    }

    @Test func `a service that fails before the others are prepared is why this process does not serve`() async throws {
        let stub = try self.stub()
        await #expect(throws: Broken()) {
            try await stub.upgrader.runServices(
                [self.service("database"), self.service("server", start: { throw Broken() })], logger: self.logger
            ) { try await untilCancelled() }
        }
        guard case .failed(let failure) = await stub.upgrader.exit else {
            Issue.record("it did not fail")
            return
        }
        #expect(failure.code == .initialisationFailed && failure.message == "a service failed: Broken()")
        #expect(self.record.all.last == "database cancelled")
        #expect(stub.exitStatus == nil)
    }

    @Test func `a service that ends before the others are prepared is why this process does not serve`() async throws {
        struct Brief: Service {
            func run() async throws {}
        }
        let stub = try self.stub()
        await #expect(throws: ServiceGroupError.self) {
            try await stub.upgrader.runServices([Brief()], logger: self.logger) { try await untilCancelled() }
        }
        guard case .failed(let failure) = await stub.upgrader.exit else {
            Issue.record("it did not fail")
            return
        }
        #expect(failure.message == "a service ended by itself: Brief")
    }

    @Test func `a service that fails later stops the upgrader`() async throws {
        let stub = try self.stub()
        let events = stub.upgrader.events
        let breaks = Signal()
        let server = self.service("server") {
            await breaks.wait()
            throw Broken()
        }
        let logger = self.logger
        let running = Task { try await stub.upgrader.runServices([server], logger: logger) }
        await self.untilServing(events)
        breaks.fire()
        await #expect(throws: Broken()) { try await running.value }
        #expect(await stub.upgrader.exit == .stopped)
        #expect(stub.exitStatus == nil)
    }

    @Test func `a cancellation stops the upgrader`() async throws {
        let stub = try self.stub()
        let events = stub.upgrader.events
        let (logger, server) = (self.logger, self.service("server"))
        let running = Task { try await stub.upgrader.runServices([server], logger: logger) }
        await self.untilServing(events)
        running.cancel()
        _ = await running.result
        #expect(await stub.upgrader.exit == .stopped)
        #expect(self.record.all == ["server runs", "server cancelled"])
        #expect(stub.exitStatus == nil)
    }

    @Test func `a group that is cancelled has not ended before the ownership has`() async throws {
        let stub = try self.stub()
        let (isEnding, mayEnd, record) = (Signal(), Signal(), self.record)
        stub.upgrader.addOwnershipHooks(
            becameOwner: {},
            losingOwnership: {
                isEnding.fire()
                await mayEnd.wait()
                record.note("the work has ended")
            })
        let events = stub.upgrader.events
        let (logger, server) = (self.logger, self.service("server"))
        let running = Task {
            defer { record.note("the group has ended") }
            try await stub.upgrader.runServices([server], logger: logger)
        }
        await self.untilServing(events)
        running.cancel()
        await isEnding.wait()
        mayEnd.fire()
        await #expect(throws: CancellationError.self) { try await running.value }
        #expect(stub.upgrader.exitReason == .stopped)
        #expect(self.record.all.suffix(2) == ["the work has ended", "the group has ended"])
    }

    @Test func `a process that cannot take over says why, and shuts down`() async throws {
        let stub = try self.stub(pidFile: "/nowhere at all/service.pid")
        let error = try #require(
            await #expect(throws: UpgradeError.self) {
                try await stub.upgrader.runServices([self.service("server")], logger: self.logger)
            }
        )
        #expect(error.code == .pidFile)
        #expect(self.record.all.last == "server shut down")
    }

    @Test func `ready belongs to the service`() async throws {
        let stub = try self.stub()
        try await stub.upgrader.ready()
        // Which waits for the upgrader as servers do.
        let draining = DrainingService { _ = await stub.upgrader.exit }
        let error = try #require(
            await #expect(throws: UpgradeError.self) {
                try await stub.upgrader.runServices([self.service("server"), draining], logger: self.logger)
            }
        )
        #expect(error.code == .wrongMoment)
        #expect(stub.upgrader.exitReason == .stopped)
    }
}
#endif
