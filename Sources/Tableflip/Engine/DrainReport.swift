// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem

/// When the successor is told how many connections this process still serves. A drain that is over in a moment is not
/// worth a word.
struct DrainReport {
    private static let interval = Duration.milliseconds(250)

    /// When to look again.
    private(set) var deadline: Moment
    /// nil before the first word.
    private var last: Int?

    init(at now: Moment) { self.deadline = now + Self.interval }

    /// What is to be said of so many that are left; nil: nothing new.
    mutating func word(_ left: Int, at now: Moment) -> Message.Draining? {
        self.deadline = now + Self.interval
        guard left != self.last ?? 0 else { return nil }
        self.last = left
        return Message.Draining(left: UInt32(clamping: left))
    }
}
