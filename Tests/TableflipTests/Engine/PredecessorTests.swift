// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

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

/// Handing over, where everything goes well.
@Suite(.timeLimit(.minutes(3))) struct PredecessorTests {
    @Test(arguments: Kernel.allCases)
    func `a whole upgrade`(_ kernel: Kernel) async throws {
        let reader = FakeReader()
        let gate = Latch<Void>()
        let pausing = Latch<Void>()
        reader.script {
            $0.pause = {
                pausing.set(())
                _ = await gate.wait()
            }
        }
        let tracer = try Tracer()
        try await Stage.first(kernel) { stage in
            let listener = try stage.upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0), name: "web")
            let datagrams = try stage.upgrader.listen(on: .udp(host: "127.0.0.1", port: 0))
            let traced = try stage.upgrader.carry(.file, name: "trace") { tracer.giveAway() }
            stage.upgrader.register(reader)
            try await stage.upgrader.ready()
            #expect(reader.journal.all == ["reader: resume", "reader: resumed"])

            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            let hello = try await successor.greet()
            #expect(hello.generation == 1)
            #expect(hello.process == ProcessID.current)
            #expect(hello.versions == ProtocolVersion.supported)

            // What there is, in the order in which it was asked for.
            var inventory: Inventory? = try await successor.takeInventory()
            let entries = try #require(inventory?.entries)
            #expect(entries.map(\.name) == ["web", "udp://127.0.0.1:0", "trace"])
            #expect(entries.map(\.kind) == [.listener, .datagram, .file])
            #expect(entries.map(\.address) == ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", ""])
            #expect(entries.map(\.version) == [0, 0, 0])
            let inodes = try #require(try inventory?.descriptors.map { try $0.inode })
            #expect(inodes == [try listener.socket.inode, try datagrams.socket.inode, try traced.inode])

            // Ready: it pauses its readers, and says nothing before they have paused.
            try await successor.sayReady(try #require(inventory))
            try await pausing.value("pause")
            try await stage.fence()
            #expect(try await successor.peer.isQuiet)
            gate.set(())
            try await successor.peer.expect(.go)
            #expect(reader.journal.all.suffix(2) == ["reader: pause", "reader: paused"])
            try await successor.peer.expect(.commit)

            try await stage.fence()
            #expect(upgrade.current == nil)
            #expect(stage.context.exit.current == nil)
            try await successor.peer.say(.committed)
            let report = try await upgrade.value
            #expect(report.successor == successor.id)
            #expect(report.generation == 2)
            #expect(report.descriptors == 3)
            #expect(report.phases.map(\.phase) == [.requested, .spawned, .handedOver, .ready, .go, .committed])
            #expect(await stage.upgrader.exit == .replaced(successor: successor.id))
            try await successor.peer.expect(.bye(.init()))
            #expect(reader.journal.all.suffix(2) == ["reader: export", "reader: exported"])
            #expect(reader.journal.all.count == 6)

            // Everything is in its successor's hands now.
            #expect(throws: UpgradeError.self) { _ = try listener.duplicate() }
            #expect(listener.port == nil)
            #expect(tracer.isOpenSomewhere)
            inventory = nil
            #expect(try await tracer.isClosedEverywhere)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `its events tell each phase, in order`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.takeOver()
            let report = try await upgrade.value
            _ = try await stage.events.first(.committed)
            #expect(
                stage.events.phases == [
                    .owner, .serving, .requested, .spawned, .handedOver, .ready, .go, .committed,
                ]
                    || stage.events.phases == [
                        .serving, .owner, .requested, .spawned, .handedOver, .ready, .go, .committed,
                    ]
            )
            let upgrading = stage.events.all.dropFirst(2)
            #expect(upgrading.map(\.elapsed) == upgrading.map(\.elapsed).sorted())
            #expect(upgrading.allSatisfy { $0.elapsed >= .zero && $0.elapsed < patience })
            #expect(upgrading.allSatisfy { $0.generation == 1 && $0.error == nil })
            #expect(upgrading.dropFirst().allSatisfy { $0.peer == successor.id })
            #expect(report.phases.map(\.phase) == upgrading.map(\.phase))
            #expect(report.phases.map(\.elapsed) == upgrading.map(\.elapsed))
            #expect(report.duration == upgrading.last?.elapsed)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `what is started is the program, with one variable more`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            #expect(successor.request.executable.path == "/bin/sh")
            #expect(successor.request.arguments.texts == ["service", "--flag"])
            let environment = successor.request.environment.texts
            #expect(environment.count == 2)
            #expect(environment.first == "A=1")
            #expect(environment.last?.hasPrefix("TABLEFLIP_CHANNEL=3:") == true)
            try await successor.end()
            _ = try await upgrade.failure
        }
    }

    @Test(arguments: Kernel.allCases)
    func `everything is offered before the successor has said a word`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            stage.spawner.plan { $0.hello = nil }
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            try await successor.peer.expect(.offer(.init(stage: .initial, first: 0, total: 0, entries: [])))
            try await successor.end()
            _ = try await upgrade.failure
        }
    }

    @Test(arguments: Kernel.allCases)
    func `an inventory of nothing is offered as such`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            try await successor.peer.expect(.offer(.init(stage: .initial, first: 0, total: 0, entries: [])))
            try await successor.peer.say(.acknowledgement(.init(.initialOffer, received: 0)))
            try await successor.sayReady(.empty)
            try await successor.peer.expect(.go)
            try await successor.peer.expect(.commit)
            try await successor.peer.say(.committed)
            #expect(try await upgrade.value.descriptors == 0)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `no more descriptors are on their way than the system keeps alive`(_ kernel: Kernel) async throws {
        let capabilities = kernel.capabilities
        // One batch more than may be on its way at once, where a test may open that many.
        let count = kernel == .portable ? capabilities.descriptorsInFlight + 17 : 300
        OpenFileLimit.makeRoom(for: 2000)
        try await Stage.first(kernel) { stage in
            for number in 0..<count {
                _ = try stage.upgrader.carry(.file, name: "file \(number)") { () throws(UpgradeError) in
                    try UpgradeError.wrapping("dup") { () throws(SystemCallError) in
                        try OwnedDescriptor(duplicating: 2)
                    }
                }
            }
            try await stage.upgrader.ready()
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()

            var batches: [Int] = []
            var names: [String] = []
            var kept: [Held] = []
            while names.count < count {
                let (message, descriptors) = try await successor.peer.nextMessage()
                guard case .offer(let offer) = message else { throw TimedOut(what: "an offer, and heard \(message)") }
                #expect(offer.total == count)
                #expect(Int(offer.first) == names.count)
                #expect(descriptors.count == offer.entries.count)
                batches.append(descriptors.count)
                names += offer.entries.map(\.name)
                kept += descriptors
                if kernel == .portable, names.count == capabilities.descriptorsInFlight {
                    // As many as may be on their way, and none is acknowledged yet: it waits.
                    try await stage.fence()
                    #expect(try await successor.peer.isQuiet)
                }
                if kernel == .current || names.count >= capabilities.descriptorsInFlight {
                    try await successor.peer.say(
                        .acknowledgement(.init(.initialOffer, received: UInt32(names.count)))
                    )
                }
            }
            #expect(names == (0..<count).map { "file \($0)" })
            #expect(batches == (kernel == .portable ? [16, 16, 16, 16, 16, 1] : [253, 47]))
            let entries = names.map { InventoryEntry(name: $0, kind: .file, address: "") }
            try await successor.sayReady(Inventory(entries: entries, descriptors: kept))
            try await successor.peer.expect(.go)
            try await successor.peer.expect(.commit)
            try await successor.peer.say(.committed)
            #expect(try await upgrade.value.descriptors == count)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `what was not claimed counts for nothing`(_ kernel: Kernel) async throws {
        try await Stage.first(kernel) { stage in
            for name in ["a", "b", "c"] {
                _ = try stage.upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0), name: name)
            }
            try await stage.upgrader.ready()
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            let all = try await successor.takeInventory()
            let claimed = Inventory(
                entries: [all.entries[0], all.entries[2]], descriptors: [all.descriptors[0], all.descriptors[2]]
            )
            try await successor.peer.say(
                .ready(
                    .init(
                        digest: claimed.digest(), claimed: [true, false, true], fresh: 5, probation: .none,
                        probationMilliseconds: 0
                    )
                )
            )
            try await successor.peer.expect(.go)
            try await successor.peer.expect(.commit)
            try await successor.peer.say(.committed)
            _ = try await upgrade.value
        }
    }

    @Test(arguments: Kernel.allCases)
    func `all readers pause before go, whichever is the slowest`(_ kernel: Kernel) async throws {
        let journal = Journal()
        let readers = (0..<3).map { FakeReader("reader \($0)", journal) }
        let gate = Latch<Void>()
        let others = Latch<Void>()
        readers[1].script { $0.pause = { _ = await gate.wait() } }
        readers[2].script { $0.pause = { others.set(()) } }
        try await Stage.first(kernel) { stage in
            for reader in readers { stage.upgrader.register(reader) }
            try await stage.upgrader.ready()
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.becomeReady()
            try await others.value("the last reader's pause")
            try await stage.fence()
            #expect(try await successor.peer.isQuiet)
            gate.set(())
            try await successor.peer.expect(.go)
            #expect(journal.all.count { $0.hasSuffix("paused") } == 3)
            try await successor.peer.expect(.commit)
            try await successor.peer.say(.committed)
            _ = try await upgrade.value
        }
    }

    /// Answers on the spot: no crowd of other tests makes it late.
    private struct PromptReader: Tableflip.PromptReader {
        func pause(then answer: @escaping @Sendable ((any Error)?) -> Void) { answer(nil) }
        func resume(then answer: @escaping @Sendable ((any Error)?) -> Void) { answer(nil) }
        func pause() async throws {}
        func resume() async throws {}
    }

    @Test(arguments: Kernel.allCases)
    func `a service manager that reads nothing fails no upgrade`(_ kernel: Kernel) async throws {
        let manager = try NotifyListener()
        let configure: (inout Upgrader.Configuration) -> Void = { $0.pauseTimeout = .milliseconds(900) }
        try await Stage.first(kernel, configure, manager: manager.socket) { stage in
            stage.upgrader.register(PromptReader())
            try await stage.upgrader.ready()
            manager.fill()
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.takeOver()
            _ = try await upgrade.value
            #expect(stage.log.lines.count { $0.contains("does not hear this process") } == 1)
        }
    }

    /// Answers in the engine's next turn, which takes until the deadline has passed: less long than what counts as a
    /// standstill.
    private struct BusyReader: Tableflip.PromptReader {
        let inbox: EngineInbox

        func pause(then answer: @escaping @Sendable ((any Error)?) -> Void) {
            self.inbox.send(
                .export([]) { _ in
                    answer(nil)
                    usleep(800_000)
                }
            )
        }
        func resume(then answer: @escaping @Sendable ((any Error)?) -> Void) { answer(nil) }
        func pause() async throws {}
        func resume() async throws {}
    }

    @Test(arguments: Kernel.allCases)
    func `a pause that has ended counts, however late this process comes to see it`(_ kernel: Kernel) async throws {
        try await Stage.first(kernel, { $0.pauseTimeout = .milliseconds(500) }) { stage in
            stage.upgrader.register(BusyReader(inbox: stage.context.inbox))
            try await stage.upgrader.ready()
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.takeOver()
            _ = try await upgrade.value
        }
    }

    @Test(arguments: Kernel.allCases)
    func `its PID file stays its own until the successor takes it`(_ kernel: Kernel) async throws {
        let directory = try TemporaryDirectory()
        let file = PIDFile(path: directory("service.pid"), process: 111)
        try await Stage.serving(kernel, pidFile: file) { stage in
            #expect(directory.text("service.pid") == "111\n")
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            #expect(directory.text("service.pid") == "111\n")
            // As a true one does before it says that it is the owner.
            let theirs = PIDFile(path: directory("service.pid"), process: 222)
            try theirs.restore()
            _ = try await successor.takeOver()
            _ = try await upgrade.value
        }
        // Whoever drains leaves the file to its owner.
        #expect(directory.names == ["service.pid"])
        #expect(directory.text("service.pid") == "222\n")
    }

    @Test(arguments: Kernel.allCases, [SocketAddress.UnixKind.stream, .datagram])
    func `a Unix path stays when the service is handed on, and goes when it stops`(
        _ kernel: Kernel, _ kind: SocketAddress.UnixKind
    ) async throws {
        let directory = try TemporaryDirectory()
        let address = SocketAddress.unix(path: directory("x.sock"), kind: kind)
        try await Stage.first(kernel) { stage in
            _ = try stage.upgrader.listen(on: address)
            try await stage.upgrader.ready()
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.takeOver()
            _ = try await upgrade.value
        }
        #expect(directory.names == ["x.sock"])

        try await Stage.first(kernel) { stage in
            _ = try stage.upgrader.listen(on: address)
            try await stage.upgrader.ready()
            stage.upgrader.stop()
            #expect(await stage.upgrader.exit == .stopped)
            #expect(directory.names.isEmpty)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `the drain time-out ends a process that was replaced`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel, { $0.drainTimeout = .milliseconds(100) }) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.takeOver()
            _ = try await upgrade.value
            #expect(try await stage.exited.value("the end") == 0)
            _ = try await stage.events.first(.drainOverran)
        }
    }

    @Test func `a reader that counts wrongly traps nobody`() async {
        await #expect(processExitsWith: .success) {
            let reader = FakeReader()
            reader.script { $0.counts = ConnectionCounts(open: -1, drained: -1) }
            try await Stage.serving(.current, reader: reader) { stage in
                let upgrade = stage.requestUpgrade()
                let successor = try await stage.spawner.next()
                _ = try await successor.takeOver()
                _ = try await upgrade.value
                try await successor.peer.expect(.bye(.init()))
            }
        }
    }

    @Test(arguments: Kernel.allCases)
    func `an unknown message that is optional is passed over at any moment`(_ kernel: Kernel) async throws {
        let unknown: [UInt8] = [0x54, 0x46, 200, 1, 0, 0, 0, 0, 2, 0, 0, 0, 7, 7]
        try await Stage.serving(kernel) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            try await successor.peer.sayRaw(unknown)
            let inventory = try await successor.takeInventory()
            try await successor.peer.sayRaw(unknown)
            try await successor.sayReady(inventory)
            try await successor.peer.sayRaw(unknown)
            try await successor.peer.expect(.go)
            try await successor.peer.expect(.commit)
            try await successor.peer.sayRaw(unknown)
            try await successor.peer.say(.committed)
            _ = try await upgrade.value
        }
    }

    /// A process that its successor started alone, because it did not hear from this one, says so unasked.
    @Test(arguments: Kernel.allCases)
    func `a successor that committed by itself has replaced this process`(_ kernel: Kernel) async throws {
        let reader = FakeReader()
        try await Stage.serving(kernel, reader: reader) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.becomeReady(probation: .timed, milliseconds: 60_000)
            try await successor.peer.expect(.go)
            try await successor.peer.say(.committed)
            _ = try await upgrade.value
            #expect(await stage.upgrader.exit == .replaced(successor: successor.id))
            #expect(!reader.journal.all.dropFirst(2).contains("reader: resume"))
        }
    }
}

extension CarriedDescriptor {
    fileprivate var inode: UInt64 {
        get throws {
            let number = self.withDescriptor { $0 ?? -1 }
            return try DescriptorFacts(of: number).inode
        }
    }
}
