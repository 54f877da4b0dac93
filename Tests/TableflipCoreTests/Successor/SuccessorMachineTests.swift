// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import Testing

private typealias Event = SuccessorMachine.Event
private typealias Action = SuccessorMachine.Action
private typealias Step = Story<SuccessorMachine>.Step

@Suite struct SuccessorMachineTests {
    @Test(arguments: takingOver)
    func `the service is taken over`(_ story: Story<SuccessorMachine>) { story.tell() }

    @Test(arguments: firstProcesses)
    func `a first process serves, or says why not`(_ story: Story<SuccessorMachine>) { story.tell() }

    @Test(arguments: failuresBeforeGo)
    func `before go, it leaves`(_ story: Story<SuccessorMachine>) { story.tell() }

    @Test(arguments: waysBack)
    func `after go, it pauses before it says that it gives up`(_ story: Story<SuccessorMachine>) { story.tell() }

    @Test(arguments: deaths)
    func `an end of the channel is no death, and a death makes it the owner`(_ story: Story<SuccessorMachine>) {
        story.tell()
    }

    @Test(arguments: stops)
    func `a stop is obeyed, now or when it is in charge`(_ story: Story<SuccessorMachine>) { story.tell() }

    @Test(arguments: deadlines)
    func `what is waited for has a deadline`(_ start: [SuccessorMachine.Event], _ deadline: SuccessorMachine.Deadline?)
    {
        var machine = SuccessorMachine(hasPredecessor: true)
        for event in start { _ = machine.handle(event) }
        #expect(machine.deadline == deadline)
    }
}

extension Story<SuccessorMachine> {
    fileprivate init(_ name: String, after start: [Event], @Steps _ steps: () -> [Step]) {
        self.init(name, SuccessorMachine(hasPredecessor: true), after: start, steps)
    }

    fileprivate init(first name: String, after start: [Event], @Steps _ steps: () -> [Step]) {
        self.init(name, SuccessorMachine(hasPredecessor: false), after: start, steps)
    }
}

// MARK: - Where the stories start: what has happened by then

private let failure = UpgradeError(.predecessorAborted, "told")

private let receiving: [Event] = [.greeted]
private let initialising = receiving + [.inventoryComplete]
private let awaitingGo = initialising + [.readied]
private let starting = awaitingGo + [.went]
private let probation = starting + [.readersResumed]
private let taking = probation + [.commitReceived]
private let owner = taking + [.ownershipTaken]
private let pausing = probation + [.checkFailed(failure)]

private let deadlines: [([Event], SuccessorMachine.Deadline?)] = [
    ([], .handshake),
    (receiving, .handshake),
    (initialising, nil),
    (initialising + [.channelEnded], .severance),
    (initialising + [.predecessorDied], .initialisation),
    (awaitingGo, .go),
    (awaitingGo + [.channelEnded], .severance),
    (starting, .resume),
    (probation, .commit),
    (probation + [.channelEnded], .severance),
    (taking, .ownership),
    (taking + [.channelEnded, .ownershipTaken], .severance),
    (owner, nil),
    (pausing, .pause),
    (pausing + [.readersPaused], .bye),
    (awaitingGo + [.abortReceived(failure)], .drain),
]

// MARK: - The stories

private let takingCharge: [Action] = [
    .sendCommitted, .settle, .reportServing, .becomeOwner,
]
private func givingUp(_ failure: UpgradeError) -> [Action] {
    [.sendAbort(failure), .closeListeners, .reportFailure(failure), .leave(.failed(failure))]
}
private func failing(_ failure: UpgradeError) -> [Action] {
    [.sendAbort(failure), .reportFailure(failure)]
}
private func leavingAfterwards(_ failure: UpgradeError, _ leaving: SuccessorMachine.Leaving? = nil) -> [Action] {
    [.closeListeners, .reportFailure(failure), .leave(leaving ?? .handedBack(failure))]
}

private let takingOver: [Story<SuccessorMachine>] = [
    Story("step by step", after: []) {
        Step(.greeted, [.sendHello], .receiving)
        Step(.inventoryComplete, [], .initialising)
        Step(.readied, [.closeUnclaimed, .sendReady], .awaitingGo)
        Step(.went, [.resumeReaders], .starting(committed: false))
        Step(.readersResumed, [.reportServing, .startCheck], .probation)
        Step(.commitReceived, [.takeOwnership], .taking(taken: false))
        Step(.ownershipTaken, takingCharge, .owner)
        Step(.byeReceived, [], .owner)
        Step(.channelEnded, [], .owner)
        Step(.predecessorDied, [.closeChannel, .noteDeparture], .owner)
    },
    Story("with a check of its own", after: starting) {
        Step(.readersResumed, [.reportServing, .startCheck], .probation)
        Step(.checkPassed, [.sendCommit], .probation)
        Step(.commitReceived, [.takeOwnership], .taking(taken: false))
        Step(.ownershipTaken, takingCharge, .owner)
    },
    Story("with a commit that follows go at once", after: starting) {
        Step(.commitReceived, [], .starting(committed: true))
        Step(.readersResumed, [.takeOwnership], .taking(taken: false))
        Step(.ownershipTaken, takingCharge, .owner)
    },
    Story("from a predecessor that is silent past every deadline", after: probation) {
        Step(.deadlinePassed, [.takeOwnership], .taking(taken: false))
        Step(.abortReceived(failure), [], .taking(taken: false))
        Step(.ownershipTaken, takingCharge, .owner)
    },
]

private let firstProcesses: [Story<SuccessorMachine>] = [
    Story(first: "step by step", after: []) {
        Step(.readied, [.closeUnclaimed, .resumeReaders], .starting(committed: true))
        Step(.readersResumed, [.takeOwnership], .taking(taken: false))
        Step(.ownershipTaken, takingCharge, .owner)
    },
    Story(first: "its initialisation fails", after: []) {
        Step(.initialisationFailed(failure), givingUp(failure), .leaving)
    },
    Story(first: "a reader does not start", after: [.readied]) {
        Step(.readersFailedToResume(failure), givingUp(failure), .leaving)
    },
    Story(first: "a reader takes too long to start", after: [.readied]) {
        Step(.deadlinePassed, givingUp(.resumeTimedOut), .leaving)
    },
    Story(first: "it cannot write its PID file", after: [.readied, .readersResumed]) {
        Step(.ownershipFailed(failure), givingUp(failure), .leaving)
    },
    Story(first: "it takes too long to take ownership", after: [.readied, .readersResumed]) {
        Step(.deadlinePassed, givingUp(.ownershipOverran), .leaving)
    },
    Story(first: "it is stopped while it initialises", after: []) {
        Step(.stopRequested, [.sendAbort(.stopped), .closeListeners, .leave(.stopped)], .leaving)
        Step(.stopRequested, [.exitNow], .finished)
    },
    Story(first: "it is stopped while it starts", after: [.readied]) {
        Step(.stopRequested, [.closeListeners, .leave(.stopped)], .leaving)
    },
    Story(first: "it is stopped while it takes ownership", after: [.readied, .readersResumed]) {
        Step(.stopRequested, [], .taking(taken: false))
        Step(.ownershipTaken, [.sendCommitted, .settle, .reportServing, .becomeOwner, .forwardStop], .owner)
    },
    Story(first: "it is stopped twice while it takes ownership", after: [.readied, .readersResumed, .stopRequested]) {
        Step(.stopRequested, [.sendAbort(.stopped), .closeListeners, .exitNow], .finished)
    },
]

private let failuresBeforeGo: [Story<SuccessorMachine>] = [
    Story("the versions do not fit", after: []) {
        Step(.violated(failure), failing(failure), .finished)
    },
    Story("words out of turn instead of a hello", after: []) {
        Step(.went, failing(.predecessorOutOfOrder), .finished)
    },
    Story("words out of turn instead of the inventory", after: receiving) {
        Step(.greeted, failing(.predecessorOutOfOrder), .finished)
    },
    Story("the predecessor gives up before the inventory", after: receiving) {
        Step(.abortReceived(failure), [.reportFailure(failure)], .finished)
    },
    Story("the predecessor is silent before the inventory", after: receiving) {
        Step(.deadlinePassed, failing(.predecessorSilent), .finished)
    },
    Story("it is stopped before the inventory", after: receiving) {
        Step(.stopRequested, failing(.stopped), .finished)
    },
    Story("its initialisation fails", after: initialising) {
        Step(.initialisationFailed(failure), givingUp(failure), .leaving)
        Step(.deadlinePassed, [.exitNow], .finished)
    },
    Story("the predecessor gives up while it initialises", after: initialising) {
        Step(.abortReceived(failure), givingUp(failure), .leaving)
    },
    Story("go comes before ready", after: initialising) {
        Step(.went, givingUp(.predecessorOutOfOrder), .leaving)
    },
    Story("commit comes before go", after: awaitingGo) {
        Step(.commitReceived, givingUp(.predecessorOutOfOrder), .leaving)
    },
    Story("the predecessor gives up after ready", after: awaitingGo) {
        Step(.abortReceived(failure), givingUp(failure), .leaving)
    },
    Story("go does not come", after: awaitingGo) {
        Step(.deadlinePassed, givingUp(.predecessorSilent), .leaving)
    },
    Story("it is stopped after ready", after: awaitingGo) {
        Step(.stopRequested, [.sendAbort(.stopped), .closeListeners, .leave(.stopped)], .leaving)
    },
]

private let waysBack: [Story<SuccessorMachine>] = [
    Story("its check fails", after: probation) {
        Step(.checkFailed(failure), [.pauseReaders], .pausing(failure))
        Step(.commitReceived, [], .pausing(failure))
        Step(.readersPaused, [.sendAbort(failure)], .handedBack(failure))
        Step(.byeReceived, leavingAfterwards(failure), .leaving)
    },
    Story("it is told to, and bye does not come", after: probation) {
        Step(.abortReceived(failure), [.pauseReaders], .pausing(failure))
        Step(.readersPaused, [.sendAbort(failure)], .handedBack(failure))
        Step(.deadlinePassed, leavingAfterwards(failure), .leaving)
    },
    Story("it is told to while it starts", after: starting) {
        Step(.abortReceived(failure), [.pauseReaders], .pausing(failure))
        Step(.readersResumed, [], .pausing(failure))
        Step(.readersPaused, [.sendAbort(failure)], .handedBack(failure))
    },
    Story("a reader does not start", after: starting) {
        Step(.readersFailedToResume(failure), [.pauseReaders], .pausing(failure))
    },
    Story("a reader takes too long to start", after: starting) {
        Step(.deadlinePassed, [.pauseReaders], .pausing(.resumeTimedOut))
    },
    Story("a reader does not pause, and nobody may be told that it did", after: probation) {
        Step(.checkFailed(failure), [.pauseReaders], .pausing(failure))
        Step(.readersFailedToPause, [.exitNow], .finished)
    },
    Story("a reader takes too long to pause", after: probation) {
        Step(.checkFailed(failure), [.pauseReaders], .pausing(failure))
        Step(.deadlinePassed, [.exitNow], .finished)
    },
    Story("the predecessor sends garbage", after: probation) {
        Step(.violated(failure), [.pauseReaders], .pausing(failure))
    },
    Story("the predecessor says go again", after: probation) {
        Step(.went, [.pauseReaders], .pausing(.predecessorOutOfOrder))
    },
    Story("it cannot take ownership", after: taking) {
        Step(.ownershipFailed(failure), [.pauseReaders], .pausing(failure))
    },
    Story("it takes too long to take ownership, and may have taken some", after: taking) {
        Step(.deadlinePassed, [.exitNow], .finished)
    },
]

private let deaths: [Story<SuccessorMachine>] = [
    Story("before hello", after: []) {
        Step(.predecessorDied, [.reportFailure(.predecessorLost)], .finished)
    },
    Story("the channel ends before the inventory", after: receiving) {
        Step(.channelEnded, [.reportFailure(.predecessorLost)], .finished)
    },
    Story("the channel ends, then it dies, while this one initialises", after: initialising) {
        Step(.channelEnded, [], .initialising)
        Step(.predecessorDied, [], .initialising)
        Step(.readied, [.closeUnclaimed, .resumeReaders], .starting(committed: true))
        Step(.readersResumed, [.takeOwnership], .taking(taken: false))
        Step(.ownershipTaken, takingCharge + [.closeChannel, .noteDeparture], .owner)
    },
    Story("the channel ends while this one initialises, and it lives", after: initialising) {
        Step(.channelEnded, [], .initialising)
        Step(.deadlinePassed, givingUp(.predecessorClosedChannel), .leaving)
    },
    Story("it dies, and this one takes too long to initialise", after: initialising) {
        Step(.predecessorDied, [], .initialising)
        Step(.deadlinePassed, givingUp(.initialisationOverran), .leaving)
    },
    Story("the channel ends, then it dies, before go", after: awaitingGo) {
        Step(.channelEnded, [], .awaitingGo)
        Step(.predecessorDied, [.resumeReaders], .starting(committed: true))
    },
    Story("the channel ends before go, and it lives", after: awaitingGo) {
        Step(.channelEnded, [], .awaitingGo)
        Step(.deadlinePassed, givingUp(.predecessorClosedChannel), .leaving)
    },
    Story("it dies while this one starts", after: starting) {
        Step(.predecessorDied, [], .starting(committed: false))
        Step(.readersResumed, [.takeOwnership], .taking(taken: false))
    },
    Story("the channel ends, then it dies, in probation", after: probation) {
        Step(.channelEnded, [], .probation)
        Step(.predecessorDied, [.takeOwnership], .taking(taken: false))
    },
    Story("the channel ends in probation, and it lives", after: probation) {
        Step(.channelEnded, [], .probation)
        Step(.deadlinePassed, [.pauseReaders], .pausing(.predecessorClosedChannel))
    },
    Story("the channel ends, then it dies, while ownership is taken", after: taking) {
        Step(.channelEnded, [], .taking(taken: false))
        Step(.ownershipTaken, [], .taking(taken: true))
        Step(.predecessorDied, takingCharge + [.closeChannel, .noteDeparture], .owner)
    },
    Story("the channel ends while ownership is taken, and it lives", after: taking) {
        Step(.channelEnded, [], .taking(taken: false))
        Step(.ownershipTaken, [], .taking(taken: true))
        Step(.deadlinePassed, [.exitNow], .finished)
    },
    Story("it dies, and ownership cannot be taken", after: taking) {
        Step(.predecessorDied, [], .taking(taken: false))
        Step(.ownershipFailed(failure), takingCharge + [.closeChannel, .noteDeparture], .owner)
    },
    Story("it dies, and ownership takes too long", after: taking) {
        Step(.predecessorDied, [], .taking(taken: false))
        Step(.deadlinePassed, takingCharge + [.closeChannel, .noteDeparture], .owner)
    },
    Story("it dies while this one pauses to hand back", after: probation) {
        Step(.checkFailed(failure), [.pauseReaders], .pausing(failure))
        Step(.predecessorDied, [], .pausing(failure))
        Step(.readersPaused, [.resumeReaders], .starting(committed: true))
    },
    Story("it dies, and this one cannot pause to hand back", after: probation) {
        Step(.checkFailed(failure), [.pauseReaders], .pausing(failure))
        Step(.predecessorDied, [], .pausing(failure))
        Step(.readersFailedToPause, [.resumeReaders], .starting(committed: true))
    },
    Story("it dies, and this one takes too long to pause", after: probation) {
        Step(.checkFailed(failure), [.pauseReaders], .pausing(failure))
        Step(.predecessorDied, [], .pausing(failure))
        Step(.deadlinePassed, [.resumeReaders], .starting(committed: true))
    },
    Story("it dies before it has taken the service back", after: probation) {
        Step(.checkFailed(failure), [.pauseReaders], .pausing(failure))
        Step(.readersPaused, [.sendAbort(failure)], .handedBack(failure))
        Step(.predecessorDied, [.resumeReaders], .starting(committed: true))
    },
    Story("it is dead, and this one cannot start", after: initialising + [.predecessorDied, .readied]) {
        Step(.readersFailedToResume(failure), givingUp(failure), .leaving)
    },
]

private let stops: [Story<SuccessorMachine>] = [
    Story("while it starts", after: starting) {
        Step(.stopRequested, [.pauseReaders], .pausing(.stopped))
        Step(.readersPaused, [.sendAbort(.stopped)], .handedBack(.stopped))
        Step(.byeReceived, leavingAfterwards(.stopped), .leaving)
    },
    Story("twice while it takes ownership", after: probation + [.commitReceived, .stopRequested]) {
        Step(.stopRequested, [.exitNow], .finished)
    },
    Story("twice while its readers are being paused", after: probation + [.stopRequested]) {
        Step(.stopRequested, [.exitNow], .finished)
    },
    Story("twice while it hands back", after: probation + [.checkFailed(failure), .readersPaused]) {
        Step(.stopRequested, [], .handedBack(failure))
        Step(.stopRequested, [.exitNow], .finished)
    },
    Story("together with its predecessor", after: probation + [.stopRequested, .readersPaused]) {
        Step(.abortReceived(failure), [], .handedBack(.stopped))
        Step(.abortReceived(.stopped), leavingAfterwards(.stopped, .stopped), .leaving)
        Step(.byeReceived, [], .leaving)
    },
    Story("in probation", after: probation) {
        Step(.stopRequested, [.pauseReaders], .pausing(.stopped))
        Step(.readersPaused, [.sendAbort(.stopped)], .handedBack(.stopped))
        Step(.predecessorDied, [.closeListeners, .leave(.stopped)], .leaving)
    },
    Story("while it hands back", after: probation + [.checkFailed(failure)]) {
        Step(.stopRequested, [], .pausing(failure))
        Step(.predecessorDied, [], .pausing(failure))
        Step(.readersPaused, [.closeListeners, .leave(.stopped)], .leaving)
    },
    Story("when it has handed back", after: probation + [.checkFailed(failure), .readersPaused]) {
        Step(.stopRequested, [], .handedBack(failure))
        Step(.byeReceived, leavingAfterwards(failure), .leaving)
    },
    Story("while it takes ownership", after: taking) {
        Step(.stopRequested, [], .taking(taken: false))
        Step(.ownershipTaken, takingCharge + [.forwardStop], .owner)
    },
    Story("while it leaves, and again", after: awaitingGo + [.abortReceived(failure)]) {
        Step(.stopRequested, [], .leaving)
        Step(.stopRequested, [.exitNow], .finished)
    },
    Story("while it starts, alone", after: starting + [.predecessorDied]) {
        Step(.stopRequested, [.closeListeners, .leave(.stopped)], .leaving)
    },
]
