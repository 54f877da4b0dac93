// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The last signal to stop that was passed on, and who has heard of one. A value: it is told what happened.
///
/// Who has heard of one takes the next for "now". So nobody is told a second time but by a signal that was sent on
/// purpose.
struct StopOrder {
    /// What services are stopped with. Of other signals this process does not know what they mean: to pass on a SIGHUP
    /// that has begun an upgrade would begin the next one.
    private static let signals: Set<CInt> = [SIGINT, SIGQUIT, SIGTERM]

    private var signal: CInt?
    private var hearers: Set<CInt> = []

    mutating func wasSent(_ signal: CInt, to processes: [CInt]) {
        guard Self.signals.contains(signal) else { return }
        self.signal = signal
        self.hearers.formUnion(processes)
    }

    /// An upgrade began after it, so to this program the signal means something else.
    mutating func wasNone() { self = StopOrder() }

    /// The id may become another process's.
    mutating func hasEnded(_ process: CInt) { self.hearers.remove(process) }

    /// What this process is to be sent, which has heard of nothing yet; nil: nothing. From now on it has.
    mutating func signal(for process: CInt) -> CInt? {
        guard let signal, self.hearers.insert(process).inserted else { return nil }
        return signal
    }
}
