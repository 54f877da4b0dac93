// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore

// What each machine alone can become, told anything at any moment. That nothing traps on the way is tested by this too.

extension PredecessorMachine {
    static var reachable: [Self] {
        everything(from: [Self()], by: Event.all.map { event in { _ = $0.handle(event) } })
    }
}

extension SuccessorMachine {
    static var reachable: [Self] {
        everything(
            from: [Self(hasPredecessor: true), Self(hasPredecessor: false)],
            by: Event.all.map { event in { _ = $0.handle(event) } }
        )
    }
}

private func everything<Machine: Hashable>(from start: [Machine], by handlers: [(inout Machine) -> Void]) -> [Machine] {
    var known = Set(start)
    var queue = start
    while let machine = queue.popLast() {
        for handle in handlers {
            var next = machine
            handle(&next)
            if known.insert(next).inserted { queue.append(next) }
        }
    }
    return Array(known)
}

// MARK: - The events

extension PredecessorMachine.Event {
    static let all: [Self] = [
        .becameOwner(predecessorLives: false), .becameOwner(predecessorLives: true), .predecessorLeft,
        .upgradeRequested, .spawned, .spawnFailed(told), .greeted, .inventoryAcknowledged,
        .reportedReady(agreed: false, .none), .reportedReady(agreed: true, .none), .reportedReady(agreed: true, .timed),
        .reportedReady(agreed: true, .checked), .readersPaused, .readersFailedToPause(told), .readersResumed,
        .checkPassed, .commitOrdered, .rollbackOrdered(told), .ownershipGivenUp, .ownershipKept(told),
        .reportedCommitted, .aborted(told), .violated(told), .channelEnded, .successorDied(told), .exported,
        .deadlinePassed, .stopRequested,
    ]
}

extension SuccessorMachine.Event {
    static let all: [Self] = [
        .greeted, .inventoryComplete, .readied, .initialisationFailed(told), .went, .commitReceived, .readersResumed,
        .readersFailedToResume(told), .readersPaused, .readersFailedToPause, .checkPassed, .checkFailed(told),
        .ownershipTaken, .ownershipFailed(told), .abortReceived(told), .byeReceived, .violated(told), .channelEnded,
        .predecessorDied, .deadlinePassed, .stopRequested,
    ]
}

private let told = UpgradeError(.system, "told")
