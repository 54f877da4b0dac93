// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// How a process comes to be in charge: by itself, or by taking over from a predecessor. It decides; the engine acts.
///
/// `docs/states.md` draws it. The rules:
/// - It reads from a listener only after `went`, or when the predecessor is dead, or when there never was one.
/// - It takes ownership only after `commitReceived`, or when the predecessor is dead, or silent past every deadline.
/// - It says `abort` after go only when its readers have paused; if they do not, it ends itself.
package struct SuccessorMachine: Hashable, Sendable {
    package enum Phase: Hashable, Sendable {
        /// The predecessor's hello is awaited.
        case greeting
        /// The versions agree; the inventory is arriving.
        case receiving
        /// Everything is here (or this is the first process); the application initialises.
        case initialising
        /// Ready was said. The predecessor pauses its readers.
        case awaitingGo
        /// Our readers are being started. `committed`: the predecessor's commit came early.
        case starting(committed: Bool)
        /// We serve, and the predecessor could take the service back.
        case probation
        /// Ownership is being taken. `taken`: it was, but the channel has ended meanwhile.
        case taking(taken: Bool)
        /// In charge.
        case owner
        /// Handing the service back: our readers are being paused.
        case pausing(UpgradeError)
        /// We have said that we paused; the predecessor's word that it reads is awaited.
        case handedBack(UpgradeError)
        /// The application finishes what it accepted and returns.
        case leaving
        case finished
    }

    /// What is known of the predecessor.
    package enum Link: Hashable, Sendable {
        /// There never was one: this is the first process.
        case none
        case open
        /// The channel has ended, which alone does not mean that the predecessor is dead.
        case ended
        case dead
    }

    /// What can happen.
    package enum Event: Hashable, Sendable {
        case greeted
        case inventoryComplete
        /// The application is ready; everything that ready needs has been prepared.
        case readied
        case initialisationFailed(UpgradeError)
        case went
        case commitReceived
        case readersResumed
        case readersFailedToResume(UpgradeError)
        case readersPaused
        case readersFailedToPause
        case checkPassed
        /// The check threw or overran, or the application gives the service back.
        case checkFailed(UpgradeError)
        case ownershipTaken
        case ownershipFailed(UpgradeError)
        case abortReceived(UpgradeError)
        case byeReceived
        case violated(UpgradeError)
        case channelEnded
        case predecessorDied
        case deadlinePassed
        case stopRequested
    }

    /// What to do about it, in order.
    package enum Action: Hashable, Sendable {
        case sendHello
        case sendReady
        /// Close what was inherited and not claimed.
        case closeUnclaimed
        case resumeReaders
        case pauseReaders
        /// `ready()` returns: this process serves.
        case reportServing
        /// Some call that waits for this process to serve fails.
        case reportFailure(UpgradeError)
        case startCheck
        /// Ask the predecessor to commit: the check has passed.
        case sendCommit
        case takeOwnership
        case sendCommitted
        /// Change what both processes share: unlink unclaimed Unix paths.
        case settle
        /// Tell the predecessor machine of this process that it is in charge.
        case becomeOwner
        case noteDeparture
        /// A stop that came too late for this machine: the predecessor machine of this process takes it.
        case forwardStop
        case sendAbort(UpgradeError)
        case closeListeners
        case closeChannel
        case leave(Leaving)
        case exitNow
    }

    package enum Leaving: Hashable, Sendable {
        case failed(UpgradeError)
        case handedBack(UpgradeError)
        case stopped
    }

    package enum Deadline: Hashable, Sendable {
        /// From the start of the process until the inventory is here.
        case handshake
        /// As the predecessor's time for our initialisation, when it is no longer there to watch over it.
        case initialisation
        case go
        case resume
        /// The predecessor's time for probation, and all its other deadlines on the way, and a margin.
        case commit
        case ownership
        /// The channel has ended: the predecessor's death is reported within this time, or it lives.
        case severance
        case pause
        case bye
        case drain
    }

    package private(set) var phase: Phase
    package private(set) var link: Link
    /// A stop was asked for. While handing back, nothing makes this process serve again then; while taking ownership, it
    /// is forwarded. The next one means now.
    package private(set) var isStopping = false

    /// - Parameter hasPredecessor: whether this process was started by one that it is to replace.
    package init(hasPredecessor: Bool) {
        self.phase = hasPredecessor ? .greeting : .initialising
        self.link = hasPredecessor ? .open : .none
    }

    package var deadline: Deadline? {
        switch self.phase {
        case .finished, .owner: nil
        case .leaving: .drain
        case .pausing: .pause
        case .greeting, .receiving: .handshake
        case .handedBack: .bye
        case .starting: .resume
        case .taking(let taken): taken ? .severance : .ownership
        case .initialising: self.link == .ended ? .severance : self.link == .dead ? .initialisation : nil
        case .awaitingGo: self.link == .ended ? .severance : .go
        case .probation: self.link == .ended ? .severance : .commit
        }
    }

    /// Takes in what happened and says what to do. Defined for every event in every phase.
    package mutating func handle(_ event: Event) -> [Action] {
        if event == .stopRequested, self.isStopping, let actions = self.stopNow() { return actions }
        if event == .stopRequested, self.phase != .leaving { self.isStopping = true }
        if event == .channelEnded, self.link == .open { self.link = .ended }
        if event == .predecessorDied, self.link != .none { self.link = .dead }
        switch self.phase {
        case .greeting: return self.whileReceiving(event, expecting: .greeted)
        case .receiving: return self.whileReceiving(event, expecting: .inventoryComplete)
        case .initialising: return self.whileInitialising(event)
        case .awaitingGo: return self.whileAwaitingGo(event)
        case .starting(let committed): return self.whileStarting(event, committed)
        case .probation: return self.whileInProbation(event)
        case .taking(let taken): return self.whileTaking(event, taken)
        case .owner: return self.whileOwner(event)
        case .pausing(let failure): return self.whilePausing(event, failure)
        case .handedBack(let failure): return self.whileHandedBack(event, failure)
        case .leaving: return self.whileLeaving(event)
        case .finished: return []
        }
    }

    /// The second order to stop, while what the first one waits for goes on: it means now.
    private mutating func stopNow() -> [Action]? {
        switch self.phase {
        case .taking where self.isAlone: self.go(.finished, .sendAbort(.stopped), .closeListeners, .exitNow)
        case .taking, .pausing, .handedBack: self.go(.finished, .exitNow)
        default: nil
        }
    }

    /// Nobody else will ever read from the listeners: there is no predecessor, or none any more.
    package var isAlone: Bool { self.link == .none || self.link == .dead }

    private mutating func go(_ phase: Phase, _ actions: Action...) -> [Action] {
        self.phase = phase
        return actions
    }
}

// MARK: - Before go

extension SuccessorMachine {
    private mutating func whileReceiving(_ event: Event, expecting expected: Event) -> [Action] {
        switch event {
        case .greeted where event == expected: self.go(.receiving, .sendHello)
        case .inventoryComplete where event == expected: self.go(.initialising)
        case .greeted, .inventoryComplete, .went, .commitReceived, .byeReceived: self.fail(.predecessorOutOfOrder)
        case .violated(let failure), .initialisationFailed(let failure): self.fail(failure)
        case .abortReceived(let failure): self.go(.finished, .reportFailure(failure))
        // Without the whole inventory there is nothing to go on with, whether the predecessor lives or not.
        case .channelEnded, .predecessorDied: self.go(.finished, .reportFailure(.predecessorLost))
        case .deadlinePassed: self.fail(.predecessorSilent)
        case .stopRequested: self.fail(.stopped)
        default: []
        }
    }

    private mutating func fail(_ failure: UpgradeError) -> [Action] {
        self.go(.finished, .sendAbort(failure), .reportFailure(failure))
    }

    private mutating func whileInitialising(_ event: Event) -> [Action] {
        switch event {
        case .readied where self.isAlone: self.go(.starting(committed: true), .closeUnclaimed, .resumeReaders)
        case .readied: self.go(.awaitingGo, .closeUnclaimed, .sendReady)
        case .deadlinePassed: self.giveUp(self.link == .dead ? .initialisationOverran : .predecessorClosedChannel)
        default: self.beforeGo(event)
        }
    }

    private mutating func whileAwaitingGo(_ event: Event) -> [Action] {
        switch event {
        case .went: self.go(.starting(committed: false), .resumeReaders)
        case .predecessorDied: self.go(.starting(committed: true), .resumeReaders)
        // A predecessor that is silent before go still reads, or will when it wakes up.
        case .deadlinePassed: self.giveUp(self.link == .ended ? .predecessorClosedChannel : .predecessorSilent)
        default: self.beforeGo(event)
        }
    }

    private mutating func beforeGo(_ event: Event) -> [Action] {
        switch event {
        case .initialisationFailed(let failure), .violated(let failure), .abortReceived(let failure):
            self.giveUp(failure)
        case .went, .commitReceived, .greeted, .inventoryComplete, .byeReceived: self.giveUp(.predecessorOutOfOrder)
        case .stopRequested: self.go(.leaving, .sendAbort(.stopped), .closeListeners, .leave(.stopped))
        default: []
        }
    }

    private mutating func giveUp(_ failure: UpgradeError) -> [Action] {
        // Whoever hears of it may end the process at once: what it has made is gone before.
        self.go(.leaving, .sendAbort(failure), .closeListeners, .reportFailure(failure), .leave(.failed(failure)))
    }
}

// MARK: - After go

extension SuccessorMachine {
    private mutating func whileStarting(_ event: Event, _ committed: Bool) -> [Action] {
        switch event {
        case .readersResumed where committed || self.isAlone: self.go(.taking(taken: false), .takeOwnership)
        case .readersResumed: self.go(.probation, .reportServing, .startCheck)
        case .commitReceived: self.go(.starting(committed: true))
        case .readersFailedToResume(let failure): self.isAlone ? self.giveUp(failure) : self.handBack(failure)
        case .deadlinePassed: self.isAlone ? self.giveUp(.resumeTimedOut) : self.handBack(.resumeTimedOut)
        default: self.afterGo(event)
        }
    }

    private mutating func whileInProbation(_ event: Event) -> [Action] {
        switch event {
        case .commitReceived, .predecessorDied: self.go(.taking(taken: false), .takeOwnership)
        case .checkPassed: [.sendCommit]
        // The channel has ended and the predecessor lives: it will kill us, or we go by ourselves.
        case .deadlinePassed where self.link == .ended: self.handBack(.predecessorClosedChannel)
        // Silent past all its deadlines: stopped, and not to be waited for. It learns of it from `committed`.
        case .deadlinePassed: self.go(.taking(taken: false), .takeOwnership)
        default: self.afterGo(event)
        }
    }

    private mutating func whileTaking(_ event: Event, _ taken: Bool) -> [Action] {
        switch event {
        // With the channel gone nobody can be told. Its death makes us the owner; if it lives, it kills us.
        case .ownershipTaken where self.link == .ended: self.go(.taking(taken: true))
        case .ownershipTaken: self.takeCharge()
        case .predecessorDied where taken: self.takeCharge()
        case .ownershipFailed(let failure):
            switch self.link {
            case .none: self.giveUp(failure)
            // Nobody else is left to serve: a PID file is worth less than the service.
            case .dead: self.takeCharge()
            case .open, .ended: self.handBack(failure)
            }
        case .deadlinePassed:
            switch self.link {
            case .none: self.giveUp(.ownershipOverran)
            case .dead: self.takeCharge()
            // Some of it may be taken already, and the rest still be on its way: only our end is an honest answer.
            case .open, .ended: self.go(.finished, .exitNow)
            }
        // A stop is remembered and forwarded. Abort comes too late: the answer is `committed`, or our own abort.
        default: []
        }
    }

    private mutating func takeCharge() -> [Action] {
        // Settling changes files, which a disk may hold up: until it has heard `committed` the predecessor would take this
        // process for one that hangs.
        self.go(.owner, .sendCommitted, .settle, .reportServing, .becomeOwner)
            + (self.link == .dead ? [.closeChannel, .noteDeparture] : []) + (self.isStopping ? [.forwardStop] : [])
    }

    private mutating func whileOwner(_ event: Event) -> [Action] {
        switch event {
        case .predecessorDied: [.closeChannel, .noteDeparture]
        case .violated: [.closeChannel]
        default: []
        }
    }

    /// What is the same in every phase in which we read and the predecessor could take the service back.
    private mutating func afterGo(_ event: Event) -> [Action] {
        switch event {
        case .checkFailed(let failure), .abortReceived(let failure), .violated(let failure):
            self.isAlone ? [] : self.handBack(failure)
        case .stopRequested: self.stop()
        case .went, .greeted, .inventoryComplete, .byeReceived:
            self.isAlone ? [] : self.handBack(.predecessorOutOfOrder)
        default: []
        }
    }

    private mutating func handBack(_ failure: UpgradeError) -> [Action] {
        self.go(.pausing(failure), .pauseReaders)
    }

    private mutating func stop() -> [Action] {
        self.isAlone ? self.go(.leaving, .closeListeners, .leave(.stopped)) : self.handBack(.stopped)
    }

    private mutating func whilePausing(_ event: Event, _ failure: UpgradeError) -> [Action] {
        switch event {
        case .readersPaused where self.link == .dead: self.standIn()
        case .readersFailedToPause where self.link == .dead, .deadlinePassed where self.link == .dead: self.standIn()
        case .readersPaused: self.go(.handedBack(failure), .sendAbort(failure))
        // We may still be reading, and must not say that we are not: the predecessor waits for our end instead.
        case .readersFailedToPause, .deadlinePassed: self.go(.finished, .exitNow)
        default: []
        }
    }

    private mutating func whileHandedBack(_ event: Event, _ failure: UpgradeError) -> [Action] {
        switch event {
        case .predecessorDied: self.standIn()
        // Only now may the application know: one that hears of it returns, and until bye it may be needed. The service
        // goes on, also where this process alone was told to stop: its connections end as after any rollback.
        case .byeReceived, .deadlinePassed:
            self.go(.leaving, .closeListeners, .reportFailure(failure), .leave(.handedBack(failure)))
        case .abortReceived(let reason) where reason.code == .stopping:
            self.go(.leaving, .closeListeners, .reportFailure(failure), .leave(.stopped))
        default: []
        }
    }

    /// The predecessor died before it had taken the service back: whatever we failed at, nobody else is left.
    private mutating func standIn() -> [Action] {
        guard !self.isStopping else { return self.go(.leaving, .closeListeners, .leave(.stopped)) }
        return self.go(.starting(committed: true), .resumeReaders)
    }

    private mutating func whileLeaving(_ event: Event) -> [Action] {
        switch event {
        case .stopRequested where !self.isStopping:
            self.isStopping = true
            return []
        case .stopRequested, .deadlinePassed: return self.go(.finished, .exitNow)
        default: return []
        }
    }
}
