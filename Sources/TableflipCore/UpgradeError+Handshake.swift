// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// The failures that the two machines know by themselves. All others come to them from outside.
extension UpgradeError {
    package static let stopped = UpgradeError(
        .stopping, "the process was told to stop while an upgrade was running; the upgrade was given up"
    )
    package static let inventoriesDiffer = UpgradeError(
        .inventoryMismatch, "the successor does not hold the sockets that it says it took over",
        cure:
            "This is a bug in one of the two programs: a descriptor that belongs to the upgrader was closed or reused."
    )
    package static let outOfOrder = UpgradeError(
        .successorMisbehaved, "a message came at a moment at which the protocol does not allow it"
    )
    package static let predecessorOutOfOrder = UpgradeError(
        .predecessorMisbehaved, "the predecessor sent a message at a moment at which the protocol does not allow it"
    )
    package static let initialisationOverran = UpgradeError(
        .predecessorLost, "the predecessor died, and this process was not ready within the upgrade time-out",
        cure: "Find out what its initialisation waits for, or raise upgradeTimeout.", serving: .nobody
    )
    package static let channelClosed = UpgradeError(
        .successorClosedChannel, "the successor closed its channel without a word",
        cure:
            "Something in it closed a descriptor that it does not own; look for close() of unknown numbers at its start."
    )
    package static let timedOut = UpgradeError(
        .successorTimedOut, "the successor was not ready within the upgrade time-out, and was killed",
        cure: "Find out what its initialisation waits for, or raise upgradeTimeout."
    )
    package static let pauseTimedOut = UpgradeError(
        .pauseFailed, "a reader of this process did not pause within the pause time-out"
    )
    package static let resumeTimedOut = UpgradeError(
        .resumeFailed, "a reader did not start to read within its time-out"
    )
    package static let probationOverran = UpgradeError(
        .probationFailed, "the successor's check did not return within its probation"
    )
    package static let ownershipOverran = UpgradeError(
        .ownershipFailed, "ownership was not handed on within its time-out"
    )
    package static let commitOverran = UpgradeError(
        .ownershipFailed, "the successor did not confirm that it took ownership, and was killed"
    )
    package static let predecessorLost = UpgradeError(
        .predecessorLost, "the predecessor went away before it had handed over everything",
        cure: "Start the program anew: nothing can be taken over any more.", serving: .nobody
    )
    package static let predecessorSilent = UpgradeError(
        .predecessorLost, "the predecessor did not go on with the upgrade in time"
    )
    package static let predecessorClosedChannel = UpgradeError(
        .predecessorLost, "the predecessor lives but has closed the channel: it has given the upgrade up"
    )
}
