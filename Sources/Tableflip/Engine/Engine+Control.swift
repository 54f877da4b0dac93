// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Logging
import TableflipCore
import TableflipSystem

/// What the control socket asks for, and what its clients are told.
extension Engine {
    /// The process in charge answers; a first one from its start, for nobody else could. Between commit and the
    /// successor's word that it owns the service, clients wait in the queue.
    var answersControl: Bool {
        guard self.successor.phase == .owner else { return self.successor.link == .none && !self.isLeaving }
        switch self.predecessor.state {
        case .committing, .draining, .finished: return false
        default: return true
        }
    }

    /// Before this process does anything that others see.
    func openControl() throws(UpgradeError) {
        guard let configuration = self.context.configuration.controlSocket else { return }
        do throws(UpgradeError) {
            self.control = try self.context.facts.telling { () throws(UpgradeError) in
                ControlServer(
                    configuration, try configuration.claim(self.context),
                    try Upgrader.ControlSocket.claimHistory(self.context), self.timings.patience.clients,
                    self.logger
                )
            }
        } catch {
            self.refuse(error)
            throw error
        }
        self.tellEventsBeforeControl()
    }

    func lookAtControl(_ id: Int) {
        if let order = self.control?.look(at: id) { self.perform(order) }
    }

    private func perform(_ order: ControlServer.Order) {
        guard let control else { return }
        switch order.request {
        case .status: control.answer(order.client, .status(self.controlStatus))
        case .watch:
            control.answer(order.client, self.controlAcceptance)
            control.follow(order.client)
        case .upgrade(let wanted):
            let ticket = ControlTicket()
            control.answer(order.client, self.controlAcceptance)
            control.follow(order.client, ticket)
            self.requestUpgrade(
                UpgradeRequest(
                    reply: ticket.hear, successor: self.successor(as: wanted),
                    timeout: wanted.timeoutMilliseconds.map { .milliseconds($0) },
                    probation: wanted.probationMilliseconds.map { .milliseconds($0) }
                )
            )
        case .check(let wanted): control.answer(order.client, .findings(self.dryRun(self.successor(as: wanted))))
        case .rehearse(let wanted): self.rehearse(wanted, for: order.client, control)
        case .commit:
            let ticket = ControlTicket()
            control.answer(order.client, self.controlAcceptance)
            control.follow(order.client, ticket)
            self.orderCommit(ticket.hear)
        case .rollback:
            let ticket = ControlTicket(isFulfilled: true)
            control.answer(order.client, self.controlAcceptance)
            control.follow(order.client, ticket)
            self.orderRollback("", ticket.hear)
        case .stop:
            control.answer(order.client, self.controlAcceptance)
            control.follow(order.client)
            // Who asked before the listener was gone may be heard after another: only a signal's second time means "now".
            self.feed(EngineInput.leave)
        }
    }

    private func rehearse(_ wanted: ControlOrder, for client: Int, _ control: ControlServer) {
        let start = self.successor(as: wanted)
        let known = self.dryRun(start)
        // What is known to fail is not tried.
        guard known.allSatisfy(\.isGood) else { return control.answer(client, .findings(known)) }
        let rehearsal = Rehearsal(known: known)
        let ticket = ControlTicket(rehearsal: rehearsal)
        control.answer(client, self.controlAcceptance)
        control.follow(client, ticket)
        self.requestUpgrade(
            UpgradeRequest(
                reply: ticket.hear, successor: start,
                timeout: wanted.timeoutMilliseconds.map { .milliseconds($0) }, rehearsal: rehearsal
            )
        )
    }

    private var controlAcceptance: ControlReply {
        .accepted(generation: self.context.facts.current.generation, process: ProcessID.current)
    }

    private func successor(as wanted: ControlOrder) -> Upgrader.Successor {
        var successor = self.context.configuration.successor
        if let executable = wanted.executable { successor.executable = executable }
        if let file = wanted.environmentFile { successor.environment.file = file }
        return successor
    }

    // MARK: Telling

    func tellControl(_ event: UpgradeEvent) {
        guard let control else {
            // Taking over begins before there is a socket to tell it on.
            if self.context.configuration.controlSocket != nil { self.eventsBeforeControl.append(event) }
            return
        }
        control.tell(
            ControlEvent(
                phase: event.phase.description, generation: event.generation, process: ProcessID.current,
                peer: event.peer, elapsedNanoseconds: event.elapsed.inNanoseconds, time: WallClock.now,
                // How long it lasts.
                total: event.phase == .probation ? self.attempt.map { Int($0.probation.inMilliseconds) } : nil,
                failure: event.error.map { ControlFailure($0) }
            )
        )
        switch event.phase {
        case .failed where event.isRehearsal: break
        case .failed, .rolledBack: self.record(event)
        case .owner where self.context.facts.current.hasPredecessor: self.recordArrival(event)
        case .predecessorLeft: control.answerThoseWhoCameAlong()
        default: break
        }
    }

    func tellEventsBeforeControl() {
        let events = self.eventsBeforeControl
        self.eventsBeforeControl = []
        for event in events { self.tellControl(event) }
    }

    /// How far something has come.
    func tellControl(_ phase: String, _ done: Int, of total: Int? = nil, peer: CInt, since: Moment) {
        guard let control else { return }
        control.tell(
            ControlEvent(
                phase: phase, generation: self.context.facts.current.generation, process: ProcessID.current,
                peer: peer, elapsedNanoseconds: since.duration(to: Moment.now).inNanoseconds, time: WallClock.now,
                done: done, total: total
            ), isProgress: true
        )
    }

    // MARK: The history

    private func record(_ event: UpgradeEvent) {
        let milliseconds = Int64(event.elapsed.inMilliseconds)
        self.control?.history.append(
            ControlRecord(
                time: WallClock.now - milliseconds, generation: event.generation, process: ProcessID.current,
                successor: event.peer, milliseconds: milliseconds, failure: event.error.map { ControlFailure($0) }
            )
        )
    }

    /// How this process came to be in charge, for which its predecessor has left the time at which it was asked.
    private func recordArrival(_ event: UpgradeEvent) {
        guard let control else { return }
        let now = WallClock.now
        let began = control.history.began > 0 ? control.history.began : now
        control.history.append(
            ControlRecord(
                time: began, generation: event.generation - 1, process: event.peer, successor: ProcessID.current,
                milliseconds: max(0, now - began)
            )
        )
    }

    /// Goes along with the inventory of the upgrade that begins now.
    func leaveControlHistory() {
        guard let control else { return }
        control.history.began = WallClock.now
        do {
            let blob = try Blob.make(
                control.history.encoded(), name: Upgrader.ControlSocket.historyName, self.context.capabilities
            )
            var entry = try Upgrader.entry(Upgrader.ControlSocket.historyName, .state)
            entry.version = ControlFrame.version
            self.controlHistory = try self.context.sockets.add(entry, blob)
        } catch {
            self.logger.warning("control: the next process will not know of earlier upgrades: \(error)")
        }
    }

    /// The upgrade has failed, and what is carried may change again.
    func takeControlHistoryBack() {
        guard let history = self.controlHistory.take() else { return }
        self.context.sockets.remove(history)
    }

    // MARK: From process to process

    /// Sends every client to the successor. To be called before the application hears that it should leave.
    func moveControlClients() {
        guard let control, let attempt else { return }
        // The successor knows of no tickets: it would take an order that came too late for one that was carried out.
        control.answerTickets()
        guard !control.isEmpty else { return }
        guard !attempt.kept.contains(control.listener.name) else { return control.sayGoodbye() }
        let clients = control.depart()
        attempt.announced += clients.count
        attempt.controlClients = clients.count
        // What does not arrive is closed: its client sees the end, and has seen the commit.
        self.export(clients) { _ in }
    }

    /// - Returns: whether the connection was one of a client of the control socket.
    func adoptControlClient(_ entry: Message.ConnectionBatch.Entry, _ socket: inout OwnedDescriptor?) -> Bool {
        guard entry.listener.hasPrefix(Upgrader.ControlSocket.namePrefix) else { return false }
        self.takeover.controlClients += 1
        guard let control, entry.listener == control.listener.name, let client = socket.take() else {
            self.logger.warning("control: a client was handed over, and this process has no control socket: closed")
            return true
        }
        if let order = control.adopt(entry, client) { self.perform(order) }
        return true
    }

    /// Of the connections that the application serves.
    func tellConnectionsMoved() {
        let total = self.takeover.announced - self.takeover.controlClients
        guard total > 0 else { return }
        let done = max(0, self.takeover.arrivals.adopted - self.takeover.controlClients)
        self.tellControl("moving", done, of: total, peer: self.takeover.predecessor, since: self.started)
    }

    // MARK: Status

    private var controlStatus: ControlStatus {
        let facts = self.context.facts.current
        let sockets = self.context.sockets.carried.filter { $0.kind == .listener || $0.kind == .datagram }
        return ControlStatus(
            generation: facts.generation, process: ProcessID.current, predecessor: self.takeover.predecessor,
            successor: self.isUpgradeRunning ? self.attempt?.successor ?? 0 : 0, state: self.controlState,
            since: self.startedAt, time: WallClock.now, version: self.context.configuration.version,
            program: (try? self.context.program(self.context.configuration.successor).executable.path) ?? "",
            pidFile: self.context.pidFile?.path ?? "",
            connections: self.context.readers.connectionCounts.open,
            listeners: sockets.prefix(ControlStatus.mostListeners).map { socket in
                .init(
                    name: socket.name, kind: "\(socket.kind)", address: socket.entry.address,
                    port: Int(socket.withDescriptor { $0.flatMap { BoundSocket.port(of: $0) } } ?? 0),
                    isInherited: socket.isInherited
                )
            },
            upgrades: self.control?.history.records ?? []
        )
    }

    private var isUpgradeRunning: Bool {
        switch self.predecessor.state {
        case .initialising, .outliving, .serving, .stopping, .finished: false
        default: true
        }
    }

    private var controlState: String {
        switch self.predecessor.state {
        case .initialising: self.isLeaving ? "stopping" : "starting"
        case .outliving, .serving: self.waitingUpgrade == nil ? "serving" : "waiting"
        case .stopping, .finished: "stopping"
        case .draining: "draining"
        case .unwinding: "unwinding"
        default: self.attempt?.phases.last?.0.description ?? "upgrading"
        }
    }
}

extension Duration {
    fileprivate var inNanoseconds: Int64 {
        self.components.seconds * 1_000_000_000 + self.components.attoseconds / 1_000_000_000
    }
}
