// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if !SINGLE_MODULE
import TableflipCore
#endif

/// When deadlines pass.
package enum Pace: Hashable, Sendable, CaseIterable {
    /// At any moment, which covers every lateness. What is left is what holds however slow everybody is.
    case free
    /// Only when nothing else is left to happen: everybody is quick who can move at all. So more can be asked.
    case calm
}

/// Two processes, a channel between them, and everything that can happen to them: the state that the explorer walks.
struct World: Hashable {
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
    enum Message: Hashable {
        case hello
        case inventory
        case acknowledged
        case ready
        case go
        case commit
        case committed
        case abort
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

    let pace: Pace

    // The machines, and what is true of the processes they speak for.
    var predecessor = PredecessorMachine()
    var successor = SuccessorMachine(hasPredecessor: true)
    /// The successor's other machine, by which it may itself be replaced once it is in charge.
    var heir = PredecessorMachine()
    var predecessor.process = Process.running
    var successor.process = Process.absent
    var successorIsBeingSpawned = false

    // Shared things.
    var toSuccessor: [Message] = []
    var toPredecessor: [Message] = []
    var channelEnded = false
    var predecessor.knowsEnd = false
    var successor.knowsEnd = false
    var predecessor.knowsDeath = false
    var successor.knowsDeath = false

    // Facts about the applications.
    var predecessor.reads = true
    var successor.reads = false
    var predecessor.owns = true
    var successor.owns = false
    var predecessor.holds = true
    var successor.holds = false
    var predecessor.work: [Work] = []
    var successor.work: [Work] = []
    var predecessor.leaves = false
    var successor.leaves = false
    var predecessorExports = false
    var successorIsChecking = false
    /// An application that hangs does nothing more. Its engine, which has a thread of its own, goes on.
    var predecessor.hangs = false
    var successor.hangs = false
    /// SIGTERM was sent while it was suspended.
    var successorHasStopPending = false

    // What the outside did, which decides what may be expected.
    var faultsLeft: Int
    var faultsMade = 0
    var requestsLeft = 2
    var predecessorStops = 0
    var predecessorWasKilled = false
    /// Somebody hangs, was suspended or has closed the channel. Only then does anybody have to wait for a deadline.
    var somebodyIsSilent = false
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
        _ = self.predecessor.machine.handle(.becameOwner(predecessor.lives: false))
    }

    /// A process that starts without a predecessor.
    static func firstProcess(pace: Pace, faults: Int) -> World {
        var world = World(pace: pace, faults: faults)
        world.predecessor.process = .absent
        (world.predecessor.reads, world.predecessor.owns, world.predecessor.holds) = (false, false, false)
        world.successor = SuccessorMachine(hasPredecessor: false)
        world.successor.process = .running
        world.successor.holds = true
        return world
    }

    var predecessor.runs: Bool { self.predecessor.process == .running }
    var successor.runs: Bool { self.successor.process == .running }
    var predecessor.lives: Bool { self.predecessor.process == .running || self.predecessor.process == .suspended }
    var successor.lives: Bool { self.successor.process == .running || self.successor.process == .suspended }
    var predecessor.serves: Bool { self.predecessor.lives && self.predecessor.reads && self.predecessor.owns }
    var successor.serves: Bool { self.successor.lives && self.successor.reads && self.successor.owns }
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

    var outcome: Outcome
    /// The probation that the successor said it has.
    var probation = Probation.none
    var inventoriesDiffer = false
    var goWasSent = false
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
    /// Nothing can be expected of it any more: it was told to leave, or something befell it.
    var successorIsReleased = false
    /// It was killed or stopped when it was the owner.
    var ownerWasEnded = false
    /// Its call of `ready()` has returned.
    var applicationServes = false

    init(_ outcome: Outcome) { self.outcome = outcome }
}
