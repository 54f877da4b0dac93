// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

extension Upgrader {
    /// Whether the application is well: true until it says otherwise.
    ///
    /// Where a service manager watches (`WatchdogSec=` in a systemd unit), the upgrader answers it from its own thread for
    /// as long as this is true, also when every other thread is busy. While it is false it does not, and when the time is
    /// over the manager ends the service and does what `Restart=` says. Without such a manager it means nothing. May be
    /// read and set on any thread.
    public var isWell: Bool {
        get { self.context.facts.current.isWell }
        set { self.context.facts.update { $0.isWell = newValue } }
    }
}
