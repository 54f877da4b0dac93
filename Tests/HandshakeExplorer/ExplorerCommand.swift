// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// The explorer as a program: explores with 0, then 1, up to `faults` faults, at both paces, and stops at the first
/// broken rule. What it prints is for people, and its last line for the tests.
///
/// - Returns: the exit status: 0 when every rule holds, 1 when one is broken.
package func exploreCommand(faults: Int) -> Int32 {
    var states = 0
    var coverage = Coverage()
    for faults in 0...faults {
        for pace in [Pace.calm, .free] {
            let result = Explorer.explore(pace, faults: faults)
            states += result.states
            coverage.formUnion(result.coverage)
            print("\(pace), faults: \(faults), states: \(result.states), moves: \(result.transitions),"
                + " at rest: \(result.atRest)")
            if let failure = result.failure {
                print("states: \(states), broken: \(failure)")
                return 1
            }
        }
    }
    print("predecessor: \(coverage.predecessorStates.count) states, \(coverage.predecessorPairs.count) pairs with events;"
        + " successor: \(coverage.successorPhases.count) phases, \(coverage.successorPairs.count) pairs with events")
    print("states: \(states), every rule holds")
    return 0
}
