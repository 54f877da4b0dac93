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

@Suite struct PassedDescriptorsTests {
    private let registry = SocketRegistry()

    private func pass(_ all: [(name: String, address: SocketAddress)]) throws -> [UInt64?] {
        let passed = try all.map { PassedDescriptor(name: $0.name, descriptor: try BoundSocket.bind($0.address)) }
        self.registry.pass(PassedDescriptors(passed, directory: "/tmp"))
        return passed.map { $0.withNumber { DescriptorFacts.inode(of: $0) } ?? nil }
    }

    private func ask(_ name: String, _ address: SocketAddress) throws -> CarriedDescriptor {
        let entry = InventoryEntry(name: name, kind: address.descriptorKind, address: address.description)
        return try self.registry.descriptor(for: entry, unixPath: address.unixPath) { () throws(UpgradeError) in
            throw UpgradeError(.listenFailed, "nothing was passed for \(name)")
        }
    }

    @Test func `a socket is claimed by its name`() throws {
        let any = SocketAddress.tcp(host: "127.0.0.1", port: 0)
        let inodes = try self.pass([("one", any), ("two", any)])
        #expect(try self.ask("two", any).identity == inodes[1])
        #expect(try self.ask("one", any).identity == inodes[0])
        #expect(throws: UpgradeError.self) { try self.ask("three", any) }
        #expect(self.registry.closeUnclaimed().names == [])
    }

    @Test func `a socket is claimed by its address, on the port that it is bound to`() throws {
        let socket = try BoundSocket.bind(.tcp(host: "127.0.0.1", port: 0))
        let port = try #require(socket.withBorrowed { BoundSocket.port(of: $0) })
        self.registry.pass(PassedDescriptors([PassedDescriptor(name: "unit.socket", descriptor: socket)]))
        let wrong = port == .max ? port - 1 : port + 1
        #expect(throws: UpgradeError.self) { try self.ask("a", .tcp(host: "127.0.0.1", port: wrong)) }
        #expect(throws: UpgradeError.self) { try self.ask("b", .tcp(host: "127.0.0.2", port: port)) }
        #expect(throws: UpgradeError.self) { try self.ask("c", .udp(host: "127.0.0.1", port: port)) }
        #expect(try self.ask("d", .tcp(host: "127.0.0.1", port: port, family: .v4)).name == "d")
    }

    /// A look-up may take as long as a server likes, and the claim is made with a lock held.
    @Test func `an address is looked up before a socket is claimed, and only where one was passed`() throws {
        let socket = try BoundPort()
        let entry = InventoryEntry(name: "a", kind: .listener, address: "tcp://127.0.0.1:\(socket.port)")
        #expect(PassedDescriptors().places(of: entry).isEmpty)
        var passed = PassedDescriptors([PassedDescriptor(name: "unit.socket", descriptor: socket.take())])
        let places = passed.places(of: entry)
        #expect(!places.isEmpty)
        let nothing = passed.claim(entry, at: [], EngineFacts())
        #expect(nothing == nil)
        // It goes by what was found, whatever the words would be found to mean by now.
        let other = InventoryEntry(name: "a", kind: .listener, address: "tcp://[::1]:\(socket.port)")
        let found = passed.claim(other, at: places, EngineFacts())
        #expect(found?.identity == socket.inode)
    }

    @Test func `of several of one name the one with the address is taken`() throws {
        let sockets = try (0..<2).map { _ in try BoundPort() }
        self.registry.pass(
            PassedDescriptors(sockets.map { PassedDescriptor(name: "web", descriptor: $0.take()) }))
        let second = try self.ask("web", .tcp(host: "127.0.0.1", port: sockets[1].port))
        #expect(second.identity == sockets[1].inode)
    }

    @Test func `the path of a passed Unix socket stays the manager's`() throws {
        let path = "/tmp/tf-passed-\(getpid())"
        let address = SocketAddress.unix(path: path)
        defer { unlink(path) }
        _ = try self.pass([("unit.socket", address)])
        let claimed = try self.ask(address.description, address)
        #expect(claimed.unixPath == nil && claimed.entry.address == "")
        self.registry.unlink()
        #expect(access(path, F_OK) == 0)
    }

    @Test func `what was stored is known by kind, version and name, and its path is ours`() throws {
        let path = "/tmp/tf-stored-\(getpid())"
        let address = SocketAddress.unix(path: path)
        defer { unlink(path) }
        let entry = InventoryEntry(name: address.description, kind: .listener, address: address.description)
        let name = try #require(StoreName(entry).text)
        _ = try self.pass([(name, address)])
        #expect(try self.ask(address.description, address).unixPath?.path == path)
        self.registry.unlink()
        #expect(access(path, F_OK) != 0)
    }

    /// Whose directory went with the process that crashed, say.
    @Test func `a stored Unix socket whose path is gone is not claimed, and leaves the store`() throws {
        let path = "/tmp/tf-gone-\(getpid())"
        let address = SocketAddress.unix(path: path)
        let entry = InventoryEntry(name: address.description, kind: .listener, address: address.description)
        _ = try self.pass([(try #require(StoreName(entry).text), address)])
        #expect(unlink(path) == 0)
        #expect(throws: UpgradeError.self) { try self.ask(address.description, address) }
        #expect(self.registry.closeUnclaimed().names == [address.description])
        #expect(self.registry.takeUnclaimedStored() == [StoreName(entry)])
    }

    /// Else a service whose port was changed would come back on the old one.
    @Test func `a stored socket of this name and another port or path is not claimed, and leaves the store`() throws {
        let stored = StoreName(InventoryEntry(name: "web", kind: .listener, address: ""))
        let text = try #require(stored.text)
        let (kept, other) = (try BoundPort(), try BoundPort())
        self.registry.pass(PassedDescriptors([PassedDescriptor(name: text, descriptor: kept.take())]))
        #expect(throws: UpgradeError.self) { try self.ask("web", .tcp(host: "127.0.0.1", port: other.port)) }
        #expect(self.registry.closeUnclaimed().names == ["web"])
        #expect(self.registry.takeUnclaimedStored() == [stored])

        let paths = ["/tmp/tf-here-\(getpid())", "/tmp/tf-there-\(getpid())"]
        let there = try BoundSocket.bind(.unix(path: paths[1]))
        defer { for path in paths { unlink(path) } }
        _ = try self.pass([(text, .unix(path: paths[0]))])
        #expect(throws: UpgradeError.self) { try self.ask("web", .unix(path: paths[1])) }
        _ = there.borrowed
        // It is no socket of that kind at all.
        #expect(throws: UpgradeError.self) { try self.ask("web", .tcp(host: "127.0.0.1", port: 0)) }
    }

    /// As long as it is open nobody else can be bound there.
    @Test func `stored sockets that have swapped names are claimed by where they are, and stored anew`() throws {
        let names = ["web", "admin"].map { StoreName(InventoryEntry(name: $0, kind: .listener, address: "")) }
        let sockets = try (0..<2).map { _ in try BoundPort() }
        self.registry.pass(
            PassedDescriptors(
                try zip(names, sockets).map {
                    PassedDescriptor(name: try #require($0.text), descriptor: $1.take())
                }))
        #expect(try self.ask("web", .tcp(host: "127.0.0.1", port: sockets[1].port)).identity == sockets[1].inode)
        #expect(try self.ask("admin", .tcp(host: "127.0.0.1", port: sockets[0].port)).identity == sockets[0].inode)
        #expect(self.registry.closeUnclaimed().names == [])
        #expect(Set(self.registry.takeUnclaimedStored()) == Set(names))
    }

    /// Else a restart could find the old one, and a program that has forgotten its layout would not start.
    @Test func `a state of another version leaves nothing of the one before in the store`() throws {
        for version in [UInt16(1), 1, 2] {
            let entry = InventoryEntry(name: "cache", kind: .state, address: "", version: version)
            try self.registry.replace(entry, try Blob.make([1], name: "cache", .current))
        }
        let first = InventoryEntry(name: "cache", kind: .state, address: "", version: 1)
        #expect(self.registry.takeUnclaimedStored() == [StoreName(first)])
    }

    @Test func `a stored socket that is forgotten before ready leaves the store`() throws {
        let name = StoreName(InventoryEntry(name: "web", kind: .listener, address: ""))
        let kept = try BoundPort()
        self.registry.pass(
            PassedDescriptors([PassedDescriptor(name: try #require(name.text), descriptor: kept.take())]))
        self.registry.remove(try self.ask("web", .tcp(host: "127.0.0.1", port: kept.port)))
        #expect(self.registry.closeUnclaimed().names == [])
        #expect(self.registry.takeUnclaimedStored() == [name])
    }

    @Test(arguments: ["127.0.0.1", "localhost", "", "0.0.0.0"])
    func `a stored socket of this name and port is claimed, however its host is written`(_ host: String) throws {
        let text = try #require(StoreName(InventoryEntry(name: "web", kind: .listener, address: "")).text)
        let kept = try BoundPort()
        self.registry.pass(PassedDescriptors([PassedDescriptor(name: text, descriptor: kept.take())]))
        #expect(try self.ask("web", .tcp(host: host, port: kept.port)).identity == kept.inode)
    }

    @Test func `what nobody asks for is closed, named, and leaves the store`() throws {
        let stored = StoreName(InventoryEntry(name: "old", kind: .listener, address: ""))
        _ = try self.pass([
            ("unit.socket", .tcp(host: "127.0.0.1", port: 0)),
            (try #require(stored.text), .tcp(host: "127.0.0.1", port: 0)),
        ])
        #expect(self.registry.closeUnclaimed().names == ["unit.socket", "old"])
        #expect(self.registry.takeUnclaimedStored() == [stored])
        #expect(self.registry.takeUnclaimedStored() == [])
    }
}

private final class BoundPort {
    let port: UInt16
    let inode: UInt64?
    private var socket: OwnedDescriptor?

    init() throws {
        let socket = try BoundSocket.bind(.tcp(host: "127.0.0.1", port: 0))
        self.port = socket.withBorrowed { BoundSocket.port(of: $0) } ?? 0
        self.inode = socket.withBorrowed { DescriptorFacts.inode(of: $0) }
        self.socket = consume socket
    }

    func take() -> OwnedDescriptor {
        guard let socket = self.socket.take() else { fatalError("taken twice") }
        return socket
    }
}
