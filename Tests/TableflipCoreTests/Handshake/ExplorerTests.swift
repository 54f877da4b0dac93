// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import HandshakeExplorer
import TableflipCore
import Testing

/// All interleavings of the two machines, with everything that can go wrong.
@Suite struct ExplorerTests {
    /// The floors are a little below what was found: an exploration that visits less explores something else.
    @Test(arguments: [(Pace.calm, 0, 60), (.calm, 1, 2800), (.free, 0, 2700), (.free, 1, 30_000)])
    func `every rule holds`(_ pace: Pace, faults: Int, atLeast floor: Int) async {
        let result = await aside { Explorer.explore(pace, faults: faults) }
        print(result.summary(pace, faults: faults))
        #expect(result.broken == nil)
        #expect(result.states >= floor)
        #expect(result.atRest > 0)
    }

    @Test func `one fault leads through every state of the machines`() async {
        var coverage = await aside { Explorer.explore(.calm, faults: 1).coverage }
        coverage.formUnion(await aside { Explorer.explore(.free, faults: 1).coverage })
        print(coverage)
        // A predecessor that has finished is dead, and told nothing.
        let states = Set(PredecessorMachine.reachable.map { caseName($0.state) }).subtracting(["finished"])
        #expect(coverage.predecessorStates == states)
        #expect(coverage.successorPhases == Set(SuccessorMachine.reachable.map { caseName($0.phase) }))
        #expect(Set(coverage.predecessorPairs.map(\.event)) == Set(PredecessorMachine.Event.all.map(caseName)))
        #expect(Set(coverage.successorPairs.map(\.event)) == Set(SuccessorMachine.Event.all.map(caseName)))
        #expect(coverage.predecessorPairs.count >= 140)
        #expect(coverage.successorPairs.count >= 115)
    }
}
