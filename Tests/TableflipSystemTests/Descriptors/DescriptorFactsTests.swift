// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite struct DescriptorFactsTests {
    private let directory: TemporaryDirectory

    init() throws { self.directory = try TemporaryDirectory() }

    @Test(arguments: [
        SocketAddress.tcp(host: "127.0.0.1", port: 0), .tcp(host: "::1", port: 0), .unix(path: ""),
    ])
    func `a listener is a stream that listens`(_ address: SocketAddress) throws {
        let address = address == .unix(path: "") ? .unix(path: self.directory("x.sock")) : address
        let listener = try BoundSocket.bind(address)
        let facts = try DescriptorFacts(of: listener.borrowed)
        #expect(facts.isSocket)
        #expect(facts.isListening)
        #expect(facts.socketType == Platform.stream)
        #expect(kinds(facts) == [.listener, .file])
    }

    @Test func `a datagram socket does not listen`() throws {
        let socket = try BoundSocket.bind(.udp(host: "127.0.0.1", port: 0))
        let facts = try DescriptorFacts(of: socket.borrowed)
        #expect(facts.isSocket)
        #expect(!facts.isListening)
        #expect(facts.socketType == Platform.datagram)
        #expect(kinds(facts) == [.datagram, .connection, .file])
    }

    @Test func `a connection is a stream that does not listen`() throws {
        let pair = try ChannelSocket.pair()
        let one = OwnedDescriptor(takingOwnershipOf: pair.ours)
        let other = OwnedDescriptor(takingOwnershipOf: pair.theirs)
        let facts = try DescriptorFacts(of: one.borrowed)
        #expect(facts.socketType == Platform.stream)
        #expect(kinds(facts) == [.connection, .file])
        #expect(try DescriptorFacts(of: other.borrowed).inode != facts.inode)
    }

    @Test func `a file is no socket`() throws {
        let path = try self.directory.write("hello", to: "file")
        let file = OwnedDescriptor(takingOwnershipOf: try check("open") { open(path, O_RDONLY | O_CLOEXEC) })
        let facts = try DescriptorFacts(of: file.borrowed)
        #expect(!facts.isSocket)
        #expect(!facts.isListening)
        #expect(facts.socketType == nil)
        #expect(kinds(facts) == [.file, .state])
    }

    @Test func `a number that is not open has no facts`() {
        #expect(throws: SystemCallError("fstat", EBADF)) { try DescriptorFacts(of: CInt.max - 1) }
        #expect(throws: SystemCallError("fstat", EBADF)) { try DescriptorFacts(of: -1) }
        #expect(DescriptorFacts.inode(of: CInt.max - 1) == nil)
    }

    @Test func `the inode of a socket stays with a duplicate`() throws {
        let one = try BoundSocket.bind(.tcp(host: "127.0.0.1", port: 0))
        let duplicate = try one.duplicate()
        #expect(DescriptorFacts.inode(of: duplicate.borrowed) == DescriptorFacts.inode(of: one.borrowed))
    }

    #if os(Linux)
    @Test func `the inode tells two sockets apart`() throws {
        let one = try BoundSocket.bind(.tcp(host: "127.0.0.1", port: 0))
        let other = try BoundSocket.bind(.tcp(host: "127.0.0.1", port: 0))
        #expect(DescriptorFacts.inode(of: other.borrowed) != DescriptorFacts.inode(of: one.borrowed))
    }
    #endif

    @Test func `what waits to be read is seen, and stays`() throws {
        let pair = try ChannelSocket.pair()
        let ours = OwnedDescriptor(takingOwnershipOf: pair.ours)
        let theirs = OwnedDescriptor(takingOwnershipOf: pair.theirs)
        #expect(!DescriptorFacts.hasUnread(ours.borrowed))
        #expect(write(theirs.borrowed, "a", 1) == 1)
        for _ in 0..<2 { #expect(DescriptorFacts.hasUnread(ours.borrowed)) }
        var byte: UInt8 = 0
        #expect(read(ours.borrowed, &byte, 1) == 1 && byte == UInt8(ascii: "a"))
        #expect(!DescriptorFacts.hasUnread(ours.borrowed))
        theirs.close()
        // The end is not something to read.
        #expect(!DescriptorFacts.hasUnread(ours.borrowed))
        #expect(!DescriptorFacts.hasUnread(-1))
    }

    @Test func `one question tells the same of a kind as all facts`() throws {
        let pair = try ChannelSocket.pair()
        let path = try self.directory.write("hello", to: "file")
        let all = [
            try BoundSocket.bind(.tcp(host: "127.0.0.1", port: 0)).release(),
            try BoundSocket.bind(.udp(host: "127.0.0.1", port: 0)).release(), pair.ours, pair.theirs,
            try check("open") { open(path, O_RDONLY | O_CLOEXEC) },
            try check("open") { open("/dev/null", O_RDONLY | O_CLOEXEC) },
        ]
        for number in all {
            let facts = try DescriptorFacts(of: number)
            for kind in DescriptorKind.allCases {
                #expect(DescriptorFacts.number(number, fits: kind) == facts.fits(kind), "\(number), \(kind)")
            }
            OwnedDescriptor(takingOwnershipOf: number).close()
        }
    }

    @Test func `the inodes of many numbers are those of each, with and without a second thread`() throws {
        let one = try BoundSocket.bind(.tcp(host: "127.0.0.1", port: 0))
        let other = try BoundSocket.bind(.tcp(host: "127.0.0.1", port: 0))
        let inodes = (try DescriptorFacts(of: one.borrowed).inode, try DescriptorFacts(of: other.borrowed).inode)
        // The numbers need not be different: enough for a second thread, few enough open ones for any limit.
        for count in [0, 1, 7, 1999, 2000, 5001] {
            let numbers = (0..<count).map { [one.borrowed, -1, other.borrowed][$0 % 3] }
            let expected = (0..<count).map { [inodes.0, DescriptorFacts.notOpen, inodes.1][$0 % 3] }
            #expect(DescriptorFacts.inodes(of: numbers) == expected, "\(count)")
        }
    }

    private func kinds(_ facts: DescriptorFacts) -> [DescriptorKind] {
        DescriptorKind.allCases.filter { facts.fits($0) }
    }
}
