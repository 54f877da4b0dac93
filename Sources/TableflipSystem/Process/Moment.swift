// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A moment by the clock of `SuspendingClock`: a suspended machine's time does not count, so that a closed lid does not end
/// an upgrade.
///
/// A type of its own, because how large an instant of the standard library is, is known only at run time: with one in them
/// the engine and all that it keeps would be laid out anew in each process that starts, while a predecessor waits.
package struct Moment: Hashable, Comparable, Sendable {
    private var sinceStart: Duration

    package static var now: Moment {
        var time = timespec()
        clock_gettime(Platform.suspendingClock, &time)
        return Moment(sinceStart: .seconds(Int64(time.tv_sec)) + .nanoseconds(Int64(time.tv_nsec)))
    }

    /// As sd_notify(3) wants it told.
    package var microseconds: UInt64 {
        let (seconds, attoseconds) = self.sinceStart.components
        return UInt64(seconds) * 1_000_000 + UInt64(attoseconds / 1_000_000_000_000)
    }

    package func duration(to later: Moment) -> Duration { later.sinceStart - self.sinceStart }

    package static func + (moment: Moment, duration: Duration) -> Moment {
        Moment(sinceStart: moment.sinceStart + duration)
    }

    package static func += (moment: inout Moment, duration: Duration) { moment = moment + duration }

    package static func < (earlier: Moment, later: Moment) -> Bool { earlier.sinceStart < later.sinceStart }
}
