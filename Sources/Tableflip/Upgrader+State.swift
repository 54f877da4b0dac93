// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem

/// State that outlives the process: bytes under a name, in a layout that a version tells.
///
/// There are two moments at which it can be handed over. What is known before (a cache, a table, a counter's start) is
/// left with ``leaveState(_:name:version:)`` and is there from the successor's start. What only the last moment knows
/// (sequence numbers, sessions) is asked for with ``provideFinalState(_:version:_:)`` when every reader has paused, and
/// reaches the successor before any of its readers reads.
extension Upgrader {
    /// Leaves bytes for later generations; what was left under this name before is replaced.
    ///
    /// They stay until they are replaced or the service stops: a successor that asks for them carries them on.
    /// - Parameters:
    ///   - bytes: up to a gibibyte; they are copied into a sealed memfd (an unlinked file on Darwin).
    ///   - name: unique among everything that is carried, 1 to 255 bytes.
    ///   - version: the layout of the bytes, by the application's own count.
    /// - Throws: ``UpgradeError`` with the code `wrongMoment` during an upgrade and after one, `duplicateName`,
    ///   `invalidAddress` (the name), `system`.
    public func leaveState(_ bytes: [UInt8], name: String, version: UInt16) throws(UpgradeError) {
        try self.context.facts.telling { () throws(UpgradeError) in
            var entry = try Self.entry(name, .state)
            entry.version = version
            let capabilities = self.context.capabilities
            let blob = try UpgradeError.wrapping("the state \(name) cannot be kept") { () throws(SystemCallError) in
                try Blob.make(bytes, name: name, capabilities)
            }
            try self.context.sockets.replace(entry, blob)
        }
    }

    /// What the predecessor left under this name.
    /// - Parameters:
    ///   - name: the name.
    ///   - versions: the layouts that this program reads; another one is refused before a byte is read.
    /// - Returns: the state, or nil if there is none.
    /// - Throws: ``UpgradeError`` with the code `stateVersion`, `duplicateName`, `invalidAddress` (the name), or `wrongMoment`
    ///   after ``ready()``.
    public func inheritedState(_ name: String, versions: ClosedRange<UInt16>) throws(UpgradeError) -> HandedState? {
        try self.context.facts.telling { () throws(UpgradeError) in
            if let left = self.context.sockets.unclaimed(name), left.kind == .state {
                try HandedState.check(left, versions)
            }
            return try self.inherited(.state, name: name).map { HandedState($0) }
        }
    }

    /// Says what is handed over at the last moment: after every reader has paused, before the successor serves.
    /// - Parameters:
    ///   - name: unique among the final states.
    ///   - version: the layout of the bytes, by the application's own count.
    ///   - provide: makes the bytes, within ``Configuration/pauseTimeout`` together with the pause. If it throws or is
    ///     late, the upgrade fails and this process serves on.
    /// - Throws: ``UpgradeError`` with the code `duplicateName` or `invalidAddress`.
    public func provideFinalState(
        _ name: String, version: UInt16, _ provide: @escaping @Sendable () async throws -> [UInt8]
    ) throws(UpgradeError) {
        try self.context.facts.telling { () throws(UpgradeError) in
            let entry = try Self.entry(name, .state)
            try self.context.finalStates.provide(entry.name, version: version, provide)
        }
    }

    /// Says what becomes of a final state. To be called before ``ready()``.
    /// - Parameters:
    ///   - name: the name that the predecessor provides it under.
    ///   - versions: the layouts that this program reads. Another one fails ``ready()``, and the predecessor serves on.
    ///   - restore: called once, during ``ready()`` and before any reader reads: with the state, or with nil in a first
    ///     process, after a predecessor that provides none, and after one that died before it could. If it throws, or takes
    ///     longer than five seconds, ``ready()`` fails and the predecessor serves on, if it lives.
    /// - Throws: ``UpgradeError`` with the code `duplicateName`, `invalidAddress` (the name), or `wrongMoment` after
    ///   ``ready()``.
    public func restoreFinalState(
        _ name: String, versions: ClosedRange<UInt16>,
        _ restore: @escaping @Sendable (HandedState?) async throws -> Void
    ) throws(UpgradeError) {
        try self.context.facts.telling { () throws(UpgradeError) in
            let entry = try Self.entry(name, .state)
            try self.context.finalStates.restore(entry.name, versions: versions, restore)
        }
    }
}
