// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// One edit that weakens one guard of a machine. With it, some rule of the explorer must break.
struct Mutation: Sendable {
    /// What the weakened machine does.
    let name: String
    let machine: Machine
    /// It must occur exactly once.
    let text: String
    let replacement: String

    enum Machine {
        case predecessor
        case successor
    }

    static let all = Self.edits(of: .predecessor, Self.ofPredecessor) + Self.edits(of: .successor, Self.ofSuccessor)

    typealias Edit = (name: String, text: String, replacement: String)

    private static func edits(of machine: Machine, _ edits: [Edit]) -> [Mutation] {
        edits.map { Mutation(name: $0.name, machine: machine, text: $0.text, replacement: $0.replacement) }
    }

    /// Below `Sources/TableflipCore`.
    var file: String {
        switch self.machine {
        case .predecessor: "Predecessor/PredecessorMachine.swift"
        case .successor: "Successor/SuccessorMachine.swift"
        }
    }
}
