// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import Tableflip
import TableflipTesting
import Testing

/// A program under test as a user would write it.
@Suite(.timeLimit(.minutes(5))) struct StubUpgraderTests {
    @Test func `a successor takes over, and the process is to leave`() async throws {
        let stub = try StubUpgrader(
            configuration: .init(
                pauseTimeout: .seconds(30), successor: .init(executable: "/bin/sh", arguments: ["hello"])))
        let listener = try stub.upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0))
        #expect(listener.port != nil && !stub.upgrader.hasPredecessor)
        try stub.upgrader.leaveState([1], name: "left", version: 1)
        try stub.upgrader.provideFinalState("final", version: 1) { [2] }
        try await stub.upgrader.ready()
        try await stub.upgrader.waitForPredecessor()
        try await stub.upgrader.upgrade()
        guard case .replaced = await stub.upgrader.exit else {
            Issue.record("it was not replaced")
            return
        }
        #expect(stub.starts.count == 1)
        let start = try #require(stub.starts.first)
        #expect(start.executable == "/bin/sh" && start.arguments == ["hello"] && start.play == .takesOver)
        #expect(!start.environment.isEmpty && start.directory.hasPrefix("/"))
        await #expect(throws: UpgradeError.self) { try await stub.upgrader.upgrade() }
    }

    @Test(
        arguments: [
            (.exits(status: 0), .successorExited), (.exits(status: 7), .successorExited),
            (.isKilled(signal: 11), .successorKilled), (.hangs, .successorTimedOut),
            (.givesUp("the migration is missing"), .successorAborted),
            (.cannotStart(UpgradeError(.executableFormat, "for another machine")), .executableFormat),
        ] as [(StubUpgrader.Play, UpgradeError.Code)]
    )
    func `a successor fails in each way, and the next one takes over`(
        _ play: StubUpgrader.Play, _ code: UpgradeError.Code
    ) async throws {
        let stub = try StubUpgrader(
            configuration: .init(
                upgradeTimeout: play == .hangs ? .milliseconds(100) : .seconds(60), pauseTimeout: .seconds(30),
                successor: .init(executable: "/bin/sh")
            )
        )
        try await stub.upgrader.ready()
        for _ in 0..<2 {
            stub.nextSuccessor(play)
            let error = try #require(await #expect(throws: UpgradeError.self) { try await stub.upgrader.upgrade() })
            #expect(error.code == code && error.serving == .predecessor)
            if case .givesUp(let words) = play { #expect(error.message.contains(words)) }
        }
        // Where the time-out is short a busy machine may need more than one.
        for _ in 0..<50 {
            do throws(UpgradeError) {
                try await stub.upgrader.upgrade()
                break
            } catch {
                guard play == .hangs, error.code == .successorTimedOut else { throw error }
            }
        }
        #expect(stub.starts.map(\.play).prefix(3) == [play, play, .takesOver])
        #expect(await stub.upgrader.exit != .stopped)
        #expect(stub.exitStatus == nil)
    }

    @Test(arguments: [.exits(status: 1), .isKilled(signal: 11), .givesUp("no")] as [StubUpgrader.Play])
    func `a successor that fails while it initialises has been handed everything, as a true one`(
        _ play: StubUpgrader.Play
    ) async throws {
        let stub = try StubUpgrader(configuration: .init(successor: .init(executable: "/bin/sh")))
        var events = stub.upgrader.events.makeAsyncIterator()
        try await stub.upgrader.ready()
        while let event = await events.next(), event.phase != .owner {}
        stub.nextSuccessor(play)
        await #expect(throws: UpgradeError.self) { try await stub.upgrader.upgrade() }
        var phases: [UpgradeEvent.Phase] = []
        while phases.last != .failed, let event = await events.next() { phases.append(event.phase) }
        #expect(phases == [.requested, .spawned, .handedOver, .failed])
    }

    @Test(
        arguments: [
            (.failsProbation("it is too slow"), .successorAborted), (.crashesInProbation(signal: 9), .successorKilled),
        ] as [(StubUpgrader.Play, UpgradeError.Code)]
    )
    func `a successor fails in its probation, which is a rollback, and the next one takes over`(
        _ play: StubUpgrader.Play, _ code: UpgradeError.Code
    ) async throws {
        let stub = try StubUpgrader(
            configuration: .init(pauseTimeout: .seconds(30), successor: .init(executable: "/bin/sh")))
        try await stub.upgrader.ready()
        stub.nextSuccessor(play)
        let error = try #require(await #expect(throws: UpgradeError.self) { try await stub.upgrader.upgrade() })
        #expect(error.code == code && error.isRollback && error.serving == .predecessor)
        if case .failsProbation(let words) = play { #expect(error.message.contains(words)) }
        #expect(stub.upgrader.isOwner)
        // It leaves in its own time; until then there would be three.
        while let error = await self.failure(of: stub) {
            guard error.code == .successorAlive else { throw error }
            await Task.yield()
        }
        guard case .replaced = await stub.upgrader.exit else {
            Issue.record("it was not replaced")
            return
        }
    }

    @Test func `successors have the probation of the configuration, and pass its check`() async throws {
        struct Unwell: Error {}
        let checks = Journal()
        let isWell = Atomic(false)
        let probation = Upgrader.Configuration.Probation.passing(within: .seconds(600)) {
            checks.note("checked")
            guard isWell.load(ordering: .relaxed) else { throw Unwell() }
        }
        let stub = try StubUpgrader(
            configuration: .init(
                pauseTimeout: .seconds(30), successor: .init(executable: "/bin/sh"), probation: probation))
        try await stub.upgrader.ready()
        let error = try #require(await #expect(throws: UpgradeError.self) { try await stub.upgrader.upgrade() })
        #expect(error.isRollback && error.message.contains("Unwell"), "\(error)")
        isWell.store(true, ordering: .relaxed)
        while let error = await self.failure(of: stub) {
            guard error.code == .successorAlive else { throw error }
            await Task.yield()
        }
        #expect(checks.all == ["checked", "checked"])
    }

    @Test func `a probation of the configuration ends by commit`() async throws {
        let stub = try StubUpgrader(
            configuration: .init(
                pauseTimeout: .seconds(30), successor: .init(executable: "/bin/sh"),
                probation: .lasting(.seconds(600))))
        try await stub.upgrader.ready()
        let events = stub.upgrader.events
        async let upgrade = stub.upgrader.upgrade()
        for await event in events where event.phase == .probation { break }
        try await stub.upgrader.commit()
        _ = try await upgrade
    }

    @Test func `a successor gives the service back when it is to become the owner`() async throws {
        let stub = try StubUpgrader(
            configuration: .init(pauseTimeout: .seconds(30), successor: .init(executable: "/bin/sh")))
        let owns = Journal()
        stub.upgrader.addOwnershipHooks(
            becameOwner: { owns.note("begins") }, losingOwnership: { owns.note("ends") })
        try await stub.upgrader.ready()
        stub.nextSuccessor(.handsBack("the queue is locked"))
        let error = try #require(await #expect(throws: UpgradeError.self) { try await stub.upgrader.upgrade() })
        #expect(error.code == .successorAborted && error.message.contains("the queue is locked"))
        try await eventually("the work") { owns.all == ["begins", "ends", "begins"] }
        // It leaves in its own time; until then there would be three.
        while let error = await self.failure(of: stub) {
            guard error.code == .successorAlive else { throw error }
            await Task.yield()
        }
        #expect(owns.all == ["begins", "ends", "begins", "ends"])
        #expect(!stub.upgrader.isOwner)
    }

    /// A successor that has another one, or none, leaves it as it is.
    @Test func `a replaced process takes the PID file along that names it`() async throws {
        let directory = try TemporaryDirectory()
        let path = directory("own.pid")
        let stub = try StubUpgrader(
            configuration: .init(pidFile: path, pauseTimeout: .seconds(30), successor: .init(executable: "/bin/sh")))
        let listener = try stub.upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0))
        try await stub.upgrader.ready()
        #expect(directory.names == ["own.pid"])
        try await stub.upgrader.upgrade()
        _ = await stub.upgrader.exit
        #expect(directory.names.isEmpty, "\(directory.names)")
        let error = try #require(throws: UpgradeError.self) { _ = try listener.duplicate() }
        #expect(error.serving == .successor && error.message.contains("handed on"), "\(error)")
    }

    private func failure(of stub: StubUpgrader) async -> UpgradeError? {
        do throws(UpgradeError) {
            try await stub.upgrader.upgrade()
            return nil
        } catch {
            return error
        }
    }

    @Test func `several live in one process, and a second stop would end it`() async throws {
        let first = try StubUpgrader()
        let second = try StubUpgrader()
        try await first.upgrader.ready()
        try await second.upgrader.ready()
        first.upgrader.stop()
        #expect(await first.upgrader.exit == .stopped)
        #expect(first.exitStatus == nil)
        let events = second.upgrader.events
        second.upgrader.stop()
        second.upgrader.stop()
        for await event in events where event.phase == .stopping { break }
        while second.exitStatus == nil { await Task.yield() }
        #expect(second.exitStatus == 0)
        #expect(first.exitStatus == nil)
    }
}
