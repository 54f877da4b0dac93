// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore

// MARK: - What can happen next

extension World {
    var moves: [Move] {
        let own = self.ownMoves
        let late = self.pace == .calm && !own.isEmpty ? [] : self.lateMoves
        return own + late + self.outsideMoves + (self.faultsLeft > 0 ? self.faults : [])
    }

    /// What the two processes do by themselves.
    var ownMoves: [Move] {
        var moves: [Move] = []
        func add(_ move: Move, _ condition: Bool) { if condition { moves.append(move) } }

        if self.predecessor.runs {
            if self.predecessor.inbox.first == .ready {
                moves += Probation.allCases.map { .deliverReady(agreed: true, $0) }
            }
            add(.deliverToPredecessor, !self.predecessor.inbox.isEmpty && self.predecessor.inbox.first != .ready)
            add(.spawned, self.isSpawning)
            // The end of a channel is read after everything that was sent before it, and a death is told after that.
            let hasRead = self.predecessor.inbox.isEmpty
            add(.tellPredecessorOfEnd, hasRead && self.channelEnded && !self.predecessor.knowsEnd)
            let seemsDead = self.successor.process == .dead || self.upgrade.shell == .dead
            add(.tellPredecessorOfDeath, hasRead && seemsDead && !self.predecessor.knowsDeath)
            add(.predecessorWorkDone, self.predecessor.works)
            add(.exported, self.predecessor.isExporting && !self.predecessor.hangs)
            add(.predecessorReturns, self.predecessor.leaves && !self.predecessor.hangs)
        }
        if self.successor.runs {
            add(.deliverToSuccessor, !self.successor.inbox.isEmpty)
            let hasRead = self.successor.inbox.isEmpty
            add(.tellSuccessorOfEnd, hasRead && self.channelEnded && !self.successor.knowsEnd)
            add(.tellSuccessorOfDeath, hasRead && self.predecessor.process == .dead && !self.successor.knowsDeath)
            add(.successorWorkDone, self.successor.works)
            add(.successorReady, self.successor.machine.phase == .initialising && !self.successor.hangs)
            add(.checkPasses, self.successor.isChecking && !self.successor.hangs)
            let returns = self.successor.leaves || self.successor.machine.phase == .finished
            add(.successorReturns, returns && !self.successor.hangs)
        }
        add(.successorDies, self.successor.process == .dying)
        return moves
    }

    var lateMoves: [Move] {
        var moves: [Move] = []
        if self.predecessor.runs, self.predecessor.machine.deadline != nil { moves.append(.predecessorDeadline) }
        if self.successor.runs, self.successor.machine.deadline != nil || self.heir.deadline != nil {
            moves.append(.successorDeadline)
        }
        return moves
    }

    private var outsideMoves: [Move] {
        var moves: [Move] = []
        if self.predecessor.runs, self.upgradesLeft > 0 || self.predecessor.machine.state != .serving {
            moves.append(.request)
        }
        if self.successor.runs { moves.append(.requestOfSuccessor) }
        if self.predecessor.process == .suspended { moves.append(.continuePredecessor) }
        if self.successor.process == .suspended { moves.append(.continueSuccessor) }
        return moves
    }

    private var faults: [Move] {
        var moves: [Move] = []
        func add(_ move: Move, _ condition: Bool) { if condition { moves.append(move) } }
        let isOpen = self.predecessor.lives && self.successor.lives && !self.channelEnded

        if self.predecessor.runs {
            let work = self.predecessor.hangs ? nil : self.predecessor.work.first
            add(.deliverReady(agreed: false, .none), self.predecessor.inbox.first == .ready)
            add(.spawnFails, self.isSpawning)
            add(.spawnedBehindShell, self.isSpawning)
            // Once it leaves, ownership ends with it, whether it can be given up or not.
            add(.predecessorWorkFails, work == .pause || work == .giveUp && !self.predecessor.leaves)
            add(.predecessorHangs, self.successor.process != .absent && !self.predecessor.hangs)
            add(.stopPredecessor, true)
            add(.suspendPredecessor, self.successor.lives)
            add(.hangUpByPredecessor, isOpen)
            add(.garbageToPredecessor, isOpen)
            add(.orderCommit, self.successor.lives)
            add(.orderRollback, self.successor.lives)
        }
        if self.successor.runs {
            add(.successorWorkFails, self.successor.works)
            add(.successorInitialisationFails, self.successor.machine.phase == .initialising && !self.successor.hangs)
            add(.checkFails, self.successorMayGiveBack && !self.successor.hangs)
            add(.successorHangs, !self.successor.hangs)
            add(.stopSuccessor, true)
            add(.suspendSuccessor, true)
            add(.hangUpBySuccessor, isOpen)
            add(.garbageToSuccessor, isOpen)
        }
        add(.killPredecessor, self.predecessor.lives && self.successor.process != .absent)
        add(.killSuccessor, self.successor.lives)
        add(.holdSuccessor, self.successor.process == .dying)
        if isOpen { moves += self.wordsOutOfTurn }
        return moves
    }

    /// Because its check fails, or because the application says so.
    private var successorMayGiveBack: Bool {
        switch self.successor.machine.phase {
        case .starting, .probation: true
        default: self.successor.isChecking
        }
    }

    /// Words that neither may say yet, before go. Afterwards a liar can do harm that nobody can prevent.
    private var wordsOutOfTurn: [Move] {
        var moves: [Move] = []
        if self.predecessor.runs, let expected = self.wordExpectedByPredecessor {
            let words: [Message] = [.hello, .acknowledged, .ready, .commit, .committed]
            moves += words.filter { $0 != expected }.map { .untimelyToPredecessor($0) }
        }
        if self.successor.runs, let expected = self.wordExpectedBySuccessor {
            let words: [Message] = [.hello, .inventory, .go, .commit, .bye]
            moves += words.filter { $0 != expected }.map { .untimelyToSuccessor($0) }
        }
        return moves
    }

    private var wordExpectedByPredecessor: Message? {
        switch self.predecessor.machine.state {
        case .greeting: .hello
        case .offering: .acknowledged
        case .awaitingReady: .ready
        case .pausing: .abort
        default: nil
        }
    }

    private var wordExpectedBySuccessor: Message? {
        switch self.successor.machine.phase {
        case .greeting: .hello
        case .receiving: .inventory
        case .initialising: .abort
        case .awaitingGo: .go
        default: nil
        }
    }
}

// MARK: - Making it happen

extension World {
    /// Makes one move. Returns the rule that it broke, if any.
    mutating func make(_ move: Move) -> String? {
        if move.kind == .fault { self.note(move) }
        switch move {
        case .spawned:
            self.beginSuccessor()
            return self.tellPredecessor(.spawned)
        case .spawnedBehindShell:
            self.beginSuccessor()
            self.upgrade.shell = .stands
            return self.tellPredecessor(.spawned)
        case .spawnFails:
            self.isSpawning = false
            return self.tellPredecessor(.spawnFailed(UpgradeError(.spawnFailed, "explored")))
        case .deliverReady(let agreed, let probation):
            self.predecessor.inbox.removeFirst()
            self.upgrade.inventoriesDiffer = !agreed
            self.upgrade.isChecked = probation == .checked
            return self.tellPredecessor(.reportedReady(agreed: agreed, probation))
        case .deliverToPredecessor: return self.deliverToPredecessor(self.predecessor.inbox.removeFirst())
        case .deliverToSuccessor: return self.deliverToSuccessor(self.successor.inbox.removeFirst())
        case .untimelyToPredecessor(.ready): return self.tellPredecessor(.reportedReady(agreed: true, .none))
        case .untimelyToPredecessor(let message): return self.deliverToPredecessor(message)
        case .untimelyToSuccessor(.inventory): return self.tellSuccessor(.inventoryComplete)
        case .untimelyToSuccessor(let message): return self.deliverToSuccessor(message)
        case .garbageToPredecessor:
            return self.tellPredecessor(.violated(UpgradeError(.successorMisbehaved, "explored")))
        case .garbageToSuccessor: return self.tellSuccessor(.violated(UpgradeError(.predecessorMisbehaved, "explored")))
        case .tellPredecessorOfEnd:
            (self.predecessor.knowsEnd, self.upgrade.predecessorIsWarned) = (true, true)
            return self.tellPredecessor(.channelEnded)
        case .tellSuccessorOfEnd:
            self.successor.knowsEnd = true
            return self.tellSuccessor(.channelEnded)
        case .tellPredecessorOfDeath:
            self.predecessor.knowsDeath = true
            return self.tellPredecessor(.successorDied(UpgradeError(.successorExited, "explored")))
        case .tellSuccessorOfDeath:
            self.successor.knowsDeath = true
            return self.tellSuccessor(.predecessorDied)
        case .predecessorWorkDone: return self.finishPredecessorWork(failing: false)
        case .predecessorWorkFails: return self.finishPredecessorWork(failing: true)
        case .successorWorkDone: return self.finishSuccessorWork(failing: false)
        case .successorWorkFails: return self.finishSuccessorWork(failing: true)
        case .predecessorDeadline: return self.passPredecessorDeadline()
        case .successorDeadline: return self.passSuccessorDeadline()
        case .request:
            self.open += 1
            return self.tellPredecessor(.upgradeRequested)
        case .requestOfSuccessor: return self.requestOfSuccessor()
        case .successorReady: return self.tellSuccessor(.readied)
        case .successorInitialisationFails:
            return self.tellSuccessor(.initialisationFailed(UpgradeError(.system, "explored")))
        case .checkPasses:
            self.successor.isChecking = false
            return self.tellSuccessor(.checkPassed)
        case .checkFails:
            self.successor.isChecking = false
            return self.tellSuccessor(.checkFailed(UpgradeError(.probationFailed, "explored")))
        case .exported:
            self.predecessor.isExporting = false
            return self.tellPredecessor(.exported)
        case .stopPredecessor:
            self.predecessorStops += 1
            return self.tellPredecessor(.stopRequested)
        case .stopSuccessor: return self.stopSuccessor()
        case .orderCommit: return self.tellPredecessor(.commitOrdered)
        case .orderRollback: return self.tellPredecessor(.rollbackOrdered(UpgradeError(.rolledBack, "explored")))
        default: return self.befall(move)
        }
    }

    /// What happens to the processes themselves.
    private mutating func befall(_ move: Move) -> String? {
        switch move {
        case .predecessorReturns: self.endPredecessor()
        case .successorReturns, .successorDies: self.endSuccessor()
        case .killPredecessor:
            self.predecessorWasKilled = true
            if !self.successor.holds { self.releaseSuccessor() }
            self.endPredecessor()
        case .killSuccessor:
            if self.successor.owns { self.upgrade.ownerWasEnded = true }
            self.endSuccessor()
        case .holdSuccessor: self.successor.process = .held
        case .suspendPredecessor: self.predecessor.process = .suspended
        case .suspendSuccessor: self.successor.process = .suspended
        case .continuePredecessor: self.predecessor.process = .running
        case .continueSuccessor:
            self.successor.process = .running
            if self.successor.hasStopPending { return self.stopSuccessor() }
        case .predecessorHangs: self.predecessor.hangs = true
        case .successorHangs: self.successor.hangs = true
        case .hangUpByPredecessor: (self.channelEnded, self.predecessor.inbox) = (true, [])
        case .hangUpBySuccessor: (self.channelEnded, self.successor.inbox) = (true, [])
        default: return "nobody knows how to make the move \(move)"
        }
        return nil
    }

    /// What may still be expected after this fault.
    private mutating func note(_ fault: Move) {
        self.faultsLeft -= 1
        switch fault {
        case .untimelyToPredecessor: self.upgrade.successorSpokeOutOfTurn = true
        case .untimelyToSuccessor: self.upgrade.predecessorSpokeOutOfTurn = true
        case .garbageToPredecessor: self.upgrade.predecessorIsWarned = true
        case .orderCommit: self.upgrade.commitWasOrdered = true
        default: break
        }
        // Of those who may be late nothing of the following is expected.
        guard self.pace == .calm else { return }
        self.somethingWentWrong = true
        if fault.isSilence { self.somebodyIsSilent = true }
        if !fault.leavesSuccessorFit, !self.isNothingToAStandIn(fault) { self.releaseSuccessor() }
        if self.somebodyIsSilent || self.upgrade.outcome != .success {
            self.upgrade.outcome = .anything
        } else if fault == .predecessorWorkFails, self.predecessor.work.first == .giveUp {
            self.upgrade.outcome = .failureOnly(.ownershipFailed)
        } else if let reason = fault.reason {
            self.upgrade.outcome = .failureOnly(reason)
        }
    }

    /// A PID file that cannot be written is worth less than the service, and who is alone need not pause: a successor
    /// serves nevertheless.
    private func isNothingToAStandIn(_ fault: Move) -> Bool {
        switch self.successor.work.first {
        case .take: fault == .successorWorkFails || fault == .successorHangs
        case .pause: fault == .successorWorkFails && self.successor.knowsDeath
        default: false
        }
    }

    private mutating func passPredecessorDeadline() -> String? {
        // A kernel that has had this long runs no more code of a killed process, even where it cannot end it.
        if self.predecessor.machine.deadline == .kill { (self.successor.reads, self.successor.owns) = (false, false) }
        let before = self.predecessor.machine
        let broken = self.tellPredecessor(.deadlinePassed)
        if self.predecessor.lives, self.predecessor.machine == before {
            return "a deadline passed, and nothing came of it"
        }
        return broken
    }

    private mutating func passSuccessorDeadline() -> String? {
        guard let deadline = self.successor.machine.deadline else { return self.tellHeir(.deadlinePassed) }
        if deadline == .commit { self.upgrade.successorLostPatience = true }
        let before = self.successor.machine
        let broken = self.tellSuccessor(.deadlinePassed)
        if self.successor.lives, self.successor.machine == before { return "a deadline passed, and nothing came of it" }
        return broken
    }

    /// Another upgrade is asked of the successor. What it would start is beyond this world.
    private mutating func requestOfSuccessor() -> String? {
        self.told.append(.predecessor(self.heir.state, .upgradeRequested))
        var heir = self.heir
        guard heir.handle(.upgradeRequested) == [.spawn] else { return nil }
        return self.predecessor.lives ? "three processes at once" : nil
    }
}
