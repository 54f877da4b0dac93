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

@Suite struct SocketRegistryTests {
    private let registry = SocketRegistry()

    @Test func `what was inherited keeps its order, whatever is claimed first`() throws {
        try self.inherit(["a", "b", "c"])
        _ = try self.ask("c")
        _ = try self.ask("new")
        _ = try self.ask("a")
        let claims = self.registry.claims()
        #expect(claims.claimed == [true, false, true])
        #expect(claims.fresh.count == 1)
        // The digest goes by the order of the predecessor, what is handed on by that of the program.
        var digest = InventoryDigest()
        let identity = try #require(DescriptorFacts.inode(of: 2))
        for name in ["a", "c"] { digest.combine(.init(name: name, kind: .file, address: ""), identity: identity) }
        #expect(claims.digest == digest.value)
        #expect(self.registry.carried.map(\.entry.name) == ["c", "new", "a"])
    }

    @Test func `what is replaced while upgrades begin is always there, once`() async throws {
        let registry = self.registry
        let entry = InventoryEntry(name: "state", kind: .file, address: "")
        try registry.replace(entry, OwnedDescriptor(duplicating: 2))
        let isOver = Atomic(false)
        let upgrades = Atomic(0)
        let counts = Task {
            try await onItsOwnThread {
                var counts: Set<Int> = []
                while !isOver.load(ordering: .relaxed) {
                    counts.insert(registry.freeze().count)
                    registry.thaw()
                    upgrades.add(1, ordering: .relaxed)
                }
                return counts
            }
        }
        try await onItsOwnThread {
            // Refused while an upgrade runs, which has got the one before. The other thread may take its time to begin.
            var replaced = 0
            while replaced < 20_000 || upgrades.load(ordering: .relaxed) < 1000 {
                try? registry.replace(entry, OwnedDescriptor(duplicating: 2))
                replaced += 1
            }
        }
        isOver.store(true, ordering: .relaxed)
        #expect(try await counts.value == [1])
        #expect(registry.carried.map(\.name) == ["state"])
    }

    @Test func `what was not claimed is closed and named`() async throws {
        let tracer = try Tracer()
        try self.registry.inherit(
            [.init(name: "traced", kind: .file, address: "")],
            DescriptorBatch(takingOwnershipOf: [tracer.giveAway().release()])
        )
        try self.inherit(["a", "b"])
        _ = try self.ask("b")
        let closed = self.registry.closeUnclaimed()
        #expect(closed.names == ["traced", "a"])
        #expect(closed.paths.isEmpty)
        #expect(try await tracer.isClosedEverywhere)
        #expect(self.registry.closeUnclaimed().names.isEmpty)
    }

    @Test(arguments: [true, false])
    func `what was inherited and is forgotten is closed, once this process has answered for it`(
        _ isBefore: Bool
    ) async throws {
        let tracer = try Tracer()
        try self.registry.inherit(
            [.init(name: "traced", kind: .file, address: "")],
            DescriptorBatch(takingOwnershipOf: [tracer.giveAway().release()])
        )
        _ = try self.ask("new")
        if isBefore { self.registry.remove(try self.ask("traced")) } else { _ = try self.ask("traced") }
        #expect(tracer.isOpenSomewhere)
        let claims = self.registry.claims()
        #expect(claims.claimed == [true])
        #expect(claims.fresh.count == 1)
        for descriptor in self.registry.carried where descriptor.name == "traced" { self.registry.remove(descriptor) }
        #expect(try await tracer.isClosedEverywhere)
        #expect(self.registry.carried.map(\.name) == ["new"])
        _ = try self.ask("traced")  // its name is free again
    }

    @Test(arguments: [true, false], [true, false])
    func `a socket that is forgotten before ready counts as not asked for, unless it goes on under another name`(
        _ isAlone: Bool, _ goesOn: Bool
    ) throws {
        let directory = try TemporaryDirectory()
        let address = SocketAddress.unix(path: directory("x.sock"))
        let entry = InventoryEntry(name: "x", kind: .listener, address: address.description)
        let bound = try BoundSocket.bind(address)
        try self.registry.inherit([entry], DescriptorBatch(takingOwnershipOf: [bound.release()]))
        if isAlone { self.registry.answersToNobody() }
        let socket = try #require(try self.registry.inherited(entry))
        self.registry.remove(socket)
        if goesOn { _ = try self.registry.add(.init(name: "y", kind: .listener, address: ""), socket.duplicate()) }
        let closed = self.registry.closeUnclaimed()
        #expect(closed.names == (goesOn ? [] : ["x"]))
        #expect(closed.paths.map(\.path) == (goesOn ? [] : [directory("x.sock")]))
        // In the store the other name is another socket.
        #expect(self.registry.takeUnclaimedStored() == [StoreName(entry)])
        // The predecessor is told of it as of anything that was asked for.
        guard !isAlone else { return }
        var digest = InventoryDigest()
        digest.combine(entry, identity: socket.identity)
        #expect(self.registry.claims().digest == digest.value)
    }

    @Test(arguments: [true, false])
    func `a member of a group that is forgotten is not kept`(_ isKept: Bool) throws {
        let facts = EngineFacts()
        facts.update { $0.predecessorLives = true }
        let registry = SocketRegistry(facts)
        let group = ListenOptions(reusesPort: true)
        let one = try BoundSocket.bind(.tcp(host: "127.0.0.1", port: 0), group)
        let address = SocketAddress.tcp(host: "127.0.0.1", port: BoundSocket.port(of: one.borrowed) ?? 0)
        let two = try BoundSocket.bind(address, group)
        let entries = ["one", "two"].map {
            InventoryEntry(name: $0, kind: .listener, address: address.description)
        }
        try registry.inherit(entries, DescriptorBatch(takingOwnershipOf: [one.release(), two.release()]))
        let sockets = try entries.map { try #require(try registry.inherited($0)) }
        try registry.checkKeepsGroups()
        registry.remove(sockets[1])
        if isKept {
            let error = #expect(throws: UpgradeError.self) { try registry.checkKeepsGroups() }
            #expect(error?.message.hasPrefix("two was not asked for or is forgotten, and one, ") == true)
        } else {
            // The whole group may go.
            registry.remove(sockets[0])
            try registry.checkKeepsGroups()
        }
    }

    @Test func `an inventory may come in several batches`() throws {
        try self.inherit(["a", "b"])
        try self.inherit(["c"])
        #expect(self.registry.inheritedCount == 3)
        let error = try #require(throws: UpgradeError.self) { try self.inherit(["d", "a"]) }
        #expect(error.code == .predecessorMisbehaved)
        // Nothing of the batch was taken.
        #expect(self.registry.inheritedCount == 3)
    }

    @Test func `of a batch with one name twice nothing is taken`() throws {
        #expect(throws: UpgradeError.self) { try self.inherit(["a", "b", "a"]) }
        #expect(self.registry.inheritedCount == 0)
    }

    @Test func `a descriptor that is closed here counts as another one than any`() throws {
        try self.inherit(["a"])
        let socket = try self.ask("a")
        let open = self.registry.claims().digest
        socket.close()
        #expect(self.registry.claims().digest != open)
    }

    @Test func `a relative path counts from the directory that is given`() {
        let entry = InventoryEntry(name: "x", kind: .listener, address: "unix:run/x.sock")
        #expect(entry.unixPath(from: "/srv") == "/srv/run/x.sock")
        let absolute = InventoryEntry(name: "x", kind: .listener, address: "unix:/run/x.sock")
        #expect(absolute.unixPath(from: "/srv") == "/run/x.sock")
        let other = InventoryEntry(name: "x", kind: .listener, address: "tcp://127.0.0.1:80")
        #expect(other.unixPath(from: "/srv") == nil)
    }

    @Test func `an inherited socket that blocks does so no more`() throws {
        let listener = Held(try BoundSocket.bind(.tcp(host: "127.0.0.1", port: 0)))
        let flags = fcntl(listener.number, F_GETFL)
        #expect(flags & O_NONBLOCK != 0)
        #expect(fcntl(listener.number, F_SETFL, flags & ~O_NONBLOCK) == 0)
        try self.registry.inherit(
            [.init(name: "x", kind: .listener, address: "tcp://127.0.0.1:0")],
            DescriptorBatch(takingOwnershipOf: [try OwnedDescriptor(duplicating: listener.number).release()])
        )
        #expect(fcntl(listener.number, F_GETFL) & O_NONBLOCK != 0)
    }

    private func inherit(_ names: [String]) throws(UpgradeError) {
        let numbers = names.map { _ in (try? OwnedDescriptor(duplicating: 2))?.release() ?? -1 }
        try self.registry.inherit(
            names.map { .init(name: $0, kind: .file, address: "") }, DescriptorBatch(takingOwnershipOf: numbers)
        )
    }

    private func ask(_ name: String) throws(UpgradeError) -> CarriedDescriptor {
        try self.registry.descriptor(for: .init(name: name, kind: .file, address: ""), unixPath: nil) {
            () throws(UpgradeError) in
            try UpgradeError.wrapping("dup") { () throws(SystemCallError) in try OwnedDescriptor(duplicating: 2) }
        }
    }
}
