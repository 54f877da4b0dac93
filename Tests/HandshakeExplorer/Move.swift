// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore

/// One thing that happens to a world.
enum Move: Hashable {
    // What the two processes do by themselves.
    case spawned
    case deliverToSuccessor
    case deliverReady(agreed: Bool, Probation)
    case deliverToPredecessor
    case tellPredecessorOfEnd
    case tellSuccessorOfEnd
    case tellPredecessorOfDeath
    case tellSuccessorOfDeath
    case predecessorWorkDone
    case successorWorkDone
    case successorReady
    case checkPasses
    case exported
    case predecessorReturns
    case successorReturns
    case successorDies
    // Deadlines.
    case predecessorDeadline
    case successorDeadline
    // What may happen or not: nobody may rely on it.
    case request
    case requestOfSuccessor
    case continuePredecessor
    case continueSuccessor
    // Faults, and what the operator does.
    case spawnFails
    case spawnedBehindShell
    case predecessorWorkFails
    case successorWorkFails
    case successorInitialisationFails
    case checkFails
    case killPredecessor
    case killSuccessor
    case holdSuccessor
    case suspendPredecessor
    case suspendSuccessor
    case predecessorHangs
    case successorHangs
    case hangUpByPredecessor
    case hangUpBySuccessor
    case garbageToPredecessor
    case garbageToSuccessor
    case untimelyToPredecessor(Message)
    case untimelyToSuccessor(Message)
    case stopPredecessor
    case stopSuccessor
    case orderCommit
    case orderRollback
}

extension Move {
    enum Kind: Hashable {
        case own
        case late
        case outside
        case fault
    }

    var kind: Kind {
        switch self {
        case .spawned, .deliverToSuccessor, .deliverReady(agreed: true, _), .deliverToPredecessor,
            .tellPredecessorOfEnd, .tellSuccessorOfEnd, .tellPredecessorOfDeath, .tellSuccessorOfDeath,
            .predecessorWorkDone, .successorWorkDone, .successorReady, .checkPasses, .exported, .predecessorReturns,
            .successorReturns, .successorDies:
            .own
        case .predecessorDeadline, .successorDeadline: .late
        case .request, .requestOfSuccessor, .continuePredecessor, .continueSuccessor: .outside
        case .spawnFails, .spawnedBehindShell, .deliverReady(agreed: false, _), .predecessorWorkFails,
            .successorWorkFails, .successorInitialisationFails, .checkFails, .killPredecessor, .killSuccessor,
            .holdSuccessor, .suspendPredecessor, .suspendSuccessor, .predecessorHangs, .successorHangs,
            .hangUpByPredecessor, .hangUpBySuccessor, .garbageToPredecessor, .garbageToSuccessor,
            .untimelyToPredecessor, .untimelyToSuccessor, .stopPredecessor, .stopSuccessor, .orderCommit,
            .orderRollback:
            .fault
        }
    }

    /// It leaves somebody waiting for what does not come.
    var isSilence: Bool {
        switch self {
        case .holdSuccessor, .suspendPredecessor, .suspendSuccessor, .predecessorHangs, .successorHangs,
            .hangUpByPredecessor, .hangUpBySuccessor:
            true
        default: false
        }
    }

    /// A successor that holds everything stands in for a predecessor that was killed, also if this happened.
    var leavesSuccessorFit: Bool {
        switch self {
        case .killPredecessor, .stopPredecessor, .orderCommit, .checkFails, .spawnedBehindShell: true
        default: false
        }
    }

    /// The reason that must be given if the upgrade fails and nothing else went wrong. Nil: this makes none fail.
    var reason: UpgradeError.Code? {
        switch self {
        case .spawnFails: .spawnFailed
        case .deliverReady: .inventoryMismatch
        case .predecessorWorkFails: .pauseFailed
        case .killSuccessor: .successorExited
        case .garbageToPredecessor, .untimelyToPredecessor: .successorMisbehaved
        case .stopPredecessor: .stopping
        case .orderRollback: .rolledBack
        case .successorInitialisationFails, .checkFails, .successorWorkFails, .stopSuccessor, .garbageToSuccessor,
            .untimelyToSuccessor:
            .successorAborted
        default: nil
        }
    }
}
