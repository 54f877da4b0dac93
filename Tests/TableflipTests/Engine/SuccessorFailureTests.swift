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

/// Taking over, where something goes wrong: whoever reads from the listeners, it is one process at a time.
@Suite(.timeLimit(.minutes(3))) struct SuccessorFailureTests {
    // MARK: Before the inventory is there

    /// What a predecessor does instead of handing over.
    struct Misbehaviour: Sendable, CustomTestStringConvertible {
        var name: String
        var code: UpgradeError.Code
        var serving: UpgradeError.Serving
        var act: @Sendable (FakePredecessor) async throws -> Void
        var testDescription: String { self.name }

        init(
            _ name: String, _ code: UpgradeError.Code = .predecessorMisbehaved,
            serving: UpgradeError.Serving = .predecessor,
            _ act: @escaping @Sendable (FakePredecessor) async throws -> Void
        ) {
            self.name = name
            self.code = code
            self.serving = serving
            self.act = act
        }
    }

    static let misbehaviours: [Misbehaviour] = [
        Misbehaviour("bytes that are no frame") { try await $0.peer.sayRaw(Array("HTTP/1.1 400 Bad Request".utf8)) },
        Misbehaviour("an unknown message that is required") {
            try await $0.peer.sayRaw([0x54, 0x46, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        },
        Misbehaviour("a hello without a lifeline") {
            var bytes = Message.hello(.init(generation: 1, process: 1)).encoded()
            bytes[4] = 0
            try await $0.peer.sayRaw(bytes)
        },
        Misbehaviour("a hello that lost its lifeline") {
            try await $0.peer.sayRaw(Message.hello(.init(generation: 1, process: 1)).encoded())
        },
        Misbehaviour("an offer before hello") { try await $0.offer(.empty) },
        Misbehaviour("go before hello") { try await $0.peer.say(.go) },
        Misbehaviour("hello twice") {
            try await $0.sayHello()
            try await $0.sayHello()
        },
        Misbehaviour("go before the inventory is there") {
            try await $0.sayHello()
            try await $0.peer.say(.go)
        },
        Misbehaviour("commit before the inventory is there") {
            try await $0.sayHello()
            try await $0.peer.say(.commit)
        },
        Misbehaviour("bye before the inventory is there") {
            try await $0.sayHello()
            try await $0.peer.say(.bye(.init()))
        },
        Misbehaviour("ready, which is for successors to say") {
            try await $0.sayHello()
            try await $0.peer.say(
                .ready(.init(digest: 0, claimed: [], fresh: 0, probation: .none, probationMilliseconds: 0))
            )
        },
        Misbehaviour("connections before committed") {
            try await $0.sayHello()
            try await $0.peer.say(.connections(.init(announced: 0, entries: [])))
        },
        Misbehaviour("offers with a gap") {
            try await $0.sayHello()
            try await $0.hearHello()
            try await $0.offer(try files(["a"]), first: 0, total: 3)
            try await $0.offer(try files(["c"]), first: 2, total: 3)
        },
        Misbehaviour("an offer twice") {
            try await $0.sayHello()
            try await $0.hearHello()
            try await $0.offer(try files(["a"]), first: 0, total: 3)
            try await $0.offer(try files(["a"]), first: 0, total: 3)
        },
        Misbehaviour("paths after an offer") {
            try await $0.sayHello()
            try await $0.hearHello()
            try await $0.offer(try files(["a"]), first: 0, total: 3)
            try await $0.peer.say(.paths(.init(files: [])))
        },
        Misbehaviour("one name twice in a batch") {
            try await $0.sayHello()
            try await $0.hearHello()
            try await $0.offer(try files(["a", "b", "a"]))
        },
        Misbehaviour("one name twice in two batches") {
            try await $0.sayHello()
            try await $0.hearHello()
            try await $0.offer(try files(["a", "b"]), first: 0, total: 3)
            try await $0.offer(try files(["a"]), first: 2, total: 3)
        },
        Misbehaviour("a file as a listener") {
            try await $0.sayHello()
            try await $0.hearHello()
            try await $0.offer(try files(["a"], as: .listener))
        },
        Misbehaviour("a pipe as a connection") {
            try await $0.sayHello()
            try await $0.hearHello()
            try await $0.offer(try files(["a"], as: .connection))
        },
        Misbehaviour("a connection as a listener") {
            try await $0.sayHello()
            try await $0.hearHello()
            let pair = try Pair()
            var inventory = Inventory.empty
            inventory.add("a", .listener, "", pair.one)
            try await $0.offer(inventory)
        },
        Misbehaviour("a listener as a datagram socket") {
            try await $0.sayHello()
            try await $0.hearHello()
            var inventory = Inventory.empty
            inventory.add("a", .datagram, "", Held(try BoundSocket.bind(.tcp(host: "127.0.0.1", port: 0))))
            try await $0.offer(inventory)
        },
        Misbehaviour("another version", .versionMismatch) {
            try await $0.sayHello { $0.versions = ProtocolVersion(rawValue: 2)...ProtocolVersion(rawValue: 4) }
        },
        Misbehaviour("an abort", .predecessorAborted) {
            try await $0.sayHello()
            try await $0.peer.say(.abort(.init(code: "stopping", message: "told to stop", cure: "")))
        },
        // Nobody can know.
        Misbehaviour("its end before hello", .predecessorLost, serving: .nobody) { try await $0.peer.close() },
        Misbehaviour("its end before the inventory is there", .predecessorLost) {
            try await $0.sayHello()
            try await $0.hearHello()
            try await $0.offer(try files(["a"]), first: 0, total: 2)
            try await $0.peer.close()
        },
        Misbehaviour("its death before the inventory is there", .predecessorLost, serving: .nobody) {
            try await $0.sayHello()
            try await $0.hearHello()
            try await $0.offer(try files(["a"]), first: 0, total: 2)
            try await $0.die()
        },
        Misbehaviour("its end inside a frame", .predecessorLost) {
            try await $0.sayHello()
            try await $0.peer.sayRaw([0x54, 0x46, 2])
            try await $0.peer.close()
        },
    ]

    @Test(arguments: Kernel.allCases, Self.misbehaviours)
    func `a successor is not made when its predecessor misbehaves`(
        _ kernel: Kernel, _ misbehaviour: Misbehaviour
    ) async throws {
        let predecessor = try FakePredecessor(kernel)
        async let failure = Stage.failureOfSuccessor(kernel, of: predecessor)
        try await misbehaviour.act(predecessor)
        let error = try await failure
        #expect(error.code == misbehaviour.code, "\(error)")
        #expect(!error.message.isEmpty)
        #expect(error.serving == misbehaviour.serving)
        if misbehaviour.name.contains("end") || misbehaviour.name.contains("death") { return }
        // It says why; only to an abort there is nothing to answer.
        if misbehaviour.code != .predecessorAborted { try await hearAbort(error.code, predecessor) }
    }

    @Test(arguments: Kernel.allCases)
    func `nothing of a refused batch stays open`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        let tracer = try Tracer()
        async let failure = Stage.failureOfSuccessor(kernel, of: predecessor)
        do {
            try await predecessor.sayHello()
            try await predecessor.hearHello()
            var inventory = Inventory.empty
            let traced = Held(tracer.giveAway())
            inventory.add("good", .file, "", traced)
            // Not a listener: so none of the three is taken.
            inventory.add("bad", .listener, "", traced)
            inventory.add("also good", .file, "", traced)
            try await predecessor.offer(inventory)
            // It has arrived when there is an answer.
            try await hearAbort(.predecessorMisbehaved, predecessor)
        }
        #expect(try await failure.code == .predecessorMisbehaved)
        try await predecessor.peer.close()
        #expect(try await tracer.isClosedEverywhere)
    }

    @Test func `a generation that cannot be counted on is an error and no trap`() async {
        await #expect(processExitsWith: .success) {
            let predecessor = try FakePredecessor(.current, generation: .max)
            async let failure = Stage.failureOfSuccessor(.current, of: predecessor)
            try await predecessor.sayHello()
            try await hearAbort(.predecessorMisbehaved, predecessor)
            #expect(try await failure.code == .predecessorMisbehaved)
        }
    }

    @Test func `a probation that no process can ask for is an error and no trap`() async {
        await #expect(processExitsWith: .success) {
            let predecessor = try FakePredecessor(.current)
            async let failure = Stage.failureOfSuccessor(.current, of: predecessor)
            try await predecessor.sayHello()
            try await predecessor.peer.say(.terms(.init(probationMilliseconds: .max)))
            try await hearAbort(.predecessorMisbehaved, predecessor)
            #expect(try await failure.message.contains("probation"))
        }
    }

    // MARK: From then until go

    @Test(
        arguments: Kernel.allCases,
        [
            (.go, .predecessorMisbehaved), (.commit, .predecessorMisbehaved), (.bye(.init()), .predecessorMisbehaved),
            (.committed, .predecessorMisbehaved),
            (.connections(.init(announced: 0, entries: [])), .predecessorMisbehaved),
            (.acknowledgement(.init(.initialOffer, received: 0)), .predecessorMisbehaved),
            (.offer(.init(stage: .initial, first: 0, total: 0, entries: [])), .predecessorMisbehaved),
            (.abort(.init(code: "stopping", message: "told to stop", cure: "")), .predecessorAborted),
        ] as [(Message, UpgradeError.Code)]
    )
    func `a predecessor that gives up or misbehaves while this process initialises`(
        _ kernel: Kernel, _ said: (message: Message, code: UpgradeError.Code)
    ) async throws {
        let predecessor = try FakePredecessor(kernel)
        let reader = FakeReader()
        try await Stage.successor(kernel, of: predecessor) { stage in
            stage.upgrader.register(reader)
            try await predecessor.peer.say(said.message)
            guard case .failed(let error) = await stage.upgrader.exit else {
                throw TimedOut(what: "a failure")
            }
            #expect(error.code == said.code)
            #expect(error.serving == .predecessor)
            // Whoever calls ready then is told the reason.
            #expect(try await stage.requestReady().failure == error)
            #expect(reader.journal.all.isEmpty)
            try await hearAbort(said.code, predecessor)
        }
    }

    @Test(
        arguments: Kernel.allCases,
        [
            (.commit, .predecessorMisbehaved), (.bye(.init()), .predecessorMisbehaved),
            (
                .ready(.init(digest: 0, claimed: [], fresh: 0, probation: .none, probationMilliseconds: 0)),
                .predecessorMisbehaved
            ),
            (.connections(.init(announced: 0, entries: [])), .predecessorMisbehaved),
            (.abort(.init(code: "pauseFailed", message: "a reader did not pause", cure: "")), .predecessorAborted),
        ] as [(Message, UpgradeError.Code)]
    )
    func `a predecessor that gives up or misbehaves instead of saying go`(
        _ kernel: Kernel, _ said: (message: Message, code: UpgradeError.Code)
    ) async throws {
        let predecessor = try FakePredecessor(kernel)
        let tracer = try Tracer()
        let reader = FakeReader()
        try await Stage.successor(
            kernel, of: predecessor,
            greeting: { predecessor in
                var inventory = Inventory.empty
                inventory.add("trace", .file, "", Held(tracer.giveAway()))
                try await predecessor.handOver(inventory)
            }
        ) { stage in
            _ = try stage.upgrader.carry(.file, name: "trace") { () throws(UpgradeError) in
                throw UpgradeError(.system, "")
            }
            stage.upgrader.register(reader)
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            #expect(tracer.isOpenSomewhere)
            try await predecessor.peer.say(said.message)
            let error = try await ready.failure
            #expect(error.code == said.code)
            #expect(error.serving == .predecessor)
            #expect(await stage.upgrader.exit == .failed(error))
            #expect(reader.journal.all.isEmpty)
            // What it held is let go of at once: it never read from it.
            #expect(try await tracer.isClosedEverywhere)
            try await hearAbort(said.code, predecessor)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a PID file that cannot be written is told before anything is handed over`(_ kernel: Kernel) async throws {
        let directory = try TemporaryDirectory()
        let path = directory("no/service.pid")
        let predecessor = try FakePredecessor(kernel)
        try await Stage.successor(kernel, pidFile: PIDFile(path: path), of: predecessor) { stage in
            let error = try await stage.requestReady().failure
            #expect(error.code == .pidFile)
            #expect(error.message.contains(path))
            #expect(error.serving == .predecessor)
            try await predecessor.peer.expectAbort(.pidFile)
        }
        try await Stage.first(kernel, pidFile: PIDFile(path: path)) { stage in
            let error = try await stage.requestReady().failure
            #expect(error.code == .pidFile)
            #expect(error.serving == .nobody)
            #expect(await stage.upgrader.exit == .failed(error))
        }
    }

    @Test(arguments: Kernel.allCases)
    func `stopping before ready is told to the predecessor`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        try await Stage.successor(kernel, of: predecessor) { stage in
            stage.upgrader.stop()
            try await predecessor.peer.expectAbort(.stopping)
            #expect(await stage.upgrader.exit == .stopped)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `stopping before go is told to the predecessor, and is no failure of ready`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        try await Stage.successor(kernel, of: predecessor) { stage in
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            stage.upgrader.stop()
            try await ready.value
            try await predecessor.peer.expectAbort(.stopping)
            #expect(await stage.upgrader.exit == .stopped)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a predecessor that closes the channel and lives has given up`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        let reader = FakeReader()
        try await Stage.successor(kernel, of: predecessor) { stage in
            stage.upgrader.register(reader)
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.close()
            let error = try await ready.failure
            #expect(error.code == .predecessorLost)
            #expect(error.serving == .predecessor)
            #expect(reader.journal.all.isEmpty)
        }
    }

    /// In a process of its own, whose time can be measured.
    @Test(arguments: Kernel.allCases)
    func `waiting for the death of a predecessor whose channel has ended costs nothing`(_ kernel: Kernel) async {
        await #expect(processExitsWith: .success) { [kernel] in
            let predecessor = try FakePredecessor(kernel)
            try await Stage.successor(kernel, of: predecessor) { stage in
                let before = processorTime()
                try await predecessor.peer.close()
                // It waits for a second; a loop that does not would cost as much.
                guard case .failed = await stage.upgrader.exit else { throw TimedOut(what: "a failure") }
                let spent = processorTime() - before
                #expect(spent < .milliseconds(500), "\(spent)")
            }
        }
    }

    // MARK: After go

    @Test(
        arguments: Kernel.allCases,
        [
            .abort(.init(code: "rolledBack", message: "the operator says so", cure: "")), .go, .bye(.init()),
            .committed,
        ] as [Message]
    )
    func `a successor that is called back pauses, says so, and leaves when it may`(
        _ kernel: Kernel, _ message: Message
    ) async throws {
        let directory = try TemporaryDirectory()
        let file = PIDFile(path: directory("service.pid"), process: 222)
        let predecessor = try FakePredecessor(kernel)
        let reader = FakeReader()
        let pausing = Latch<Void>()
        let gate = Latch<Void>()
        reader.script {
            $0.pause = {
                pausing.set(())
                _ = await gate.wait()
            }
        }
        try await Stage.successor(kernel, pidFile: file, of: predecessor, { $0.probation = .lasting(.seconds(600)) }) {
            stage in
            stage.upgrader.register(reader)
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            try await ready.value
            try await predecessor.peer.say(message)
            // It says that it has paused when it has.
            try await pausing.value("pause")
            try await stage.fence()
            #expect(try await predecessor.peer.isQuiet)
            gate.set(())
            let said = try await predecessor.peer.nextMessage().message
            guard case .abort = said else { throw TimedOut(what: "an abort, and heard \(said)") }
            #expect(reader.journal.all.last == "reader: paused")
            // It holds the sockets until its predecessor reads again.
            try await stage.fence()
            #expect(stage.context.exit.current == nil)
            try await predecessor.peer.say(.bye(.init()))
            guard case .handedBack(let error) = await stage.upgrader.exit else { throw TimedOut(what: "handing back") }
            #expect(error.serving == .predecessor)
            #expect(try await stage.events.first(.handedBack).error?.code == error.code)
            #expect(directory.names.isEmpty)
            #expect(!reader.journal.all.dropFirst(2).contains("reader: resume"))
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor whose readers cannot resume hands back`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        let reader = FakeReader()
        reader.script { $0.resume = { throw Unwilling() } }
        try await Stage.successor(kernel, of: predecessor) { stage in
            stage.upgrader.register(reader)
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            try await predecessor.peer.expectAbort(.resumeFailed)
            #expect(reader.journal.all.last == "reader: paused")
            // Only then may it leave.
            try await predecessor.peer.say(.bye(.init()))
            let error = try await ready.failure
            #expect(error.code == .resumeFailed)
            #expect(error.message.contains("not in the mood"))
            guard case .handedBack = await stage.upgrader.exit else { throw TimedOut(what: "handing back") }
        }
    }

    /// What they have accepted meanwhile is the application's to finish, which it would not if ready() threw.
    @Test(arguments: Kernel.allCases)
    func `a successor that is recalled when its readers read goes through to its end`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        let reader = FakeReader()
        try await Stage.successor(kernel, of: predecessor) { stage in
            stage.upgrader.register(reader)
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go, .abort(.init(code: "rolledBack", message: "", cure: "")))
            try await predecessor.peer.expectAbort(.predecessorAborted)
            #expect(reader.journal.all.last == "reader: paused")
            try await predecessor.peer.say(.bye(.init()))
            _ = try await ready.value
            guard case .handedBack(let error) = await stage.upgrader.exit else { throw TimedOut(what: "handing back") }
            #expect(error.code == .predecessorAborted)
        }
    }

    /// One that does not notice that its task was cancelled: when it is asked to read, and when it may answer.
    private static func stubbornReader() -> (FakeReader, isAsked: Latch<Void>, mayAnswer: Latch<Void>) {
        let reader = FakeReader()
        let (isAsked, mayAnswer) = (Latch<Void>(), Latch<Void>())
        reader.script {
            $0.resume = {
                isAsked.set(())
                await Task { _ = await mayAnswer.wait() }.value
            }
        }
        return (reader, isAsked, mayAnswer)
    }

    /// It is asked for nothing else meanwhile.
    @Test(arguments: Kernel.allCases)
    func `a change of the readers waits for the one before it`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        let (reader, isAsked, mayAnswer) = Self.stubbornReader()
        var patience = Patience.ofTests
        patience.overtaking = .seconds(600)
        try await Stage.successor(kernel, of: predecessor, { $0.probation = .none }, patience: patience) { stage in
            stage.upgrader.register(reader)
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            try await isAsked.value("a reader to be asked")
            try await predecessor.peer.say(.abort(.init(code: "rolledBack", message: "", cure: "")))
            try await stage.fence()
            #expect(reader.journal.all == ["reader: resume"])
            mayAnswer.set(())
            try await predecessor.peer.expectAbort(.predecessorAborted)
            #expect(
                reader.journal.all == ["reader: resume", "reader: resumed", "reader: pause", "reader: paused"])
            try await predecessor.peer.say(.bye(.init()))
            _ = try await ready.value
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a change of the readers does not wait for ever for the one before it`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        let (reader, isAsked, mayAnswer) = Self.stubbornReader()
        var patience = Patience.ofTests
        patience.overtaking = .milliseconds(50)
        try await Stage.successor(kernel, of: predecessor, patience: patience) { stage in
            stage.upgrader.register(reader)
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            try await isAsked.value("a reader to be asked")
            try await predecessor.peer.say(.abort(.init(code: "rolledBack", message: "", cure: "")))
            try await predecessor.peer.expectAbort(.predecessorAborted)
            #expect(reader.journal.all == ["reader: resume", "reader: pause", "reader: paused"])
            mayAnswer.set(())
            // It says nothing about now.
            try await eventually("the late answer") { reader.journal.all.last == "reader: resumed" }
            try await predecessor.peer.say(.bye(.init()))
            _ = try await ready.value
            guard case .handedBack = await stage.upgrader.exit else { throw TimedOut(what: "handing back") }
        }
    }

    /// What it restores comes before it reads, also where it must serve after all.
    @Test(arguments: Kernel.allCases)
    func `a successor that is called back while it restores reads nothing until it has`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        let reader = FakeReader()
        let (isAsked, mayAnswer) = (Latch<Void>(), Latch<Void>())
        var patience = Patience.ofTests
        patience.overtaking = .milliseconds(50)
        try await Stage.successor(kernel, of: predecessor, patience: patience) { stage in
            stage.upgrader.register(reader)
            try stage.upgrader.restoreFinalState("cache", versions: 1...1) { [journal = reader.journal] _ in
                isAsked.set(())
                await Task { _ = await mayAnswer.wait() }.value
                journal.note("restored")
            }
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            try await isAsked.value("the state to be asked for")
            try await predecessor.peer.say(.abort(.init(code: "rolledBack", message: "", cure: "")))
            try await predecessor.peer.expectAbort(.predecessorAborted)
            try await predecessor.die()
            try await stage.fence()
            #expect(reader.journal.all == ["reader: pause", "reader: paused"])
            mayAnswer.set(())
            _ = try await stage.events.first(.owner)
            try await ready.value
            // Once: the reading that was taken back does not begin.
            #expect(
                reader.journal.all
                    == ["reader: pause", "reader: paused", "restored", "reader: resume", "reader: resumed"])
        }
    }

    /// It may have bound them before it looked at what had become of the upgrade.
    @Test(arguments: Kernel.allCases)
    func `a path that is bound after the successor was sent home does not stay`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        let directory = try TemporaryDirectory()
        try await Stage.successor(kernel, of: predecessor) { stage in
            try await predecessor.peer.say(.abort(.init(code: "rolledBack", message: "", cure: "")))
            guard case .failed = await stage.upgrader.exit else { throw TimedOut(what: "the end of the upgrade") }
            _ = try stage.upgrader.listen(on: .unix(path: directory("late.sock")))
            _ = try await stage.requestReady().failure
            #expect(!directory.names.contains("late.sock"))
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor that cannot pause ends rather than to say that it has`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        let reader = FakeReader()
        reader.script { $0.pause = { throw Unwilling() } }
        try await Stage.successor(kernel, of: predecessor, { $0.probation = .lasting(.seconds(600)) }) { stage in
            stage.upgrader.register(reader)
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            try await ready.value
            try await predecessor.peer.say(.abort(.init(code: "rolledBack", message: "", cure: "")))
            #expect(try await stage.exited.value("the end") == 1)
            // Not a word: its end is the answer.
            guard case .ended = try await predecessor.peer.next() else { throw TimedOut(what: "the end") }
            // The predecessor points people here.
            #expect(stage.log.lines.contains { $0.contains("not in the mood") })
            #expect(stage.log.lines.contains { $0.contains("this process ends at once") })
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a predecessor that dies before it has taken the service back leaves it here`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        let reader = FakeReader()
        let directory = try TemporaryDirectory()
        let file = PIDFile(path: directory("service.pid"), process: 222)
        let probation: (inout Upgrader.Configuration) -> Void = { $0.probation = .lasting(.seconds(600)) }
        try await Stage.successor(kernel, pidFile: file, of: predecessor, probation) { stage in
            stage.upgrader.register(reader)
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            try await ready.value
            try await predecessor.peer.say(.abort(.init(code: "rolledBack", message: "", cure: "")))
            try await predecessor.peer.expectAbort(.predecessorAborted)
            try await predecessor.die()
            _ = try await stage.events.first(.owner)
            #expect(reader.journal.all.count { $0 == "reader: resumed" } == 2)
            #expect(stage.context.exit.current == nil)
            #expect(directory.text("service.pid") == "222\n")
        }
    }

    @Test(arguments: Kernel.allCases)
    func `stopping after go hands back, so that the predecessor is asked as well`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        try await Stage.successor(kernel, of: predecessor, { $0.probation = .lasting(.seconds(600)) }) { stage in
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            try await ready.value
            stage.upgrader.stop()
            try await predecessor.peer.expectAbort(.stopping)
            try await predecessor.peer.say(.bye(.init()))
            guard case .handedBack(let error) = await stage.upgrader.exit else { throw TimedOut(what: "handing back") }
            #expect(error.code == .stopping)
        }
    }

    /// Which it says in the words of an abort; bye is for those that know no better.
    @Test(arguments: Kernel.allCases)
    func `a successor that has handed back hears that its predecessor stops as well`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        try await Stage.successor(kernel, of: predecessor, { $0.probation = .lasting(.seconds(600)) }) { stage in
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            try await ready.value
            stage.upgrader.stop()
            try await predecessor.peer.expectAbort(.stopping)
            try await predecessor.peer.say(.abort(Message.Abort(.stopped)), .bye(.init()))
            #expect(await stage.upgrader.exit == .stopped)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a PID file that cannot be taken hands the service back`(_ kernel: Kernel) async throws {
        let directory = try TemporaryDirectory()
        let predecessor = try FakePredecessor(kernel)
        let file = PIDFile(path: directory("service.pid"), process: 222)
        try await Stage.successor(kernel, pidFile: file, of: predecessor) { stage in
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            try await ready.value
            // Somebody puts a directory in its place between ready and commit.
            #expect(mkdir(file.path, 0o755) == 0)
            try await predecessor.peer.say(.commit)
            try await predecessor.peer.expectAbort(.pidFile)
            try await predecessor.peer.say(.bye(.init()))
            guard case .handedBack(let error) = await stage.upgrader.exit else { throw TimedOut(what: "handing back") }
            #expect(error.code == .pidFile)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `an owner whose predecessor talks nonsense serves on`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        let reader = FakeReader()
        try await Stage.successor(kernel, of: predecessor) { stage in
            stage.upgrader.register(reader)
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go, .commit)
            try await ready.value
            try await predecessor.peer.expect(.committed)
            try await predecessor.peer.sayRaw(Array("nonsense, and no frame".utf8))
            try await predecessor.peer.expectEnd()
            try await stage.fence()
            #expect(stage.context.exit.current == nil)
            #expect(reader.journal.all == ["reader: resume", "reader: resumed"])
            let words = stage.log.lines.first { $0.hasPrefix("no more connections come from the predecessor: ") }
            #expect(words?.hasSuffix("(the new process serves)") == true, "\(stage.log.lines)")
            #expect(try await stage.requestUpgrade().failure.code == .predecessorAlive)
            try await predecessor.die()
            _ = try await stage.events.first(.predecessorLeft)
        }
    }
}

/// Whatever is said before it.
private func hearAbort(_ code: UpgradeError.Code, _ predecessor: FakePredecessor) async throws {
    while true {
        guard case .abort(let abort) = try await predecessor.peer.nextMessage().message else { continue }
        #expect(abort.code == code.description)
        return
    }
}

/// Files that are none in particular.
private func files(_ names: [String], as kind: DescriptorKind = .file) throws -> Inventory {
    var inventory = Inventory.empty
    let pipe = try Pipe()
    let file = Held(pipe.takeReading())
    for name in names { inventory.add(name, kind, "", file) }
    return inventory
}

/// What this process has used of the processor.
private func processorTime() -> Duration {
    var now = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now)
    return .seconds(now.tv_sec) + .nanoseconds(now.tv_nsec)
}
