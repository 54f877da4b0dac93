// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// Batches of connections in the order in which they came. They are adopted in any order, and acknowledged in this one:
/// an acknowledgement is a number, and the predecessor takes it for so many of the first.
struct ArrivalOrder {
    /// How many connections have been adopted, up to the first batch that has not.
    private(set) var adopted = 0
    private var waiting: [(count: Int, isAdopted: Bool)] = []
    /// The number of the first of those.
    private var first = 0

    /// A batch has come.
    /// - Returns: its number.
    mutating func came(_ count: Int) -> Int {
        self.waiting.append((count, false))
        return self.first + self.waiting.count - 1
    }

    /// A batch is in the hands of its readers.
    /// - Returns: whether ``adopted`` has grown.
    mutating func adopted(batch number: Int) -> Bool {
        guard self.waiting.indices.contains(number - self.first) else { return false }
        self.waiting[number - self.first].isAdopted = true
        let done = self.waiting.prefix { $0.isAdopted }
        self.adopted += done.reduce(0) { $0 + $1.count }
        self.first += done.count
        self.waiting.removeFirst(done.count)
        return !done.isEmpty
    }
}
