// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// The life of a process that may be replaced, from its start to its end. It decides; the engine acts.
///
/// `docs/states.md` draws it. Two rules run through every line:
/// - **One acceptor at a time.** Once `sendGo` has left, the successor may read from the listeners. From then on this
///   process reads again only when the successor is dead, or has said that it paused.
/// - **One owner at a time.** Ownership is given up before `sendCommit`, and taken back on every way that leads home.
package struct PredecessorMachine: Hashable, Sendable {
    package enum State: Hashable, Sendable {
        /// Not in charge yet: there is nothing that could be handed over.
        case initialising
        /// In charge, but the process that handed over to this one still lives: at most two processes at any time.
        case outliving
        /// In charge, alone.
        case serving
        /// The successor is being started.
        case spawning
        /// It runs, and all is on its way to it; its hello is awaited.
        case greeting
        /// The versions agree; it is taking the inventory in.
        case offering
        /// It holds the whole inventory and initialises.
        case awaitingReady
        /// It is ready; our readers are being paused. The first state in which nobody may be accepting.
        case pausing(Probation)
        /// It has been told go, and serves; we could take the service back.
        case probation(Probation)
        /// Its probation has passed; our owner's work is being stopped.
        case relinquishing
        /// It has been told to commit; its word that it owns the service is awaited.
        case committing
        /// The upgrade has failed: the way back to `serving`.
        case unwinding(Unwinding)
        /// Replaced. What cannot move is finished here.
        case draining(Draining)
        /// Stopping for good.
        case stopping(Stopping)
        /// Nothing more will happen.
        case finished
    }

    /// The way home from a failed upgrade. It ends in `serving` when our readers read and the successor is dead.
    package struct Unwinding: Hashable, Sendable {
        package enum Successor: Hashable, Sendable {
            /// It was never told go, and is leaving by itself.
            case dismissed
            /// It reads from the listeners and has been told to give them back.
            case recalled
            /// It has been sent SIGKILL. No code of it runs any more, even before its end is reported.
            case killed
            /// It reads no more, and finishes what it had accepted.
            case handedBack
            case dead
        }
        package enum Readers: Hashable, Sendable {
            case accepting
            case resuming
            case paused
        }
        package var failure: UpgradeError
        package var successor: Successor
        package var readers: Readers
        package var isReported = false
    }

    package struct Draining: Hashable, Sendable {
        package var isExporting = true
        /// A stop was asked for meanwhile: the next one means now.
        package var stopSeen = false
    }

    package struct Stopping: Hashable, Sendable {
        package enum Successor: Hashable, Sendable {
            case none
            case spawning
            /// Told to end: by SIGKILL before go, by a signal that stops it after.
            case ending
        }
        package var successor: Successor
    }

    /// What can happen. Past tense: facts, whether welcome or not.
    package enum Event: Hashable, Sendable {
        /// This process is in charge; whether the one before it still lives.
        case becameOwner(predecessorLives: Bool)
        case predecessorLeft
        case upgradeRequested
        case spawned
        case spawnFailed(UpgradeError)
        /// The successor said hello in a version that we speak.
        case greeted
        case inventoryAcknowledged
        /// The successor is ready, and whether its inventory is the same as ours.
        case reportedReady(agreed: Bool, Probation)
        case readersPaused
        case readersFailedToPause(UpgradeError)
        /// Also when some reader failed to: there is nothing better to do than to go on.
        case readersResumed
        /// The successor's check returned.
        case checkPassed
        /// The operator ends the probation early.
        case commitOrdered
        case rollbackOrdered(UpgradeError)
        case ownershipGivenUp
        case ownershipKept(UpgradeError)
        case reportedCommitted
        /// The successor gives up. Having been told go, it has paused before it says so.
        case aborted(UpgradeError)
        /// The successor sent what it may not.
        case violated(UpgradeError)
        case channelEnded
        case successorDied(UpgradeError)
        /// No reader has anything left that could move.
        case exported
        /// The deadline of the current state (``PredecessorMachine/deadline``) has passed.
        case deadlinePassed
        case stopRequested
    }

    /// What to do about it, in order.
    package enum Action: Hashable, Sendable {
        /// Answer this request for an upgrade: not now.
        case refuse(UpgradeError.Code)
        case spawn
        case sendHello
        case offerInventory
        case pauseReaders
        case resumeReaders
        /// The final state, then go.
        case sendGo
        /// May be asked for twice; the second time means nothing.
        case giveUpOwnership
        /// Make sure that PID file and control socket are ours, whatever the successor got to do.
        case takeBackOwnership
        case sendCommit
        case sendAbort(UpgradeError)
        case sendBye
        /// SIGTERM, or another signal that stops it.
        case terminateSuccessor
        /// SIGKILL.
        case killSuccessor
        case closeChannel
        case exportConnections
        /// Our copies of everything handed over.
        case closeListeners
        /// The same, and what only the last owner may remove: Unix paths, the PID file.
        case endService
        /// Tell whoever asked for the upgrade.
        case reportSuccess
        case reportFailure(UpgradeError)
        /// Tell the application to drain and return.
        case leave(Leaving)
        /// End this process now.
        case exitNow
    }

    package enum Leaving: Hashable, Sendable {
        case replaced
        case stopped
    }

    /// What a state waits for no longer than the engine's configuration says. Entering a state with another deadline
    /// starts it; staying within one deadline's states does not start it anew.
    package enum Deadline: Hashable, Sendable {
        case initialisation
        case pause
        case probation(Probation)
        case ownership
        case commit
        case dismissal
        case recall
        case kill
        case resume
        /// A successor that has handed the service back finishes what it accepted.
        case departure
        case drain
    }

    package private(set) var state: State = .initialising

    package init() {}

    package var deadline: Deadline? {
        switch self.state {
        // Starting a process is one call, which returns: its time is the system's.
        case .initialising, .outliving, .serving, .spawning, .finished: nil
        case .greeting, .offering, .awaitingReady: .initialisation
        case .pausing: .pause
        case .probation(let probation): .probation(probation)
        case .relinquishing: .ownership
        case .committing: .commit
        case .unwinding(let unwinding): unwinding.deadline
        case .draining, .stopping: .drain
        }
    }

    /// Takes in what happened and says what to do. Defined for every event in every state.
    package mutating func handle(_ event: Event) -> [Action] {
        let step: Step
        switch self.state {
        case .initialising: step = Self.whileInitialising(event)
        case .outliving: step = Self.whileOutliving(event)
        case .serving: step = Self.whileServing(event)
        case .spawning: step = Self.whileSpawning(event)
        case .greeting, .offering, .awaitingReady: step = Self.beforePause(event, in: self.state)
        case .pausing(let probation): step = Self.whilePausing(event, probation)
        case .probation(let probation): step = Self.whileInProbation(event, probation)
        case .relinquishing: step = Self.whileRelinquishing(event)
        case .committing: step = Self.whileCommitting(event)
        case .unwinding(let unwinding): step = Self.whileUnwinding(event, unwinding)
        case .draining(let draining): step = Self.whileDraining(event, draining)
        case .stopping(let stopping): step = Self.whileStopping(event, stopping)
        case .finished: step = .stay
        }
        if let next = step.next { self.state = next }
        return step.actions
    }
}

// MARK: - Before anything was given away

extension PredecessorMachine {
    /// The next state (nil: the same) and what to do on the way.
    private struct Step {
        var next: State?
        var actions: [Action]

        static var stay: Step { Step(next: nil, actions: []) }
        static func stay(_ actions: Action...) -> Step { Step(next: nil, actions: actions) }
        static func go(_ next: State, _ actions: Action...) -> Step { Step(next: next, actions: actions) }
    }

    private static func whileInitialising(_ event: Event) -> Step {
        switch event {
        case .becameOwner(predecessorLives: true): .go(.outliving)
        case .becameOwner(predecessorLives: false): .go(.serving)
        case .upgradeRequested: .stay(.refuse(.notReady))
        case .stopRequested: .go(.stopping(.init(successor: .none)), .endService, .leave(.stopped))
        default: .stay
        }
    }

    private static func whileOutliving(_ event: Event) -> Step {
        switch event {
        case .predecessorLeft: .go(.serving)
        case .upgradeRequested: .stay(.refuse(.predecessorAlive))  // rule: at most two processes
        case .stopRequested: .go(.stopping(.init(successor: .none)), .endService, .leave(.stopped))
        default: .stay
        }
    }

    private static func whileServing(_ event: Event) -> Step {
        switch event {
        case .upgradeRequested: .go(.spawning, .spawn)
        case .stopRequested: .go(.stopping(.init(successor: .none)), .endService, .leave(.stopped))
        default: .stay
        }
    }

    private static func whileSpawning(_ event: Event) -> Step {
        switch event {
        // What it needs is there when it has started: nobody waits for an answer first.
        case .spawned: .go(.greeting, .sendHello, .offerInventory)
        case .spawnFailed(let failure): .go(.serving, .closeChannel, .reportFailure(failure))
        case .upgradeRequested: .stay(.refuse(.upgradeRunning))
        case .stopRequested:
            .go(.stopping(.init(successor: .spawning)), .reportFailure(.stopped), .endService, .leave(.stopped))
        default: .stay
        }
    }

    /// The successor runs, we serve, and have promised nothing.
    private static func beforePause(_ event: Event, in state: State) -> Step {
        switch (event, state) {
        case (.greeted, .greeting): .go(.offering)
        case (.inventoryAcknowledged, .offering): .go(.awaitingReady)
        case (.reportedReady(agreed: false, _), .awaitingReady): dismiss(.inventoriesDiffer)
        case (.reportedReady(agreed: true, let probation), .awaitingReady): .go(.pausing(probation), .pauseReaders)
        case (.greeted, _), (.reportedReady, _), (.reportedCommitted, _), (.checkPassed, _),
            (.inventoryAcknowledged, _):
            dismiss(.outOfOrder)
        case (.violated(let failure), _): dismiss(failure)
        case (.aborted(let failure), _):
            .go(.unwinding(.init(failure: failure, successor: .dismissed, readers: .accepting)))
        case (.channelEnded, _):
            // It may be dying: its exit status says more than the end of the channel. So it gets a moment.
            .go(.unwinding(.init(failure: .channelClosed, successor: .dismissed, readers: .accepting)))
        case (.successorDied(let failure), _): .go(.serving, .closeChannel, .reportFailure(failure))
        case (.deadlinePassed, _):
            .go(
                .unwinding(.init(failure: .timedOut, successor: .killed, readers: .accepting)),
                .sendAbort(.timedOut), .killSuccessor
            )
        case (.upgradeRequested, _): .stay(.refuse(.upgradeRunning))
        case (.rollbackOrdered(let reason), _): dismiss(reason)
        case (.stopRequested, _): stopBeforeGo()
        default: .stay
        }
    }

    private static func whilePausing(_ event: Event, _ probation: Probation) -> Step {
        switch event {
        case .readersPaused:
            probation == .none ? .go(.relinquishing, .sendGo, .giveUpOwnership) : .go(.probation(probation), .sendGo)
        case .readersFailedToPause(let failure): withdraw(failure)
        case .deadlinePassed: withdraw(.pauseTimedOut)
        case .rollbackOrdered(let reason): withdraw(reason)
        case .violated(let failure): withdraw(failure)
        case .reportedReady, .reportedCommitted, .checkPassed, .inventoryAcknowledged, .greeted: withdraw(.outOfOrder)
        case .aborted(let failure):
            .go(.unwinding(.init(failure: failure, successor: .dismissed, readers: .resuming)), .resumeReaders)
        case .channelEnded:
            .go(.unwinding(.init(failure: .channelClosed, successor: .dismissed, readers: .resuming)), .resumeReaders)
        case .successorDied(let failure):
            .go(
                .unwinding(.init(failure: failure, successor: .dead, readers: .resuming)), .closeChannel, .resumeReaders
            )
        case .upgradeRequested: .stay(.refuse(.upgradeRunning))
        case .stopRequested: stopBeforeGo()
        default: .stay
        }
    }

    private static func dismiss(_ failure: UpgradeError) -> Step {
        .go(.unwinding(.init(failure: failure, successor: .dismissed, readers: .accepting)), .sendAbort(failure))
    }

    /// As `dismiss`, with readers that were being paused. Go was not said, so nobody else reads.
    private static func withdraw(_ failure: UpgradeError) -> Step {
        .go(
            .unwinding(.init(failure: failure, successor: .dismissed, readers: .resuming)),
            .sendAbort(failure), .resumeReaders
        )
    }

    /// SIGKILL may reach only a shell: what stands behind it, and has not said hello yet, reads the abort.
    private static func stopBeforeGo() -> Step {
        .go(
            .stopping(.init(successor: .ending)),
            .sendAbort(.stopped), .killSuccessor, .reportFailure(.stopped), .endService, .leave(.stopped)
        )
    }
}

// MARK: - The successor serves

extension PredecessorMachine {
    private static func whileInProbation(_ event: Event, _ probation: Probation) -> Step {
        switch event {
        case .deadlinePassed where probation == .timed: .go(.relinquishing, .giveUpOwnership)
        case .deadlinePassed: recall(.probationOverran)
        case .checkPassed where probation == .checked: .go(.relinquishing, .giveUpOwnership)
        case .commitOrdered: .go(.relinquishing, .giveUpOwnership)
        case .rollbackOrdered(let reason): recall(reason)
        default: afterGo(event)
        }
    }

    private static func whileRelinquishing(_ event: Event) -> Step {
        switch event {
        case .ownershipGivenUp: .go(.committing, .sendCommit)
        case .ownershipKept(let failure): recall(failure)
        case .deadlinePassed: recall(.ownershipOverran)
        case .rollbackOrdered(let reason): recall(reason)
        case .checkPassed: .stay  // it crossed the operator's order to commit
        default: afterGo(event)
        }
    }

    private static func whileCommitting(_ event: Event) -> Step {
        switch event {
        case .deadlinePassed: kill(.commitOverran)
        case .checkPassed: .stay
        default: afterGo(event)
        }
    }

    /// What is the same in every state in which the successor may read and we may not.
    private static func afterGo(_ event: Event) -> Step {
        switch event {
        // Also unasked: a successor that did not hear from us in time commits by itself.
        case .reportedCommitted: replaced()
        case .aborted(let failure): takeBack(failure, from: .handedBack)
        case .successorDied(let failure): takeBack(failure, from: .dead, .closeChannel)
        // It lives and may read. Neither the end of the channel nor bad words say that it stopped.
        case .channelEnded: kill(.channelClosed)
        case .violated(let failure): kill(failure)
        case .reportedReady, .inventoryAcknowledged, .greeted, .checkPassed: kill(.outOfOrder)
        case .upgradeRequested: .stay(.refuse(.upgradeRunning))
        case .stopRequested:
            .go(
                .stopping(.init(successor: .ending)),
                .terminateSuccessor, .reportFailure(.stopped), .endService, .leave(.stopped)
            )
        default: .stay
        }
    }

    private static func recall(_ failure: UpgradeError) -> Step {
        .go(.unwinding(.init(failure: failure, successor: .recalled, readers: .paused)), .sendAbort(failure))
    }

    private static func kill(_ failure: UpgradeError) -> Step {
        .go(.unwinding(.init(failure: failure, successor: .killed, readers: .paused)), .killSuccessor)
    }

    private static func takeBack(
        _ failure: UpgradeError, from successor: Unwinding.Successor, _ first: Action...
    ) -> Step {
        Step(
            next: .unwinding(.init(failure: failure, successor: successor, readers: .resuming)),
            actions: first + [.resumeReaders, .takeBackOwnership]
        )
    }

    /// Ownership is given up here as well: a successor that committed by itself did not wait for it.
    private static func replaced() -> Step {
        .go(
            .draining(.init()),
            .closeListeners, .giveUpOwnership, .reportSuccess, .leave(.replaced), .exportConnections
        )
    }
}

// MARK: - The ways out

extension PredecessorMachine.Unwinding {
    fileprivate var deadline: PredecessorMachine.Deadline? {
        switch (self.successor, self.readers) {
        case (.recalled, _): .recall
        case (.dismissed, _): .dismissal
        case (.killed, _): .kill
        case (_, .resuming): .resume
        case (.handedBack, _): .departure
        case (.dead, _): nil
        }
    }

    fileprivate var isOver: Bool { self.successor == .dead && self.readers == .accepting }
    /// The service is where it was: whoever asked may know.
    fileprivate var isSettled: Bool {
        (self.successor == .dead || self.successor == .handedBack) && self.readers == .accepting
    }
}

extension PredecessorMachine {
    private static func whileUnwinding(_ event: Event, _ unwinding: Unwinding) -> Step {
        var now = unwinding
        var actions: [Action] = []
        switch event {
        case .readersResumed where now.readers == .resuming:
            now.readers = .accepting
            if now.successor == .handedBack { actions.append(.sendBye) }

        case .aborted where now.successor == .recalled:
            now.successor = .handedBack
            actions += now.resume()

        case .successorDied(let failure):
            // How it ended says why the channel did; but not if it ended by our own hand.
            if now.successor == .dismissed, now.failure.code == .successorClosedChannel { now.failure = failure }
            now.successor = .dead
            actions.append(.closeChannel)
            if now.readers == .paused { actions += now.resume() }

        case .reportedCommitted where now.successor == .recalled:
            return replaced()  // our recall crossed its word that it is the owner: too late, and no harm

        case .violated, .channelEnded:
            guard now.successor == .recalled || now.successor == .dismissed else { break }
            if now.successor == .dismissed, event == .channelEnded { break }
            now.successor = .killed
            actions.append(.killSuccessor)

        case .deadlinePassed:
            switch now.deadline {
            case .recall, .dismissal, .departure:
                now.successor = .killed
                actions.append(.killSuccessor)
            case .kill:
                // A process that has been sent SIGKILL runs no code of its own again, even if the kernel holds it.
                now.successor = .dead
                actions.append(.closeChannel)
                if now.readers == .paused { actions += now.resume() }
            case .resume:
                now.readers = .accepting
                if now.successor == .handedBack { actions.append(.sendBye) }
            default: break
            }

        case .upgradeRequested:
            return .stay(.refuse(now.isReported ? .successorAlive : .upgradeRunning))

        case .stopRequested:
            return stopWhileUnwinding(now)

        default: break
        }
        if now.isSettled, !now.isReported {
            now.isReported = true
            actions.append(.reportFailure(now.failure))
        }
        return Step(next: now.isOver ? .serving : .unwinding(now), actions: actions)
    }

    private static func stopWhileUnwinding(_ unwinding: Unwinding) -> Step {
        var actions: [Action] = []
        switch unwinding.successor {
        case .dead: break
        case .killed: break
        case .dismissed: actions.append(.killSuccessor)
        case .recalled: actions.append(.terminateSuccessor)
        // It may wait for our word that we read, which will not come.
        case .handedBack: actions += [.sendAbort(.stopped), .terminateSuccessor]
        }
        if !unwinding.isReported { actions.append(.reportFailure(.stopped)) }
        actions += [.endService, .leave(.stopped)]
        let successor: Stopping.Successor = unwinding.successor == .dead ? .none : .ending
        return Step(next: .stopping(.init(successor: successor)), actions: actions)
    }

    private static func whileDraining(_ event: Event, _ draining: Draining) -> Step {
        var now = draining
        switch event {
        case .exported where now.isExporting:
            now.isExporting = false
            return .go(.draining(now), .sendBye)
        case .channelEnded, .successorDied, .violated:
            now.isExporting = false
            return .go(.draining(now), .closeChannel)
        case .stopRequested where !now.stopSeen:
            now.stopSeen = true
            return .go(.draining(now))
        case .stopRequested, .deadlinePassed: return .go(.finished, .exitNow)
        case .upgradeRequested: return .stay(.refuse(.replaced))
        default: return .stay
        }
    }

    private static func whileStopping(_ event: Event, _ stopping: Stopping) -> Step {
        switch event {
        case .spawned where stopping.successor == .spawning:
            return .go(.stopping(.init(successor: .ending)), .killSuccessor)
        case .spawnFailed: return .go(.stopping(.init(successor: .none)), .closeChannel)
        case .successorDied: return .go(.stopping(.init(successor: .none)), .closeChannel)
        // It stands behind the shell that was killed.
        case .greeted: return .stay(.killSuccessor)
        // It need not wait for us: nobody resumes. An older successor knows only bye.
        case .aborted: return .stay(.sendAbort(.stopped), .sendBye)
        case .stopRequested, .deadlinePassed:
            return stopping.successor == .ending ? .go(.finished, .killSuccessor, .exitNow) : .go(.finished, .exitNow)
        case .upgradeRequested: return .stay(.refuse(.stopping))
        default: return .stay
        }
    }
}

extension PredecessorMachine.Unwinding {
    fileprivate mutating func resume() -> [PredecessorMachine.Action] {
        self.readers = .resuming
        return [.resumeReaders, .takeBackOwnership]
    }
}
