// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// Descriptors that arrived and have no name yet, in order. What is not taken is closed with the batch.
package struct DescriptorBatch: ~Copyable, Sendable {
    private var numbers: ArraySlice<CInt>

    package init() { self.numbers = [] }

    package init(takingOwnershipOf numbers: some Sequence<CInt>) { self.numbers = ArraySlice(numbers) }

    deinit { for number in self.numbers { OwnedDescriptor(takingOwnershipOf: number).close() } }

    package var count: Int { self.numbers.count }

    package mutating func append(takingOwnershipOf numbers: some Sequence<CInt>) {
        self.numbers.append(contentsOf: numbers)
    }

    package mutating func takeFirst() -> OwnedDescriptor? {
        self.numbers.popFirst().map { OwnedDescriptor(takingOwnershipOf: $0) }
    }

    /// The first `count` as a batch of their own. There must be as many.
    package mutating func take(_ count: Int) -> DescriptorBatch {
        let taken = DescriptorBatch(takingOwnershipOf: self.numbers.prefix(count))
        self.numbers.removeFirst(count)
        return taken
    }
}
