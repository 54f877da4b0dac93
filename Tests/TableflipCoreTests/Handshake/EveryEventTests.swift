// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import HandshakeExplorer
import TableflipCore
import Testing

/// Every event in every state, whether it makes sense there or not: the machines are defined for all of them.
@Suite struct EveryEventTests {
    private let predecessors = PredecessorMachine.reachable
    private let successors = SuccessorMachine.reachable

    @Test func `there are as many states as one would think`() {
        #expect(Set(self.predecessors.map { caseName($0.state) }).count == 15)
        #expect(Set(self.successors.map { caseName($0.phase) }).count == 12)
        #expect(self.predecessors.count >= 60)
        #expect(self.successors.count >= 80)
    }

    @Test func `a finished machine does not move`() {
        for var machine in self.predecessors where machine.state == .finished {
            for event in PredecessorMachine.Event.all { #expect(machine.handle(event) == []) }
            #expect(machine.state == .finished)
        }
        for var machine in self.successors where machine.phase == .finished {
            for event in SuccessorMachine.Event.all { #expect(machine.handle(event) == []) }
            #expect(machine.phase == .finished)
        }
    }

    @Test func `a predecessor that does not accept has a deadline`() {
        for machine in self.predecessors where !Self.accepts(machine.state) && machine.state != .finished {
            #expect(machine.deadline != nil, "\(machine.state)")
        }
    }

    private static func accepts(_ state: PredecessorMachine.State) -> Bool {
        switch state {
        case .initialising, .outliving, .serving, .spawning, .greeting, .offering, .awaitingReady: true
        case .unwinding(let unwinding): unwinding.readers == .accepting
        case .pausing, .probation, .relinquishing, .committing, .draining, .stopping, .finished: false
        }
    }

    @Test func `a predecessor with a successor that it does not trust to end has a deadline`() {
        for machine in self.predecessors {
            guard case .unwinding = machine.state else { continue }
            #expect(machine.deadline != nil, "\(machine.state)")
        }
    }

    @Test func `a successor that is not in charge has a deadline, unless its predecessor watches over it`() {
        for machine in self.successors {
            switch machine.phase {
            case .owner, .finished: #expect(machine.deadline == nil, "\(machine)")
            case .initialising where machine.link == .open || machine.link == .none: #expect(machine.deadline == nil)
            default: #expect(machine.deadline != nil, "\(machine)")
            }
        }
    }

    @Test func `a deadline that passes changes something`() {
        for var machine in self.predecessors where machine.deadline != nil {
            let before = machine.state
            _ = machine.handle(.deadlinePassed)
            #expect(machine.state != before)
        }
        for var machine in self.successors where machine.deadline != nil {
            let before = machine.phase
            _ = machine.handle(.deadlinePassed)
            #expect(machine.phase != before)
        }
    }

    @Test func `deadlines alone lead to a state without one`() {
        for var machine in self.predecessors {
            for _ in 0..<8 where machine.deadline != nil { _ = machine.handle(.deadlinePassed) }
            #expect(machine.deadline == nil, "\(machine.state)")
        }
        for var machine in self.successors {
            for _ in 0..<8 where machine.deadline != nil { _ = machine.handle(.deadlinePassed) }
            #expect(machine.deadline == nil, "\(machine)")
        }
    }

    @Test func `a process that is told to leave or to exit is told so once`() {
        for machine in self.predecessors {
            for event in PredecessorMachine.Event.all {
                var machine = machine
                let ends = machine.handle(event).count {
                    $0 == .exitNow || $0 == .leave(.stopped) || $0 == .leave(.replaced)
                }
                #expect(ends <= 1, "\(machine.state), \(event)")
            }
        }
    }
}
