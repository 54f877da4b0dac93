// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Logging
import TableflipCore
import TableflipSystem

/// The one loop that acts: an event comes in, a machine decides, the actions are performed, their results are fed back
/// as events.
///
/// It runs on a thread of its own and waits in poll(2), so the handshake goes on also when the application has blocked
/// every thread of Swift's pool. It is used by one thread at a time: the one that makes the upgrader until the inventory
/// is here, its own from then on. What performs the actions is in `Engine+Predecessor.swift`,
/// `Engine+Successor.swift` and `Engine+Ownership.swift`.
final class Engine {
    /// Something to be looked at before anything else, in order.
    enum Fed {
        case predecessor(PredecessorMachine.Event)
        case successor(SuccessorMachine.Event)
        case input(EngineInput)
    }

    /// Whoever poll(2) woke us for.
    enum Source: Hashable {
        case inbox
        case signals
        case upstream
        case predecessorLife
        case downstream
        case successorProcess
        case successorLife
        case leftover
        /// The control socket, 0, or one of its clients.
        case control(Int)
    }

    /// The first order to stop.
    private struct StopOrder {
        /// The service manager may send it once more of its own accord.
        let mayBeRepeated: Bool
        /// It was passed on by the predecessor.
        var cameByPredecessor = false
    }

    struct Armed<Deadline: Equatable> {
        var deadline: Deadline
        var at: Moment
    }

    let context: EngineContext
    let timings: Timings
    let started: Moment
    let signals: WakeUp
    var logger: Logger

    // The two roles of this process.
    var successor: SuccessorMachine
    var predecessor = PredecessorMachine()
    private var fed: [Fed] = []
    /// Whoever is to be told that this process serves: after everything that has arrived. Commit comes together with go, and
    /// is not to wait for the threads of Swift's pool, which a successor has yet to start.
    var serving: Reply<Void>?
    private var successorDeadline: Armed<SuccessorMachine.Deadline>?
    private var predecessorDeadline: Armed<PredecessorMachine.Deadline>?
    private var standstill: Standstill
    /// Once one has been asked for.
    private var stopOrder: StopOrder?
    var isOver = false
    /// The application has been told to leave, or is about to be.
    var isLeaving = false
    var exitStatus: CInt = 0

    // As a successor.
    let takeover: Takeover

    // As a predecessor.
    var attempt: Attempt?
    /// It begins when the process before this one has left.
    var waitingUpgrade: WaitingUpgrade?
    var leftovers: [SpawnedProcess] = []
    /// A successor that counted as dead has ended, and may have put its name into the PID file before.
    var pidFileIsInDoubt = false
    var vetting: Vetting?
    var vettingNumber = 0

    // As the owner, or on the way there.
    var ownership = Ownership()

    // The service manager.
    var service: ServiceLink?
    // The control socket; nil where there is none.
    var control: ControlServer?
    var eventsBeforeControl: [UpgradeEvent] = []
    /// While an upgrade runs.
    var controlHistory: CarriedDescriptor?
    /// Milliseconds since 1970.
    let startedAt = WallClock.now

    var readerChanges = ReaderChanges()

    init(context: EngineContext, upstream: consuming OwnedDescriptor?, signals: WakeUp) {
        self.context = context
        self.timings = Timings(context.configuration, context.trial.patience)
        self.logger = context.logger
        self.started = .now
        self.standstill = Standstill(at: self.started)
        self.takeover = Takeover(context.configuration.probation)
        self.signals = signals
        let hasPredecessor: Bool
        if let upstream = upstream.take() {
            // The first batch arrives before it is known how many there will be.
            OpenFileLimit.makeRoom(for: FrameHeader.maximumDescriptors)
            self.takeover.channel = ChannelSocket(takingOwnershipOf: upstream, capabilities: context.capabilities)
            hasPredecessor = true
        } else {
            hasPredecessor = false
        }
        self.successor = SuccessorMachine(hasPredecessor: hasPredecessor)
        self.service = context.manager.map { ServiceLink($0, hasPredecessor: hasPredecessor, self.timings) }
        self.service?.begin(self.started, self.logger)
        self.arm()
    }

    // MARK: The loop

    /// Runs until the machine says that nothing more can happen here.
    func run() { while !self.isOver { self.turn() } }

    /// Runs until the whole inventory is here.
    func receiveInventory() throws(UpgradeError) {
        while self.successor.phase == .greeting || self.successor.phase == .receiving { self.turn() }
        if let failure = self.takeover.failure { throw failure }
    }

    /// Waits once, and handles everything that has happened.
    func turn() {
        let sources = self.wait()
        for source in sources { self.look(at: source) }
        // Nobody wants anything: that is the time for what will be wanted.
        if sources.isEmpty { self.prepareOffer() }
        self.settle()
        self.passDeadlines()
        self.settle()
        if let reply = self.serving.take() { reply(.success(())) }
        self.control?.answerTickets()
    }

    func feed(_ event: PredecessorMachine.Event) { self.fed.append(.predecessor(event)) }
    func feed(_ event: SuccessorMachine.Event) { self.fed.append(.successor(event)) }
    func feed(_ input: EngineInput) { self.fed.append(.input(input)) }

    /// Handles events until there are none left. What one has caused comes before what had arrived together with it: that
    /// may depend on it, as an upgrade does on a stop.
    func settle() {
        let arrived = self.fed
        self.fed = []
        for event in arrived {
            switch event {
            case .predecessor(let event): self.tell(event)
            case .successor(let event): self.tell(event)
            case .input(let input): self.take(input)
            }
            self.settle()
        }
    }

    func tell(_ event: PredecessorMachine.Event) {
        let before = self.predecessor.state
        let actions = self.predecessor.handle(event)
        let now = self.predecessor.state
        if case .unwinding = now, now != before { self.noteFailure() }
        self.watchPulse()
        self.watchDrain()
        // Before the pause or after go: in between nobody accepts, and telling may take its time.
        let isPausing = if case .pausing = now { true } else { false }
        if isPausing { self.noteProgress(from: before, to: now) }
        for action in actions {
            self.context.trial.atStep?(.predecessor(action.name), self.attempt?.channel)
            self.perform(action)
        }
        self.arm()
        if !isPausing { self.noteProgress(from: before, to: now) }
        if event == .predecessorLeft { self.beginWaitingUpgrade() }
        if now == .serving, now != before { self.makeSureOfPIDFile() }
    }

    func tell(_ event: SuccessorMachine.Event) {
        // It was meant for a process on its way to be the owner, which it has become by now.
        if event == .stopRequested, self.successor.phase == .owner {
            return self.feed(PredecessorMachine.Event.stopRequested)
        }
        let before = self.successor.phase
        let actions = self.successor.handle(event)
        // It goes on, and nobody else would say why nothing comes any more.
        if case .violated(let failure) = event, before == .owner {
            let failure = failure.whileServing(.successor)
            self.logger.error("no more connections come from the predecessor: \(failure)")
        }
        // There is nobody else any more, and the process that would have told of it is dead.
        switch (before, self.successor.phase) {
        case (.pausing(let failure), .starting), (.handedBack(let failure), .starting):
            self.logger.error(
                "the predecessor ended before it served again: this process goes on all the same",
                metadata: ["reason": "\(failure.whileServing(.successor))"]
            )
        default: break
        }
        if before != self.successor.phase {
            self.logger.trace("phase", metadata: ["from": "\(before)", "to": "\(self.successor.phase)"])
        }
        if actions.last == .exitNow { self.noteEnd(in: before) }
        for action in actions {
            self.context.trial.atStep?(.successor(action.name), self.takeover.channel)
            self.perform(action)
        }
        if self.successor.phase != .probation { self.endCheck() }
        self.arm()
    }

    private func wait(atMost limit: Duration? = nil) -> [Source] {
        var poll = Poll<Source>()
        // The other process first: this one may have been stopped for a while, and what it is told to do depends on who owns
        // the service by now.
        if let channel = self.takeover.channel, !channel.isOver {
            poll.add(.upstream, channel.descriptor, channel.interest)
        }
        if let number = self.takeover.lifeNumber { poll.add(.predecessorLife, number, Poll<Source>.readable) }
        if let attempt {
            if let channel = attempt.channel, !channel.isOver {
                poll.add(.downstream, channel.descriptor, channel.interest)
            }
            if let process = attempt.process, !attempt.childIsGone {
                poll.add(.successorProcess, process.watchDescriptor, Poll<Source>.readable)
            }
            if let number = attempt.lifeNumber { poll.add(.successorLife, number, Poll<Source>.readable) }
        }
        poll.add(.inbox, self.context.inbox.wakeUp.descriptor, Poll<Source>.readable)
        poll.add(.signals, self.signals.descriptor, Poll<Source>.readable)
        for process in self.leftovers { poll.add(.leftover, process.watchDescriptor, Poll<Source>.readable) }
        self.control?.addInterests(to: &poll, accepts: self.answersControl)
        let isTimed = self.predecessorDeadline != nil || self.successorDeadline != nil
        let next = limit ?? (self.hasOfferToPrepare ? .zero : self.untilNextDeadline)
        let sources = poll.wait(self.standstill.wait(atMost: next, isTimed: isTimed))
        self.lookAtClock()
        return sources
    }

    private func look(at source: Source) {
        switch source {
        case .inbox: for input in self.context.inbox.take() { self.feed(input) }
        case .signals: self.readSignals()
        case .upstream: self.readUpstream()
        case .predecessorLife: self.predecessorDied()
        case .downstream: self.readDownstream()
        case .successorProcess, .successorLife: self.successorMayHaveDied(source)
        case .leftover: self.collectLeftovers()
        case .control(let id): self.lookAtControl(id)
        }
    }

    private func readSignals() {
        for signal in self.signals.clear().map(WakeUp.Signal.init) {
            let number = signal.number
            if self.context.configuration.signals.upgrade.contains(number) {
                self.logger.info("upgrade by signal", metadata: ["signal": "\(ProcessID.name(ofSignal: number))"])
                self.feed(EngineInput.upgrade(UpgradeRequest(reply: { _ in }, isBySignal: true)))
            } else if self.context.configuration.signals.stop.contains(number) {
                guard self.isNewStop(signal) else { continue }
                self.logger.info("stop by signal", metadata: ["signal": "\(ProcessID.name(ofSignal: number))"])
                self.feed(EngineInput.stop)
            }
        }
    }

    /// The second one means now. A signal to the whole service reaches us twice, once by way of our predecessor, and not
    /// always in this order; that is one. Nor does what a service manager sends once more count.
    private func isNewStop(_ signal: WakeUp.Signal) -> Bool {
        guard let order = self.stopOrder else {
            self.noteWhoStops()
            self.stopOrder?.cameByPredecessor = signal.isMarked
            return true
        }
        if signal.isMarked || signal.isOfParent && order.mayBeRepeated { return false }
        self.stopOrder?.cameByPredecessor = false
        return !order.cameByPredecessor
    }

    private func take(_ input: EngineInput) {
        switch input {
        case .ready(let reply): self.applicationIsReady(reply)
        case .upgrade(let request): self.requestUpgrade(request)
        case .commit(let reply): self.orderCommit(reply)
        case .rollBack(let words, let reply): self.orderRollback(words, reply)
        case .checked(let failure): self.checkReturned(failure)
        case .stop: self.stop()
        case .leave: if !self.isLeaving { self.stop() }
        case .giveUp(let failure, let reply):
            // At once: who has its answer may end the process.
            self.tell(SuccessorMachine.Event.initialisationFailed(failure))
            reply(.success(()))
        case .readersFinished(let number, let failure): self.readersFinished(number, failure)
        case .exportFinished: self.exportFinished()
        case .announce(let count): self.attempt?.announced += count
        case .export(let connections, let reply): self.export(connections, reply)
        case .adopted(let number, let left): self.adopted(batch: number, left: left)
        case .hooksAdded: self.welcomeHooks()
        case .readerAddedLate(let listener): self.readerAddedLate(listener)
        case .ownershipChanged(let number, let failure): self.ownershipChanged(number, failure)
        case .pidFilePublished(let number, let failure): self.pidFilePublished(number, failure)
        case .vetoesHeard(let number, let words): self.vetoesHeard(number, words)
        }
    }

    /// systemd sends SIGTERM to all of a service, and when the main process has ended once more to whoever is left: to a
    /// successor whose predecessor has gone, or to a predecessor that the manager does not take for the main process any
    /// more. It has SIGKILL for those who take too long. tableflip-run is the parent of all as well, but passes on only
    /// what others send it: there the second one means now.
    private func noteWhoStops() {
        guard self.stopOrder == nil else { return }
        // What was found together with the stop comes before it.
        var predecessor = self.predecessor
        for case .predecessor(let event) in self.fed { _ = predecessor.handle(event) }
        let isReplaced = if case .draining = predecessor.state { true } else { false }
        let isBesideAnother = self.takeover.predecessor != 0 || isReplaced && self.service != nil
        self.stopOrder = StopOrder(mayBeRepeated: isBesideAnother && self.context.manager?.isOfRunner != true)
    }

    /// Until this process is in charge, stopping is the affair of taking over; from then on, of handing over.
    private func stop() {
        self.noteWhoStops()
        self.emit(.stopping)
        self.isLeaving = true
        if let request = self.withdrawUpgrade() { self.refuseUpgrade(self.refusal(.stopping), request) }
        if self.successor.phase == .owner {
            self.feed(PredecessorMachine.Event.stopRequested)
        } else {
            self.feed(SuccessorMachine.Event.stopRequested)
        }
    }

    // MARK: Deadlines

    /// A deadline starts when its state is entered, and goes on while states with the same one follow each other.
    private func arm() {
        let now = self.lookAtClock()
        if self.successor.deadline != self.successorDeadline?.deadline {
            self.successorDeadline = self.successor.deadline.map {
                let probation = self.takeover.probation.duration
                return Armed(deadline: $0, at: now + self.timings.duration(of: $0, probation: probation))
            }
        }
        if self.predecessor.deadline != self.predecessorDeadline?.deadline {
            self.predecessorDeadline = self.predecessor.deadline.map {
                let probation = self.attempt?.probation ?? .zero
                let timings = self.attempt?.timings ?? self.timings
                return Armed(deadline: $0, at: now + timings.duration(of: $0, probation: probation))
            }
        }
    }

    /// Before a deadline begins, and before one passes. Time in which this process did not run is nobody's delay: the other
    /// one may have been stopped together with it.
    @discardableResult
    func lookAtClock() -> Moment {
        let now = Moment.now
        let standstill = self.standstill.length(at: now)
        guard standstill > .zero else { return now }
        self.predecessorDeadline?.at += standstill
        self.successorDeadline?.at += standstill
        self.takeover.check?.deadline += standstill
        self.ownership.leaveDeadline? += standstill
        return now
    }

    /// The predecessor's deadlines may be later than this process can know, for it may have stood still. One that pings has
    /// not come to an end with them: it decides.
    func noteSignOfLife() {
        guard let armed = self.successorDeadline, armed.deadline == .commit else { return }
        let time = self.timings.duration(of: armed.deadline, probation: .zero)
        self.successorDeadline?.at = max(armed.at, Moment.now + time)
    }

    private var untilNextDeadline: Duration? {
        var next: Moment?
        func consider(_ deadline: Moment?) {
            guard let deadline else { return }
            if next.map({ deadline < $0 }) ?? true { next = deadline }
        }
        consider(self.successorDeadline?.at)
        consider(self.predecessorDeadline?.at)
        consider(self.takeover.channel?.deadline)
        consider(self.attempt?.channel?.deadline)
        consider(self.readerChanges.next?.deadline)
        consider(self.readerChanges.latecomersDeadline)
        consider(self.ownership.leaveDeadline)
        consider(self.vetting?.deadline)
        consider(self.waitingUpgrade?.deadline)
        consider(self.takeover.check?.deadline)
        consider(self.attempt?.pulse?.deadline)
        consider(self.attempt?.drainReport?.deadline)
        consider(self.service?.nextPing)
        consider(self.control?.nextDeadline)
        return next.map { max(.zero, Moment.now.duration(to: $0)) }
    }

    private func passDeadlines() {
        let now = self.lookAtClock()
        // What has arrived by now counts as before the deadline: this process may have been stopped for a while, or held up
        // by a disk.
        let deadlines = [self.predecessorDeadline?.at, self.successorDeadline?.at]
        if deadlines.contains(where: { $0.map { $0 <= now } ?? false }) {
            for source in self.wait(atMost: .zero) { self.look(at: source) }
            self.settle()
        }
        if let armed = self.predecessorDeadline, armed.at <= now {
            if armed.deadline == .drain { self.noteDrainOverran() }
            if armed.deadline == .resume { self.resumptionOverran() }
            self.predecessorDeadline = nil
            self.feed(PredecessorMachine.Event.deadlinePassed)
        }
        // Before the wait for the commit, and settled: a check that is overdue gives the service back, however long this
        // process was stopped.
        if let check = self.takeover.check, check.deadline <= now {
            self.checkReturned(.probationOverran)
            self.settle()
        }
        if let armed = self.successorDeadline, armed.at <= now {
            if armed.deadline == .drain { self.noteDrainOverran() }
            self.successorDeadline = nil
            self.feed(SuccessorMachine.Event.deadlinePassed)
        }
        if let deadline = self.takeover.channel?.deadline, deadline <= now { self.readUpstream() }
        if let deadline = self.attempt?.channel?.deadline, deadline <= now { self.readDownstream() }
        if let next = self.readerChanges.next, next.deadline <= now {
            self.beginReaderChange(for: next.role, next.change)
        }
        if let deadline = self.readerChanges.latecomersDeadline, deadline <= now { self.latecomersOverran() }
        if let deadline = self.ownership.leaveDeadline, deadline <= now { self.leaveNow() }
        if let vetting, vetting.deadline <= now { self.vetoesOverran(vetting) }
        if let deadline = self.waitingUpgrade?.deadline, deadline <= now { self.waitingUpgradeOverran() }
        if let pulse = self.attempt?.pulse, pulse.deadline <= now { self.feelPulse() }
        if let report = self.attempt?.drainReport, report.deadline <= now { self.reportDrain() }
        self.service?.ping(now, isWell: self.context.facts.current.isWell, self.logger)
        self.control?.passDeadlines()
    }

    // MARK: Telling

    /// What this process says first, to either side.
    var hello: Message.Hello {
        Message.Hello(
            versions: self.context.versions, generation: UInt32(self.context.facts.current.generation),
            process: ProcessID.current, features: Message.Hello.answersPings | Message.Hello.hearsDraining
        )
    }

    func emit(
        _ phase: UpgradeEvent.Phase, peer: CInt? = nil, elapsed: Duration? = nil, error: UpgradeError? = nil,
        isRehearsal: Bool = false
    ) {
        let event = UpgradeEvent(
            phase: phase, generation: self.context.facts.current.generation, peer: peer ?? self.takeover.predecessor,
            elapsed: elapsed ?? self.started.duration(to: Moment.now), error: error, isRehearsal: isRehearsal
        )
        self.context.metrics.record(event)
        self.context.events.emit(event)
        self.tellManager(event)
        self.tellControl(event)
    }

    private func noteDrainOverran() {
        // What is cut.
        self.reportDrain()
        let counts = self.context.readers.connectionCounts
        self.countConnections(cut: counts.open)
        self.logger.warning(
            "the drain time-out has passed; the process ends with what is left",
            metadata: ["drainTimeout": "\(self.timings.drain)", "connections": "\(counts.open)"]
        )
        self.emit(.drainOverran)
    }

    func exitNow() {
        self.isOver = true
        self.context.exitNow(self.exitStatus)
    }
}
