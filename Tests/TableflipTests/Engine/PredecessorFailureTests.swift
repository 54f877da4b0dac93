// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Dispatch
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

/// Handing over, where something goes wrong before the successor was told to go: this process has never stopped serving,
/// or serves again, and the next upgrade starts afresh.
@Suite(.timeLimit(.minutes(3))) struct PredecessorFailureTests {
    // MARK: Readers

    @Test(arguments: Kernel.allCases)
    func `a reader that cannot pause`(_ kernel: Kernel) async throws {
        let journal = Journal()
        let unwilling = FakeReader("unwilling", journal)
        let willing = FakeReader("willing", journal)
        unwilling.script { $0.pause = { throw Unwilling() } }
        try await Stage.first(kernel) { stage in
            stage.upgrader.register(unwilling)
            stage.upgrader.register(willing)
            try await stage.upgrader.ready()
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.becomeReady()
            try await successor.peer.expectAbort(.pauseFailed)
            try await successor.end(.exited(0))
            let error = try await upgrade.failure
            #expect(error.code == .pauseFailed)
            #expect(error.message.contains("not in the mood"))
            #expect(error.serving == .predecessor)
            // All of them read again, also the one that could not pause.
            let entries = journal.all
            #expect(entries.count { $0 == "unwilling: resumed" } == 2)
            #expect(entries.count { $0 == "willing: resumed" } == 2)
            let paused = try #require(entries.firstIndex(of: "willing: pause"))
            let resumed = try #require(entries.lastIndex(of: "willing: resume"))
            #expect(paused < resumed)

            unwilling.script { $0.pause = {} }
            try await self.expectWholeUpgrade(stage)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a reader that does not pause in time`(_ kernel: Kernel) async throws {
        let reader = FakeReader()
        let cancelled = Latch<Void>()
        let never = Latch<Void>()
        reader.script {
            $0.pause = {
                _ = await never.wait()
                if Task.isCancelled { cancelled.set(()) }
            }
        }
        try await Stage.serving(kernel, reader: reader, { $0.pauseTimeout = .seconds(5) }) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.becomeReady()
            try await successor.peer.expectAbort(.pauseFailed)
            try await successor.end(.exited(0))
            let error = try await upgrade.failure
            #expect(error.code == .pauseFailed)
            #expect(error.message.contains("time-out"))
            try await cancelled.value("the cancellation of a pause that overran")
            #expect(reader.journal.all.count { $0 == "reader: resumed" } == 2)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a pause that returns after it was given up changes nothing`(_ kernel: Kernel) async throws {
        let reader = FakeReader()
        let gate = Latch<Void>()
        let late = Latch<Void>()
        reader.script {
            $0.pause = {
                // Deaf to cancellation, as a call into something else may be.
                await Task { _ = await gate.wait() }.value
                late.set(())
            }
        }
        try await Stage.serving(kernel, reader: reader, { $0.pauseTimeout = .seconds(5) }) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.becomeReady()
            try await successor.peer.expectAbort(.pauseFailed)
            gate.set(())
            try await late.value("the late pause")
            try await stage.fence()
            // Neither go nor a second abort.
            #expect(try await successor.peer.isQuiet)
            try await successor.end(.exited(0))
            #expect(try await upgrade.failure.code == .pauseFailed)
            #expect(reader.journal.all.count { $0 == "reader: resumed" } == 2)
            // The next one begins afresh.
            let next = stage.requestUpgrade()
            let other = try await stage.spawner.next()
            _ = try await other.greet()
            try await other.end(.exited(0))
            #expect(try await next.failure.code == .successorExited)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a process that is told to stop before its readers read again leaves them as they are`(
        _ kernel: Kernel
    ) async throws {
        let reader = FakeReader()
        let (pausing, gate) = (Latch<Void>(), Latch<Void>())
        reader.script {
            $0.pause = {
                pausing.set(())
                await Task { _ = await gate.wait() }.value
            }
        }
        var patience = Patience.ofTests
        patience.overtaking = .seconds(600)
        try await Stage.serving(kernel, reader: reader, patience: patience) { stage in
            let before = reader.journal.all
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.becomeReady()
            try await pausing.value("pause")
            try await successor.end(.signalled(11))
            stage.upgrader.stop()
            _ = await stage.upgrader.exit
            gate.set(())
            _ = try await upgrade.failure
            try await eventually("the late pause") { reader.journal.all.last == "reader: paused" }
            try await stage.fence()
            #expect(reader.journal.all == before + ["reader: pause", "reader: paused"])
        }
    }

    // MARK: The two do not agree

    /// Its first and its last word are read at once: it is not known yet that the two speak the same version.
    @Test(arguments: Kernel.allCases)
    func `a successor that gives up early over a descriptor that was closed here is told of in words that name it`(
        _ kernel: Kernel
    ) async throws {
        let isOffering = Latch<Void>()
        let mayGoOn = DispatchSemaphore(value: 0)
        let hold: @Sendable (EngineStep, ChannelSocket?) -> Void = { step, _ in
            guard step == .predecessor(.offerInventory) else { return }
            isOffering.set(())
            mayGoOn.wait()
        }
        try await Stage.first(kernel, atStep: hold) { stage in
            let trace = try Pipe().takeReading()
            let number = trace.borrowed
            _ = try stage.upgrader.carry(trace, as: .file, name: "trace")
            try await stage.upgrader.ready()
            // Another part of the program has closed it, and opened something else.
            #expect(dup2(2, number) == number)
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            do {
                defer { mayGoOn.signal() }
                try await isOffering.value("the offer")
                _ = try await successor.greet()
                try await successor.peer.say(.abort(.init(code: "system", message: "what is this?", cure: "")))
            }
            try await successor.end(.exited(1))
            let error = try await upgrade.failure
            #expect(error.code == .inventoryMismatch && error.message.contains("trace"), "\(error)")
        }
    }

    /// Whatever takes descriptors here has taken the one that starting a process had made free.
    @Test(arguments: Kernel.allCases)
    func `a word of the successor's for which this process has no descriptor left is told of as that`(
        _ kernel: Kernel
    ) async {
        await #expect(processExitsWith: .success) { [kernel] in
            // libdispatch opens what it waits for time with when it is first asked to, and ends a program that has no
            // descriptor left for that. The second of the two it opens for times that are not over at once.
            try await Task.sleep(for: .milliseconds(100))
            let before = try OpenFileLimit.current
            let limit: @Sendable (EngineStep, ChannelSocket?) -> Void = { step, _ in
                if step == .predecessor(.offerInventory) {
                    let free = (0..<CInt.max).first { fcntl($0, F_GETFD) < 0 }
                    try? before.with(soft: Int(free ?? 0)).set()
                } else {
                    try? before.set()
                }
            }
            try await Stage.serving(kernel, atStep: limit) { stage in
                let upgrade = stage.requestUpgrade()
                let successor = try await stage.spawner.next()
                _ = try await successor.fate()
                successor.tell(.signalled(SIGTERM))
                let error = try await upgrade.failure
                #expect(error.code == .system && error.cure.contains("ulimit -n"), "\(error)")
            }
        }
    }

    @Test(arguments: Kernel.allCases)
    func `two that do not hold the same sockets`(_ kernel: Kernel) async throws {
        let reader = FakeReader()
        try await Stage.first(kernel) { stage in
            _ = try stage.upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0))
            stage.upgrader.register(reader)
            try await stage.upgrader.ready()
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            let inventory = try await successor.takeInventory()
            let digest = try inventory.digest() ^ 1
            try await successor.sayReady(inventory, digest: digest)
            try await successor.peer.expectAbort(.inventoryMismatch)
            try await successor.end(.exited(0))
            let error = try await upgrade.failure
            #expect(error.code == .inventoryMismatch)
            #expect(!error.cure.isEmpty)
            #expect(!reader.journal.all.contains("reader: pause"))
            try await self.expectWholeUpgrade(stage)
        }
    }

    @Test func `a descriptor that was replaced behind the number`() async throws {
        try await Stage.first(.current) { stage in
            let listener = try stage.upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0))
            try await stage.upgrader.ready()
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            var inventory = try await successor.takeInventory()
            // As if another part of the new program had closed the number and then bound a socket of its own.
            inventory.descriptors = [Held(try BoundSocket.bind(.tcp(host: "127.0.0.1", port: 0)))]
            try await successor.sayReady(inventory)
            try await successor.peer.expectAbort(.inventoryMismatch)
            try await successor.end(.exited(0))
            #expect(try await upgrade.failure.code == .inventoryMismatch)
            #expect(listener.port != nil)
        }
    }

    @Test(arguments: Kernel.allCases, [2...2, 2...9, 0...0] as [ClosedRange<UInt16>])
    func `two that speak no common version`(_ kernel: Kernel, _ versions: ClosedRange<UInt16>) async throws {
        try await Stage.serving(kernel) { stage in
            stage.spawner.plan {
                let low = ProtocolVersion(rawValue: versions.lowerBound)
                let high = ProtocolVersion(rawValue: versions.upperBound)
                $0.hello = .init(versions: low...high, generation: 2, process: 0, label: "another library")
            }
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            // It was on its way before the versions were known.
            try await successor.peer.expect(.offer(.init(stage: .initial, first: 0, total: 0, entries: [])))
            try await successor.peer.expectAbort(.versionMismatch)
            try await successor.end(.exited(0))
            let error = try await upgrade.failure
            #expect(error.code == .versionMismatch)
            #expect(error.message.contains("another library"))
            #expect(error.message.contains("\(versions.lowerBound) to \(versions.upperBound)"))
            stage.spawner.plan { $0 = .init() }
            try await self.expectWholeUpgrade(stage)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor that speaks more versions than we do is understood`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            stage.spawner.plan {
                let high = ProtocolVersion(rawValue: 9)
                $0.hello = .init(versions: .one...high, generation: 2, process: 0, features: .max)
            }
            try await self.expectWholeUpgrade(stage)
        }
    }

    // MARK: What the protocol does not allow

    /// When a successor misbehaves, and how.
    struct Misbehaviour: Sendable, CustomTestStringConvertible {
        enum Moment: Sendable {
            case insteadOfHello
            case afterHello
            case afterInventory
            case whilePausing
        }
        var name: String
        var moment: Moment
        var act: @Sendable (FakeSuccessor, Inventory) async throws -> Void
        var testDescription: String { self.name }

        init(
            _ name: String, _ moment: Moment,
            _ act: @escaping @Sendable (FakeSuccessor, Inventory) async throws -> Void
        ) {
            self.name = name
            self.moment = moment
            self.act = act
        }

        init(_ name: String, _ moment: Moment, says message: Message) {
            self.init(name, moment) { successor, _ in try await successor.peer.say(message) }
        }
    }

    static let misbehaviours: [Misbehaviour] = [
        Misbehaviour("bytes that are no frame", .insteadOfHello) { successor, _ in
            try await successor.peer.sayRaw(Array("GET / HTTP/1.1\r\n\r\n".utf8))
        },
        Misbehaviour("a frame with a reserved bit", .afterHello) { successor, _ in
            try await successor.peer.sayRaw([0x54, 0x46, 8, 0x80, 0, 0, 0, 0, 0, 0, 0, 0])
        },
        Misbehaviour("an unknown message that is required", .afterHello) { successor, _ in
            try await successor.peer.sayRaw([0x54, 0x46, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        },
        Misbehaviour("a frame that is too long", .afterInventory) { successor, _ in
            try await successor.peer.sayRaw([0x54, 0x46, 3, 0, 0, 0, 0, 0, 1, 0, 0x10, 0])
        },
        Misbehaviour("descriptors that no frame declares", .afterInventory) { successor, _ in
            let null = try OwnedDescriptor(duplicating: 2)
            try await successor.peer.sayRaw(
                [0x54, 0x46, 200, 1, 0, 0, 0, 0, 0, 0, 0, 0], with: [null.withBorrowed { $0 }])
        },
        Misbehaviour("ready before the inventory is there", .afterHello) { successor, _ in
            try await successor.peer.say(
                .ready(
                    .init(
                        digest: InventoryDigest().value, claimed: [true, true], fresh: 0, probation: .none,
                        probationMilliseconds: 0
                    )
                )
            )
        },
        Misbehaviour("ready about another number of sockets", .afterInventory) { successor, inventory in
            try await successor.sayReady(Inventory(entries: [inventory.entries[0]], descriptors: inventory.descriptors))
        },
        Misbehaviour("a probation of more than a day", .afterInventory) { successor, inventory in
            try await successor.sayReady(inventory, probation: .timed, milliseconds: 86_400_001)
        },
        Misbehaviour("ready twice", .whilePausing) { successor, inventory in try await successor.sayReady(inventory) },
        Misbehaviour("more acknowledged than was offered", .afterHello) { successor, _ in
            try await successor.peer.say(.acknowledgement(.init(.initialOffer, received: 3)))
        },
        Misbehaviour("less acknowledged than before", .afterInventory) { successor, _ in
            try await successor.peer.say(.acknowledgement(.init(.initialOffer, received: 1)))
        },
        Misbehaviour(
            "everything acknowledged once more", .afterInventory,
            says: .acknowledgement(.init(.initialOffer, received: 2))
        ),
        Misbehaviour(
            "a final offer acknowledged that was not made", .afterInventory,
            says: .acknowledgement(.init(.finalOffer, received: 0))
        ),
        Misbehaviour(
            "connections acknowledged that were not sent", .afterInventory,
            says: .acknowledgement(.init(.connections, received: 1))
        ),
        Misbehaviour("committed before go", .afterInventory, says: .committed),
        Misbehaviour("commit before go", .afterInventory, says: .commit),
        Misbehaviour("committed while its predecessor pauses", .whilePausing, says: .committed),
        Misbehaviour("go", .afterInventory, says: .go),
        Misbehaviour("bye", .afterInventory, says: .bye(.init())),
        Misbehaviour("connections taken before it is the owner", .afterInventory, says: .taken(.init(connections: 0))),
        Misbehaviour("paths", .afterInventory, says: .paths(.init(files: []))),
        Misbehaviour("what is new, unasked", .afterInventory, says: .fresh(.init(entries: []))),
        Misbehaviour("a listener to keep that it was not offered", .afterInventory, says: .keep(.init(listeners: [2]))),
        Misbehaviour("listeners to keep after ready", .whilePausing, says: .keep(.init(listeners: []))),
        Misbehaviour(
            "an offer", .afterInventory, says: .offer(.init(stage: .initial, first: 0, total: 0, entries: []))
        ),
        Misbehaviour(
            "connections", .afterInventory, says: .connections(.init(announced: 0, entries: []))
        ),
        Misbehaviour("hello twice", .afterHello) { successor, _ in
            let null = try OwnedDescriptor(duplicating: 2)
            try await successor.peer.say(
                .hello(.init(generation: 2, process: 0)), with: [null.withBorrowed { $0 }]
            )
        },
    ]

    @Test(arguments: Kernel.allCases, Self.misbehaviours)
    func `a successor that misbehaves`(_ kernel: Kernel, _ misbehaviour: Misbehaviour) async throws {
        let reader = FakeReader()
        let pausing = Latch<Void>()
        let gate = Latch<Void>()
        reader.script {
            $0.pause = {
                pausing.set(())
                _ = await gate.wait()
            }
        }
        try await Stage.first(kernel) { stage in
            for name in ["a", "b"] {
                _ = try stage.upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0), name: name)
            }
            stage.upgrader.register(reader)
            try await stage.upgrader.ready()
            stage.spawner.plan { if misbehaviour.moment == .insteadOfHello { $0.hello = nil } }
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            var inventory = Inventory.empty
            if misbehaviour.moment == .afterInventory || misbehaviour.moment == .whilePausing {
                inventory = try await successor.takeInventory()
            } else {
                guard case .offer = try await successor.peer.nextMessage().message else {
                    throw TimedOut(what: "an offer")
                }
            }
            if misbehaviour.moment == .whilePausing {
                try await successor.sayReady(inventory)
                try await pausing.value("pause")
            }
            try await misbehaviour.act(successor, inventory)
            try await successor.peer.expectAbort(.successorMisbehaved)
            try await successor.end(.exited(0))
            let error = try await upgrade.failure
            #expect(error.code == .successorMisbehaved)
            #expect(error.serving == .predecessor)
            #expect(!error.message.isEmpty)
            #expect(stage.context.exit.current == nil)
            // It reads, and hands over to the next one.
            gate.set(())
            #expect(reader.journal.all.last != "reader: pause")
            stage.spawner.plan { $0 = .init() }
            reader.script { $0.pause = {} }
            try await self.expectWholeUpgrade(stage)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor that stays although it was told to leave is killed`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            _ = try await successor.takeInventory()
            try await successor.peer.say(.committed)
            try await successor.peer.expectAbort(.successorMisbehaved)
            #expect(try await successor.fate() == .signalled(ProcessID.killSignal))
            // The outcome is told when it is certain that nothing of it is left.
            try await stage.fence()
            #expect(upgrade.current == nil)
            successor.tell(.signalled(ProcessID.killSignal))
            #expect(try await upgrade.failure.code == .successorMisbehaved)
        }
    }

    // MARK: It dies, or goes away

    @Test(
        arguments: Kernel.allCases,
        [
            (.exited(3), .successorExited, "exited with status 3"),
            (.exited(0), .successorExited, "exited with status 0"),
            (.signalled(9), .successorKilled, "was ended by SIGKILL"),
            (.signalled(11), .successorKilled, "was ended by SIGSEGV"),
            (.unknown, .successorExited, "ended"),
        ] as [(SpawnedProcess.Ending, UpgradeError.Code, String)]
    )
    func `a successor that dies while it initialises`(
        _ kernel: Kernel, _ death: (ending: SpawnedProcess.Ending, code: UpgradeError.Code, words: String)
    ) async throws {
        let reader = FakeReader()
        try await Stage.serving(kernel, reader: reader) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            _ = try await successor.takeInventory()
            try await successor.end(death.ending)
            let error = try await upgrade.failure
            #expect(error.code == death.code)
            #expect(error.message == "the successor (PID \(successor.id)) \(death.words)")
            #expect(error.serving == .predecessor)
            let failed = try await stage.events.first(.failed)
            #expect(failed.error == error)
            #expect(failed.peer == successor.id)
            #expect(reader.journal.all == ["reader: resume", "reader: resumed"])
            try await self.expectWholeUpgrade(stage)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor that dies before it says hello`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            stage.spawner.plan { $0.hello = nil }
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            try await successor.end(.exited(127))
            let error = try await upgrade.failure
            #expect(error.code == .successorExited)
            #expect(error.message.contains("status 127"))
            #expect(!error.cure.isEmpty)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor that dies while its predecessor pauses`(_ kernel: Kernel) async throws {
        let reader = FakeReader()
        let pausing = Latch<Void>()
        let gate = Latch<Void>()
        reader.script {
            $0.pause = {
                pausing.set(())
                _ = await gate.wait()
            }
        }
        try await Stage.serving(kernel, reader: reader) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.becomeReady()
            try await pausing.value("pause")
            try await successor.end(.signalled(11))
            #expect(try await upgrade.failure.code == .successorKilled)
            #expect(reader.journal.all.count { $0 == "reader: resumed" } == 2)
            gate.set(())
        }
    }

    @Test(arguments: Kernel.allCases)
    func `words beat the exit status`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            _ = try await successor.takeInventory()
            try await successor.peer.say(
                .abort(.init(code: "pidFile", message: "the disk is full", cure: "Make room."))
            )
            try await successor.end(.exited(1))
            let error = try await upgrade.failure
            #expect(error.code == .successorAborted)
            #expect(error.message.contains("pidFile"))
            #expect(error.message.contains("the disk is full"))
            #expect(error.cure == "Make room.")
            try await self.expectWholeUpgrade(stage)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor that closes its channel and lives is killed`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            _ = try await successor.takeInventory()
            try await successor.peer.close()
            #expect(try await successor.fate() == .signalled(ProcessID.killSignal))
            successor.tell(.signalled(ProcessID.killSignal))
            let error = try await upgrade.failure
            #expect(error.code == .successorClosedChannel)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor that closes its channel because it dies is told by how it ended`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            _ = try await successor.takeInventory()
            try await successor.end(.exited(42))
            let error = try await upgrade.failure
            #expect(error.code == .successorExited)
            #expect(error.message.contains("status 42"))
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor that dies inside a frame is told by how it ended`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            try await successor.peer.sayRaw([0x54, 0x46, 3])
            try await successor.end(.exited(7))
            let error = try await upgrade.failure
            #expect(error.code == .successorExited && error.message.contains("7"))
        }
    }

    /// Another part of this program has closed its number, and opened a file that has it now.
    @Test(arguments: Kernel.allCases)
    func `a channel that is none any more ends the upgrade in words that name it`(_ kernel: Kernel) async throws {
        let takeNumber: @Sendable (EngineStep, ChannelSocket?) -> Void = { step, channel in
            guard step == .predecessor(.pauseReaders), let channel else { return }
            let file = OwnedDescriptor(takingOwnershipOf: open("/dev/null", O_RDWR | O_CLOEXEC))
            #expect(dup2(file.borrowed, channel.descriptor) == channel.descriptor)
        }
        try await Stage.serving(kernel, atStep: takeNumber) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.becomeReady()
            // It may read already, for all that this process knows.
            #expect(try await successor.fate() == .signalled(ProcessID.killSignal))
            successor.tell(.signalled(ProcessID.killSignal))
            let error = try await upgrade.failure
            #expect(error.code == .system && error.message.contains("sendmsg"))
            #expect(error.serving == .predecessor)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor that is not ready in time is told so and killed`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel, { $0.upgradeTimeout = .milliseconds(500) }) { stage in
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            // Whatever is said before: it may not even have begun to greet by then.
            while true {
                guard case .abort(let abort) = try await successor.peer.nextMessage().message else { continue }
                #expect(abort.code == "successorTimedOut")
                break
            }
            #expect(try await successor.fate() == .signalled(ProcessID.killSignal))
            successor.tell(.signalled(ProcessID.killSignal))
            let error = try await upgrade.failure
            #expect(error.code == .successorTimedOut)
            let failed = try await stage.events.first(.failed)
            #expect(failed.elapsed >= .milliseconds(500))
        }
    }

    // MARK: It cannot be started

    @Test(arguments: Kernel.allCases)
    func `a successor that cannot be started`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let reason = UpgradeError(.executableFormat, "/bin/x is no program", cure: "Install it whole.")
            stage.spawner.plan { $0.failure = reason }
            #expect(try await stage.requestUpgrade().failure == reason)
            #expect(try await stage.events.first(.failed).error == reason)
            stage.spawner.plan { $0.failure = nil }
            try await self.expectWholeUpgrade(stage)
        }
    }

    // MARK: -

    /// This process hands over as if nothing had happened.
    private func expectWholeUpgrade(_ stage: Stage) async throws {
        let upgrade = stage.requestUpgrade()
        let successor = try await stage.spawner.next()
        _ = try await successor.takeOver()
        #expect(try await upgrade.value.successor == successor.id)
    }
}
