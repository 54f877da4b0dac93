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

/// Live connections on their way from the predecessor.
@Suite(.timeLimit(.minutes(3))) struct AdoptTests {
    /// Plays with a successor that owns the service, and whose predecessor drains.
    private func owner(
        _ kernel: Kernel, _ readers: [FakeReader], _ play: (Stage, FakePredecessor) async throws -> Void
    ) async throws {
        let predecessor = try FakePredecessor(kernel)
        try await Stage.successor(kernel, of: predecessor) { stage in
            for reader in readers { stage.upgrader.register(reader) }
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go, .commit)
            try await ready.value
            try await predecessor.peer.expect(.committed)
            try await play(stage, predecessor)
        }
    }

    private func send(
        _ entries: [(listener: String, unread: [UInt8], state: [UInt8])], _ descriptors: [Held],
        _ predecessor: FakePredecessor
    ) async throws {
        try await predecessor.peer.say(
            .connections(
                .init(
                    announced: UInt32(entries.count),
                    entries: entries.map { .init(listener: $0.listener, unread: $0.unread, state: $0.state) }
                )
            ),
            with: descriptors.map(\.number)
        )
    }

    @Test(arguments: Kernel.allCases)
    func `a connection is adopted with what was unread and what is remembered, then acknowledged`(
        _ kernel: Kernel
    ) async throws {
        let reader = FakeReader()
        let adopted = Latch<FakeReader.Adopted>()
        let gate = Latch<Void>()
        reader.script {
            $0.adopt = { connection in
                adopted.set(connection)
                _ = await gate.wait()
            }
        }
        try await self.owner(kernel, [reader]) { stage, predecessor in
            let pair = try Pair()
            try await self.send([("web", Array("GET /".utf8), [0, 1, 255])], [pair.one], predecessor)
            let connection = try await adopted.value("adopt")
            #expect(connection.listener == "web")
            #expect(connection.unread == Array("GET /".utf8))
            #expect(connection.state == [0, 1, 255])
            #expect(try connection.descriptor.inode == pair.one.inode)
            #expect(fcntl(connection.descriptor.number, F_GETFD) & FD_CLOEXEC != 0)
            #expect(ServedMark.isSet(on: pair.one.number), "the predecessor sees that it is served")
            // The predecessor may let go of it only when it is in good hands.
            try await stage.fence()
            #expect(try await predecessor.peer.isQuiet)
            gate.set(())
            try await predecessor.peer.expect(.acknowledgement(.init(.connections, received: 1)))
            // It works.
            #expect(write(connection.descriptor.number, "hi", 2) == 2)
            var heard: [UInt8] = [0, 0]
            #expect(read(pair.other.number, &heard, 2) == 2)
            #expect(heard == Array("hi".utf8))
        }
    }

    @Test(arguments: Kernel.allCases)
    func `300 connections in batches all arrive, and are counted`(_ kernel: Kernel) async throws {
        OpenFileLimit.makeRoom(for: 4096)
        let reader = FakeReader()
        let seen = Mutex<[UInt8: Int]>([:])
        reader.script {
            $0.adopt = { connection in
                let number = Int(connection.state.count)
                seen.withLock { seen in
                    for byte in connection.unread { seen[byte, default: 0] += number }
                }
            }
        }
        let batches = stride(from: 0, to: 300, by: 50).map { $0..<$0 + 50 }
        try await self.owner(kernel, [reader]) { _, predecessor in
            let pair = try Pair()
            for batch in batches {
                try await self.send(
                    batch.map { ("web", [UInt8($0 % 3)], Array(repeating: 1, count: $0)) },
                    Array(repeating: pair.one, count: batch.count), predecessor
                )
            }
            var received: UInt32 = 0
            while received < 300 {
                let message = try await predecessor.peer.nextMessage().message
                guard case .acknowledgement(let acknowledgement) = message else {
                    throw TimedOut(what: "an acknowledgement, and heard \(message)")
                }
                #expect(acknowledgement.subject == .connections)
                #expect(acknowledgement.received > received)
                received = acknowledgement.received
            }
            #expect(received == 300)
            #expect(reader.journal.all.count { $0 == "reader: adopted" } == 300)
            let expected = Dictionary(grouping: 0..<300) { UInt8($0 % 3) }.mapValues { $0.reduce(0, +) }
            #expect(seen.withLock { $0 } == expected)
        }
    }

    @Test(arguments: [false, true])
    func `a limit on open files that is too low for what comes is raised, however many were accepted here`(
        _ isBusy: Bool
    ) async {
        await #expect(processExitsWith: .success) { [isBusy] in
            let reader = FakeReader()
            let (count, step) = (isBusy ? 300 : 1000, 100)
            // As much as a successor has in any case.
            let limit = FrameHeader.maximumDescriptors + 512
            let accepted = Mutex<[Held]>([])
            let kept = Mutex<[FakeReader.Adopted]>([])
            reader.script {
                $0.resume = {
                    guard isBusy else { return }
                    // Less room than the first message needs.
                    let free = (0..<CInt(limit)).count { fcntl($0, F_GETFD) < 0 }
                    let connections = try (0..<free - step / 2).map { _ in Held(try OwnedDescriptor(duplicating: 2)) }
                    accepted.withLock { $0 = connections }
                    reader.script { $0.counts.open = connections.count }
                }
                $0.adopt = { connection in kept.withLock { $0.append(connection) } }
            }
            try OpenFileLimit.current.with(soft: limit).set()
            try await AdoptTests().owner(.current, [reader]) { _, predecessor in
                let pair = try Pair()
                let entries = Array(
                    repeating: Message.ConnectionBatch.Entry(listener: "web", unread: [], state: []), count: step)
                for _ in 0..<count / step {
                    try await predecessor.peer.say(
                        .connections(.init(announced: UInt32(count), entries: entries)),
                        with: Array(repeating: pair.one.number, count: step)
                    )
                }
                var received: UInt32 = 0
                while received < count,
                    case .acknowledgement(let next) = try await predecessor.peer.nextMessage().message
                {
                    received = next.received
                }
                #expect(received == count)
                #expect(kept.withLock { $0.count } == count)
            }
        }
    }

    /// The predecessor takes the number for the first so many that it sent.
    @Test(arguments: Kernel.allCases)
    func `what is adopted before an earlier connection is acknowledged with it, and not in its place`(
        _ kernel: Kernel
    ) async throws {
        let reader = FakeReader()
        let (gate, isSecondAdopted) = (Latch<Void>(), Latch<Void>())
        reader.script {
            $0.adopt = { connection in
                if connection.unread == [1] { _ = await gate.wait() } else { isSecondAdopted.set(()) }
            }
        }
        try await self.owner(kernel, [reader]) { stage, predecessor in
            let pair = try Pair()
            for number: UInt8 in 1...2 { try await self.send([("web", [number], [])], [pair.one], predecessor) }
            _ = try await isSecondAdopted.value("the second one")
            try await eventually("its reader has returned") { reader.journal.all.contains("reader: adopted") }
            try await stage.fence()
            #expect(try await predecessor.peer.isQuiet)
            gate.set(())
            var received: UInt32 = 0
            while received < 2, case .acknowledgement(let next) = try await predecessor.peer.nextMessage().message {
                received = next.received
            }
            #expect(received == 2)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a connection goes to the reader of its listener, else to one of any`(_ kernel: Kernel) async throws {
        let journal = Journal()
        let readers = [
            FakeReader("any", for: nil, journal), FakeReader("web", for: "web", journal),
            FakeReader("admin", for: "admin", journal),
        ]
        try await self.owner(kernel, readers) { _, predecessor in
            let pair = try Pair()
            try await self.send(
                [("admin", [], []), ("web", [], []), ("other", [], [])], [pair.one, pair.one, pair.one], predecessor
            )
            try await predecessor.peer.expect(.acknowledgement(.init(.connections, received: 3)))
            let adopted = journal.all.filter { $0.hasSuffix(": adopted") }
            #expect(adopted.sorted() == ["admin: adopted", "any: adopted", "web: adopted"])
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a connection that nobody takes is closed and acknowledged`(_ kernel: Kernel) async throws {
        let reader = FakeReader("web", for: "web")
        try await self.owner(kernel, [reader]) { _, predecessor in
            let tracer = try Tracer.socket()
            do {
                let traced = Held(tracer.giveAway())
                try await self.send([("admin", [], [])], [traced], predecessor)
                try await predecessor.peer.expect(.acknowledgement(.init(.connections, received: 1)))
            }
            #expect(try await tracer.isClosedEverywhere)
            #expect(!reader.journal.all.contains("web: adopt"))
        }
    }

    @Test(arguments: Kernel.allCases)
    func `what is no connection is closed before a reader sees it, and acknowledged`(_ kernel: Kernel) async throws {
        let reader = FakeReader()
        try await self.owner(kernel, [reader]) { _, predecessor in
            let tracer = try Tracer()
            do {
                let traced = Held(tracer.giveAway())
                try await self.send([("web", [], [])], [traced], predecessor)
                try await predecessor.peer.expect(.acknowledgement(.init(.connections, received: 1)))
            }
            #expect(try await tracer.isClosedEverywhere)
            #expect(!reader.journal.all.contains("reader: adopt"))
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a connection that a reader does not want is closed and acknowledged`(_ kernel: Kernel) async throws {
        let reader = FakeReader()
        reader.script { $0.adopt = { _ in throw Unwilling() } }
        try await self.owner(kernel, [reader]) { stage, predecessor in
            let tracer = try Tracer.socket()
            do {
                let traced = Held(tracer.giveAway())
                try await self.send([("web", [], [])], [traced], predecessor)
                try await predecessor.peer.expect(.acknowledgement(.init(.connections, received: 1)))
            }
            #expect(try await tracer.isClosedEverywhere)
            #expect(stage.context.exit.current == nil)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `connections that no reader takes are told of when the predecessor has left`(_ kernel: Kernel) async throws {
        try await self.owner(kernel, [FakeReader("reader", for: "web")]) { stage, predecessor in
            let pairs = [try Pair(), try Pair(), try Pair()]
            for (listener, pair) in zip(["web", "gone", "gone"], pairs) {
                try await self.send([(listener, [], [])], [pair.one], predecessor)
            }
            // What becomes of a connection is known when it is acknowledged.
            var received: UInt32 = 0
            while received < 3 {
                let message = try await predecessor.peer.nextMessage().message
                guard case .acknowledgement(let acknowledgement) = message else {
                    throw TimedOut(what: "an acknowledgement, and heard \(message)")
                }
                received = acknowledgement.received
            }
            try await predecessor.die()
            _ = try await stage.events.first(.predecessorLeft)
            #expect(stage.log.lines == ["connections were handed over that no reader takes: closed connections=2"])
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a connection that comes though nobody adopts any is closed`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        try await Stage.successor(kernel, of: predecessor) { stage in
            stage.upgrader.register(DefaultReader())
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go, .commit)
            try await ready.value
            try await predecessor.peer.expect(.committed)
            let tracer = try Tracer.socket()
            do {
                let traced = Held(tracer.giveAway())
                try await self.send([("web", [], [])], [traced], predecessor)
                try await predecessor.peer.expect(.acknowledgement(.init(.connections, received: 1)))
            }
            #expect(try await tracer.isClosedEverywhere)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `connections that are on their way when the predecessor dies arrive`(_ kernel: Kernel) async throws {
        let reader = FakeReader()
        let adopted = Latch<FakeReader.Adopted>()
        reader.script { $0.adopt = { adopted.set($0) } }
        try await self.owner(kernel, [reader]) { stage, predecessor in
            let pair = try Pair()
            try await self.send([("web", [1, 2, 3], [])], [pair.one], predecessor)
            try await predecessor.die()
            let connection = try await adopted.value("adopt")
            #expect(connection.unread == [1, 2, 3])
            #expect(try connection.descriptor.inode == pair.one.inode)
            _ = try await stage.events.first(.predecessorLeft)
        }
    }
}
