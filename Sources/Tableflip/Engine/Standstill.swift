// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipSystem

/// Finds out whether this process stood still: stopped (SIGSTOP, a frozen cgroup), perhaps with all of its service. What a
/// machine waits for is to have the time in which it could have happened, so its deadlines pass later by a standstill.
///
/// It is known by more time between two looks at the clock than a wait between them was to take. So while a machine has a
/// deadline no wait is long, and no more of a standstill counts than that and what a busy machine explains.
struct Standstill {
    private static let longestWait = Duration.seconds(1)
    /// A busy machine wakes nobody in time.
    private static let tolerance = Duration.seconds(1)

    private var looked: Moment
    /// How long the wait since then was to take; nil: as long as it takes.
    private var asked: Duration? = .zero

    init(at now: Moment) { self.looked = now }

    /// How long to wait now, instead of `limit`. `isTimed`: a machine has a deadline.
    mutating func wait(atMost limit: Duration?, isTimed: Bool) -> Duration? {
        self.asked = isTimed ? min(limit ?? Self.longestWait, Self.longestWait) : limit
        return self.asked
    }

    /// For how long this process did not run since the last look.
    mutating func length(at now: Moment) -> Duration {
        let excess = self.asked.map { self.looked.duration(to: now) - $0 } ?? .zero
        self.looked = now
        self.asked = .zero
        return excess > Self.tolerance ? excess : .zero
    }
}
