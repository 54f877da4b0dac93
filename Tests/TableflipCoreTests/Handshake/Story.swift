// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import Testing

/// What the two machines have in common: enough to tell stories of both.
protocol Machine: Hashable, Sendable {
    associatedtype Event: Hashable & Sendable
    associatedtype Action: Hashable & Sendable
    associatedtype Place: Hashable & Sendable

    var place: Place { get }
    mutating func handle(_ event: Event) -> [Action]
}

extension PredecessorMachine: Machine {
    var place: State { self.state }
}

extension SuccessorMachine: Machine {
    var place: Phase { self.phase }
}

/// A way through a machine: what happens, what is to be done about it, and where that leads.
struct Story<Teller: Machine>: Sendable, CustomTestStringConvertible {
    struct Step: Sendable {
        let event: Teller.Event
        let actions: [Teller.Action]
        let place: Teller.Place

        init(_ event: Teller.Event, _ actions: [Teller.Action], _ place: Teller.Place) {
            (self.event, self.actions, self.place) = (event, actions, place)
        }
    }

    @resultBuilder enum Steps {
        static func buildBlock(_ steps: Step...) -> [Step] { steps }
    }

    let testDescription: String
    private let machine: Teller
    private let steps: [Step]

    /// What has happened at the start is told elsewhere.
    init(_ name: String, _ machine: Teller, after start: [Teller.Event], @Steps _ steps: () -> [Step]) {
        var machine = machine
        for event in start { _ = machine.handle(event) }
        (self.testDescription, self.machine, self.steps) = (name, machine, steps())
    }

    func tell() {
        var machine = self.machine
        for (number, step) in self.steps.enumerated() {
            let actions = machine.handle(step.event)
            #expect(actions == step.actions, "step \(number), \(step.event)")
            #expect(machine.place == step.place, "step \(number), \(step.event)")
        }
    }
}
