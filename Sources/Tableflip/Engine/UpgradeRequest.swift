// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipSystem

/// An upgrade that begins when the process before this one has left.
struct WaitingUpgrade {
    let request: UpgradeRequest
    /// When it is refused instead; nil: it waits for as long as that takes.
    let deadline: Moment?
}

/// An upgrade that somebody has asked for. What is nil is as configured.
struct UpgradeRequest: Sendable {
    let reply: Reply<UpgradeReport>
    /// How to start the successor.
    var successor: Upgrader.Successor?
    /// How long it may take until it is ready.
    var timeout: Duration?
    /// How long its probation is to be.
    var probation: Duration?
    /// It is to go as far as ready, and back.
    var rehearsal: Rehearsal?
    /// Nobody hears the answer: that it was refused is to be in the log.
    var isBySignal = false

    /// What is wrong with it, whoever has asked.
    var problem: UpgradeError? {
        do throws(UpgradeError) {
            if let timeout { try Upgrader.Configuration.check(timeout, "timeout") }
            if let probation { try Upgrader.Configuration.Probation.validate(probation) }
            return nil
        } catch {
            return error.whileServing(.predecessor)
        }
    }
}
