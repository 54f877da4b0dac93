// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import Testing

@testable import Tableflip

/// Of two live processes the predecessor decides: what its successor waits for takes longer than everything that the
/// predecessor may need until then.
@Suite struct TimingsTests {
    @Test(
        arguments: [
            Upgrader.Configuration(), Upgrader.Configuration(pauseTimeout: .milliseconds(1)),
            Upgrader.Configuration(upgradeTimeout: .milliseconds(1), pauseTimeout: .seconds(30)),
        ].map { Timings($0) }, [Duration.zero, .seconds(1), .seconds(3600)]
    )
    func `a successor waits longer than its predecessor needs`(_ timings: Timings, _ probation: Duration) {
        func predecessor(_ deadline: PredecessorMachine.Deadline) -> Duration {
            timings.duration(of: deadline, probation: probation)
        }
        func successor(_ deadline: SuccessorMachine.Deadline) -> Duration {
            timings.duration(of: deadline, probation: probation)
        }
        #expect(successor(.go) > predecessor(.pause))
        #expect(
            successor(.commit) > predecessor(.probation(.timed)) + predecessor(.ownership)
        )
        #expect(
            successor(.commit) > predecessor(.probation(.checked)) + predecessor(.ownership) + predecessor(.recall)
        )
        #expect(successor(.bye) > predecessor(.resume))
        // And the other way round where the predecessor waits for an answer of its successor.
        #expect(predecessor(.commit) > successor(.ownership))
        #expect(predecessor(.recall) > successor(.pause))
        #expect(successor(.initialisation) == predecessor(.initialisation))
    }

    /// A successor is configured by its own code.
    @Test func `a predecessor whose own hooks have little time waits for those of its successor`() {
        let predecessor = Timings(.init(hookTimeout: .milliseconds(1)))
        let successor = Timings(.init(hookTimeout: Upgrader.Configuration.longestHookTimeout))
        #expect(
            predecessor.duration(of: PredecessorMachine.Deadline.commit, probation: .zero)
                > successor.duration(of: SuccessorMachine.Deadline.ownership, probation: .zero)
        )
    }

    @Test func `of the readers of the other process, neither expects that they have its own time to pause`() {
        let short = Timings(.init(pauseTimeout: .milliseconds(1)))
        let long = Timings(.init(pauseTimeout: Upgrader.Configuration.longestPauseTimeout))
        typealias Predecessor = PredecessorMachine.Deadline
        typealias Successor = SuccessorMachine.Deadline
        for (mine, other) in [(short, long), (long, short)] {
            let recall = mine.duration(of: Predecessor.recall, probation: .zero)
            #expect(recall > other.duration(of: Successor.pause, probation: .zero))
            #expect(
                mine.duration(of: Successor.go, probation: .zero)
                    > other.duration(of: Predecessor.pause, probation: .zero))
            #expect(mine.duration(of: Successor.commit, probation: .zero) > recall)
        }
    }

    @Test func `what the configuration says is what counts`() {
        let timings = Timings(
            .init(upgradeTimeout: .seconds(11), drainTimeout: .seconds(12), pauseTimeout: .seconds(13))
        )
        #expect(timings.duration(of: PredecessorMachine.Deadline.initialisation, probation: .zero) == .seconds(11))
        #expect(timings.duration(of: PredecessorMachine.Deadline.drain, probation: .zero) == .seconds(12))
        #expect(timings.duration(of: SuccessorMachine.Deadline.drain, probation: .zero) == .seconds(12))
        #expect(timings.duration(of: PredecessorMachine.Deadline.pause, probation: .zero) == .seconds(13))
        #expect(timings.duration(of: SuccessorMachine.Deadline.pause, probation: .zero) == .seconds(13))
        #expect(
            timings.duration(of: PredecessorMachine.Deadline.probation(.timed), probation: .seconds(9)) == .seconds(9))
    }
}
