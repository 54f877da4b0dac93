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

/// Live connections on their way to the successor.
@Suite(.timeLimit(.minutes(3))) struct ExportTests {
    /// Many live connections, and what became of each.
    private final class Connections: Sendable {
        let pairs: [Pair]
        let outcomes = Mutex<[Int: UpgradeError?]>([:])
        /// Those that can be served on here.
        let stayed = Mutex<Set<Int>>([])
        let areDone = Latch<Void>()

        init(_ count: Int) throws {
            // A test of its own size: other limits are not what is tested here.
            OpenFileLimit.makeRoom(for: 4096)
            self.pairs = try (0..<count).map { _ in try Pair() }
        }

        static func unread(_ number: Int) -> [UInt8] { Array("unread \(number)".utf8) }
        static func state(_ number: Int) -> [UInt8] { Array(repeating: UInt8(number % 251), count: number) }

        /// What a reader does with them.
        func export(_ successor: ConnectionExporter) async {
            successor.announce(self.pairs.count)
            await withTaskGroup { group in
                for (number, pair) in self.pairs.enumerated() {
                    group.addTask {
                        do throws(UpgradeError) {
                            let connection = LiveDescriptor(
                                takingOwnershipOf: try pair.duplicate(), listener: "web",
                                unread: Self.unread(number), state: Self.state(number)
                            )
                            defer {
                                if connection.takeDescriptor()?.borrowed != nil {
                                    _ = self.stayed.withLock { $0.insert(number) }
                                }
                            }
                            try await successor.send([connection])
                            self.outcomes.withLock { $0[number] = .some(nil) }
                        } catch {
                            self.outcomes.withLock { $0[number] = .some(error) }
                        }
                    }
                }
            }
            self.areDone.set(())
        }

        var succeeded: [Int] {
            self.outcomes.withLock { $0.filter { $0.value == nil }.map(\.key) }
        }
        var failed: [Int: UpgradeError] { self.outcomes.withLock { $0.compactMapValues { $0 } } }

        /// The connection still works: what is said at its other end arrives here.
        func isOpen(_ number: Int) -> Bool {
            let byte: [UInt8] = [UInt8(number % 256)]
            guard send(self.pairs[number].other.number, byte, 1, 0) == 1 else { return false }
            var heard: [UInt8] = [0]
            return recv(self.pairs[number].one.number, &heard, 1, 0) == 1 && heard == byte
        }
    }

    /// One that has taken over.
    private func successor(in stage: Stage) async throws -> FakeSuccessor {
        let upgrade = stage.requestUpgrade()
        let successor = try await stage.spawner.next()
        _ = try await successor.takeOver()
        _ = try await upgrade.value
        return successor
    }

    /// Takes connections and acknowledges them in steps.
    /// - Returns: which connection came when.
    private func take(
        _ count: Int, _ successor: FakeSuccessor, _ connections: Connections, acknowledging step: Int
    ) async throws -> [Int] {
        var order: [Int] = []
        var acknowledged = 0
        while order.count < count {
            let (message, descriptors) = try await successor.peer.nextMessage()
            guard case .connections(let batch) = message else {
                throw TimedOut(what: "connections, and heard \(message)")
            }
            #expect(batch.announced == connections.pairs.count)
            #expect(batch.entries.count == descriptors.count)
            for (entry, descriptor) in zip(batch.entries, descriptors) {
                let words = String(decoding: entry.unread, as: UTF8.self)
                let number = try #require(words.split(separator: " ").last.flatMap { Int($0) })
                order.append(number)
                #expect(entry.listener == "web")
                #expect(entry.unread == Connections.unread(number))
                #expect(entry.state == Connections.state(number))
                #expect(try descriptor.inode == connections.pairs[number].one.inode)
            }
            if order.count - acknowledged >= step || order.count == count {
                acknowledged = order.count
                try await successor.peer.say(.acknowledgement(.init(.connections, received: UInt32(acknowledged))))
            }
        }
        return order
    }

    @Test(arguments: Kernel.allCases)
    func `connections stay that nobody in the successor would serve`(_ kernel: Kernel) async throws {
        let connections = try Connections(3)
        let reader = FakeReader("reader", for: "web")
        reader.script { $0.export = { await connections.export($0) } }
        try await Stage.first(kernel) { stage in
            for name in ["admin", "web"] {
                _ = try stage.upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0), name: name)
            }
            stage.upgrader.register(reader)
            try await stage.upgrader.ready()
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            let inventory = try await successor.takeInventory()
            try await successor.peer.say(.keep(.init(listeners: [1])))
            try await successor.sayReady(inventory)
            try await successor.peer.expect(.go)
            try await successor.peer.expect(.commit)
            try await successor.peer.say(.committed)
            _ = try await upgrade.value
            try await successor.peer.expect(.bye(.init()))
            #expect(connections.failed.count == 3 && connections.stayed.withLock { $0.count } == 3)
            #expect(connections.failed[0]?.code == .notAdopted)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `who says that it has drained may end after the last word`(_ kernel: Kernel) async throws {
        let reader = FakeReader()
        let mayEnd = Latch<Void>()
        reader.script { $0.export = { _ in _ = await mayEnd.wait() } }
        try await Stage.serving(kernel, reader: reader) { stage in
            let isOver = Latch<Void>()
            Task {
                await stage.upgrader.drained()
                isOver.set(())
            }
            let successor = try await self.successor(in: stage)
            _ = await stage.upgrader.exit
            try await stage.fence()
            #expect(isOver.current == nil)
            mayEnd.set(())
            try await isOver.value("the word that it has drained")
            // It has been said by then.
            #expect(try await !successor.peer.isQuiet)
            try await successor.peer.expect(.bye(.init()))
        }
    }

    @Test(arguments: Kernel.allCases)
    func `nobody is waited for in a process that stops`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel, reader: FakeReader()) { stage in
            stage.upgrader.stop()
            await stage.upgrader.drained()
            #expect(stage.exited.current == nil)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `300 connections move with what was unread and what is remembered`(_ kernel: Kernel) async throws {
        let connections = try Connections(300)
        let reader = FakeReader()
        reader.script { $0.export = { await connections.export($0) } }
        try await Stage.serving(kernel, reader: reader) { stage in
            let successor = try await self.successor(in: stage)
            let order = try await self.take(300, successor, connections, acknowledging: 7)
            #expect(order.sorted() == Array(0..<300))
            try await connections.areDone.value("the exports")
            #expect(connections.succeeded.count == 300)
            // The last word, when nothing more will move.
            try await successor.peer.expect(.bye(.init(moved: 300)))
            #expect(reader.journal.all.last == "reader: exported")
            // What was given away is closed here, and nothing else.
            #expect((0..<300).allSatisfy { connections.isOpen($0) })
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a send returns when its connection was acknowledged and not before`(_ kernel: Kernel) async throws {
        let connections = try Connections(3)
        let reader = FakeReader()
        reader.script { $0.export = { await connections.export($0) } }
        try await Stage.serving(kernel, reader: reader) { stage in
            let successor = try await self.successor(in: stage)
            var order: [Int] = []
            while order.count < 3 {
                guard case .connections(let batch) = try await successor.peer.nextMessage().message else {
                    throw TimedOut(what: "connections")
                }
                order += batch.entries.map { $0.state.count }
            }
            try await stage.fence()
            #expect(connections.succeeded.isEmpty)
            try await successor.peer.say(.acknowledgement(.init(.connections, received: 2)))
            // Which ones is known by the order in which they came.
            try await eventually("two sends have returned") { connections.succeeded.count >= 2 }
            #expect(Set(connections.succeeded) == Set(order.prefix(2)))
            try await successor.peer.say(.acknowledgement(.init(.connections, received: 3)))
            try await connections.areDone.value("the exports")
            #expect(connections.failed.isEmpty)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `when the successor dies in the middle, what it did not acknowledge stays open here`(
        _ kernel: Kernel
    ) async throws {
        let connections = try Connections(300)
        let reader = FakeReader()
        reader.script { $0.export = { await connections.export($0) } }
        try await Stage.serving(kernel, reader: reader) { stage in
            let successor = try await self.successor(in: stage)
            let order = try await self.take(100, successor, connections, acknowledging: 10)
            try await successor.end(.signalled(9))
            try await connections.areDone.value("the exports")
            #expect(Set(connections.succeeded) == Set(order.prefix(100)))
            let failed = connections.failed
            #expect(failed.count == 200)
            #expect(failed.allSatisfy { $0.value.code == .successorClosedChannel && $0.value.serving == .nobody })
            #expect(failed.keys.allSatisfy { connections.isOpen($0) })
            #expect(connections.stayed.withLock { $0 } == Set(failed.keys))
            // It drains, and says that nothing more will move to nobody.
            try await eventually("the export is over") { reader.journal.all.last == "reader: exported" }
            #expect(await stage.upgrader.exit == .replaced(successor: successor.id))
        }
    }

    /// It may have read half a request, or answered one.
    @Test(arguments: Kernel.allCases)
    func `when the successor dies in the middle, what it had begun to serve is not taken back`(
        _ kernel: Kernel
    ) async throws {
        let connections = try Connections(6)
        // As those that have moved before.
        for pair in connections.pairs { ServedMark.set(on: pair.one.number) }
        let reader = FakeReader()
        reader.script { $0.export = { await connections.export($0) } }
        try await Stage.serving(kernel, reader: reader) { stage in
            let successor = try await self.successor(in: stage)
            var arrived = 0
            while arrived < 6 {
                guard case (.connections(let batch), let descriptors) = try await successor.peer.nextMessage() else {
                    throw TimedOut(what: "connections")
                }
                arrived += descriptors.count
                for (entry, descriptor) in zip(batch.entries, descriptors) {
                    #expect(!ServedMark.isSet(on: descriptor.number))
                    if entry.state.count.isMultiple(of: 2) { ServedMark.set(on: descriptor.number) }
                }
            }
            try await successor.end(.signalled(9))
            try await connections.areDone.value("the exports")
            #expect(connections.failed.count == 6)
            #expect(connections.stayed.withLock { $0 } == [1, 3, 5])
        }
    }

    /// Who stands around it may have work of its own, and the channel too.
    @Test(arguments: Kernel.allCases, [true, false])
    func `when the successor dies and the shell around it goes on, what it had not begun to serve is taken back`(
        _ kernel: Kernel, _ channelEnds: Bool
    ) async throws {
        let connections = try Connections(5)
        let reader = FakeReader()
        reader.script { $0.export = { await connections.export($0) } }
        try await Stage.serving(kernel, reader: reader) { stage in
            stage.spawner.plan { $0.isWrapped = true }
            let successor = try await self.successor(in: stage)
            var arrived = 0
            while arrived < 5 {
                let (message, descriptors) = try await successor.peer.nextMessage()
                guard case .connections(let batch) = message else { throw TimedOut(what: "connections") }
                arrived += descriptors.count
                for (entry, descriptor) in zip(batch.entries, descriptors) where entry.state.count == 3 {
                    ServedMark.set(on: descriptor.number)
                }
            }
            if channelEnds {
                // At once: a successor that has hung up and lives is another matter.
                try await successor.peer.close { successor.endInside() }
            } else {
                successor.endInside()
            }
            try await connections.areDone.value("the exports")
            #expect(connections.failed.count == 5)
            #expect(connections.stayed.withLock { $0 } == [0, 1, 2, 4])
            #expect(successor.isAlive)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a successor that dies as soon as it is the owner, and the shell around it goes on, is sent nothing`(
        _ kernel: Kernel
    ) async throws {
        let connections = try Connections(5)
        let reader = FakeReader()
        reader.script { $0.export = { await connections.export($0) } }
        try await Stage.serving(kernel, reader: reader) { stage in
            stage.spawner.plan { $0.isWrapped = true }
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.comeToCommit()
            try await stage.whileHeldUp {
                try await successor.peer.say(.committed)
                successor.endInside()
            }
            _ = try await upgrade.value
            try await connections.areDone.value("the exports")
            #expect(connections.stayed.withLock { $0 } == [0, 1, 2, 3, 4])
            #expect(successor.isAlive)
        }
    }

    /// A successor that has been sent so many connections, and has acknowledged none.
    private func havingSent(
        _ count: Int, _ kernel: Kernel, _ play: (FakeSuccessor, Connections) async throws -> Void
    ) async throws {
        let connections = try Connections(count)
        let reader = FakeReader()
        reader.script { $0.export = { await connections.export($0) } }
        try await Stage.serving(kernel, reader: reader) { stage in
            let successor = try await self.successor(in: stage)
            var arrived = 0
            while arrived < count { arrived += try await successor.peer.nextMessage().descriptors.count }
            try await play(successor, connections)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `when the successor breaks the protocol, what it did not acknowledge is left to it`(
        _ kernel: Kernel
    ) async throws {
        for nonsense in [
            Message.acknowledgement(.init(.connections, received: 9)).encoded(), Array("nonsense, and no frame".utf8),
        ] {
            try await self.havingSent(5, kernel) { successor, connections in
                try await successor.peer.say(.acknowledgement(.init(.connections, received: 2)))
                try await successor.peer.sayRaw(nonsense)
                try await connections.areDone.value("the exports")
                #expect(connections.succeeded.count == 2)
                #expect(connections.failed.count == 3)
                #expect(connections.failed.keys.allSatisfy { connections.isOpen($0) })
                #expect(connections.stayed.withLock { $0 }.isEmpty)
                // The successor is in charge, whatever it says: it is not killed.
                #expect(successor.isAlive && connections.failed.values.allSatisfy { $0.serving == .successor })
            }
        }
    }

    @Test(arguments: Kernel.allCases)
    func `of a successor that can read no more, what it has not taken stays open here`(_ kernel: Kernel) async throws {
        try await self.havingSent(5, kernel) { successor, connections in
            try await successor.peer.say(.acknowledgement(.init(.connections, received: 2)))
            try await successor.peer.say(.taken(.init(connections: 3)))
            try await successor.peer.close()
            try await connections.areDone.value("the exports")
            #expect(connections.succeeded.count == 2 && connections.failed.count == 3)
            #expect(connections.stayed.withLock { $0 }.count == 2)
            #expect(successor.isAlive && connections.failed.values.allSatisfy { $0.serving == .successor })
        }
    }

    @Test(arguments: Kernel.allCases)
    func `when the successor takes more than it was sent, what it did not acknowledge is left to it`(
        _ kernel: Kernel
    ) async throws {
        try await self.havingSent(5, kernel) { successor, connections in
            try await successor.peer.say(.taken(.init(connections: 6)))
            try await connections.areDone.value("the exports")
            #expect(connections.failed.count == 5 && connections.stayed.withLock { $0 }.isEmpty)
            #expect(successor.isAlive)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `when the successor breaks the protocol, what has not left this process stays open here`(
        _ kernel: Kernel
    ) async throws {
        // Two of these fill a message, and no socket has room for all.
        let (count, perMessage) = (40, 2)
        let pairs = try (0..<count).map { _ in try Pair() }
        let blob = [UInt8](repeating: 7, count: 200 << 10)
        let stayed = Latch<[Int]>()
        let reader = FakeReader()
        reader.script {
            $0.export = { successor in
                let connections = try pairs.map {
                    LiveDescriptor(takingOwnershipOf: try $0.duplicate(), listener: "web", unread: blob, state: blob)
                }
                await #expect(throws: UpgradeError.self) { try await successor.send(connections) }
                stayed.set(connections.indices.filter { connections[$0].takeDescriptor()?.borrowed != nil })
            }
        }
        try await Stage.serving(kernel, reader: reader) { stage in
            let successor = try await self.successor(in: stage)
            try await successor.peer.isSpokenTo()
            try await successor.peer.sayRaw(Array("nonsense, and no frame".utf8))
            let here = try await stayed.value("the connections that stay")
            #expect(successor.isAlive)
            var left = 0
            var heard = try await successor.peer.next()
            while case .message(.connections(let batch), _) = heard {
                left += batch.entries.count
                heard = try await successor.peer.next()
            }
            // A part of one more.
            if case .violation(.endedInsideFrame) = heard { left += perMessage }
            #expect(here == Array(left..<count))
            #expect(!here.isEmpty)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `without a successor nothing can be sent`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let pair = try Pair()
            let exporter = ConnectionExporter(inbox: stage.context.inbox)
            exporter.announce(1)
            let error = try await Outcome { () throws(UpgradeError) in
                let connection = LiveDescriptor(takingOwnershipOf: try pair.duplicate(), listener: "web")
                do throws(UpgradeError) {
                    try await exporter.send([connection])
                } catch {
                    // It is still here.
                    let (isHere, isThereTwice) = (
                        connection.takeDescriptor()?.borrowed != nil, connection.takeDescriptor()?.borrowed != nil
                    )
                    #expect(isHere)
                    #expect(!isThereTwice)
                    throw error
                }
            }.failure
            #expect(error.code == .wrongMoment)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `what is too large to move stays, and what fits goes`(_ kernel: Kernel) async throws {
        let limit = WireLimit.connectionState
        let reader = FakeReader()
        let pair = try Pair()
        let codes = Mutex<[UpgradeError.Code?]>([])
        reader.script {
            $0.export = { successor in
                for (listener, unread, state) in [
                    ("web", limit + 1, 0), ("web", 0, limit + 1), (String(repeating: "x", count: 256), 0, 0),
                    (String(repeating: "x", count: 255), limit, limit),
                ] {
                    do throws(UpgradeError) {
                        try await successor.send([
                            LiveDescriptor(
                                takingOwnershipOf: try pair.duplicate(), listener: listener,
                                unread: Array(repeating: 1, count: unread), state: Array(repeating: 2, count: state)
                            )
                        ])
                        codes.withLock { $0.append(nil) }
                    } catch {
                        codes.withLock { $0.append(error.code) }
                    }
                }
            }
        }
        try await Stage.serving(kernel, reader: reader) { stage in
            let successor = try await self.successor(in: stage)
            guard case .connections(let batch) = try await successor.peer.nextMessage().message else {
                throw TimedOut(what: "the connection that fits")
            }
            #expect(batch.entries.map(\.unread.count) == [limit])
            #expect(batch.entries.map(\.state.count) == [limit])
            #expect(batch.entries.map(\.listener.count) == [255])
            try await successor.peer.say(.acknowledgement(.init(.connections, received: 1)))
            try await successor.peer.expect(.bye(.init(moved: 1)))
            #expect(codes.withLock { $0 } == [.wrongMoment, .wrongMoment, .wrongMoment, nil])
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a reader that cannot export keeps nobody from saying bye`(_ kernel: Kernel) async throws {
        let journal = Journal()
        let unwilling = FakeReader("unwilling", journal)
        let willing = FakeReader("willing", journal)
        unwilling.script { $0.export = { _ in throw Unwilling() } }
        try await Stage.first(kernel) { stage in
            stage.upgrader.register(unwilling)
            stage.upgrader.register(willing)
            try await stage.upgrader.ready()
            let successor = try await self.successor(in: stage)
            try await successor.peer.expect(.bye(.init()))
            #expect(journal.all.contains("willing: exported"))
        }
    }
}
