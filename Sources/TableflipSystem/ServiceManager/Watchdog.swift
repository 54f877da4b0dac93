// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// What a service manager wants to hear, and how often (sd_watchdog_enabled(3)).
package struct Watchdog: Hashable, Sendable {
    /// The manager acts when it has heard nothing for this long.
    package let timeout: Duration

    package static let timeVariable = "WATCHDOG_USEC"
    /// Whom it is meant for. True of the first process only: its successors inherit the time, and not this.
    package static let processVariable = "WATCHDOG_PID"

    /// nil: there is none, or it is another process's.
    package static func ofEnvironment() -> Watchdog? {
        let process = ProcessEnvironment.value(of: self.processVariable)
        guard process == nil || process == "\(ProcessID.current)" else { return nil }
        return Watchdog(microseconds: ProcessEnvironment.value(of: self.timeVariable))
    }

    package init?(microseconds: String?) {
        guard let count = microseconds.flatMap({ Int64($0) }), count > 0 else { return nil }
        self.timeout = .microseconds(count)
    }
}
