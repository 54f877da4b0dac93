// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Which signals the upgrader takes over, and what they mean.
///
/// Their handlers are installed when the upgrader is made, so that from then on none of them ends the process by its
/// default action. With ``none`` the application handles signals itself and calls
/// ``Upgrader/upgrade(startingWith:timeout:probation:)`` and ``Upgrader/stop()``.
public struct UpgradeSignals: Hashable, Sendable {
    /// The numbers of the signals that start an upgrade. A failure is logged, as nobody waits for an answer.
    public var upgrade: [Int32]
    /// The numbers of the signals that stop the service. The second one ends the process at once.
    public var stop: [Int32]

    /// Makes a choice of signals (signal(7)).
    /// - Parameters:
    ///   - upgrade: see ``upgrade``.
    ///   - stop: see ``stop``.
    public init(upgrade: [Int32], stop: [Int32]) {
        self.upgrade = upgrade
        self.stop = stop
    }

    /// What a successor is sent that is to stop: it takes the same signals over, and would be ended by any other one.
    var stopping: CInt { self.stop.contains(SIGTERM) ? SIGTERM : self.stop.first ?? SIGTERM }

    /// SIGHUP upgrades; SIGTERM and SIGINT stop.
    public static let standard = UpgradeSignals(upgrade: [SIGHUP], stop: [SIGTERM, SIGINT])
    /// The application handles signals itself. A service that is told to stop in a probation tells its successor too, by
    /// SIGTERM, so that one order may arrive there as two: ``Upgrader/stop()`` is for the first, unless the second is to
    /// mean now.
    public static let none = UpgradeSignals(upgrade: [], stop: [])
}
