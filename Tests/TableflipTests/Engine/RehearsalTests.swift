// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem
import Testing

@testable import Tableflip

/// An upgrade as far as ready, and back.
@Suite(.timeLimit(.minutes(3))) struct RehearsalTests {
    private static let admin = InventoryEntry(name: "admin", kind: .listener, address: "tcp://127.0.0.1:0")
    private static let unnamed = InventoryEntry(name: "unix:/x", kind: .listener, address: "unix:/x")
    private static let cache = InventoryEntry(name: "cache", kind: .state, address: "", version: 1)

    @Test(arguments: Kernel.allCases, [true, false])
    func `a rehearsal ends as one, whether its successor becomes ready or not`(
        _ kernel: Kernel, _ becomesReady: Bool
    ) async throws {
        try await Stage.serving(kernel) { stage in
            let outcome = Latch<Result<UpgradeReport, UpgradeError>>()
            stage.context.inbox.send(.upgrade(.init(reply: { outcome.set($0) }, rehearsal: Rehearsal(known: []))))
            let successor = try await stage.spawner.next()
            if becomesReady {
                _ = try await successor.becomeReady()
                try await successor.peer.expectAbort(.rehearsed)
            } else {
                _ = try await successor.greet()
            }
            try await successor.end(.exited(1))
            let event = try await stage.events.first(.failed)
            #expect(event.isRehearsal)
            #expect(event.error?.code == (becomesReady ? .rehearsed : .successorExited))
            // What comes next is an upgrade again.
            stage.spawner.plan { $0.failure = UpgradeError(.spawnFailed, "no room") }
            _ = try await stage.requestUpgrade().failure
            try await eventually("another failure") { stage.events.all.count { $0.phase == .failed } == 2 }
            #expect(stage.events.all.last { $0.phase == .failed }?.isRehearsal == false)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `every event of a rehearsal says so`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let rehearsal = Rehearsal(known: [])
            stage.context.inbox.send(.upgrade(.init(reply: { _ in }, rehearsal: rehearsal)))
            let successor = try await stage.spawner.next()
            _ = try await successor.becomeReady()
            try await successor.end(.exited(1))
            _ = try await stage.events.first(.failed)
            let phases = stage.events.all.filter { $0.isRehearsal }.map(\.phase)
            #expect(phases == [.requested, .spawned, .handedOver, .failed])
        }
    }

    /// What the successor tells before ready, how many ready counts, and what is found.
    @Test(
        arguments: Kernel.allCases,
        [
            (
                [[Self.admin, Self.unnamed, Self.cache]], 3,
                ["listener admin at tcp://127.0.0.1:0", "listener unix:/x", "state cache"]
            ),
            ([[Self.cache]], 254, ["state cache", "and 253 more"]),
            // An older library.
            ([], 2, ["2 that this process does not have"]),
            ([], 0, []),
        ] as [([[InventoryEntry]], UInt32, [String])]
    )
    func `a rehearsal names what is new`(
        _ kernel: Kernel, _ told: (fresh: [[InventoryEntry]], count: UInt32, words: [String])
    ) async throws {
        try await Stage.serving(kernel) { stage in
            let rehearsal = Rehearsal(known: [])
            let outcome = Latch<Result<UpgradeReport, UpgradeError>>()
            stage.context.inbox.send(.upgrade(.init(reply: { outcome.set($0) }, rehearsal: rehearsal)))
            let successor = try await stage.spawner.next()
            let hello = try await successor.greet()
            #expect(hello.features & Message.Hello.hearsFresh != 0)
            let inventory = try await successor.takeInventory()
            for entries in told.fresh { try await successor.peer.say(.fresh(.init(entries: entries))) }
            try await successor.sayReady(inventory, fresh: told.count)
            try await successor.peer.expectAbort(.rehearsed)
            try await successor.end(.exited(1))
            guard case .failure(let failure) = await outcome.wait() else { throw TimedOut(what: "the end") }
            guard case .findings(let findings) = rehearsal.answer(afterwards: failure) else {
                throw TimedOut(what: "findings")
            }
            #expect(findings.filter { $0.name == "new" }.map(\.message) == told.words, "\(findings)")
        }
    }

    @Test(arguments: [.stopping, .rolledBack] as [UpgradeError.Code])
    func `a rehearsal that was cut short blames no program`(_ code: UpgradeError.Code) {
        guard case .failed(let failure) = Rehearsal(known: []).answer(afterwards: UpgradeError(code, "cut short"))
        else {
            Issue.record("findings of a program that was not looked at")
            return
        }
        #expect(failure.code == code.description)
    }

    /// Only where it is wanted.
    @Test(arguments: Kernel.allCases, [true, false])
    func `a successor names what it has made, if its predecessor asks`(_ kernel: Kernel, _ asks: Bool) async throws {
        let predecessor = try FakePredecessor(kernel)
        let greeting: (FakePredecessor) async throws -> Void = {
            try await $0.handOver(.empty) { $0.features = asks ? Message.Hello.hearsFresh : 0 }
        }
        try await Stage.successor(kernel, of: predecessor, greeting: greeting) { stage in
            _ = try stage.upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0), name: "admin")
            let ready = stage.requestReady()
            if asks { try await predecessor.peer.expect(.fresh(.init(entries: [Self.admin]))) }
            #expect(try await predecessor.hearReady().fresh == 1)
            try await predecessor.peer.say(.abort(.init(code: "rehearsed", message: "it was a rehearsal", cure: "")))
            let end = try await ready.failure
            #expect(end.code == .rehearsed && end.serving == .predecessor)
        }
    }
}
