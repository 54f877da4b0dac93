// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if ServiceLifecycle
import Logging
import ServiceLifecycle
import Tableflip
import TableflipServiceLifecycle
import TableflipTesting
import Testing

@Suite(.timeLimit(.minutes(5))) struct DrainingServiceTests {
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    @Test func `a server that has drained before the others cancels none of them`() async throws {
        let stub = try StubUpgrader(
            configuration: .init(
                drainTimeout: .seconds(90), pauseTimeout: .seconds(30), successor: .init(executable: "/bin/sh")))
        let record = Record()
        let (quickHasDrained, mayDrain) = (Signal(), Signal())
        let upgrader = stub.upgrader
        let quick = DrainingService {
            _ = await upgrader.exit
            record.note("quick has drained")
            quickHasDrained.fire()
        }
        let slow = DrainingService {
            _ = await upgrader.exit
            await mayDrain.wait()
            record.note(Task.isCancelled ? "slow was cancelled" : "slow has drained")
        }
        let events = upgrader.events
        let database = RecordedService(name: "database", record: record)
        async let running: Void = upgrader.runServices([database, quick, slow], logger: self.logger)
        for await event in events where event.phase == .owner { break }
        try await upgrader.upgrade()
        await quickHasDrained.wait()
        mayDrain.fire()
        try await running
        #expect(record.all == ["database runs", "quick has drained", "slow has drained", "database shut down"])
    }

    @Test func `a server that cannot drain ends the group`() async throws {
        struct Broken: Error {}
        let stub = try StubUpgrader(configuration: .init(successor: .init(executable: "/bin/sh")))
        await #expect(throws: Broken.self) {
            try await stub.upgrader.runServices([DrainingService { throw Broken() }], logger: self.logger)
        }
    }
}
#endif
