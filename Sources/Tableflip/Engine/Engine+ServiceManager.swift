// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem

/// What the service manager, if there is one, is told of an event.
extension Engine {
    func tellManager(_ event: UpgradeEvent) {
        guard self.service != nil else { return }
        let isAlone = self.successor.link == .dead
        self.service?.note(event, isAlone: isAlone, Moment.now, self.logger)
        guard self.context.configuration.storesDescriptors, self.isHeard(since: event, isAlone: isAlone) else { return }
        self.service?.store(
            self.context.sockets.carried.filter { [.listener, .datagram, .state].contains($0.kind) },
            removing: self.context.sockets.takeUnclaimedStored(), self.logger
        )
    }

    /// Of one that has been replaced. It says the first after it has told the manager, and has waited until that knew.
    func noteWordOfPredecessor() { self.service?.noteLastWord(self.logger) }

    /// The manager hears a successor when it has dealt with what its predecessor said last, which it has when that is
    /// gone.
    private func isHeard(since event: UpgradeEvent, isAlone: Bool) -> Bool {
        switch event.phase {
        case .owner: isAlone || !self.context.facts.current.hasPredecessor
        case .predecessorLeft: self.successor.phase == .owner
        default: false
        }
    }
}
