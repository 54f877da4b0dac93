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

/// Taking over, where everything goes well.
@Suite(.timeLimit(.minutes(3))) struct SuccessorTests {
    /// The predecessor may have served them in a way that this program does not.
    @Test(arguments: Kernel.allCases)
    func `it says before ready whose connections nobody would serve here`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        var inventory = Inventory.empty
        inventory.add("log", .file, "", Held(try OwnedDescriptor(duplicating: 2)))
        for name in ["plain", "live", "bare", "gone"] {
            _ = try inventory.addListener(.tcp(host: "127.0.0.1", port: 0), name: name)
        }
        let handedOver = inventory
        try await Stage.successor(kernel, of: predecessor, greeting: { try await $0.handOver(handedOver) }) { stage in
            for name in ["plain", "live", "bare"] {
                _ = try stage.upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0), name: name)
            }
            stage.upgrader.register(DefaultReader(listenerName: "bare"))
            stage.upgrader.register(FakeReader("live", for: "live"))
            _ = stage.requestReady()
            try await predecessor.peer.expect(.keep(.init(listeners: [1, 3])))
            #expect(try await predecessor.hearReady().claimed == [false, true, true, true, false])
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a whole upgrade`(_ kernel: Kernel) async throws {
        let directory = try TemporaryDirectory()
        try PIDFile(path: directory("service.pid"), process: 111).restore()
        let file = PIDFile(path: directory("service.pid"), process: 222)
        let predecessor = try FakePredecessor(kernel, generation: 4)
        var inventory = Inventory.empty
        let web = try inventory.addListener(.tcp(host: "127.0.0.1", port: 0), name: "web")
        let plain = try inventory.addListener(.tcp(host: "127.0.0.1", port: 0))
        let datagrams = Held(try BoundSocket.bind(.udp(host: "127.0.0.1", port: 0)))
        inventory.add("udp://127.0.0.1:0", .datagram, "udp://127.0.0.1:0", datagrams)
        inventory.add("log", .file, "", Held(try OwnedDescriptor(duplicating: 2)))

        let handedOver = inventory
        let reader = FakeReader()
        try await Stage.successor(
            kernel, pidFile: file, of: predecessor, greeting: { try await $0.handOver(handedOver) }
        ) { stage in
            #expect(stage.upgrader.generation == 5)
            #expect(stage.upgrader.hasPredecessor)

            // What is asked for by the same words, or by name, is what the predecessor had.
            let inherited = [
                (try stage.upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0)), plain),
                (try stage.upgrader.listen(on: .tcp(host: "127.0.0.1", port: 9), name: "web"), web),
                (try stage.upgrader.listen(on: .udp(host: "127.0.0.1", port: 0)), datagrams),
            ]
            for (listener, original) in inherited {
                #expect(listener.isInherited)
                #expect(listener.port == BoundSocket.port(of: original.number))
                let duplicate = try listener.duplicate()
                #expect(try DescriptorFacts(of: duplicate.withBorrowed { $0 }).inode == original.inode)
            }
            // What was not there is bound.
            let fresh = try stage.upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0), name: "fresh")
            #expect(!fresh.isInherited)
            _ = try stage.upgrader.carry(.file, name: "log") { () throws(UpgradeError) in
                throw UpgradeError(.system, "not called")
            }

            stage.upgrader.register(reader)
            let ready = stage.requestReady()
            let said = try await predecessor.hearReady()
            #expect(said.claimed == [true, true, true, true])
            #expect(said.fresh == 1)
            #expect(said.probation == .none)
            #expect(said.probationMilliseconds == 0)
            #expect(try said.digest == inventory.digest())

            // Nothing is read before go.
            try await stage.fence()
            #expect(reader.journal.all.isEmpty)
            #expect(ready.current == nil)
            #expect(directory.text("service.pid") == "111\n")
            try await predecessor.peer.say(.go)
            try await ready.value
            #expect(reader.journal.all == ["reader: resume", "reader: resumed"])

            // It serves, and owns nothing before commit.
            try await stage.fence()
            #expect(directory.text("service.pid") == "111\n")
            #expect(try await stage.requestUpgrade().failure.code == .notReady)
            try await predecessor.peer.say(.commit)
            try await predecessor.peer.expect(.committed)
            #expect(directory.text("service.pid") == "222\n")
            #expect(directory.names == ["service.pid"])

            // As long as its predecessor drains there are two of them already.
            let refused = try await stage.requestUpgrade().failure
            #expect(refused.code == .predecessorAlive)
            #expect(refused.message.contains("4242"))
            let left = Latch<Void>()
            Task {
                try await stage.upgrader.waitForPredecessor()
                left.set(())
            }
            try await stage.fence()
            #expect(left.current == nil)
            try await predecessor.peer.say(.bye(.init()))
            try await stage.fence()
            #expect(left.current == nil)
            try await predecessor.die()
            try await left.value("the predecessor's end")
            #expect(stage.context.exit.current == nil)

            // And on it goes.
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            #expect(try await successor.greet().generation == 5)
            let theirs = try await successor.takeInventory()
            #expect(theirs.entries.map(\.name) == ["tcp://127.0.0.1:0", "web", "udp://127.0.0.1:0", "fresh", "log"])
            try await successor.sayReady(theirs)
            try await successor.peer.expect(.go)
            try await successor.peer.expect(.commit)
            try await successor.peer.say(.committed)
            #expect(try await upgrade.value.generation == 6)
        }
    }

    /// Right after an upgrade, the process before is about to leave. Whoever asks then need not ask again.
    @Test(arguments: Kernel.allCases)
    func `an upgrade that comes while the predecessor leaves begins when it has left`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        // A busy machine must not be taken for a predecessor that drains.
        var patience = Patience.ofTests
        patience.quick = .seconds(60)
        try await Stage.successor(kernel, of: predecessor, patience: patience) { stage in
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go, .commit)
            try await ready.value
            try await predecessor.peer.expect(.committed)
            let upgrade = stage.requestUpgrade()
            _ = try await stage.events.first(.waiting)
            // One is enough.
            #expect(try await stage.requestUpgrade().failure.code == .upgradeRunning)
            try await predecessor.die()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            let inventory = try await successor.takeInventory()
            try await successor.sayReady(inventory)
            try await successor.peer.expect(.go)
            try await successor.peer.expect(.commit)
            try await successor.peer.say(.committed)
            #expect(try await upgrade.value.generation == 6)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `its events tell each phase, in order`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        try await Stage.successor(kernel, of: predecessor) { stage in
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            try await ready.value
            try await predecessor.peer.say(.commit)
            try await predecessor.peer.expect(.committed)
            try await predecessor.die()
            _ = try await stage.events.first(.predecessorLeft)
            #expect(stage.events.phases == [.inherited, .serving, .owner, .predecessorLeft])
            let elapsed = stage.events.all.map(\.elapsed)
            #expect(elapsed == elapsed.sorted())
            #expect(elapsed.allSatisfy { $0 >= .zero && $0 < patience })
            #expect(stage.events.all.allSatisfy { $0.generation == 5 && $0.peer == 4242 && $0.error == nil })
        }
    }

    @Test(arguments: Kernel.allCases, ["before it started", "when it has said hello"])
    func `what is offered is answered after hello, whenever it came`(_ kernel: Kernel, _ moment: String) async throws {
        let predecessor = try FakePredecessor(kernel)
        try await predecessor.sayHello()
        if moment == "before it started" { try await predecessor.offer(.empty) }
        try await Stage.successor(
            kernel, of: predecessor,
            greeting: { predecessor in
                try await predecessor.hearHello()
                if moment != "before it started" { try await predecessor.offer(.empty) }
                try await predecessor.peer.expect(.acknowledgement(.init(.initialOffer, received: 0)))
            }
        ) { _ in }
    }

    @Test(arguments: Kernel.allCases)
    func `an inventory comes in batches, and what is here is acknowledged`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        let count = 100
        var all = Inventory.empty
        for number in 0..<count {
            all.add("file \(number)", .file, "", Held(try OwnedDescriptor(duplicating: 2)))
        }
        let offered = all
        try await Stage.successor(
            kernel, of: predecessor,
            greeting: { predecessor in
                try await predecessor.sayHello()
                try await predecessor.hearHello()
                for first in stride(from: 0, to: count, by: 16) {
                    let part = first..<min(first + 16, count)
                    let batch = Inventory(
                        entries: Array(offered.entries[part]), descriptors: Array(offered.descriptors[part])
                    )
                    try await predecessor.offer(batch, first: first, total: count)
                }
                // One word for everything that has come together.
                var received: UInt32 = 0
                while received < count {
                    let message = try await predecessor.peer.nextMessage().message
                    guard case .acknowledgement(let acknowledgement) = message else {
                        throw TimedOut(what: "an acknowledgement, and heard \(message)")
                    }
                    #expect(acknowledgement.subject == .initialOffer && acknowledgement.received > received)
                    #expect(acknowledgement.received % 16 == 0 || acknowledgement.received == count)
                    received = acknowledgement.received
                }
            }
        ) { stage in
            #expect(stage.context.sockets.inheritedCount == count)
        }
    }

    @Test(arguments: Kernel.allCases, [SocketAddress.UnixKind.stream, .datagram])
    func `the path of what nobody asks for goes when the service is its own`(
        _ kernel: Kernel, _ kind: SocketAddress.UnixKind
    ) async throws {
        let directory = try TemporaryDirectory()
        let old = SocketAddress.unix(path: directory("old.sock"), kind: kind)
        let kept = SocketAddress.unix(path: directory("kept.sock"))
        let predecessor = try FakePredecessor(kernel)
        var inventory = Inventory.empty
        try inventory.addListener(old)
        try inventory.addListener(kept)
        let handedOver = inventory
        try await Stage.successor(kernel, of: predecessor, greeting: { try await $0.handOver(handedOver) }) { stage in
            _ = try stage.upgrader.listen(on: kept)
            let ready = stage.requestReady()
            let said = try await predecessor.hearReady()
            #expect(said.claimed == [false, true])
            let claimed = Inventory(entries: [handedOver.entries[1]], descriptors: [handedOver.descriptors[1]])
            #expect(try said.digest == claimed.digest())

            // Until commit its predecessor may have to serve again, on all of them.
            try await stage.fence()
            #expect(directory.names == ["kept.sock", "old.sock"])
            try await predecessor.peer.say(.go)
            try await ready.value
            try await stage.fence()
            #expect(directory.names == ["kept.sock", "old.sock"])
            try await predecessor.peer.say(.commit)
            try await predecessor.peer.expect(.committed)
            // That is said before anything that a disk may hold up.
            try await stage.fence()
            #expect(directory.names == ["kept.sock"])
        }
        #expect(directory.names.isEmpty)
    }

    /// A path belongs to whoever has bound there last, and that may have been another program.
    @Test(arguments: Kernel.allCases)
    func `a Unix path is its own where the predecessor knows the file that is there`(_ kernel: Kernel) async throws {
        let directory = try TemporaryDirectory()
        let names = ["own", "taken", "dropped", "unknown", "lost"]
        let addresses = names.map { SocketAddress.unix(path: directory($0)) }
        let predecessor = try FakePredecessor(kernel)
        var inventory = Inventory.empty
        for (name, address) in zip(names, addresses) { try inventory.addListener(address, name: name) }
        var files: [Message.Paths.File] = []
        for (index, name) in names.enumerated() where name != "unknown" {
            let file = try #require(UnixPath(directory(name)))
            files.append(.init(index: UInt32(index), device: file.device, inode: file.inode))
        }
        var others: [Held] = []
        for (name, address) in zip(names, addresses) where name != "own" {
            try check("unlink") { unlink(directory(name)) }
            if name == "taken" || name == "dropped" { others.append(Held(try BoundSocket.bind(address))) }
        }
        others.append(Held(try BoundSocket.bind(addresses[3])))
        let (handedOver, said) = (inventory, files)
        let before = try #require(UnixPath(directory("taken")))
        var status = stat()
        try check("stat") { stat(directory("taken"), &status) }
        try await Stage.successor(
            kernel, of: predecessor,
            greeting: {
                try await $0.handOver(
                    handedOver, paths: [.init(files: Array(said[..<2])), .init(files: Array(said[2...]))])
            }
        ) { stage in
            for (name, address) in zip(names, addresses) where name != "dropped" {
                let wanted = ListenOptions(unixMode: 0o600)
                #expect(try stage.upgrader.listen(on: address, name: name, options: wanted).isInherited)
            }
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go, .commit)
            try await ready.value
            try await predecessor.peer.expect(.committed)
            try await stage.fence()
            // Neither removed nor changed is what others have.
            #expect(directory.names == ["dropped", "own", "taken", "unknown"])
            var now = stat()
            try check("stat") { stat(directory("taken"), &now) }
            #expect(now.st_mode == status.st_mode && UnixPath(directory("taken")) == before)
            try check("stat") { stat(directory("own"), &now) }
            #expect(now.st_mode & 0o777 == 0o600)
            let lines = stage.log.lines.filter { $0.contains("Unix socket") }
            #expect(
                lines.map { $0.prefix { $0 != ":" } } == [
                    "another file is at a Unix socket's path", "the file of a Unix socket is gone",
                ], "\(stage.log.lines)")
            #expect(!stage.log.lines.contains { $0.contains("was not applied") }, "\(stage.log.lines)")

            // Nor does it tell the next one anything else.
            try await predecessor.die()
            _ = try await stage.events.first(.predecessorLeft)
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            let passedOn = [(0, said[0]), (1, said[1]), (3, said[3])].map {
                Message.Paths.File(index: $0, device: $1.device, inode: $1.inode)
            }
            try await successor.peer.expect(.paths(.init(files: passedOn)))
            try await successor.end()
            _ = try await upgrade.failure
        }
        #expect(directory.names == ["dropped", "taken", "unknown"])
        _ = others
    }

    @Test(arguments: Kernel.allCases)
    func `what nobody asked for is closed at ready`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        let tracer = try Tracer()
        try await Stage.successor(
            kernel, of: predecessor,
            greeting: { predecessor in
                var inventory = Inventory.empty
                inventory.add("trace", .file, "", Held(tracer.giveAway()))
                try await predecessor.handOver(inventory)
            }
        ) { stage in
            try await stage.fence()
            // Asked for or not, until ready it is there.
            #expect(tracer.isOpenSomewhere)
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            #expect(try await tracer.isClosedEverywhere)
            try await predecessor.peer.say(.go)
            try await ready.value
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a commit that comes before its readers read is kept in mind`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        let reader = FakeReader()
        let resuming = Latch<Void>()
        let gate = Latch<Void>()
        reader.script {
            $0.resume = {
                resuming.set(())
                _ = await gate.wait()
            }
        }
        try await Stage.successor(kernel, of: predecessor) { stage in
            stage.upgrader.register(reader)
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go, .commit)
            try await resuming.value("resume")
            try await stage.fence()
            #expect(ready.current == nil)
            #expect(try await predecessor.peer.isQuiet)
            gate.set(())
            try await predecessor.peer.expect(.committed)
            try await ready.value
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a final state is acknowledged, and closed if nobody asked for it`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        try await Stage.successor(kernel, of: predecessor) { stage in
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            let content = "\(kernel) \(UInt64.random(in: .min ... .max))"
            do {
                // It stays open here until the end of the scope.
                let state = Held(try Blob.make(Array(content.utf8), name: "cache", kernel.capabilities))
                try await predecessor.peer.say(
                    .offer(
                        .init(
                            stage: .final, first: 0, total: 1,
                            entries: [.init(name: "cache", kind: .state, address: "", version: 1)]
                        )
                    ),
                    with: [state.number]
                )
                try await predecessor.peer.expect(.acknowledgement(.init(.finalOffer, received: 1)))
                withExtendedLifetime(state) { #expect(numbers(holding: content) == 2) }
            }
            try await predecessor.peer.say(.go)
            try await ready.value
            #expect(numbers(holding: content) == 0)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `an unknown message that is optional is passed over at any moment`(_ kernel: Kernel) async throws {
        let unknown: [UInt8] = [0x54, 0x46, 200, 1, 0, 0, 0, 0, 2, 0, 0, 0, 7, 7]
        let predecessor = try FakePredecessor(kernel)
        try await predecessor.peer.sayRaw(unknown)
        try await Stage.successor(
            kernel, of: predecessor,
            greeting: { predecessor in
                try await predecessor.sayHello()
                try await predecessor.peer.sayRaw(unknown)
                try await predecessor.hearHello()
                try await predecessor.offer(.empty)
                try await predecessor.peer.expect(.acknowledgement(.init(.initialOffer, received: 0)))
            }
        ) { stage in
            try await predecessor.peer.sayRaw(unknown)
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.sayRaw(unknown)
            try await predecessor.peer.say(.go)
            try await ready.value
            try await predecessor.peer.sayRaw(unknown)
            try await predecessor.peer.say(.commit)
            try await predecessor.peer.expect(.committed)
        }
    }

    // MARK: A predecessor that dies

    @Test(arguments: Kernel.allCases)
    func `a successor that was offered everything goes on alone, though it never met its predecessor`(
        _ kernel: Kernel
    ) async throws {
        let predecessor = try FakePredecessor(kernel)
        try await predecessor.sayHello()
        try await predecessor.offer(.empty)
        try await predecessor.die()
        try await Stage.successor(kernel, of: predecessor, greeting: { _ in }) { stage in
            try await stage.requestReady().value
            #expect(stage.context.facts.current.isOwner)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor that holds everything goes on alone`(_ kernel: Kernel) async throws {
        let directory = try TemporaryDirectory()
        let file = PIDFile(path: directory("service.pid"), process: 222)
        let predecessor = try FakePredecessor(kernel)
        var inventory = Inventory.empty
        try inventory.addListener(.tcp(host: "127.0.0.1", port: 0))
        let handedOver = inventory
        let reader = FakeReader()
        try await Stage.successor(
            kernel, pidFile: file, of: predecessor, greeting: { try await $0.handOver(handedOver) }
        ) { stage in
            stage.upgrader.register(reader)
            let listener = try stage.upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0))
            try await predecessor.die()
            try await stage.fence()
            #expect(reader.journal.all.isEmpty)
            try await stage.upgrader.ready()
            #expect(reader.journal.all == ["reader: resume", "reader: resumed"])
            #expect(listener.port != nil)
            _ = try await stage.events.first(.owner)
            #expect(directory.text("service.pid") == "222\n")
            try await stage.upgrader.waitForPredecessor()
            try await self.expectWholeUpgrade(stage)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a predecessor that dies while it pauses is replaced`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        try await Stage.successor(kernel, of: predecessor) { stage in
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.die()
            try await ready.value
            _ = try await stage.events.first(.owner)
            try await self.expectWholeUpgrade(stage)
        }
    }

    /// It may have stood still alone, and then everything that it waits for is over later than this process can know.
    @Test func `a predecessor that pings is not overtaken, however late its commit is`() async throws {
        let predecessor = try FakePredecessor(.current)
        var patience = Patience.ofTests
        // The wait for the commit is of six seconds, and no other is short: the machine may be busy.
        (patience.pauses, patience.hooks) = (.zero, .seconds(6) - patience.generous * 4)
        try await Stage.successor(.current, of: predecessor, patience: patience) { stage in
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go)
            try await ready.value
            let end = ContinuousClock.now + .seconds(8)
            while ContinuousClock.now < end {
                try await predecessor.peer.say(.ping)
                try await predecessor.peer.expect(.pong)
                try await Task.sleep(for: .milliseconds(100))
            }
            #expect(!stage.upgrader.isOwner)
            try await predecessor.peer.say(.commit)
            try await predecessor.peer.expect(.committed)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a predecessor that dies during the probation is replaced`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        try await Stage.successor(kernel, of: predecessor, { $0.probation = .lasting(.seconds(600)) }) { stage in
            let ready = stage.requestReady()
            let said = try await predecessor.hearReady()
            #expect(said.probation == .timed)
            #expect(said.probationMilliseconds == 600_000)
            try await predecessor.peer.say(.go)
            try await ready.value
            #expect(try await stage.requestUpgrade().failure.code == .notReady)
            try await predecessor.die()
            _ = try await stage.events.first(.predecessorLeft)
            try await self.expectWholeUpgrade(stage)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `what a predecessor said before it died counts`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        try await Stage.successor(kernel, of: predecessor) { stage in
            // An abort, and then its end: it gave up, and did not die on the way.
            try await predecessor.peer.say(.abort(.init(code: "stopping", message: "told to stop", cure: "")))
            try await predecessor.die()
            let error = try await stage.requestReady().failure
            #expect(error.code == .predecessorAborted)
            #expect(error.message.contains("told to stop"))
        }
    }

    // MARK: A first process

    @Test(arguments: Kernel.allCases)
    func `a first process serves at once`(_ kernel: Kernel) async throws {
        let directory = try TemporaryDirectory()
        let file = PIDFile(path: directory("service.pid"), process: 111)
        let reader = FakeReader()
        try await Stage.first(kernel, pidFile: file) { stage in
            stage.upgrader.register(reader)
            #expect(stage.upgrader.generation == 1)
            #expect(!stage.upgrader.hasPredecessor)
            try await stage.upgrader.waitForPredecessor()
            #expect(directory.names.isEmpty)
            try await stage.upgrader.ready()
            #expect(reader.journal.all == ["reader: resume", "reader: resumed"])
            _ = try await stage.events.first(.owner)
            #expect(directory.text("service.pid") == "111\n")
            #expect(Set(stage.events.phases) == [.serving, .owner])
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a first process without readers serves at once`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            _ = try await stage.events.first(.serving)
            #expect(stage.context.exit.current == nil)
        }
    }

    private func expectWholeUpgrade(_ stage: Stage) async throws {
        let upgrade = stage.requestUpgrade()
        let successor = try await stage.spawner.next()
        _ = try await successor.takeOver()
        #expect(try await upgrade.value.successor == successor.id)
    }
}

/// How many descriptors of this process are files with these contents.
private func numbers(holding content: String) -> Int {
    (0..<32_768).count { number in
        guard let facts = try? DescriptorFacts(of: CInt(number)), facts.isRegularFile else { return false }
        // What cannot be read is somebody else's.
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = pread(CInt(number), &bytes, bytes.count, 0)
        return count > 0 && Array(bytes[..<count]) == Array(content.utf8)
    }
}
