// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// Whether the other engine still runs: it is asked, and answers at once. A process that is stopped, or that hangs in the
/// kernel, neither dies nor hangs up, and nobody accepts while it is waited for.
struct Pulse {
    /// Between an answer and the next question.
    private static let interval = Duration.milliseconds(250)
    /// An answer takes microseconds, but a machine can be busy.
    static let patience = Duration.seconds(2)

    private(set) var isAsked = false
    /// When to ask, or to wait no longer.
    private(set) var deadline: SuspendingClock.Instant

    init(at now: SuspendingClock.Instant) { self.deadline = now + Self.interval }

    mutating func asked(at now: SuspendingClock.Instant) {
        self.isAsked = true
        self.deadline = now + Self.patience
    }

    mutating func answered(at now: SuspendingClock.Instant) { self = Pulse(at: now) }
}
