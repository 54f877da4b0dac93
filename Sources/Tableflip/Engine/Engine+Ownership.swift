// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Logging
import TableflipCore
import TableflipSystem

/// What only one process may do: it begins and ends here, by the application's hooks.
extension Engine {
    /// Changes follow each other: one begins when the hooks of the one before have returned. The machines' deadlines end
    /// the wait, and a change that was overtaken is not told of any more.
    func changeOwnership(_ change: OwnershipChange) {
        let hooks = self.context.hooks
        // Whoever asks does not begin anything that must end, and may begin what is beginning.
        self.context.facts.update { $0.isOwner = change.direction == .begin }
        self.ownership.number += 1
        self.ownership.change = change
        let number = self.ownership.number
        let previous = self.ownership.task
        guard previous != nil || hooks.hasWork(change.direction) else {
            return self.feed(EngineInput.ownershipChanged(number: number, nil))
        }
        previous?.cancel()
        let inbox = self.context.inbox
        let limit = self.timings.hook
        self.ownership.task = Task {
            await previous?.value
            let failure = await hooks.change(change.direction, onFailure: change.onFailure, within: limit)
            inbox.send(.ownershipChanged(number: number, failure))
        }
    }

    func ownershipChanged(_ number: Int, _ failure: UpgradeError?) {
        guard number == self.ownership.number, let change = self.ownership.change else { return }
        self.ownership.task = nil
        if let failure { self.logger.error("\(failure.message)") }
        // The hooks come first: where one of them fails, the file has named nobody else meanwhile.
        if case .taking = change, failure == nil, let pidFile = self.context.pidFile {
            return self.publish(pidFile, number)
        }
        self.ownershipHasChanged(change, failure)
    }

    /// On another thread: ext4, for one, waits in rename(2) over a file until the new one is on its way to the disk. With
    /// a busy disk that takes longer than a predecessor waits for a sign of life.
    private func publish(_ pidFile: PIDFile, _ number: Int) {
        let inbox = self.context.inbox
        SideThread.run {
            do throws(UpgradeError) {
                try pidFile.publish()
                inbox.send(.pidFilePublished(number: number, nil))
            } catch {
                inbox.send(.pidFilePublished(number: number, error))
            }
        }
    }

    func pidFilePublished(_ number: Int, _ failure: UpgradeError?) {
        if let failure { self.logger.error("\(failure)") }
        guard number == self.ownership.number, let change = self.ownership.change else { return }
        self.ownershipHasChanged(change, failure)
    }

    private func ownershipHasChanged(_ change: OwnershipChange, _ failure: UpgradeError?) {
        self.ownership.change = nil
        switch change {
        case .taking:
            if let failure {
                // Not waited for any longer, as there is nobody else: then its work goes on.
                if self.successor.phase != .owner { self.changeOwnership(.undoing(failure)) }
            } else {
                self.feed(SuccessorMachine.Event.ownershipTaken)
            }
        case .undoing(let reason): self.feed(self.afterUndoing(reason))
        case .givingUp:
            self.feed(
                failure.map { PredecessorMachine.Event.ownershipKept($0) } ?? PredecessorMachine.Event.ownershipGivenUp)
        case .resuming, .leaving: break
        }
        if self.ownership.leaving == nil {
            self.welcomeHooks()
        } else if case .givingUp = change, self.context.hooks.hasWork(.end) {
            self.changeOwnership(.leaving)
        } else {
            self.leaveNow()
        }
    }

    /// While some of its work goes on, this process must not say that the predecessor may have it: it is as if it had
    /// not returned in time.
    private func afterUndoing(_ reason: UpgradeError) -> SuccessorMachine.Event {
        !self.successor.isAlone && self.context.hooks.hasWork(.end) ? .deadlinePassed : .ownershipFailed(reason)
    }

    /// This process is in charge, whatever its hooks did: there is nobody else. What has not begun is begun now.
    func makeSureOfOwnership() {
        self.context.facts.update { $0.isOwner = true }
        if case .resuming = self.ownership.change { return }
        guard self.ownership.task != nil || self.context.hooks.hasWork(.begin) else { return }
        self.takeBackOwnership()
    }

    func takeBackOwnership() {
        do {
            try self.context.pidFile?.restore()
        } catch {
            self.logger.error("\(error)")
        }
        self.changeOwnership(.resuming)
    }

    /// Hooks that were added when this process was the owner already.
    func welcomeHooks() {
        guard self.ownership.change == nil, !self.isLeaving, self.context.facts.current.isOwner,
            self.context.hooks.hasNew
        else { return }
        self.changeOwnership(.resuming)
    }

    // MARK: Leaving

    /// Tells the application to drain and return when its hooks have returned, or have had their time.
    func tellToLeave(_ reason: ExitReason) {
        self.isLeaving = true
        self.withdrawResumption()
        // The application may end the process as soon as it hears of it.
        self.control?.answerTickets()
        self.ownership.leaving = reason
        guard self.ownership.task != nil || self.context.hooks.hasWork(.end) else { return self.leaveNow() }
        self.ownership.leaveDeadline = Moment.now + self.timings.hook + .seconds(1)
        if case .givingUp = self.ownership.change { return }
        self.changeOwnership(.leaving)
    }

    func leaveNow() {
        guard let reason = self.ownership.leaving else { return }
        if self.ownership.task != nil {
            // Its turn may not have come, as that of the one before did not end.
            let hook = self.context.hooks.running ?? .end
            self.logger.error("\(hook.name) did not return in time")
        }
        self.ownership.leaving = nil
        self.ownership.leaveDeadline = nil
        self.context.facts.update { $0.isOwner = false }
        self.context.exit.set(reason)
    }
}

extension Engine {
    /// Where the hooks stand. On the engine's thread only.
    struct Ownership {
        var number = 0
        /// nil when no hook is being called.
        var change: OwnershipChange?
        var task: Task<Void, Never>?
        /// What the application is told when the hooks have returned, or this moment has come.
        var leaving: ExitReason?
        var leaveDeadline: Moment?
    }

    /// An upgrade that was asked for and may still be vetoed. On the engine's thread only.
    struct Vetting {
        let number: Int
        let request: UpgradeRequest
        let task: Task<Void, Never>
        let deadline: Moment
    }

    // MARK: Vetoes

    func hearVetoes(_ request: UpgradeRequest) {
        self.vettingNumber += 1
        let (number, inbox, vetoes) = (self.vettingNumber, self.context.inbox, self.context.hooks.vetoes)
        let task = Task {
            do {
                for veto in vetoes { try await veto() }
                inbox.send(.vetoesHeard(number: number, nil))
            } catch {
                inbox.send(.vetoesHeard(number: number, error.quoted))
            }
        }
        self.vetting = Vetting(
            number: number, request: request, task: task, deadline: Moment.now + self.timings.hook)
    }

    func vetoesHeard(_ number: Int, _ words: String?) {
        guard let vetting = self.vetting, vetting.number == number else { return }
        self.vetting = nil
        if let words {
            self.refuseUpgrade(
                UpgradeError(
                    .vetoed, "the program refused the upgrade: \(words)", cure: "Try again when it does not object."),
                vetting.request)
        } else {
            self.beginUpgrade(vetting.request)
        }
    }

    func vetoesOverran(_ vetting: Vetting) {
        self.vetting = nil
        vetting.task.cancel()
        self.refuseUpgrade(
            UpgradeError(
                .vetoed, "the program did not say within \(self.timings.hook) whether it may be upgraded",
                cure: "Look at its upgrade vetoes, or give them a longer hookTimeout."), vetting.request)
    }
}
