// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore

// MARK: - What must hold at every moment, and when nothing moves. Each returns the rule that does not hold

extension World {
    var brokenRule: String? {
        self.brokenRuleAboutSharing ?? self.brokenRuleAboutAnswers ?? self.brokenRuleAboutEnds
            ?? self.brokenRuleAboutWaiting
    }

    private var brokenRuleAboutSharing: String? {
        if self.predecessor.reads, self.successor.reads { return "two processes read from one listener" }
        let bothOwn = self.predecessor.owns && self.successor.owns && self.successor.lives
        if bothOwn, !self.isOwnedTwiceForGoodReason { return "two owners" }
        let bothLive = self.predecessor.lives && self.successor.lives
        if bothLive, !self.predecessor.holds, !self.successor.holds, !self.stopWasAsked {
            return "nobody holds the listeners"
        }
        if self.succeeded > 0, self.predecessor.holds { return "a replaced predecessor keeps its listeners" }
        let successorMayRead = self.successor.reads || self.successor.work.contains(.resume)
        if self.upgrade.predecessorIsWarned, self.predecessor.holds, self.successor.lives, successorMayRead {
            return "the predecessor cannot trust the channel any more, and lets the successor read"
        }
        return nil
    }

    private var brokenRuleAboutAnswers: String? {
        if self.open > 1 { return "a second request is left without an answer" }
        if self.open < 0 { return "an outcome was reported twice" }
        return self.predecessor.isFlooded || self.successor.isFlooded ? "messages or work pile up" : nil
    }

    private var brokenRuleAboutEnds: String? {
        if self.predecessor.machine.state == .finished, self.predecessor.lives {
            return "a finished predecessor lives on"
        }
        guard self.predecessorStops > 0 else { return nil }
        if self.predecessorStops > 1, self.predecessor.runs { return "a second stop did not mean now" }
        // What is not known reads its abort, or the end of the channel.
        if self.succeeded == 0, self.successor.lives, !self.upgrade.successorWasToldToEnd, self.upgrade.shell == .none {
            return "a stopping predecessor lets its successor run on"
        }
        return nil
    }

    private var brokenRuleAboutWaiting: String? {
        guard self.pace == .calm, !self.somebodyIsSilent, self.ownMoves.isEmpty, !self.lateMoves.isEmpty else {
            return nil
        }
        return self.predecessor.machine.deadline == .probation(.timed)
            ? nil : "only a deadline brings this on, though everybody is quick"
    }

    /// A successor that has waited long enough is the owner from then on. The predecessor, which was suspended or slow,
    /// learns it from the first thing that it reads, and gives ownership up then.
    private var isOwnedTwiceForGoodReason: Bool {
        let hasNews = self.predecessor.inbox.contains(.committed) || self.channelEnded && !self.predecessor.knowsEnd
        return self.upgrade.successorLostPatience && (hasNews || self.predecessor.work.contains(.giveUp))
    }

    /// A process may initialise as long as it likes where no predecessor is there to watch over it, or that one is
    /// suspended. And a start that failed before anything was here is thrown at the application, which may not return.
    private var successorHangsOnItsOwn: Bool {
        let isUnwatched = self.predecessor.process == .absent || self.predecessor.process == .suspended
        let mayTakeItsTime = isUnwatched && self.successor.machine.phase == .initialising
        return self.successor.hangs && (mayTakeItsTime || self.successor.machine.phase == .finished)
    }

    private var stopWasAsked: Bool { self.predecessorStops > 0 || self.upgrade.successorWasStopped }

    /// What must hold once nothing more happens by itself. A suspended process may stay suspended.
    var brokenRuleAtRest: String? {
        if self.predecessor.runs {
            if self.open != 0 { return "somebody still waits for the outcome of an upgrade" }
            if self.predecessor.leaves { return "a predecessor that was told to leave lives on" }
            if self.succeeded > 0 { return "old code runs after a successful upgrade" }
            if self.predecessor.machine.state != .serving { return "a predecessor stays in an upgrade for ever" }
        }
        if self.successor.runs, !self.successorHangsOnItsOwn {
            if self.upgrade.shell == .dead, self.pace == .calm, !self.somebodyIsSilent {
                return "the service was told to stop, and what stood behind a shell runs on"
            }
            if !self.successor.serves { return "a successor waits for ever" }
            if self.upgrade.successorWasStopped { return "a successor that was told to stop lives on" }
            if !self.upgrade.applicationServes { return "an application serves, and its ready() has not returned" }
            if !self.predecessor.lives, self.heir.state != .serving {
                return "a successor in charge cannot be replaced"
            }
        }
        return self.brokenRuleAboutWhoServes
    }

    /// The promise: whatever becomes of the upgrade, somebody serves. So does a predecessor whose successor was killed
    /// before it was the owner; and as success may not be reported of such a successor, failure was.
    private var brokenRuleAboutWhoServes: String? {
        if self.predecessor.process == .absent {
            let mustServe = !self.somethingWentWrong && self.pace == .calm
            return mustServe && !self.successor.serves ? "a first process does not come to serve" : nil
        }
        if self.predecessorStops > 0 || self.upgrade.ownerWasEnded { return nil }
        if self.predecessorWasKilled {
            let mustServe = !self.upgrade.successorIsReleased && self.pace == .calm
            return mustServe && !self.successor.serves
                ? "the predecessor was killed when the successor held everything, and nobody serves" : nil
        }
        // It cannot serve itself, and it was not for the successor to know.
        if self.predecessor.process == .suspended || self.predecessor.hangs && !self.predecessor.work.isEmpty {
            return nil
        }
        return self.predecessor.serves == self.successor.serves
            ? "nobody serves, and nobody was killed or stopped who did" : nil
    }
}

// MARK: - What an action may not do. Each returns the rule that the action breaks

extension World {
    var ruleBrokenByGo: String? {
        if self.predecessor.reads { return "go was said before the readers had paused" }
        if self.upgrade.inventoriesDiffer { return "go was said though the inventories differ" }
        if self.upgrade.successorSpokeOutOfTurn { return "go was said to a successor that spoke out of turn" }
        return nil
    }

    var ruleBrokenByCommit: String? {
        if self.predecessor.owns { return "commit was said before ownership was given up" }
        guard self.successor.isChecking, !self.upgrade.commitWasOrdered else { return nil }
        return "commit was said while the successor's check was running"
    }

    var ruleBrokenByKill: String? {
        guard self.upgrade.committedWasRead, !self.upgrade.successorSpokeOutOfTurn, self.predecessorStops == 0 else {
            return nil
        }
        return "the predecessor kills a successor that has told it that it is the owner"
    }

    var ruleBrokenByLettingGo: String? {
        if self.predecessor.reads { return "the predecessor closed listeners that it reads from" }
        if self.successor.owns || self.upgrade.ownerWasEnded { return nil }
        return "the predecessor let go of listeners that nobody else is in charge of"
    }

    var ruleBrokenByExit: String? {
        guard self.predecessorStops > 0, self.succeeded == 0, self.successor.lives, self.upgrade.shell == .none else {
            return nil
        }
        return "the predecessor gave up waiting for a successor that it had told to end, and left it behind"
    }

    var ruleBrokenBySuccess: String? {
        if self.successor.owns || self.upgrade.ownerWasEnded { return nil }
        return "success was reported of a successor that is not in charge"
    }

    func ruleBrokenByFailure(_ failure: UpgradeError) -> String? {
        if self.predecessorStops == 0 {
            if self.successor.reads { return "a failure was reported while the successor reads" }
            if self.pace == .calm, !self.somebodyIsSilent, !self.predecessor.reads {
                return "a failure was reported before the predecessor reads again"
            }
        }
        switch self.upgrade.outcome {
        case .success: return "an upgrade failed though nothing went wrong: \(failure.code)"
        // After go there is no time to wait for an exit status: the end of the channel may be all that is known.
        case .failureOnly(.successorExited) where self.upgrade.goWasSent && failure.code == .successorClosedChannel:
            return nil
        case .failureOnly(let code) where code != failure.code: return "\(failure.code) was reported for \(code)"
        case .failureOnly, .anything: return nil
        }
    }

    var ruleBrokenByServing: String? {
        if self.upgrade.predecessorSpokeOutOfTurn { return "a successor serves after words out of turn" }
        if self.upgrade.successorWasStopped { return "a successor serves again though it was told to stop" }
        if self.upgrade.applicationWasRefused { return "a successor serves whose ready() has failed" }
        if self.upgrade.goWasSent || self.mayTakeOver { return nil }
        return "a successor reads before go"
    }

    var ruleBrokenByTakingOwnership: String? {
        if self.upgrade.commitWasSent || self.upgrade.successorLostPatience || self.mayTakeOver { return nil }
        return "a successor takes ownership before commit"
    }

    var ruleBrokenByBecomingOwner: String? {
        guard self.successor.knowsEnd, !self.mayTakeOver else { return nil }
        return "a successor is in charge, knows that it can tell nobody, and does not know that it is alone"
    }

    var ruleBrokenBySettling: String? {
        self.successor.owns || self.mayTakeOver ? nil : "shared things are changed by a successor that is not the owner"
    }

    var ruleBrokenByClosingListeners: String? {
        guard self.successor.reads, self.predecessor.lives else { return nil }
        return "a successor closed listeners that it reads from"
    }

    /// By itself bye says that the predecessor reads again.
    var ruleBrokenByBye: String? {
        guard case .stopping = self.predecessor.machine.state, !self.channelEnded, self.successor.lives else {
            return nil
        }
        return self.successor.inbox.last == .abortToStop
            ? nil : "a predecessor that stops lets its successor believe that it reads again"
    }

    var ruleBrokenByTerminating: String? {
        guard case .handedBack = self.successor.machine.phase, !self.channelEnded, self.successor.lives else {
            return nil
        }
        let isAnswered = self.successor.inbox.contains { $0 == .bye || $0 == .abortToStop }
        return isAnswered || self.predecessor.inbox.contains(.abort)
            ? nil : "a successor that has handed back is not told that its predecessor stops"
    }

    /// What it may cut short is what nobody will serve any more.
    func ruleBrokenByLeaving(_ leaving: SuccessorMachine.Leaving) -> String? {
        switch leaving {
        case .stopped where self.upgrade.applicationServes && self.predecessor.lives && self.predecessorStops == 0:
            "a successor ends as after a stop, and the service goes on"
        case .handedBack where self.upgrade.successorKnowsOfStop:
            "a successor ends as after a rollback, and has been told that the service stops"
        default: nil
        }
    }

    /// The successor knows of no living predecessor.
    private var mayTakeOver: Bool { self.successor.knowsDeath || self.predecessor.process == .absent }
}
