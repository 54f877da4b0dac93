// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore

// MARK: - Telling the machines

extension World {
    mutating func tellPredecessor(_ event: PredecessorMachine.Event) -> String? {
        self.told.append(.predecessor(self.predecessor.machine.state, event))
        for action in self.predecessor.machine.handle(event) {
            guard self.predecessor.runs else { break }
            if let broken = self.perform(action) { return broken }
        }
        return nil
    }

    mutating func tellSuccessor(_ event: SuccessorMachine.Event) -> String? {
        self.told.append(.successor(self.successor.machine.phase, event))
        for action in self.successor.machine.handle(event) {
            guard self.successor.runs else { break }
            if let broken = self.perform(action) { return broken }
        }
        return nil
    }

    mutating func tellHeir(_ event: PredecessorMachine.Event) -> String? {
        self.told.append(.predecessor(self.heir.state, event))
        for action in self.heir.handle(event) {
            guard self.successor.runs else { break }
            switch action {
            case .endService: (self.successor.holds, self.successor.reads, self.successor.owns) = (false, false, false)
            case .leave: self.successor.leaves = true
            case .exitNow: self.endSuccessor()
            default: return "a successor that has none of its own did \(action)"
            }
        }
        return nil
    }

    mutating func deliverToPredecessor(_ message: Message) -> String? {
        switch message {
        case .hello:
            self.upgrade.shell = .none  // it makes no difference any more
            return self.tellPredecessor(.greeted)
        case .partAcknowledged:
            self.send(toSuccessor: .inventory)
            return nil
        case .acknowledged: return self.tellPredecessor(.inventoryAcknowledged)
        case .commit: return self.tellPredecessor(.checkPassed)
        case .committed:
            self.upgrade.committedWasRead = true
            return self.tellPredecessor(.reportedCommitted)
        case .abort: return self.tellPredecessor(.aborted(UpgradeError(.successorAborted, "explored")))
        case .ready, .part, .inventory, .go, .abortToStop, .bye: return "the successor sent \(message)"
        }
    }

    mutating func deliverToSuccessor(_ message: Message) -> String? {
        switch message {
        case .hello: return self.tellSuccessor(.greeted)
        // Its engine has let go of all.
        case .part where self.successor.machine.phase == .finished: return nil
        case .inventory where self.successor.machine.phase == .finished: return nil
        case .part:
            self.send(toPredecessor: .partAcknowledged)
            return nil
        case .inventory:
            self.successor.holds = true
            self.send(toPredecessor: .acknowledged)
            return self.tellSuccessor(.inventoryComplete)
        case .go: return self.tellSuccessor(.went)
        case .commit: return self.tellSuccessor(.commitReceived)
        case .abort: return self.tellSuccessor(.abortReceived(UpgradeError(.predecessorAborted, "explored")))
        case .abortToStop:
            if case .handedBack = self.successor.machine.phase { self.upgrade.successorKnowsOfStop = true }
            return self.tellSuccessor(.abortReceived(.stopped))
        case .bye: return self.tellSuccessor(.byeReceived)
        case .partAcknowledged, .acknowledged, .ready, .committed: return "the predecessor sent \(message)"
        }
    }

    /// A stop is for the machine that is in charge of the process.
    mutating func stopSuccessor() -> String? {
        guard self.successor.runs else {
            self.successor.hasStopPending = true
            return nil
        }
        let mustExit = self.upgrade.successorWasStopped && self.successor.leaves
        self.successor.hasStopPending = false
        self.upgrade.successorWasStopped = true
        let isInCharge = self.successor.machine.phase == .owner
        if isInCharge { self.upgrade.ownerWasEnded = true }
        if let broken = isInCharge ? self.tellHeir(.stopRequested) : self.tellSuccessor(.stopRequested) {
            return broken
        }
        return mustExit && self.successor.runs ? "a second stop did not mean now" : nil
    }

    private mutating func send(toSuccessor message: Message) {
        if !self.channelEnded, self.successor.lives { self.successor.inbox.append(message) }
    }

    private mutating func send(toPredecessor message: Message) {
        if !self.channelEnded { self.predecessor.inbox.append(message) }
    }
}

// MARK: - Doing what they say. Returns the rule that is broken by it, if any

extension World {
    private mutating func perform(_ action: PredecessorMachine.Action) -> String? {
        switch action {
        case .refuse: self.open -= 1
        case .spawn:
            guard !self.successor.lives, !self.isSpawning else { return "two successors at once" }
            self.beginSpawn()
        case .sendHello: self.send(toSuccessor: .hello)
        // What stands behind a shell finds all of it at once: so it may hold it before it is known.
        case .offerInventory: self.send(toSuccessor: self.upgrade.shell == .none ? .part : .inventory)
        case .pauseReaders: self.predecessor.work.append(.pause)
        case .resumeReaders: self.predecessor.work.append(.resume)
        case .sendGo:
            if let broken = self.ruleBrokenByGo { return broken }
            self.upgrade.goWasSent = true
            self.send(toSuccessor: .go)
        case .giveUpOwnership: self.predecessor.work.append(.giveUp)
        case .takeBackOwnership: self.predecessor.work.append(.takeBack)
        case .sendCommit:
            if let broken = self.ruleBrokenByCommit { return broken }
            self.upgrade.commitWasSent = true
            self.send(toSuccessor: .commit)
        case .sendAbort(let failure): self.dismiss(with: failure.code == .stopping ? .abortToStop : .abort)
        case .sendBye:
            if let broken = self.ruleBrokenByBye { return broken }
            self.dismiss(with: .bye)
        case .terminateSuccessor:
            self.upgrade.successorWasToldToEnd = true
            self.releaseSuccessor()
            if let broken = self.ruleBrokenByTerminating { return broken }
            if self.successor.lives { return self.stopSuccessor() }
        case .killSuccessor:
            if let broken = self.ruleBrokenByKill { return broken }
            self.releaseSuccessor()
            // Of a service that goes on the shell's death is what counts: what stood behind it is nobody's successor.
            if self.upgrade.shell == .stands, self.predecessorStops > 0 {
                self.upgrade.shell = .dead
            } else if self.successor.lives {
                self.strikeSuccessor(.dying)
            }
        case .closeChannel: (self.channelEnded, self.predecessor.knowsEnd, self.predecessor.inbox) = (true, true, [])
        case .exportConnections: self.predecessor.isExporting = true
        case .closeListeners:
            if let broken = self.ruleBrokenByLettingGo { return broken }
            (self.predecessor.holds, self.predecessor.reads) = (false, false)
        case .endService:
            (self.predecessor.holds, self.predecessor.reads, self.predecessor.owns) = (false, false, false)
        case .reportSuccess:
            (self.open, self.succeeded) = (self.open - 1, self.succeeded + 1)
            return self.ruleBrokenBySuccess
        case .reportFailure(let failure):
            self.open -= 1
            return self.ruleBrokenByFailure(failure)
        case .leave: self.predecessor.leaves = true
        case .exitNow:
            if let broken = self.ruleBrokenByExit { return broken }
            self.endPredecessor()
        }
        return nil
    }

    /// Of those who may be late nothing is expected anyhow.
    mutating func releaseSuccessor() {
        if self.pace == .calm { self.upgrade.successorIsReleased = true }
    }

    private mutating func dismiss(with message: Message) {
        self.releaseSuccessor()
        self.send(toSuccessor: message)
    }

    private mutating func perform(_ action: SuccessorMachine.Action) -> String? {
        switch action {
        case .sendHello: self.send(toPredecessor: .hello)
        case .sendReady: self.send(toPredecessor: .ready)
        case .becomeOwner:
            self.successor.owns = true  // alone, also with a PID file that could not be written
            return self.ruleBrokenByBecomingOwner
                ?? self.tellHeir(.becameOwner(predecessorLives: self.successor.machine.link != .none))
        case .noteDeparture: return self.tellHeir(.predecessorLeft)
        case .reportServing: self.upgrade.applicationServes = true
        case .settle: return self.ruleBrokenBySettling
        case .reportFailure:
            if !self.upgrade.applicationServes { self.upgrade.applicationWasRefused = true }
        case .closeUnclaimed: break
        case .closeChannel: (self.channelEnded, self.successor.knowsEnd, self.successor.inbox) = (true, true, [])
        case .resumeReaders:
            self.successor.work.append(.resume)
            return self.ruleBrokenByServing
        case .pauseReaders: self.successor.work.append(.pause)
        case .startCheck: self.successor.isChecking = self.upgrade.isChecked
        case .sendCommit: self.send(toPredecessor: .commit)
        case .takeOwnership:
            self.successor.work.append(.take)
            return self.ruleBrokenByTakingOwnership
        case .sendCommitted: self.send(toPredecessor: .committed)
        case .sendAbort: self.send(toPredecessor: .abort)
        case .closeListeners:
            if let broken = self.ruleBrokenByClosingListeners { return broken }
            (self.successor.holds, self.successor.reads) = (false, false)
        case .leave(let leaving):
            self.successor.leaves = true
            return self.ruleBrokenByLeaving(leaving)
        case .forwardStop: return self.stopSuccessor()
        case .exitNow: self.endSuccessor()
        }
        return nil
    }
}

// MARK: - The applications' work

extension World {
    /// The application works in order; of the results the engine passes on only the one it asked for last.
    mutating func finishPredecessorWork(failing: Bool) -> String? {
        let work = self.predecessor.work.removeFirst()
        switch work {
        case .pause: if !failing { self.predecessor.reads = false }
        case .resume: self.predecessor.reads = self.predecessor.holds
        case .giveUp: if !failing { self.predecessor.owns = false }
        case .takeBack: self.predecessor.owns = self.predecessor.holds
        case .take: return "the predecessor was told to take what it had"
        }
        if self.predecessor.work.contains(where: work.isOvertaken(by:)) { return nil }
        switch work {
        case .pause where failing: return self.tellPredecessor(.readersFailedToPause(UpgradeError(.pauseFailed, "")))
        case .pause: return self.tellPredecessor(.readersPaused)
        case .resume: return self.tellPredecessor(.readersResumed)
        case .giveUp where failing: return self.tellPredecessor(.ownershipKept(UpgradeError(.ownershipFailed, "")))
        case .giveUp: return self.tellPredecessor(.ownershipGivenUp)
        case .takeBack, .take: return nil
        }
    }

    mutating func finishSuccessorWork(failing: Bool) -> String? {
        let work = self.successor.work.removeFirst()
        switch work {
        case .pause: if !failing { self.successor.reads = false }
        // Some readers may have started, also when not all did.
        case .resume: self.successor.reads = self.successor.holds
        case .take: if !failing { self.successor.owns = true }
        case .giveUp, .takeBack: return "the successor was told to give up what it never had"
        }
        if self.successor.work.contains(where: work.isOvertaken(by:)) { return nil }
        switch work {
        case .pause: return self.tellSuccessor(failing ? .readersFailedToPause : .readersPaused)
        case .resume where failing: return self.tellSuccessor(.readersFailedToResume(UpgradeError(.resumeFailed, "")))
        case .resume: return self.tellSuccessor(.readersResumed)
        case .take where failing: return self.tellSuccessor(.ownershipFailed(UpgradeError(.ownershipFailed, "")))
        case .take: return self.tellSuccessor(.ownershipTaken)
        case .giveUp, .takeBack: return nil
        }
    }
}

// MARK: - Beginning and ending

extension World {
    /// Makes room for a successor: nothing is reported any more of an earlier one that would not die.
    mutating func beginSpawn() {
        self.isSpawning = true
        self.upgradesLeft -= 1
        (self.predecessor.knowsEnd, self.predecessor.knowsDeath, self.predecessor.inbox) = (true, true, [])
        self.upgrade = Upgrade(self.pace == .calm && !self.somebodyIsSilent ? .success : .anything)
    }

    mutating func beginSuccessor() {
        (self.isSpawning, self.channelEnded) = (false, false)
        (self.predecessor.knowsEnd, self.predecessor.knowsDeath) = (false, false)
        self.successor = Side(SuccessorMachine(hasPredecessor: true), .running)
        self.heir = PredecessorMachine()
    }

    // What a dead process knew is forgotten, so that worlds that differ in nothing else are one.

    mutating func endPredecessor() {
        self.predecessor = Side(PredecessorMachine(), .dead)
        (self.isSpawning, self.channelEnded, self.upgradesLeft) = (false, true, 0)
    }

    mutating func endSuccessor() {
        self.strikeSuccessor(.dead)
        (self.successor.reads, self.successor.owns) = (false, false)
        self.channelEnded = true
    }

    /// SIGKILL. It does nothing more, but for an instant it may still be reading.
    mutating func strikeSuccessor(_ process: Side<SuccessorMachine>.Process) {
        var struck = Side(SuccessorMachine(hasPredecessor: true), process)
        (struck.reads, struck.owns) = (self.successor.reads, self.successor.owns)
        self.successor = struck
        self.heir = PredecessorMachine()
        self.upgrade = self.upgrade.afterItsEnd
    }
}
