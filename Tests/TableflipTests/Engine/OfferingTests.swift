// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
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

@Suite struct OfferingTests {
    private let capabilities = Capabilities.portable

    @Test func `an empty inventory is one offer of nothing`() throws {
        var offering = Offering([], self.capabilities)
        #expect(!offering.isPrepared)
        let next = offering.next()
        let batch = try #require(next)
        #expect(batch.descriptors.isEmpty)
        #expect(try self.offer(in: batch) == .init(stage: .initial, first: 0, total: 0, entries: []))
        #expect(offering.isPrepared)
        let last = offering.next()
        #expect(last == nil)
    }

    @Test(arguments: [0, 1, 3, 100])
    func `batches go out in order, and not too many at once, whatever was prepared before`(_ prepared: Int) throws {
        let inventory = try Self.inventory(100)
        var offering = Offering(inventory, self.capabilities)
        for _ in 0..<prepared { offering.prepare() }
        var names: [String] = []
        var waits = 0
        while names.count < 100 {
            while let batch = offering.next() {
                let offer = try #require(try self.offer(in: batch))
                #expect(Int(offer.first) == names.count && offer.total == 100)
                #expect(
                    batch.descriptors == inventory[names.count...].prefix(16).map { $0.withDescriptor { $0 ?? -1 } })
                names += offer.entries.map(\.name)
                #expect(names.count - offering.acknowledged <= self.capabilities.descriptorsInFlight)
            }
            #expect(offering.offered == names.count)
            offering.acknowledged = names.count
            waits += 1
        }
        #expect(names == inventory.map(\.name))
        #expect(waits == 2)
        #expect(offering.isPrepared)
    }

    @Test func `the digest is over what was claimed`() throws {
        let inventory = try Self.inventory(20)
        var offering = Offering(inventory, .current)
        while !offering.isPrepared { offering.prepare() }
        for claimed in [[Bool](repeating: true, count: 20), (0..<20).map { $0 % 3 == 0 }] {
            var digest = InventoryDigest()
            for (descriptor, isClaimed) in zip(inventory, claimed) where isClaimed {
                digest.combine(descriptor.entry, identity: descriptor.identity)
            }
            #expect(offering.digest(of: claimed) == digest.value)
        }
    }

    @Test func `what its number does not stand for any more is named`() throws {
        var ends: [CInt] = [-1, -1]
        try check("pipe") { tf_pipe(&ends) }
        let writing = OwnedDescriptor(takingOwnershipOf: ends[1])
        let lost = CarriedDescriptor(
            .init(name: "lost", kind: .file, address: ""), OwnedDescriptor(takingOwnershipOf: ends[0]))
        let offering = Offering(try Self.inventory(16) + [lost], self.capabilities)
        #expect(offering.lost() == nil)
        // Another part of the program has closed it, and opened something else.
        #expect(dup2(2, ends[0]) == ends[0])
        let error = try #require(offering.lost())
        #expect(error.code == .inventoryMismatch && error.message.contains("lost"))
        _ = consume writing
    }

    @Test func `of sockets with a path it is said whose file is there, in as few messages as there is room in`() throws
    {
        func socket(_ index: Int, _ address: String, inode: UInt64? = nil) throws -> CarriedDescriptor {
            let path = inode.map { UnixPath("/run/x", device: 1, inode: $0) }
            return CarriedDescriptor(
                .init(name: "\(index)", kind: .listener, address: address), try OwnedDescriptor(duplicating: 2),
                unixPath: path)
        }
        let others = try [socket(0, "tcp://[::1]:1"), socket(1, "unix:@abstract"), socket(2, "")] + Self.inventory(1)
        #expect(Offering(others, self.capabilities).paths == [])
        // There is none that is its own: a word all the same, or its successor would look.
        let foreign = try socket(3, "unixgram:x")
        #expect(Offering(others + [foreign], self.capabilities).paths == [.init(files: [])])

        let most = WireLimit.paths
        OpenFileLimit.makeRoom(for: most + 1000)
        let own = try (0...most).map { try socket($0, "unix:x", inode: UInt64($0)) }
        let files = own.indices.map { Message.Paths.File(index: UInt32($0 + 1), device: 1, inode: UInt64($0)) }
        #expect(Offering([foreign] + own.prefix(1), self.capabilities).paths == [.init(files: [files[0]])])
        #expect(
            Offering([foreign] + own, self.capabilities).paths
                == [.init(files: Array(files.prefix(most))), .init(files: [files[most]])])
    }

    private static func inventory(_ count: Int) throws -> [CarriedDescriptor] {
        try (0..<count).map {
            CarriedDescriptor(
                .init(name: "file \($0)", kind: .file, address: ""), try OwnedDescriptor(duplicating: 2))
        }
    }

    private func offer(in batch: Offering.Batch) throws -> Message.Offer? {
        var decoder = FrameDecoder()
        decoder.append(batch.frame)
        guard case .offer(let offer) = try decoder.next()?.message else { return nil }
        #expect(offer.entries.count == batch.descriptors.count)
        return offer
    }
}
