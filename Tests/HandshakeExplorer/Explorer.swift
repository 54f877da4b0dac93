// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore

/// Walks every world that can be reached, with at most `faults` things going wrong on the way, breadth first: what it
/// reports is a shortest way to break a rule. Deadlines are no faults.
package struct Explorer {
    package struct Result: Sendable {
        package var states = 0
        package var transitions = 0
        package var atRest = 0
        package var coverage = Coverage()
        /// The first broken rule, and the moves that lead to it.
        package var broken: String?

        package func summary(_ pace: Pace, faults: Int) -> String {
            "\(pace), faults: \(faults), states: \(self.states), moves: \(self.transitions), at rest: \(self.atRest)"
        }
    }

    private struct Visit {
        var world: World
        var cameFrom: Int
        var move: Move?
    }

    /// Several times what three faults need: a machine that sends or queues without end must not fill the memory.
    private static let mostStates = 6_000_000

    private let roots: [World]
    private var index: [World: Int] = [:]
    private var visits: [Visit] = []
    /// From which worlds one comes to this one by what the processes do themselves.
    private var reverse: [[Int]] = []
    private var resting: [Int] = []
    private var transitions = 0
    private var told: Set<Told> = []

    package init(pace: Pace, faults: Int) {
        self.roots = [World(pace: pace, faults: faults), .firstProcess(pace: pace, faults: faults)]
    }

    package static func explore(_ pace: Pace, faults: Int) -> Result {
        var explorer = Explorer(pace: pace, faults: faults)
        let broken = explorer.walk() ?? explorer.findRestless()
        return Result(
            states: explorer.visits.count, transitions: explorer.transitions, atRest: explorer.resting.count,
            coverage: Coverage(explorer.told), broken: broken
        )
    }

    private mutating func walk() -> String? {
        for root in self.roots { _ = self.visit(root, from: 0, by: nil) }
        var next = 0
        while next < self.visits.count {
            if let broken = self.leave(next) { return broken }
            if self.visits.count > Self.mostStates { return "there is no end of worlds" }
            next += 1
        }
        return nil
    }

    /// Makes every move that is possible in one world.
    private mutating func leave(_ current: Int) -> String? {
        let world = self.visits[current].world
        var rests = true
        for move in world.moves {
            var changed = world
            self.transitions += 1
            let broken = changed.make(move)
            self.told.formUnion(changed.told)
            changed.told = []
            if let broken = broken ?? changed.brokenRule { return self.describe(broken, at: current, by: move) }
            let next = self.visit(changed, from: current, by: move)
            guard next != current, move.kind == .own || move.kind == .late else { continue }
            self.reverse[next].append(current)
            rests = false
        }
        guard rests else { return nil }
        self.resting.append(current)
        return world.brokenRuleAtRest.map { self.describe($0, at: current, by: nil) }
    }

    private mutating func visit(_ world: World, from: Int, by move: Move?) -> Int {
        if let known = self.index[world] { return known }
        let new = self.visits.count
        self.index[world] = new
        self.visits.append(Visit(world: world, cameFrom: from, move: move))
        self.reverse.append([])
        return new
    }

    /// From everywhere there is a way to rest: nothing goes round in circles for ever.
    private func findRestless() -> String? {
        var reaches = [Bool](repeating: false, count: self.visits.count)
        var queue = self.resting
        for state in queue { reaches[state] = true }
        while let state = queue.popLast() {
            for before in self.reverse[state] where !reaches[before] {
                reaches[before] = true
                queue.append(before)
            }
        }
        return reaches.firstIndex(of: false).map { self.describe("this never comes to rest", at: $0, by: nil) }
    }

    private func describe(_ rule: String, at: Int, by move: Move?) -> String {
        var path = move.map { ["\($0)"] } ?? []
        var current = at
        while let move = self.visits[current].move {
            path.append("\(move)")
            current = self.visits[current].cameFrom
        }
        let start = self.roots[current].predecessor.process == .absent ? "first process, " : ""
        return "\(rule), after: \(start)\(path.reversed().joined(separator: ", "))"
    }
}
