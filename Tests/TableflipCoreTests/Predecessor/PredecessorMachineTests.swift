// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Testing

@testable import TableflipCore

private typealias Event = PredecessorMachine.Event
private typealias Action = PredecessorMachine.Action
private typealias State = PredecessorMachine.State
private typealias Step = Story<PredecessorMachine>.Step

@Suite struct PredecessorMachineTests {
    @Test(arguments: handingOn)
    func `the service is handed on`(_ story: Story<PredecessorMachine>) { story.tell() }

    @Test(arguments: failuresBeforeGo)
    func `before go, a failure changes nothing`(_ story: Story<PredecessorMachine>) { story.tell() }

    @Test(arguments: waysBack)
    func `after go, there is a way back`(_ story: Story<PredecessorMachine>) { story.tell() }

    @Test(arguments: refusals)
    func `a request is refused at the wrong moment`(_ story: Story<PredecessorMachine>) { story.tell() }

    @Test(arguments: stops)
    func `a stop ends this process and its successor`(_ story: Story<PredecessorMachine>) { story.tell() }

    @Test(arguments: drainings)
    func `a replaced process drains`(_ story: Story<PredecessorMachine>) { story.tell() }

    @Test(arguments: deadlines)
    func `what is waited for has a deadline`(
        _ start: [PredecessorMachine.Event], _ deadline: PredecessorMachine.Deadline?
    ) {
        var machine = PredecessorMachine()
        for event in start { _ = machine.handle(event) }
        #expect(machine.deadline == deadline)
    }
}

// MARK: - Where the stories start: what has happened by then

private let failure = UpgradeError(.successorAborted, "told")
private let death = UpgradeError(.successorExited, "told")

private let serving: [Event] = [.becameOwner(predecessorLives: false)]
private let spawning = serving + [.upgradeRequested]
private let greeting = spawning + [.spawned]
private let offering = greeting + [.greeted]
private let awaitingReady = offering + [.inventoryAcknowledged]
private func pausing(_ probation: Probation) -> [Event] { awaitingReady + [.reportedReady(agreed: true, probation)] }
private func probation(_ probation: Probation) -> [Event] { pausing(probation) + [.readersPaused] }
private let relinquishing = probation(.none)
private let committing = relinquishing + [.ownershipGivenUp]
private let draining = committing + [.reportedCommitted]
private let recalled = probation(.timed) + [.rollbackOrdered(failure)]
private let killed = probation(.timed) + [.channelEnded]
private let resuming = probation(.timed) + [.successorDied(death)]
private let handedBack = probation(.timed) + [.aborted(failure), .readersResumed]

// MARK: - Where they lead

extension Story<PredecessorMachine> {
    fileprivate init(_ name: String, after start: [Event], @Steps _ steps: () -> [Step]) {
        self.init(name, PredecessorMachine(), after: start, steps)
    }
}

private func unwinding(
    _ failure: UpgradeError, _ successor: PredecessorMachine.Unwinding.Successor,
    _ readers: PredecessorMachine.Unwinding.Readers, isReported: Bool = false
) -> State {
    .unwinding(.init(failure: failure, successor: successor, readers: readers, isReported: isReported))
}

private func drained(isExporting: Bool, stopSeen: Bool = false) -> State {
    .draining(.init(isExporting: isExporting, stopSeen: stopSeen))
}

private func stopping(_ successor: PredecessorMachine.Stopping.Successor) -> State {
    .stopping(.init(successor: successor))
}

private let deadlines: [([Event], PredecessorMachine.Deadline?)] = [
    ([], nil),
    (serving, nil),
    (spawning, nil),
    (greeting, .initialisation),
    (offering, .initialisation),
    (awaitingReady, .initialisation),
    (pausing(.none), .pause),
    (probation(.timed), .probation(.timed)),
    (probation(.checked), .probation(.checked)),
    (relinquishing, .ownership),
    (committing, .commit),
    (draining, .drain),
    (recalled, .recall),
    (awaitingReady + [.rollbackOrdered(failure)], .dismissal),
    (killed, .kill),
    (resuming, .resume),
    (handedBack, .departure),
    // Another one: whoever stops then has all of its own time to drain.
    (handedBack + [.stopRequested], .drain),
    (serving + [.stopRequested], .drain),
]

// MARK: - The stories

private let replaced: [Action] = [
    .closeListeners, .giveUpOwnership, .reportSuccess, .leave(.replaced), .exportConnections,
]

private let handingOn: [Story<PredecessorMachine>] = [
    Story("a first process becomes the owner", after: []) {
        Step(.becameOwner(predecessorLives: false), [], .serving)
    },
    Story("a successor becomes the owner, and is alone when its predecessor has left", after: []) {
        Step(.becameOwner(predecessorLives: true), [], .outliving)
        Step(.predecessorLeft, [], .serving)
    },
    Story("without probation", after: serving) {
        Step(.upgradeRequested, [.spawn], .spawning)
        Step(.spawned, [.sendHello, .offerInventory], .greeting)
        Step(.greeted, [], .offering)
        Step(.inventoryAcknowledged, [], .awaitingReady)
        Step(.reportedReady(agreed: true, .none), [.pauseReaders], .pausing(.none))
        Step(.readersPaused, [.sendGo, .giveUpOwnership], .relinquishing)
        Step(.ownershipGivenUp, [.sendCommit], .committing)
        Step(.reportedCommitted, replaced, drained(isExporting: true))
        Step(.exported, [.sendBye], drained(isExporting: false))
    },
    Story("with a timed probation", after: awaitingReady) {
        Step(.reportedReady(agreed: true, .timed), [.pauseReaders], .pausing(.timed))
        Step(.readersPaused, [.sendGo], .probation(.timed))
        Step(.deadlinePassed, [.giveUpOwnership], .relinquishing)
        Step(.ownershipGivenUp, [.sendCommit], .committing)
        Step(.reportedCommitted, replaced, drained(isExporting: true))
    },
    Story("with a checked probation", after: awaitingReady) {
        Step(.reportedReady(agreed: true, .checked), [.pauseReaders], .pausing(.checked))
        Step(.readersPaused, [.sendGo], .probation(.checked))
        Step(.checkPassed, [.giveUpOwnership], .relinquishing)
        Step(.ownershipGivenUp, [.sendCommit], .committing)
        Step(.reportedCommitted, replaced, drained(isExporting: true))
    },
    Story("at the operator's word", after: probation(.checked)) {
        Step(.commitOrdered, [.giveUpOwnership], .relinquishing)
        Step(.ownershipGivenUp, [.sendCommit], .committing)
    },
    Story("at the operator's word, which crosses the check's", after: probation(.checked)) {
        Step(.commitOrdered, [.giveUpOwnership], .relinquishing)
        Step(.checkPassed, [], .relinquishing)
        Step(.ownershipGivenUp, [.sendCommit], .committing)
        Step(.checkPassed, [], .committing)
    },
    Story("to a successor that did not hear from us in time", after: probation(.timed)) {
        Step(.reportedCommitted, replaced, drained(isExporting: true))
    },
    Story("to a successor whose committed crosses our recall", after: probation(.timed)) {
        Step(.rollbackOrdered(failure), [.sendAbort(failure)], unwinding(failure, .recalled, .paused))
        Step(.reportedCommitted, replaced, drained(isExporting: true))
    },
]

private let failuresBeforeGo: [Story<PredecessorMachine>] = [
    Story("it cannot be started", after: spawning) {
        Step(.spawnFailed(failure), [.closeChannel, .reportFailure(failure)], .serving)
    },
    Story("it dies in the middle of its hello", after: greeting) {
        Step(.successorDied(death), [.closeChannel, .reportFailure(death)], .serving)
    },
    Story("it dies while it initialises", after: awaitingReady) {
        Step(.successorDied(death), [.closeChannel, .reportFailure(death)], .serving)
    },
    Story("it gives up with words", after: awaitingReady) {
        Step(.aborted(failure), [], unwinding(failure, .dismissed, .accepting))
        Step(.channelEnded, [], unwinding(failure, .dismissed, .accepting))
        Step(.successorDied(death), [.closeChannel, .reportFailure(failure)], .serving)
    },
    Story("its channel ends, and its exit status says why", after: awaitingReady) {
        Step(.channelEnded, [], unwinding(.channelClosed, .dismissed, .accepting))
        Step(.successorDied(death), [.closeChannel, .reportFailure(death)], .serving)
    },
    Story("its channel ends, and it lives on", after: awaitingReady) {
        Step(.channelEnded, [], unwinding(.channelClosed, .dismissed, .accepting))
        Step(.deadlinePassed, [.killSuccessor], unwinding(.channelClosed, .killed, .accepting))
        Step(.deadlinePassed, [.closeChannel, .reportFailure(.channelClosed)], .serving)
    },
    Story("it is not ready in time", after: awaitingReady) {
        Step(
            .deadlinePassed, [.sendAbort(.timedOut), .killSuccessor],
            unwinding(.timedOut, .killed, .accepting)
        )
        Step(.successorDied(death), [.closeChannel, .reportFailure(.timedOut)], .serving)
    },
    Story("its inventory differs", after: awaitingReady) {
        Step(
            .reportedReady(agreed: false, .timed), [.sendAbort(.inventoriesDiffer)],
            unwinding(.inventoriesDiffer, .dismissed, .accepting)
        )
        Step(.successorDied(death), [.closeChannel, .reportFailure(.inventoriesDiffer)], .serving)
    },
    Story("it is ready before it has the inventory", after: offering) {
        Step(
            .reportedReady(agreed: true, .none), [.sendAbort(.outOfOrder)],
            unwinding(.outOfOrder, .dismissed, .accepting)
        )
    },
    Story("it says hello twice", after: offering) {
        Step(.greeted, [.sendAbort(.outOfOrder)], unwinding(.outOfOrder, .dismissed, .accepting))
    },
    Story("it sends garbage", after: greeting) {
        Step(.violated(failure), [.sendAbort(failure)], unwinding(failure, .dismissed, .accepting))
        Step(.deadlinePassed, [.killSuccessor], unwinding(failure, .killed, .accepting))
        Step(.successorDied(death), [.closeChannel, .reportFailure(failure)], .serving)
    },
    Story("the operator takes it back", after: awaitingReady) {
        Step(
            .rollbackOrdered(failure), [.sendAbort(failure)],
            unwinding(failure, .dismissed, .accepting)
        )
    },
    Story("a reader cannot pause", after: pausing(.timed)) {
        Step(
            .readersFailedToPause(failure), [.sendAbort(failure), .resumeReaders],
            unwinding(failure, .dismissed, .resuming)
        )
        Step(.readersResumed, [], unwinding(failure, .dismissed, .accepting))
        Step(.successorDied(death), [.closeChannel, .reportFailure(failure)], .serving)
    },
    Story("a reader takes too long to pause, and another to resume", after: pausing(.none)) {
        Step(
            .deadlinePassed, [.sendAbort(.pauseTimedOut), .resumeReaders],
            unwinding(.pauseTimedOut, .dismissed, .resuming)
        )
        Step(.successorDied(death), [.closeChannel], unwinding(.pauseTimedOut, .dead, .resuming))
        Step(.deadlinePassed, [.reportFailure(.pauseTimedOut)], .serving)
    },
    Story("it dies while we pause", after: pausing(.none)) {
        Step(
            .successorDied(death), [.closeChannel, .resumeReaders],
            unwinding(death, .dead, .resuming)
        )
        Step(.readersResumed, [.reportFailure(death)], .serving)
    },
    Story("its channel ends while we pause", after: pausing(.none)) {
        Step(.channelEnded, [.resumeReaders], unwinding(.channelClosed, .dismissed, .resuming))
        Step(.readersPaused, [], unwinding(.channelClosed, .dismissed, .resuming))
        Step(.successorDied(death), [.closeChannel], unwinding(death, .dead, .resuming))
        Step(.readersResumed, [.reportFailure(death)], .serving)
    },
]

private let takingBack: [Action] = [.resumeReaders, .takeBackOwnership]

private let waysBack: [Story<PredecessorMachine>] = [
    Story("it dies in probation", after: probation(.timed)) {
        Step(
            .successorDied(death), [.closeChannel] + takingBack,
            unwinding(death, .dead, .resuming)
        )
        Step(.readersResumed, [.reportFailure(death)], .serving)
    },
    Story("it dies when told to commit", after: committing) {
        Step(
            .successorDied(death), [.closeChannel] + takingBack,
            unwinding(death, .dead, .resuming)
        )
        Step(.readersResumed, [.reportFailure(death)], .serving)
    },
    Story("its channel ends, which does not mean that it is dead", after: probation(.timed)) {
        Step(.channelEnded, [.killSuccessor], unwinding(.channelClosed, .killed, .paused))
        Step(
            .successorDied(death), [.closeChannel] + takingBack,
            unwinding(.channelClosed, .dead, .resuming)
        )
        Step(.readersResumed, [.reportFailure(.channelClosed)], .serving)
    },
    Story("it sends garbage, and the kernel does not let go of it", after: probation(.checked)) {
        Step(.violated(failure), [.killSuccessor], unwinding(failure, .killed, .paused))
        Step(.deadlinePassed, [.closeChannel] + takingBack, unwinding(failure, .dead, .resuming))
        Step(.readersResumed, [.reportFailure(failure)], .serving)
    },
    Story("it hands back by itself", after: probation(.checked)) {
        Step(.aborted(failure), takingBack, unwinding(failure, .handedBack, .resuming))
        Step(
            .readersResumed, [.sendBye, .reportFailure(failure)],
            unwinding(failure, .handedBack, .accepting, isReported: true)
        )
        Step(.channelEnded, [], unwinding(failure, .handedBack, .accepting, isReported: true))
        Step(.successorDied(death), [.closeChannel], .serving)
    },
    Story("it hands back by itself, and drains for too long", after: probation(.checked)) {
        Step(.aborted(failure), takingBack, unwinding(failure, .handedBack, .resuming))
        Step(
            .deadlinePassed, [.sendBye, .reportFailure(failure)],
            unwinding(failure, .handedBack, .accepting, isReported: true)
        )
        Step(
            .deadlinePassed, [.killSuccessor],
            unwinding(failure, .killed, .accepting, isReported: true)
        )
        Step(.successorDied(death), [.closeChannel], .serving)
    },
    Story("its check overruns", after: probation(.checked)) {
        Step(.deadlinePassed, [.sendAbort(.probationOverran)], unwinding(.probationOverran, .recalled, .paused))
        Step(.aborted(failure), takingBack, unwinding(.probationOverran, .handedBack, .resuming))
        Step(
            .readersResumed, [.sendBye, .reportFailure(.probationOverran)],
            unwinding(.probationOverran, .handedBack, .accepting, isReported: true)
        )
    },
    Story("the operator takes it back, and it does not answer", after: probation(.timed)) {
        Step(.rollbackOrdered(failure), [.sendAbort(failure)], unwinding(failure, .recalled, .paused))
        Step(.deadlinePassed, [.killSuccessor], unwinding(failure, .killed, .paused))
        Step(
            .successorDied(death), [.closeChannel] + takingBack,
            unwinding(failure, .dead, .resuming)
        )
    },
    Story("the operator takes it back, and its channel ends", after: probation(.timed)) {
        Step(.rollbackOrdered(failure), [.sendAbort(failure)], unwinding(failure, .recalled, .paused))
        Step(.channelEnded, [.killSuccessor], unwinding(failure, .killed, .paused))
    },
    Story("ownership cannot be given up", after: relinquishing) {
        Step(.ownershipKept(failure), [.sendAbort(failure)], unwinding(failure, .recalled, .paused))
    },
    Story("ownership is not given up in time", after: relinquishing) {
        Step(
            .deadlinePassed, [.sendAbort(.ownershipOverran)],
            unwinding(.ownershipOverran, .recalled, .paused)
        )
    },
    Story("it does not say that it committed", after: committing) {
        Step(.deadlinePassed, [.killSuccessor], unwinding(.commitOverran, .killed, .paused))
        Step(
            .successorDied(death), [.closeChannel] + takingBack,
            unwinding(.commitOverran, .dead, .resuming)
        )
        Step(.readersResumed, [.reportFailure(.commitOverran)], .serving)
    },
    Story("it says that it is ready again", after: probation(.timed)) {
        Step(
            .reportedReady(agreed: true, .timed), [.killSuccessor],
            unwinding(.outOfOrder, .killed, .paused)
        )
    },
]

private let refusals: [Story<PredecessorMachine>] = [
    Story("not in charge yet", after: []) {
        Step(.upgradeRequested, [.refuse(.notReady)], .initialising)
    },
    Story("its own predecessor lives", after: [.becameOwner(predecessorLives: true)]) {
        Step(.upgradeRequested, [.refuse(.predecessorAlive)], .outliving)
    },
    Story("a successor is being started", after: spawning) {
        Step(.upgradeRequested, [.refuse(.upgradeRunning)], .spawning)
    },
    Story("a successor initialises", after: awaitingReady) {
        Step(.upgradeRequested, [.refuse(.upgradeRunning)], .awaitingReady)
    },
    Story("readers are being paused", after: pausing(.timed)) {
        Step(.upgradeRequested, [.refuse(.upgradeRunning)], .pausing(.timed))
    },
    Story("a successor is in probation", after: probation(.timed)) {
        Step(.upgradeRequested, [.refuse(.upgradeRunning)], .probation(.timed))
    },
    Story("a successor commits", after: committing) {
        Step(.upgradeRequested, [.refuse(.upgradeRunning)], .committing)
    },
    Story("a failed successor is not gone", after: killed) {
        Step(
            .upgradeRequested, [.refuse(.upgradeRunning)],
            unwinding(.channelClosed, .killed, .paused)
        )
    },
    Story("a successor that handed back drains", after: handedBack) {
        Step(
            .upgradeRequested, [.refuse(.successorAlive)],
            unwinding(failure, .handedBack, .accepting, isReported: true)
        )
    },
    Story("replaced", after: draining) {
        Step(.upgradeRequested, [.refuse(.replaced)], drained(isExporting: true))
    },
    Story("stopping", after: serving + [.stopRequested]) {
        Step(.upgradeRequested, [.refuse(.stopping)], stopping(.none))
    },
]

private let ending: [Action] = [.reportFailure(.stopped), .endService, .leave(.stopped)]

private let stops: [Story<PredecessorMachine>] = [
    Story("before it is in charge", after: []) {
        Step(.stopRequested, [.endService, .leave(.stopped)], stopping(.none))
    },
    Story("while its own predecessor lives", after: [.becameOwner(predecessorLives: true)]) {
        Step(.stopRequested, [.endService, .leave(.stopped)], stopping(.none))
    },
    Story("while it serves, and again", after: serving) {
        Step(.stopRequested, [.endService, .leave(.stopped)], stopping(.none))
        Step(.stopRequested, [.exitNow], .finished)
    },
    Story("while a successor is being started", after: spawning) {
        Step(.stopRequested, ending, stopping(.spawning))
        Step(.spawned, [.killSuccessor], stopping(.ending))
        Step(.successorDied(death), [.closeChannel], stopping(.none))
        Step(.deadlinePassed, [.exitNow], .finished)
    },
    Story("while a successor cannot be started", after: spawning) {
        Step(.stopRequested, ending, stopping(.spawning))
        Step(.spawnFailed(failure), [.closeChannel], stopping(.none))
    },
    Story("while a successor has not said hello, and it stands behind a shell", after: spawning + [.spawned]) {
        Step(.stopRequested, [.sendAbort(.stopped), .killSuccessor] + ending, stopping(.ending))
        Step(.greeted, [.killSuccessor], stopping(.ending))
        Step(.successorDied(death), [.closeChannel], stopping(.none))
    },
    Story("while a successor initialises", after: awaitingReady) {
        Step(.stopRequested, [.sendAbort(.stopped), .killSuccessor] + ending, stopping(.ending))
    },
    Story("while it pauses", after: pausing(.checked)) {
        Step(.stopRequested, [.sendAbort(.stopped), .killSuccessor] + ending, stopping(.ending))
    },
    Story("while a successor serves, and drains for too long", after: probation(.timed)) {
        Step(.stopRequested, [.terminateSuccessor] + ending, stopping(.ending))
        Step(.aborted(failure), [.sendAbort(.stopped), .sendBye], stopping(.ending))
        Step(.deadlinePassed, [.killSuccessor, .exitNow], .finished)
    },
    Story("while it gives up ownership", after: relinquishing) {
        Step(.stopRequested, [.terminateSuccessor] + ending, stopping(.ending))
    },
    Story("while a successor commits", after: committing) {
        Step(.stopRequested, [.terminateSuccessor] + ending, stopping(.ending))
    },
    Story("while a dismissed successor leaves", after: awaitingReady + [.aborted(failure)]) {
        Step(.stopRequested, [.killSuccessor] + ending, stopping(.ending))
    },
    Story("while a successor is asked to hand back", after: recalled) {
        Step(.stopRequested, [.terminateSuccessor] + ending, stopping(.ending))
    },
    Story("while a successor is being killed", after: killed) {
        Step(.stopRequested, ending, stopping(.ending))
    },
    Story("while it resumes", after: resuming) {
        Step(.stopRequested, ending, stopping(.none))
    },
    Story("while a successor that handed back drains", after: handedBack) {
        Step(
            .stopRequested, [.sendAbort(.stopped), .terminateSuccessor, .endService, .leave(.stopped)],
            stopping(.ending)
        )
    },
]

private let drainings: [Story<PredecessorMachine>] = [
    Story("until its deadline", after: draining) {
        Step(.exported, [.sendBye], drained(isExporting: false))
        Step(.exported, [], drained(isExporting: false))
        Step(.deadlinePassed, [.exitNow], .finished)
    },
    Story("alone when its successor has died", after: draining) {
        Step(.channelEnded, [.closeChannel], drained(isExporting: false))
        Step(.successorDied(death), [.closeChannel], drained(isExporting: false))
    },
    Story("alone when it can make nothing of what its successor sends", after: draining) {
        Step(.violated(failure), [.closeChannel], drained(isExporting: false))
    },
    Story("until a second stop", after: draining) {
        Step(.stopRequested, [], drained(isExporting: true, stopSeen: true))
        Step(.stopRequested, [.exitNow], .finished)
    },
]
