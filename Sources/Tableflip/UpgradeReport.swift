// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// What a successful upgrade was like.
public struct UpgradeReport: Hashable, Sendable {
    /// The process that serves now.
    public var successor: Int32
    /// Its generation.
    public var generation: Int
    /// How many descriptors it was given.
    public var descriptors: Int
    /// From the request until the successor owned the service.
    public var duration: Duration
    /// When each phase was reached, counted from the request.
    public var phases: [(phase: UpgradeEvent.Phase, elapsed: Duration)] {
        zip(self.phaseNames, self.phaseTimes).map { ($0, $1) }
    }

    var phaseNames: [UpgradeEvent.Phase]
    var phaseTimes: [Duration]
}

/// Why a process should drain and return from `main`.
///
/// Cases may be added: a `switch` needs a `default`.
public enum ExitReason: Hashable, Sendable {
    /// A successor owns the service.
    case replaced(successor: Int32)
    /// The service is to stop.
    case stopped
    /// This process was to take over and could not; its predecessor serves, unless the error says otherwise.
    case failed(UpgradeError)
    /// This process served and gave the service back.
    case handedBack(UpgradeError)
}
