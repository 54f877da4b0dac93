// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import TableflipCore
import TableflipSystem
import Testing

@testable import Tableflip

/// A predecessor, played by the test. No successor ever sends it a signal, so there is no process behind it.
final class FakePredecessor: Sendable {
    let peer: FakePeer
    let generation: UInt32
    private let kernel: Kernel
    private let otherEnd: Mutex<OwnedDescriptor?>
    private let lifeline: Held
    /// What the lifeline hangs on: closed when it dies.
    private let life: Mutex<OwnedDescriptor?>

    init(_ kernel: Kernel, generation: UInt32 = 4) throws {
        let pair = try ChannelSocket.pair()
        self.peer = FakePeer(takingOwnershipOf: OwnedDescriptor(takingOwnershipOf: pair.ours), kernel)
        self.otherEnd = Mutex(OwnedDescriptor(takingOwnershipOf: pair.theirs))
        self.kernel = kernel
        self.generation = generation
        let tracer = try Pipe()
        let duplicate = try tracer.writing.duplicate()
        self.lifeline = Held(tracer.takeReading())
        self.life = Mutex(duplicate)
    }

    /// The end that its successor inherits.
    func takeOtherEnd() -> OwnedDescriptor {
        let otherEnd = self.otherEnd.withLock { $0.take() }
        guard let otherEnd else { preconditionFailure("it was inherited before") }
        return otherEnd
    }

    // MARK: Its part of the handshake

    func sayHello(_ change: (inout Message.Hello) -> Void = { _ in }) async throws {
        var hello = Message.Hello(generation: self.generation, process: 4242)
        change(&hello)
        try await self.peer.say(.hello(hello), with: [self.lifeline.number])
    }

    /// Offers everything at once.
    func offer(_ inventory: Inventory, first: Int = 0, total: Int? = nil) async throws {
        try await self.peer.say(
            .offer(
                .init(
                    stage: .initial, first: UInt32(first), total: UInt32(total ?? inventory.entries.count),
                    entries: inventory.entries
                )
            ),
            with: inventory.descriptors.map(\.number)
        )
    }

    /// Hears the hello of its successor.
    func hearHello() async throws {
        guard case (.hello(let hello), let lifeline) = try await self.peer.nextMessage() else {
            throw TimedOut(what: "a hello")
        }
        #expect(hello.generation == self.generation + 1)
        #expect(hello.process == ProcessID.current)
        #expect(lifeline.count == 1)
        for descriptor in lifeline { #expect(!readable(descriptor.number, within: .zero)) }
    }

    /// Everything that comes before the successor initialises. Of Unix paths an older release says nothing.
    func handOver(
        _ inventory: Inventory, paths: [Message.Paths] = [], _ change: (inout Message.Hello) -> Void = { _ in }
    ) async throws {
        try await self.sayHello(change)
        for paths in paths { try await self.peer.say(.paths(paths)) }
        try await self.offer(inventory)
        try await self.hearHello()
        let received = UInt32(inventory.entries.count)
        try await self.peer.expect(.acknowledgement(.init(.initialOffer, received: received)))
    }

    func hearReady() async throws -> Message.Ready {
        var message = try await self.peer.nextMessage().message
        // Whoever has no reader says so first.
        if case .keep = message { message = try await self.peer.nextMessage().message }
        guard case .ready(let ready) = message else { throw TimedOut(what: "ready, and heard \(message)") }
        return ready
    }

    // MARK: Its end

    /// Dies, which its successor sees.
    func die() async throws {
        try await self.peer.close { self.life.withLock { $0 = nil } }
    }
}

extension Inventory {
    static var empty: Inventory { Inventory(entries: [], descriptors: []) }

    mutating func add(_ name: String, _ kind: DescriptorKind, _ address: String = "", _ descriptor: Held) {
        self.entries.append(InventoryEntry(name: name, kind: kind, address: address))
        self.descriptors.append(descriptor)
    }

    /// A listener that this process has bound.
    @discardableResult
    mutating func addListener(_ address: SocketAddress, name: String? = nil) throws -> Held {
        let listener = Held(try BoundSocket.bind(address))
        self.add(name ?? address.description, address.descriptorKind, address.description, listener)
        return listener
    }
}
