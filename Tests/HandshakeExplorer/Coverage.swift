// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore

/// Something that a machine was told, and where it stood.
enum Told: Hashable {
    case predecessor(PredecessorMachine.State, PredecessorMachine.Event)
    case successor(SuccessorMachine.Phase, SuccessorMachine.Event)
}

/// What an exploration has exercised: so that one that visits next to nothing cannot pass for a good one.
package struct Coverage: Sendable {
    package struct Pair: Hashable, Sendable {
        package var state: String
        package var event: String
    }

    /// Kinds of state and event, without their payloads.
    package private(set) var predecessorPairs: Set<Pair> = []
    package private(set) var successorPairs: Set<Pair> = []
    package var predecessorStates: Set<String> { Set(self.predecessorPairs.map(\.state)) }
    package var successorPhases: Set<String> { Set(self.successorPairs.map(\.state)) }

    package init() {}

    init(_ told: Set<Told>) {
        for told in told {
            switch told {
            case .predecessor(let state, let event):
                self.predecessorPairs.insert(Pair(state: caseName(state), event: caseName(event)))
            case .successor(let phase, let event):
                self.successorPairs.insert(Pair(state: caseName(phase), event: caseName(event)))
            }
        }
    }

    package mutating func formUnion(_ other: Coverage) {
        self.predecessorPairs.formUnion(other.predecessorPairs)
        self.successorPairs.formUnion(other.successorPairs)
    }
}

extension Coverage: CustomStringConvertible {
    package var description: String {
        "predecessor: \(self.predecessorStates.count) states in \(self.predecessorPairs.count) pairs with an event,"
            + " successor: \(self.successorPhases.count) phases in \(self.successorPairs.count) pairs with an event"
    }
}

/// The name of an enum's case, without its payload.
package func caseName(_ value: some Any) -> String { String("\(value)".prefix { $0 != "(" }) }
