// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation

extension Demo {
    /// An upgrade that was asked for.
    struct Upgrade {
        var old: CInt
        /// The place among the events at which its own begin.
        var mark: Int
    }

    /// Asks the process in charge for its successor, and waits for nothing.
    func startUpgrade() throws -> Upgrade {
        let upgrade = Upgrade(old: self.process, mark: self.events.all.count)
        try require(kill(upgrade.old, SIGHUP) == 0, "\(upgrade.old) is gone")
        return upgrade
    }

    /// Waits until the successor owns the service: from here on connections move.
    @discardableResult
    func commit(_ upgrade: Upgrade) throws -> CInt {
        let outcome = try self.outcome(of: upgrade)
        try require(outcome.phase == "committed", "the upgrade: \(outcome)")
        self.process = outcome.peer
        return outcome.peer
    }

    /// Waits for whatever comes of an upgrade.
    func outcome(of upgrade: Upgrade) throws -> Event {
        try self.events.wait(for: "the outcome of an upgrade") { events in
            events.dropFirst(upgrade.mark).first {
                $0.pid == upgrade.old && ["committed", "failed", "rolledBack", "refused"].contains($0.phase)
            }
        }
    }

    /// Waits until the successor serves and can still be taken back.
    func awaitProbation(_ upgrade: Upgrade) throws -> CInt {
        let probation = try self.events.wait(for: "a probation") { events in
            events.dropFirst(upgrade.mark).first { $0.pid == upgrade.old && $0.phase == "probation" }
        }
        try self.event("serving", of: probation.peer)
        return probation.peer
    }

    /// Waits until the old process has ended.
    func end(_ upgrade: Upgrade) throws {
        let new = try self.commit(upgrade)
        try self.event("predecessorLeft", of: new)
    }

    /// A whole upgrade.
    func upgrade() throws { try self.end(self.startUpgrade()) }

    /// Waits for an event of a process, which happens to it once.
    func event(_ phase: String, of process: CInt) throws {
        try self.events.wait(for: "\(phase) of \(process)") { events in
            events.contains { $0.pid == process && $0.phase == phase } ? () : nil
        }
    }

    /// The processes that may answer while this upgrade is under way.
    func either(_ upgrade: Upgrade) throws -> Set<CInt> { [upgrade.old, try self.commit(upgrade)] }
}
