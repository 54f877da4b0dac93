// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import TableflipCore
import TableflipSystem
import Testing

@testable import Tableflip

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite(.timeLimit(.minutes(3))) struct StateTests {
    // MARK: As a predecessor

    @Test(arguments: Kernel.allCases)
    func `what is left is offered at the start, and what was left before is not`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            try stage.upgrader.leaveState([1, 2, 3], name: "table", version: 6)
            try stage.upgrader.leaveState(Array("newer".utf8), name: "table", version: 7)
            try stage.upgrader.leaveState([], name: "empty", version: 0)
            #expect(throws: UpgradeError.self) {
                try stage.upgrader.carry(OwnedDescriptor(duplicating: 2), as: .state, name: "x")
            }
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            let inventory = try await successor.takeInventory()
            let states = zip(inventory.entries, inventory.descriptors).filter { $0.0.kind == .state }
            #expect(states.map(\.0.name) == ["table", "empty"] && states.map(\.0.version) == [7, 0])
            #expect(try states.map { try Blob.read($0.1.number) } == [Array("newer".utf8), []])
            // Too late for this upgrade; the next one has it.
            let error = try #require(throws: UpgradeError.self) {
                try stage.upgrader.leaveState([9], name: "table", version: 7)
            }
            #expect(error.code == .wrongMoment)
            try await successor.end(.exited(1))
            _ = try await upgrade.failure
            try stage.upgrader.leaveState([9], name: "table", version: 7)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `final states are asked for after the pause and sent before go`(_ kernel: Kernel) async throws {
        let reader = FakeReader()
        try await Stage.serving(kernel, reader: reader) { stage in
            for number in 0..<20 {
                try stage.upgrader.provideFinalState("state \(number)", version: UInt16(number)) {
                    #expect(reader.journal.all.last == "reader: paused")
                    return [UInt8(number)]
                }
            }
            #expect(throws: UpgradeError.self) { try stage.upgrader.provideFinalState("state 3", version: 0) { [] } }
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.becomeReady()
            var received = 0
            while received < 20 {
                let (message, descriptors) = try await successor.peer.nextMessage()
                guard case .offer(let offer) = message else { throw TimedOut(what: "an offer, and heard \(message)") }
                #expect(offer.stage == .final && Int(offer.first) == received && offer.total == 20)
                for (entry, descriptor) in zip(offer.entries, descriptors) {
                    #expect(entry.kind == .state && entry.version == UInt16(received))
                    #expect(try Blob.read(descriptor.number) == [UInt8(received)])
                    received += 1
                }
                try await successor.peer.say(.acknowledgement(.init(.finalOffer, received: UInt32(received))))
            }
            try await successor.peer.expect(.go)
            try await successor.peer.expect(.commit)
            try await successor.peer.say(.committed)
            _ = try await upgrade.value
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a final state that fails makes the upgrade fail, and this process serves on`(_ kernel: Kernel) async throws {
        let reader = FakeReader()
        try await Stage.serving(kernel, reader: reader) { stage in
            try stage.upgrader.provideFinalState("state", version: 1) { throw NoInk() }
            let error = try await self.failedUpgrade(stage, .stateFailed)
            #expect(error.message.contains("NoInk"))
            #expect(reader.journal.all.last == "reader: resumed")
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a final state that is late makes the upgrade fail, and this process serves on`(
        _ kernel: Kernel
    ) async throws {
        let reader = FakeReader()
        let never = Latch<Void>()
        try await Stage.serving(kernel, reader: reader, { $0.pauseTimeout = .milliseconds(100) }) { stage in
            try stage.upgrader.provideFinalState("state", version: 1) {
                _ = await never.wait()
                return []
            }
            _ = try await self.failedUpgrade(stage, .pauseFailed)
            #expect(reader.journal.all.last == "reader: resumed")
        }
        never.set(())
    }

    @Test(arguments: Kernel.allCases)
    func `what an upgrade that has failed collects late is not what the next one sends`(_ kernel: Kernel) async throws {
        let calls = Mutex(0)
        let mayAnswer = [Latch<Void>(), Latch<Void>()]
        let isAsked = [Latch<Void>(), Latch<Void>()]
        var patience = Patience.ofTests
        patience.overtaking = .milliseconds(50)
        try await Stage.serving(kernel, patience: patience) { stage in
            try stage.upgrader.provideFinalState("state", version: 1) {
                let call = calls.withLock { calls in
                    defer { calls += 1 }
                    return calls
                }
                isAsked[call].set(())
                await Task { _ = await mayAnswer[call].wait() }.value
                return [UInt8(call)]
            }
            let first = stage.requestUpgrade()
            let withdrawn = try await stage.spawner.next()
            _ = try await withdrawn.becomeReady()
            try await isAsked[0].value("the first question")
            let order = Outcome { () throws(UpgradeError) in try await stage.upgrader.rollBack() }
            try await withdrawn.peer.expectAbort(.rolledBack)
            try await withdrawn.end(.exited(0))
            try await order.value
            #expect(try await first.failure.code == .rolledBack)

            let second = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.becomeReady()
            try await isAsked[1].value("the second question")
            try await stage.whileHeldUp {
                let wakeUp = stage.context.inbox.wakeUp
                // The one that counts first, then the late one: each tells the engine when it is done.
                for call in [1, 0] {
                    wakeUp.clear()
                    mayAnswer[call].set(())
                    try await onItsOwnThread {
                        guard readable(wakeUp.descriptor) else { throw TimedOut(what: "answer \(call)") }
                    }
                }
            }
            let (message, descriptors) = try await successor.peer.nextMessage()
            guard case .offer(let offer) = message else { throw TimedOut(what: "a state, and heard \(message)") }
            #expect(offer.entries.map(\.name) == ["state"])
            #expect(try descriptors.map { try Blob.read($0.number) } == [[1]])
            try await successor.peer.say(.acknowledgement(.init(.finalOffer, received: 1)))
            try await successor.peer.expect(.go)
            try await successor.peer.expect(.commit)
            try await successor.peer.say(.committed)
            _ = try await second.value
        }
    }

    private struct NoInk: Error {}

    private func failedUpgrade(_ stage: Stage, _ code: UpgradeError.Code) async throws -> UpgradeError {
        let upgrade = stage.requestUpgrade()
        let successor = try await stage.spawner.next()
        _ = try await successor.becomeReady()
        try await successor.peer.expectAbort(code)
        try await successor.end(.exited(0))
        let error = try await upgrade.failure
        #expect(error.code == code && error.serving == .predecessor)
        return error
    }

    @Test(arguments: Kernel.allCases)
    func `a successor that acknowledges more than it was given misbehaves`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.becomeReady()
            try await successor.peer.say(.acknowledgement(.init(.finalOffer, received: 1)))
            try await successor.peer.say(.committed)
            _ = try await successor.fate()
            successor.tell(.signalled(SIGKILL))
            #expect(try await upgrade.failure.code == .successorMisbehaved)
        }
    }

    // MARK: As a successor

    @Test(arguments: Kernel.allCases)
    func `what was left is read and carried on, in a version that is known`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        var inventory = Inventory.empty
        for (name, version) in [("table", 3), ("strange", 9)] {
            let blob = try Blob.make(Array(name.utf8), name: name, kernel.capabilities)
            inventory.add(name, .state, "", Held(blob))
            inventory.entries[inventory.entries.count - 1].version = UInt16(version)
        }
        let handedOver = inventory
        try await Stage.successor(kernel, of: predecessor, greeting: { try await $0.handOver(handedOver) }) { stage in
            #expect(try stage.upgrader.inheritedState("nothing", versions: 1...3) == nil)
            let error = try #require(throws: UpgradeError.self) {
                _ = try stage.upgrader.inheritedState("strange", versions: 1...8)
            }
            #expect(error.code == .stateVersion && error.message.contains("9") && error.message.contains("1 to 8"))
            let table = try #require(try stage.upgrader.inheritedState("table", versions: 1...3))
            #expect(try table.bytes() == Array("table".utf8))
            #expect(try table.bytes() == Array("table".utf8), "reading has no offset")
            #expect(table.version == 3 && table.name == "table")
            let ready = stage.requestReady()
            let said = try await predecessor.hearReady()
            #expect(said.claimed == [true, false])
            try await predecessor.peer.say(.go)
            try await ready.value
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a final state is restored before anything is read, and only once`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        let reader = FakeReader()
        try await Stage.successor(kernel, of: predecessor, greeting: { try await $0.handOver(.empty) }) { stage in
            stage.upgrader.register(reader)
            let seen = Latch<[UInt8]>()
            let none = Latch<Bool>()
            try stage.upgrader.restoreFinalState("here", versions: 1...2) { state in
                #expect(reader.journal.all.isEmpty)
                seen.set(try state?.bytes() ?? [])
            }
            try stage.upgrader.restoreFinalState("not here", versions: 1...2) { none.set($0 == nil) }
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            let blob = Held(try Blob.make([4, 2], name: "here", kernel.capabilities))
            let entry = InventoryEntry(name: "here", kind: .state, address: "", version: 2)
            try await predecessor.peer.say(
                .offer(.init(stage: .final, first: 0, total: 1, entries: [entry])), with: [blob.number])
            try await predecessor.peer.expect(.acknowledgement(.init(.finalOffer, received: 1)))
            try await predecessor.peer.say(.go)
            try await ready.value
            #expect(seen.current == [4, 2] && none.current == true)
            let tooLate = try #require(throws: UpgradeError.self) {
                try stage.upgrader.restoreFinalState("late", versions: 1...2) { _ in Issue.record("it was called") }
            }
            #expect(tooLate.code == .wrongMoment)
            #expect(tooLate.message == "the final state late was asked for after ready()")
            #expect(reader.journal.all == ["reader: resume", "reader: resumed"])
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a final state that is not understood gives the service back`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        let reader = FakeReader()
        try await Stage.successor(kernel, of: predecessor, greeting: { try await $0.handOver(.empty) }) { stage in
            stage.upgrader.register(reader)
            try stage.upgrader.restoreFinalState("here", versions: 1...2) { _ in Issue.record("it was read") }
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            let blob = Held(try Blob.make([4, 2], name: "here", kernel.capabilities))
            let entry = InventoryEntry(name: "here", kind: .state, address: "", version: 3)
            try await predecessor.peer.say(
                .offer(.init(stage: .final, first: 0, total: 1, entries: [entry])), with: [blob.number])
            try await predecessor.peer.expect(.acknowledgement(.init(.finalOffer, received: 1)))
            try await predecessor.peer.say(.go)
            try await predecessor.peer.expectAbort(.stateVersion)
            #expect(!reader.journal.all.contains("reader: resume"))
            try await predecessor.peer.say(.bye(.init()))
            #expect(try await ready.failure.code == .stateVersion)
        }
    }

    @Test(arguments: Kernel.allCases, ["a pipe", "twice", "too early"])
    func `final states that no correct predecessor offers are refused`(_ kernel: Kernel, _ how: String) async throws {
        let predecessor = try FakePredecessor(kernel)
        try await Stage.successor(kernel, of: predecessor, greeting: { try await $0.handOver(.empty) }) { stage in
            let pipe = try Pipe()
            let blob = Held(try Blob.make([1], name: "x", kernel.capabilities))
            let number = how == "a pipe" ? pipe.reading.borrowed : blob.number
            let entry = InventoryEntry(name: "x", kind: .state, address: "", version: 1)
            let entries = how == "twice" ? [entry, entry] : [entry]
            let ready: Outcome<Void>? = how == "too early" ? nil : stage.requestReady()
            if ready != nil { _ = try await predecessor.hearReady() }
            try await predecessor.peer.say(
                .offer(.init(stage: .final, first: 0, total: UInt32(entries.count), entries: entries)),
                with: entries.map { _ in number }
            )
            try await predecessor.peer.expectAbort(.predecessorMisbehaved)
            if let ready { #expect(try await ready.failure.code == .predecessorMisbehaved) }
        }
    }
}
