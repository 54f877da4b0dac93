// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipSystem
import Testing

@Suite struct DescriptorBatchTests {
    @Test func `descriptors are taken in the order in which they came`() throws {
        let tracers = try (0..<3).map { _ in try Tracer() }
        var batch = DescriptorBatch()
        #expect(batch.count == 0)
        batch.append(takingOwnershipOf: [try tracers[0].giveAway().release()])
        batch.append(takingOwnershipOf: try tracers.dropFirst().map { try $0.giveAway().release() })
        #expect(batch.count == 3)
        for tracer in tracers {
            let first = batch.takeFirst()
            #expect(try inode(of: first) == tracer.inode)
            _ = consume first
            #expect(tracer.isClosedEverywhere)
        }
        #expect(batch.count == 0)
        #expect(inode(of: batch.takeFirst()) == nil)
    }

    @Test func `what is not taken is closed with the batch`() throws {
        let tracers = try (0..<4).map { _ in try Tracer() }
        let kept: OwnedDescriptor?
        do {
            var batch = DescriptorBatch(takingOwnershipOf: try tracers.map { try $0.giveAway().release() })
            kept = batch.takeFirst()
            #expect(batch.count == 3)
            #expect(tracers.allSatisfy { $0.isOpenSomewhere })
        }
        #expect(tracers[0].isOpenSomewhere)
        for tracer in tracers.dropFirst() { #expect(tracer.isClosedEverywhere) }
        _ = consume kept
        #expect(tracers[0].isClosedEverywhere)
    }

    @Test func `the first ones can become a batch of their own`() throws {
        let tracers = try (0..<3).map { _ in try Tracer() }
        var batch = DescriptorBatch(takingOwnershipOf: try tracers.map { try $0.giveAway().release() })
        do {
            let first = batch.take(2)
            #expect(first.count == 2)
            #expect(batch.count == 1)
            _ = consume first
        }
        #expect(tracers[0].isClosedEverywhere)
        #expect(tracers[1].isClosedEverywhere)
        #expect(tracers[2].isOpenSomewhere)
        let none = batch.take(0)
        #expect(none.count == 0)
        #expect(batch.count == 1)
    }

    private func inode(of descriptor: borrowing OwnedDescriptor?) -> UInt64? {
        switch descriptor {
        case .some(let open): try? DescriptorFacts(of: open.borrowed).inode
        case .none: nil
        }
    }
}
