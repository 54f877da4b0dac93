// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Testing

@testable import Tableflip

@Suite struct ArrivalOrderTests {
    /// What each of these batches, adopted in this order, brings the count to.
    private func counts(_ batches: [Int], adopting order: [Int]) -> [Int] {
        var arrivals = ArrivalOrder()
        let numbers = batches.map { arrivals.came($0) }
        return order.map { index in
            let before = arrivals.adopted
            let hasGrown = arrivals.adopted(batch: numbers[index])
            #expect(hasGrown || arrivals.adopted == before)
            return arrivals.adopted
        }
    }

    @Test func `only what came first counts, however it is adopted`() {
        #expect(self.counts([3, 1, 0, 5], adopting: [0, 1, 2, 3]) == [3, 4, 4, 9])
        #expect(self.counts([3, 1, 0, 5], adopting: [1, 3, 0, 2]) == [0, 0, 4, 9])
        #expect(self.counts([3, 1, 0, 5], adopting: [3, 2, 1, 0]) == [0, 0, 0, 9])
    }

    @Test func `what has been counted is not counted again`() {
        #expect(self.counts([7, 2], adopting: [0, 0, 1, 0]) == [7, 7, 9, 9])
    }

    @Test func `what comes later follows`() {
        var arrivals = ArrivalOrder()
        for count in 1...3 {
            let hasGrown = arrivals.adopted(batch: arrivals.came(count))
            #expect(hasGrown)
        }
        #expect(arrivals.adopted == 6)
    }
}
