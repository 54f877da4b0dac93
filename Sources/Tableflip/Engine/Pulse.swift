// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipSystem

/// Whether the other engine still runs: it is asked, and answers at once. A process that is stopped, or that hangs in the
/// kernel, neither dies nor hangs up, and nobody accepts while it is waited for.
///
/// The time in which it does not answer is counted in looks, not by the clock: if the whole machine has stood still (a
/// virtual machine that was moved, say), so has the one who asks, and that is one look.
struct Pulse {
    /// Between an answer and the next question, and between two looks.
    private static let interval = Duration.milliseconds(250)
    /// So many in vain, and the other engine has stopped.
    private let looks: Int

    /// How often there was no answer to the last question; nil: nothing is asked.
    private var missed: Int?
    /// When to ask, or to look.
    private(set) var deadline: Moment

    init(at now: Moment, looks: Int) {
        self.looks = looks
        self.deadline = now + Self.interval
    }

    /// For people: how long it does not answer by then.
    var patience: Duration { Self.interval * self.looks }

    var isAsked: Bool { self.missed != nil }
    var hasStopped: Bool { (self.missed ?? 0) >= self.looks }

    mutating func asked(at now: Moment) {
        self.missed = 0
        self.deadline = now + Self.interval
    }

    mutating func lookedInVain(at now: Moment) {
        self.missed = (self.missed ?? 0) + 1
        self.deadline = now + Self.interval
    }

    mutating func answered(at now: Moment) { self = Pulse(at: now, looks: self.looks) }
}
