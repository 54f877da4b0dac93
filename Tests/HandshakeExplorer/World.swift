// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore

/// When deadlines pass.
package enum Pace: Hashable, Sendable, CaseIterable {
    /// Only when nothing else is left to happen: everybody is quick who can move at all. So more can be asked.
    case calm
    /// At any moment, which covers every lateness. What is left is what holds however slow everybody is.
    case free
}

/// Two processes, a channel between them, and everything that can happen to them: the state that the explorer walks.
struct World: Hashable {
    let pace: Pace
    var predecessor = Side(PredecessorMachine(), .running)
    var successor = Side(SuccessorMachine(hasPredecessor: true), .absent)
    /// The successor's other machine, by which it may itself be replaced once it is in charge.
    var heir = PredecessorMachine()
    var channelEnded = false
    var isSpawning = false

    // What the outside did, which decides what may be expected.
    var faultsLeft: Int
    var upgradesLeft = 2
    var somethingWentWrong = false
    /// Somebody hangs, was suspended or has closed the channel. Only then does anybody have to wait for a deadline.
    var somebodyIsSilent = false
    var predecessorWasKilled = false
    var predecessorStops = 0
    var upgrade: Upgrade

    // What was told to whoever asked.
    var open = 0
    var succeeded = 0

    /// What the machines were told in the last move, for the explorer to collect: no part of the world's state.
    var told: [Told] = []

    /// A process that serves, alone.
    init(pace: Pace, faults: Int) {
        self.pace = pace
        self.faultsLeft = faults
        self.upgrade = Upgrade(pace == .calm ? .success : .anything)
        _ = self.predecessor.machine.handle(.becameOwner(predecessorLives: false))
        (self.predecessor.reads, self.predecessor.owns, self.predecessor.holds) = (true, true, true)
    }

    /// A process that starts without a predecessor.
    static func firstProcess(pace: Pace, faults: Int) -> World {
        var world = World(pace: pace, faults: faults)
        world.predecessor = Side(PredecessorMachine(), .absent)
        world.successor = Side(SuccessorMachine(hasPredecessor: false), .running)
        world.successor.holds = true
        return world
    }
}

/// One of the two processes: its machine, and what is true of the process that the machine speaks for.
struct Side<Machine: Hashable>: Hashable {
    enum Process: Hashable {
        case absent
        case running
        case suspended
        /// Sent SIGKILL. For an instant it may still be reading.
        case dying
        /// Sent SIGKILL too, and the kernel does not let go of it: its death is never reported.
        case held
        case dead
    }

    var machine: Machine
    var process: Process
    var inbox: [Message] = []
    var knowsEnd = false
    var knowsDeath = false

    // Facts about the application.
    var reads = false
    var owns = false
    var holds = false
    var work: [Work] = []
    var leaves = false
    var isExporting = false
    var isChecking = false
    /// An application that hangs does nothing more. Its engine, which has a thread of its own, goes on.
    var hangs = false
    /// SIGTERM was sent while it was suspended.
    var hasStopPending = false

    init(_ machine: Machine, _ process: Process) {
        self.machine = machine
        self.process = process
    }

    var runs: Bool { self.process == .running }
    var lives: Bool { self.process == .running || self.process == .suspended }
    var serves: Bool { self.lives && self.reads && self.owns }
    var isFlooded: Bool { self.inbox.count > 8 || self.work.count > 8 }
    var works: Bool { !self.work.isEmpty && !self.hangs }
}

enum Message: Hashable {
    case hello
    /// As much of the inventory as may be on its way at once. The engine sends the rest when it is acknowledged.
    case part
    case partAcknowledged
    /// The rest.
    case inventory
    case acknowledged
    case ready
    case go
    case commit
    case committed
    case abort
    /// An abort that says that the service ends.
    case abortToStop
    case bye
}

/// What the application does when the engine asks, in the order asked. It takes its time.
enum Work: Hashable {
    case pause
    case resume
    case giveUp
    case takeBack
    case take

    /// Whether `later` makes this work's result meaningless.
    func isOvertaken(by later: Work) -> Bool {
        switch self {
        case .pause, .resume: later == .pause || later == .resume
        case .giveUp, .takeBack: later == .giveUp || later == .takeBack
        case .take: false
        }
    }
}

/// What is true of one upgrade, and forgotten with the next.
struct Upgrade: Hashable {
    /// What whoever asked for it must be told in the end.
    enum Outcome: Hashable {
        case success
        /// If it fails, then for this reason.
        case failureOnly(UpgradeError.Code)
        case anything
    }

    /// What the predecessor has started, where that is not the successor itself. It knows of no other process before it
    /// has read hello, and kills none.
    enum Shell: Hashable {
        case none
        case stands
        case dead
    }

    var outcome: Outcome
    var shell = Shell.none
    /// It was killed or stopped when it was the owner.
    var ownerWasEnded = false
    /// Nothing can be expected of the successor any more: it was told to leave, or something befell it.
    var successorIsReleased = false

    var goWasSent = false

    // These matter only as long as the successor lives.
    var isChecked = false
    var inventoriesDiffer = false
    var commitWasOrdered = false
    var commitWasSent = false
    var committedWasRead = false
    /// The predecessor knows that the channel has ended, or has read garbage from it.
    var predecessorIsWarned = false
    var predecessorSpokeOutOfTurn = false
    var successorSpokeOutOfTurn = false
    /// It has waited for its commit as long as it is to wait.
    var successorLostPatience = false
    /// By SIGTERM or SIGKILL.
    var successorWasToldToEnd = false
    var successorWasStopped = false
    /// It has been told, when it had handed back, that nobody takes the service.
    var successorKnowsOfStop = false
    /// Its call of `ready()` has returned.
    var applicationServes = false
    /// It has thrown.
    var applicationWasRefused = false

    init(_ outcome: Outcome) { self.outcome = outcome }

    /// The same upgrade, with nothing known of a successor that is no more.
    var afterItsEnd: Upgrade {
        var upgrade = Upgrade(self.outcome)
        upgrade.ownerWasEnded = self.ownerWasEnded
        upgrade.successorIsReleased = self.successorIsReleased
        upgrade.goWasSent = self.goWasSent
        return upgrade
    }
}
