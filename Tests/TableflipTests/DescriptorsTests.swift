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

/// What an application can carry besides listeners that it asks for by address.
@Suite(.timeLimit(.minutes(3))) struct DescriptorsTests {
    @Test(arguments: Kernel.allCases)
    func `what was inherited is found by kind and name, and only once`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        var inventory = Inventory.empty
        let address = SocketAddress.tcp(host: "127.0.0.1", port: 0)
        inventory.add(address.description, .listener, address.description, Held(try BoundSocket.bind(address)))
        let pair = try ChannelSocket.pair()
        inventory.add("client", .connection, "", Held(OwnedDescriptor(takingOwnershipOf: pair.ours)))
        inventory.add("log a", .file, "", Held(try OwnedDescriptor(duplicating: 2)))
        inventory.add("log b", .file, "", Held(try OwnedDescriptor(duplicating: 2)))
        inventory.add("log c", .file, "", Held(try OwnedDescriptor(duplicating: 2)))
        let handedOver = inventory
        try await Stage.successor(kernel, of: predecessor, greeting: { try await $0.handOver(handedOver) }) { stage in
            #expect(try stage.upgrader.inherited(.tcp(host: "127.0.0.1", port: 1)) == nil)
            #expect(try stage.upgrader.inherited(.file, name: "nothing") == nil)
            let listener = try #require(try stage.upgrader.inherited(address))
            #expect(listener.isInherited && listener.port == BoundSocket.port(of: handedOver.descriptors[0].number))
            let client = try #require(try stage.upgrader.inherited(.connection, name: "client"))
            #expect(client.isInherited && client.kind == .connection && client.name == "client")
            #expect(try client.duplicate().withBorrowed { fcntl($0, F_GETFD) & FD_CLOEXEC != 0 })
            // Asked for as something else, it stays what it is and can still be asked for.
            let error = try #require(throws: UpgradeError.self) {
                _ = try stage.upgrader.inherited(.connection, name: "log b")
            }
            #expect(error.code == .duplicateName)
            #expect(try stage.upgrader.inherited(.file, name: "log b") != nil)
            #expect(throws: UpgradeError.self) { _ = try stage.upgrader.inherited(.file, name: "log b") }
            // A new one may not hide one that nobody has asked for.
            #expect(throws: UpgradeError.self) {
                try stage.upgrader.carry(OwnedDescriptor(duplicating: 2), as: .file, name: "log a")
            }
            #expect(try stage.upgrader.allInherited(.file).map(\.name) == ["log a", "log c"])
            #expect(try stage.upgrader.allInherited(.file).isEmpty)

            let ready = stage.requestReady()
            let said = try await predecessor.hearReady()
            #expect(said.claimed == [true, true, true, true, true] && said.fresh == 0)
            try await predecessor.peer.say(.go)
            try await ready.value
            #expect(throws: UpgradeError.self) { _ = try stage.upgrader.inherited(.file, name: "other") }
            #expect(throws: UpgradeError.self) { _ = try stage.upgrader.allInherited(.file) }
        }
        _ = close(pair.theirs)
    }

    /// Where the new version has no control socket, say.
    @Test(arguments: Kernel.allCases)
    func `what the library carries for itself is given to no application, and is closed`(_ kernel: Kernel) async throws
    {
        let directory = try TemporaryDirectory()
        let path = directory("old.control")
        let predecessor = try FakePredecessor(kernel)
        var inventory = Inventory.empty
        try inventory.addListener(.unix(path: path), name: Upgrader.ControlSocket.namePrefix + path)
        try inventory.addListener(.unix(path: directory("x.sock")), name: "x")
        let states = [Upgrader.ControlSocket.historyName, "counts"]
        for name in states {
            inventory.add(name, .state, "", Held(try Blob.make([1], name: name, kernel.capabilities)))
        }
        let handedOver = inventory
        try await Stage.successor(kernel, of: predecessor, greeting: { try await $0.handOver(handedOver) }) { stage in
            #expect(try stage.upgrader.allInherited(.listener).map(\.name) == ["x"])
            #expect(try stage.upgrader.allInherited(.state).map(\.name) == ["counts"])
            let ready = stage.requestReady()
            let said = try await predecessor.hearReady()
            #expect(said.claimed == [false, true, false, true])
            try await predecessor.peer.say(.go, .commit)
            try await ready.value
            try await predecessor.peer.expect(.committed)
            try await stage.fence()
            #expect(directory.names == ["x.sock"])
        }
    }

    @Test(arguments: Kernel.allCases)
    func `what is added after ready is handed over, what was forgotten is not`(_ kernel: Kernel) async throws {
        try await Stage.serving(kernel) { stage in
            let tracer = try Tracer()
            let kept = try stage.upgrader.carry(tracer.giveAway(), as: .file, name: "kept")
            #expect(!kept.isInherited)
            let gone = try stage.upgrader.carry(OwnedDescriptor(duplicating: 2), as: .file, name: "gone")
            stage.upgrader.forget(gone)
            // Its name is free again.
            let again = try stage.upgrader.carry(OwnedDescriptor(duplicating: 2), as: .file, name: "gone")
            stage.upgrader.forget(again)

            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            let inventory = try await successor.takeInventory()
            #expect(inventory.entries.filter { $0.kind == .file }.map(\.name) == ["kept"])
            // What comes now would be lost with this process.
            let error = try #require(throws: UpgradeError.self) {
                try stage.upgrader.carry(OwnedDescriptor(duplicating: 2), as: .file, name: "late")
            }
            #expect(error.code == .wrongMoment && !error.cure.isEmpty)
            try await successor.end(.exited(1))
            _ = try await upgrade.failure
            try stage.upgrader.carry(OwnedDescriptor(duplicating: 2), as: .file, name: "late")

            let second = stage.requestUpgrade()
            let next = try await stage.spawner.next()
            let all = try await next.takeOver()
            #expect(all.entries.filter { $0.kind == .file }.map(\.name) == ["kept", "late"])
            _ = try await second.value
            #expect(throws: UpgradeError.self) {
                try stage.upgrader.carry(OwnedDescriptor(duplicating: 2), as: .file, name: "too late")
            }
        }
    }

    @Test(
        arguments: Kernel.allCases, [SocketAddress.tcp(host: "127.0.0.1", port: 0), .udp(host: "127.0.0.1", port: 0)])
    func `a socket that the program binds by itself is non-blocking`(
        _ kernel: Kernel, _ address: SocketAddress
    ) async throws {
        try await Stage.first(kernel) { stage in
            let listener = try stage.upgrader.listen(on: address) { () throws(UpgradeError) in
                let made = try BoundSocket.bind(address)
                let flags = fcntl(made.borrowed, F_GETFL)
                #expect(fcntl(made.borrowed, F_SETFL, flags & ~O_NONBLOCK) == 0)
                return made
            }
            #expect(try listener.duplicate().withBorrowed { fcntl($0, F_GETFL) & O_NONBLOCK != 0 })
        }
    }

    /// A successor sets the flag that both have, and may fail after that: it is not first seen then.
    @Test(
        arguments: [SocketAddress.tcp(host: "127.0.0.1", port: 0), .udp(host: "127.0.0.1", port: 0)], [true, false])
    func `a socket is non-blocking from the moment it is carried, and nothing else is made so`(
        _ address: SocketAddress, _ isMadeLate: Bool
    ) async throws {
        try await Stage.first(.current) { stage in
            func carry(_ made: consuming OwnedDescriptor, _ kind: DescriptorKind) throws -> CInt {
                let flags = fcntl(made.borrowed, F_GETFL)
                #expect(fcntl(made.borrowed, F_SETFL, flags & ~O_NONBLOCK) == 0)
                let duplicate = try made.duplicate()
                let carried =
                    isMadeLate
                    ? try stage.upgrader.carry(kind, name: "\(kind)") { () throws(UpgradeError) in
                        try UpgradeError.wrapping("dup") { () throws(SystemCallError) in try duplicate.duplicate() }
                    } : try stage.upgrader.carry(made, as: kind, name: "\(kind)")
                return try carried.duplicate().withBorrowed { fcntl($0, F_GETFL) & O_NONBLOCK }
            }
            #expect(try carry(BoundSocket.bind(address), address.descriptorKind) != 0)
            let pair = try ChannelSocket.pair()
            #expect(try carry(OwnedDescriptor(takingOwnershipOf: pair.ours), .connection) == 0)
            _ = close(pair.theirs)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `sockets that the application made reach the next generation as what they are`(_ kernel: Kernel) async throws {
        let listener = Held(try BoundSocket.bind(.tcp(host: "127.0.0.1", port: 0)))
        let datagrams = Held(try BoundSocket.bind(.udp(host: "127.0.0.1", port: 0)))
        let pair = try Pair()
        let carried = Latch<Inventory>()
        try await Stage.serving(kernel) { stage in
            try stage.upgrader.carry(listener.descriptor.duplicate(), as: .listener, name: "listener")
            try stage.upgrader.carry(datagrams.descriptor.duplicate(), as: .datagram, name: "datagrams")
            try stage.upgrader.carry(pair.one.descriptor.duplicate(), as: .connection, name: "connection")
            let upgrade = stage.requestUpgrade()
            carried.set(try await stage.spawner.next().takeOver())
            _ = try await upgrade.value
        }
        let inventory = try #require(carried.current)
        #expect(inventory.entries.map(\.name) == ["listener", "datagrams", "connection"])
        #expect(inventory.entries.map(\.kind) == [.listener, .datagram, .connection])

        let predecessor = try FakePredecessor(kernel)
        try await Stage.successor(kernel, of: predecessor, greeting: { try await $0.handOver(inventory) }) { stage in
            for (entry, held) in zip(inventory.entries, [listener, datagrams, pair.one]) {
                let found = try #require(try stage.upgrader.inherited(entry.kind, name: entry.name))
                let duplicate = Held(try found.duplicate())
                #expect(try found.isInherited && duplicate.inode == held.inode, "\(entry.name)")
                // Written to here, it is read from at its other end.
                if entry.kind == .connection {
                    #expect(write(duplicate.number, "x", 1) == 1)
                    #expect(readable(pair.other.number))
                }
            }
        }
    }

    @Test(arguments: Kernel.allCases)
    func `a listener that was inherited is not made again`(_ kernel: Kernel) async throws {
        let predecessor = try FakePredecessor(kernel)
        var inventory = Inventory.empty
        let address = SocketAddress.tcp(host: "127.0.0.1", port: 0)
        let held = try inventory.addListener(address)
        let handedOver = inventory
        try await Stage.successor(kernel, of: predecessor, greeting: { try await $0.handOver(handedOver) }) { stage in
            let listener = try stage.upgrader.listen(on: address) { () throws(UpgradeError) in
                Issue.record("it was made")
                return try BoundSocket.bind(address)
            }
            #expect(listener.isInherited && listener.port == BoundSocket.port(of: held.number))
        }
    }

    /// Its peer waits for the end.
    @Test(arguments: Kernel.allCases, [true, false])
    func `what is forgotten is closed also where an upgrade has failed`(
        _ kernel: Kernel, _ isForgottenMeanwhile: Bool
    ) async throws {
        let tracer = try Tracer()
        try await Stage.serving(kernel) { stage in
            try stage.upgrader.carry(tracer.giveAway(), as: .file, name: "traced")
            func forget() throws {
                stage.upgrader.forget(try #require(stage.context.sockets.carried.first { $0.name == "traced" }))
            }
            let upgrade = stage.requestUpgrade()
            let successor = try await stage.spawner.next()
            _ = try await successor.greet()
            _ = try await successor.takeInventory()
            if isForgottenMeanwhile { try forget() }
            #expect(tracer.isOpenSomewhere)
            try await successor.end(.exited(1))
            _ = try await upgrade.failure
            if !isForgottenMeanwhile { try forget() }
            #expect(try await tracer.isClosedEverywhere)
            // Its name is free again.
            try stage.upgrader.carry(OwnedDescriptor(duplicating: 2), as: .file, name: "traced")
        }
    }

    @Test(arguments: Kernel.allCases)
    func `what was inherited and is forgotten is closed in a process that answers to nobody`(
        _ kernel: Kernel
    ) async throws {
        let predecessor = try FakePredecessor(kernel)
        let tracers = [try Tracer(), try Tracer()]
        try await Stage.successor(
            kernel, of: predecessor,
            greeting: { predecessor in
                var inventory = Inventory.empty
                for (index, tracer) in tracers.enumerated() {
                    inventory.add("\(index)", .file, "", Held(tracer.giveAway()))
                }
                try await predecessor.handOver(inventory)
            }
        ) { stage in
            #expect(try stage.upgrader.allInherited(.file).count == 2)
            func forget(_ name: String) throws {
                stage.upgrader.forget(try #require(stage.context.sockets.carried.first { $0.name == name }))
            }
            try forget("0")
            try await predecessor.die()
            // It is known when this process becomes ready.
            try await stage.fence()
            try await stage.upgrader.ready()
            #expect(try await tracers[0].isClosedEverywhere)
            #expect(tracers[1].isOpenSomewhere)
            try forget("1")
            #expect(try await tracers[1].isClosedEverywhere)
        }
    }

    @Test func `a descriptor that is not what it is said to be is refused and closed`() async throws {
        try await Stage.first(.current) { stage in
            for kind in [DescriptorKind.listener, .datagram, .connection] {
                let tracer = try Tracer()
                let error = try #require(throws: UpgradeError.self) {
                    try stage.upgrader.carry(tracer.giveAway(), as: kind, name: "x")
                }
                #expect(error.code == .listenFailed)
                #expect(try await tracer.isClosedEverywhere)
            }
        }
    }

    @Test func `a listener may be made by the application, once`() async throws {
        try await Stage.first(.current) { stage in
            let address = SocketAddress.tcp(host: "127.0.0.1", port: 0)
            let listener = try stage.upgrader.listen(on: address, name: "own") { () throws(UpgradeError) in
                try BoundSocket.bind(address)
            }
            #expect(listener.port != nil && !listener.isInherited)
            let error = try #require(throws: UpgradeError.self) {
                _ = try stage.upgrader.listen(on: address, name: "other") { () throws(UpgradeError) in
                    try BoundSocket.bind(.udp(host: "127.0.0.1", port: 0))
                }
            }
            #expect(error.code == .listenFailed)
            // The name is free after a failure.
            _ = try stage.upgrader.listen(on: address, name: "other")
        }
    }
}
