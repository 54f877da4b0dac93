// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Logging
import TableflipCore
import TableflipSystem

/// Handing over: what the predecessor machine wants done, and what the successor says.
extension Engine {
    func perform(_ action: PredecessorMachine.Action) {
        switch action {
        case .refuse: break  // answered in `requestUpgrade`, which knows who asked
        case .spawn: self.spawn()
        case .sendHello: self.sendHello()
        case .offerInventory: self.offerInventory()
        case .pauseReaders:
            let states = self.context.finalStates
            var change = ReaderChange(.pause)
            if states.hasProviders {
                let collected = Latch<[CarriedDescriptor]>()
                self.attempt?.collected = collected
                change.after = { collected.set(try await states.collect()) }
            }
            self.changeReaders(for: .predecessor, change)
        case .resumeReaders: self.changeReaders(for: .predecessor, ReaderChange(.resume))
        case .sendGo: self.sendGo()
        case .giveUpOwnership: self.changeOwnership(.givingUp)
        case .takeBackOwnership: self.takeBackOwnership()
        case .sendCommit: self.attempt?.channel?.send(.commit)
        case .sendAbort(let failure): self.attempt?.channel?.send(.abort(Message.Abort(failure)))
        case .sendBye: self.sendBye()
        case .terminateSuccessor: self.signalSuccessor(self.context.configuration.signals.stopping)
        case .killSuccessor: self.signalSuccessor(ProcessID.killSignal)
        case .closeChannel: self.closeDownstream()
        case .exportConnections: self.exportConnections()
        case .closeListeners: self.closeSockets(.handedOn)
        case .endService:
            self.removeFiles()
            self.closeSockets(.stopped)
        case .reportSuccess: self.reportSuccess()
        case .reportFailure(let failure): self.reportFailure(failure)
        case .leave(let leaving):
            switch leaving {
            case .replaced:
                self.removePIDFile()
                self.tellToLeave(.replaced(successor: self.attempt?.successor ?? 0))
            case .stopped: self.tellToLeave(.stopped)
            }
        case .exitNow: self.exitNow()
        }
    }

    func closeSockets(_ reason: EngineFacts.Closed) {
        self.context.facts.update { $0.closed = reason }
        self.context.sockets.close()
    }

    /// The successor has published its own before it said that it is the owner. Where that has another path, or it has none,
    /// this one would name a dead process for good.
    private func removePIDFile() {
        // Connections wait to be moved, and mostly there is nothing to do: only a look at what no disk has to fetch.
        guard let pidFile = self.context.pidFile, !pidFile.wasReplaced else { return }
        SideThread.runBriefly { [logger = self.logger] in pidFile.remove(logger) }
    }

    /// What a service that ends leaves nothing of.
    private func removeFiles() {
        let (pidFile, sockets, logger) = (self.context.pidFile, self.context.sockets, self.logger)
        SideThread.runBriefly {
            pidFile?.remove(logger)
            for (path, problem) in sockets.unlink() {
                logger.warning("the file of a Unix socket stays: \(problem)", metadata: ["path": "\(path)"])
            }
        }
    }

    // MARK: The request

    func requestUpgrade(_ request: UpgradeRequest) {
        if let problem = request.problem {
            self.refuseUpgrade(problem, request)
        } else if let refusal = self.reasonToRefuse {
            if refusal.code == .predecessorAlive {
                self.holdBack(request)
            } else {
                self.refuseUpgrade(refusal, request)
            }
        } else if self.context.hooks.vetoes.isEmpty {
            self.beginUpgrade(request)
        } else {
            self.hearVetoes(request)
        }
    }

    func refuseUpgrade(_ refusal: UpgradeError, _ request: UpgradeRequest) {
        self.emit(
            .refused, peer: self.attempt?.successor, error: refusal, isRehearsal: request.rehearsal != nil)
        if request.isBySignal { self.logFailure(refusal) }
        request.reply(.failure(refusal))
    }

    var reasonToRefuse: UpgradeError? {
        var probe = self.predecessor
        if case .refuse(let code) = probe.handle(.upgradeRequested).first { return self.refusal(code) }
        if self.context.isProcessOne { return self.refusal(.processOne) }
        guard self.vetting != nil else { return nil }
        return UpgradeError(
            .upgradeRunning, "an upgrade was asked for, and the program is deciding whether it may begin (its vetoes)",
            cure: "Wait for its outcome."
        )
    }

    func beginUpgrade(_ request: UpgradeRequest) {
        // Much may have happened while vetoes were heard.
        if let refusal = self.reasonToRefuse { return self.refuseUpgrade(refusal, request) }
        let began = Moment.now
        do throws(UpgradeError) {
            let pair = try UpgradeError.wrapping("the channel to a successor cannot be made") {
                () throws(SystemCallError) in try ChannelSocket.pair()
            }
            let channel = ChannelSocket(
                takingOwnershipOf: OwnedDescriptor(takingOwnershipOf: pair.ours),
                capabilities: self.context.capabilities
            )
            self.keepWatchingLeftover()
            self.leaveControlHistory()
            self.attempt = Attempt(
                request, began: began, start: request.successor ?? self.context.configuration.successor,
                timings: self.timings.allowing(request.timeout), inventory: self.context.sockets.freeze(),
                channel: channel, capabilities: self.context.capabilities
            )
            self.attempt?.theirs = OwnedDescriptor(takingOwnershipOf: pair.theirs)
        } catch {
            let isRehearsal = request.rehearsal != nil
            if !isRehearsal { self.logFailure(error) }
            // It has begun for everybody who hears of its end.
            self.emit(.requested, peer: 0, elapsed: .zero, isRehearsal: isRehearsal)
            self.emit(
                .failed, peer: 0, elapsed: began.duration(to: Moment.now), error: error, isRehearsal: isRehearsal)
            return request.reply(.failure(error))
        }
        self.emitProgress(.requested)
        // At once: between looking and beginning nothing else may happen.
        self.tell(PredecessorMachine.Event.upgradeRequested)
    }

    /// At most two processes: the upgrade waits for the one before us. By default only for a moment, in which one leaves
    /// that has nothing left to finish: who asks again right after an upgrade, perhaps by a signal, is not told no for
    /// that.
    private func holdBack(_ upgrade: UpgradeRequest) {
        guard self.waitingUpgrade == nil else { return self.refuseUpgrade(self.alreadyWaiting, upgrade) }
        let waits = self.context.configuration.overlap == .wait
        self.waitingUpgrade = WaitingUpgrade(
            request: upgrade, deadline: waits ? nil : Moment.now + self.timings.farewell)
        self.logger.info(
            "the upgrade waits for the previous process to leave", metadata: ["pid": "\(self.takeover.predecessor)"]
        )
        self.emit(.waiting, isRehearsal: upgrade.rehearsal != nil)
    }

    /// What was asked for and has not begun: it waits for the process before, or for the program's word.
    func withdrawUpgrade() -> UpgradeRequest? {
        if let waiting = self.waitingUpgrade.take() { return waiting.request }
        guard let vetting = self.vetting.take() else { return nil }
        vetting.task.cancel()
        return vetting.request
    }

    var alreadyWaiting: UpgradeError {
        UpgradeError(
            .upgradeRunning,
            "an upgrade waits already for the previous process (PID \(self.takeover.predecessor)) to leave",
            cure: "Wait for its outcome; drainTimeout bounds it."
        )
    }

    func beginWaitingUpgrade() {
        guard let waiting = self.waitingUpgrade.take() else { return }
        self.requestUpgrade(waiting.request)
    }

    func waitingUpgradeOverran() {
        guard let waiting = self.waitingUpgrade.take() else { return }
        self.refuseUpgrade(self.refusal(.predecessorAlive), waiting.request)
    }

    /// A successor that was sent SIGKILL and that the kernel still holds counts as dead; it is reaped when it ends.
    private func keepWatchingLeftover() {
        if let process = self.attempt?.process { self.leftovers.append(process) }
    }

    func collectLeftovers() {
        let before = self.leftovers.count
        self.leftovers.removeAll { $0.collect() != nil }
        if self.leftovers.count < before { self.pidFileIsInDoubt = true }
        self.makeSureOfPIDFile()
    }

    /// A successor that counted as dead may have had its name on the way to a disk that did not answer. While another
    /// upgrade runs it is not the time to look.
    func makeSureOfPIDFile() {
        guard self.pidFileIsInDoubt, self.predecessor.state == .serving, self.context.facts.current.isOwner,
            let pidFile = self.context.pidFile
        else { return }
        self.pidFileIsInDoubt = false
        SideThread.runBriefly { [logger = self.logger] in
            do throws(UpgradeError) { try pidFile.restore() } catch { logger.error("\(error)") }
        }
    }

    func refusal(_ code: UpgradeError.Code) -> UpgradeError {
        let successor = self.attempt?.successor ?? 0
        return switch code {
        case .notReady:
            UpgradeError(
                code, "this process does not own the service yet", cure: "Upgrade after ready() has returned.",
                serving: self.whoServesInstead
            )
        case .predecessorAlive:
            UpgradeError(
                code, "the previous process (PID \(self.takeover.predecessor)) is still draining",
                cure: "Wait for it (waitForPredecessor(), or overlap: .wait); drainTimeout bounds it.",
                serving: .successor
            )
        case .successorAlive:
            UpgradeError(
                code, "the last successor (PID \(successor)) handed the service back and is still draining",
                cure: "Try again when it has left; drainTimeout bounds it."
            )
        case .upgradeRunning:
            UpgradeError(
                code,
                "an upgrade is running: to PID \(successor), at \(self.attempt?.phases.last?.0.description ?? ""), "
                    + "asked for \(self.attempt.map { $0.began.duration(to: Moment.now).inSeconds + " ago" } ?? "now")",
                cure: "Wait for its outcome."
            )
        case .replaced:
            UpgradeError(
                code, "this process has been replaced by PID \(successor) and is draining",
                cure: "Ask that process.", serving: .successor
            )
        case .processOne:
            UpgradeError(
                code, "this process is PID 1: when it leaves after an upgrade, the kernel ends the whole container",
                cure: "Start it as `tableflip-run -- PROGRAM …`, which stays PID 1 and follows the service."
            )
        default: UpgradeError(code, "this process is stopping", cure: "Start the service anew.", serving: .nobody)
        }
    }

    /// What to start, found anew.
    func program(_ successor: Upgrader.Successor) throws(UpgradeError) -> SpawnRequest {
        if let directory = successor.directory(otherThan: self.context.directory) {
            for socket in self.context.sockets.carried {
                guard let path = SocketAddress(socket.entry.address)?.unixPath, !path.hasPrefix("/") else { continue }
                throw .lookedForElsewhere("the path of \(socket.name)", path, directory)
            }
        }
        return try self.context.program(successor)
    }

    private func spawn() {
        guard let attempt, let theirs = attempt.theirs.take() else { return }
        let number = theirs.borrowed
        do throws(UpgradeError) {
            var request = try self.program(attempt.start)
            let variable = try UpgradeError.wrapping("the channel cannot be looked at") {
                () throws(SystemCallError) in try ProcessEnvironment.variable(channel: number)
            }
            request.environment.strings.append(variable)
            let process = try self.context.spawner.spawn(request, channel: number)
            attempt.process = process
            attempt.successor = process.id
            self.logger.info(
                "successor started",
                metadata: [
                    "pid": "\(process.id)", "path": "\(request.executable.path)",
                    "file": "\(request.executable.resolved)",
                ]
            )
            self.feed(PredecessorMachine.Event.spawned)
        } catch {
            self.feed(PredecessorMachine.Event.spawnFailed(error))
        }
    }

    // MARK: What the successor says

    func readDownstream() {
        guard let attempt, !attempt.channelIsOver else { return }
        attempt.channel?.flush()
        attempt.channel?.receive { arrival in
            switch consume arrival {
            case .message(let message, let descriptors): self.heard(message, descriptors, attempt)
            // One that dies while it writes leaves half a frame.
            case .violation(.endedInsideFrame): self.channelEnded(attempt)
            case .failed(let error):
                self.logger.error("\(error): the channel to the successor")
                // The kernel may have refused to send what is not open any more.
                self.feed(PredecessorMachine.Event.violated(attempt.offering.lost() ?? .channelFailed(error)))
            case .violation(.descriptorsDropped):
                self.feed(PredecessorMachine.Event.violated(.noRoomForDescriptors))
            case .violation(let error):
                self.feed(
                    PredecessorMachine.Event.violated(
                        UpgradeError(.successorMisbehaved, "the successor sent \(error), and was killed")
                    )
                )
            case .ended: self.channelEnded(attempt)
            }
        }
    }

    /// A process that dies closes its channel a moment before its end can be seen: the kernel frees its memory between
    /// the two, which a busy machine takes its time for. That moment is waited for here, so that the way it ended is told,
    /// and not that we sent SIGKILL to one that was dead already. One that lives and has hung up is rare.
    private func channelEnded(_ attempt: Attempt) {
        // What runs it may have told of its end before the channel did.
        attempt.channel?.stopReading()
        let deadline = Moment.now + .milliseconds(250)
        while !self.countsAsDead(attempt) {
            var poll = Poll<Source>()
            if let process = attempt.process {
                poll.add(.successorProcess, process.watchDescriptor, Poll<Source>.readable)
            }
            if let number = attempt.lifeNumber { poll.add(.successorLife, number, Poll<Source>.readable) }
            let left = Moment.now.duration(to: deadline)
            guard left > .zero else { return self.feed(self.endOfChannel(attempt)) }
            for source in poll.wait(left) { self.noteEnd(source, attempt) }
        }
        self.tellDeath(attempt)
    }

    /// What it means that the channel has ended and something of the successor goes on.
    private func endOfChannel(_ attempt: Attempt) -> PredecessorMachine.Event {
        // Where it was told to go, a shell around it may take its time.
        if case .unwinding = self.predecessor.state { return .channelEnded }
        return attempt.isWrapped && attempt.servesNothing
            ? .violated(.endedInsideAnother(attempt.successor)) : .channelEnded
    }

    /// From the commit on only who serves matters: connections wait to be taken back.
    private func countsAsDead(_ attempt: Attempt) -> Bool {
        if case .draining = self.predecessor.state { attempt.servesNothing } else { attempt.isDead }
    }

    private func tellDeath(_ attempt: Attempt) {
        guard !attempt.deathIsTold else { return }
        attempt.deathIsTold = true
        // One that is told to stop, as this process is, ends as it should.
        if case .draining(let draining) = self.predecessor.state, !draining.stopSeen { self.noteDeathOfOwner(attempt) }
        self.feed(PredecessorMachine.Event.successorDied(attempt.endingError))
    }

    /// This process has closed its listeners, and takes nothing back. Whoever supervises the service must start it again.
    private func noteDeathOfOwner(_ attempt: Attempt) {
        guard attempt.ending != .exited(0) else { return }
        let failure = attempt.endingError
        self.logger.error(
            "the successor has died, and nobody serves: \(failure.message)",
            metadata: ["successor": "\(attempt.successor)", "code": "\(failure.code)"]
        )
    }

    private func noteEnd(_ source: Source, _ attempt: Attempt) {
        if source == .successorLife {
            attempt.life = nil
        } else if let ending = attempt.process?.collect() {
            attempt.ending = ending
            attempt.childIsGone = true
            attempt.process = nil
        }
    }

    private func heard(_ message: Message, _ descriptors: consuming DescriptorBatch, _ attempt: Attempt) {
        var descriptors = descriptors
        self.logger.trace("heard", metadata: ["message": "\(message.name)", "from": "successor"])
        switch message {
        case .hello(let hello): self.heard(hello, descriptors.takeFirst(), attempt)
        case .acknowledgement(let acknowledgement): self.heard(acknowledgement, attempt)
        case .ready(let ready): self.heard(ready, attempt)
        case .fresh(let fresh): self.heard(fresh, attempt)
        case .keep(let keep): self.heard(keep, attempt)
        case .taken(let taken): self.heard(taken, attempt)
        case .commit: self.feed(PredecessorMachine.Event.checkPassed)
        case .committed: self.feed(PredecessorMachine.Event.reportedCommitted)
        case .abort(let abort):
            // It may have got something else than it was told.
            let mayHoldOther = self.predecessor.state == .greeting || self.predecessor.state == .offering
            let lost = mayHoldOther ? attempt.offering.lost() : nil
            let failure = lost ?? abort.error(.successorAborted, by: "the successor")
            self.feed(PredecessorMachine.Event.aborted(failure))
        case .unknown(let kind): self.logger.debug("passed over a message of the unknown kind \(kind)")
        case .pong: self.attempt?.pulse?.answered(at: Moment.now)
        case .offer, .terms, .paths, .go, .connections, .bye, .ping, .draining:
            self.successorMisbehaved("sent \(message.name)")
        }
    }

    private func successorMisbehaved(_ what: String) {
        self.feed(
            PredecessorMachine.Event.violated(
                UpgradeError(.successorMisbehaved, "the successor \(what), and was killed")
            )
        )
    }

    private func heard(_ hello: Message.Hello, _ life: consuming OwnedDescriptor?, _ attempt: Attempt) {
        guard !attempt.saidHello else { return self.successorMisbehaved("said hello twice") }
        attempt.saidHello = true
        attempt.answersPings = hello.features & Message.Hello.answersPings != 0
        attempt.hearsDraining = hello.features & Message.Hello.hearsDraining != 0
        guard ProtocolVersion.common(self.context.versions, hello.versions) != nil else {
            return self.feed(
                PredecessorMachine.Event.violated(.versions(self.context.versions, theirs: hello, whose: "successor"))
            )
        }
        // The kernel's word, never the message's: this process id may be sent SIGKILL.
        let speaker = attempt.channel?.peer ?? 0
        if speaker > 1, speaker != attempt.process?.id {
            attempt.successor = speaker
            attempt.isWrapped = true
            attempt.life = life
        }
        self.feed(PredecessorMachine.Event.greeted)
    }

    private func heard(_ fresh: Message.Fresh, _ attempt: Attempt) {
        guard attempt.rehearsal != nil, attempt.saidHello, attempt.fresh.isEmpty else {
            return self.successorMisbehaved("told unasked what it has made anew")
        }
        attempt.fresh = fresh.entries
    }

    private func heard(_ keep: Message.Keep, _ attempt: Attempt) {
        guard attempt.saidHello, !attempt.saidReady, keep.listeners.allSatisfy({ $0 < attempt.inventory.count }) else {
            return self.successorMisbehaved("named listeners to keep that it was not offered, or too late")
        }
        for index in keep.listeners { attempt.kept.insert(attempt.inventory[Int(index)].name) }
    }

    private func heard(_ taken: Message.Taken, _ attempt: Attempt) {
        let count = Int(taken.connections) - attempt.moved
        guard case .draining = self.predecessor.state, count >= 0, count <= attempt.sent else {
            return self.successorMisbehaved("took \(taken.connections) connections, which it was not sent")
        }
        attempt.taken = Int(taken.connections)
    }

    private func heard(_ ready: Message.Ready, _ attempt: Attempt) {
        attempt.saidReady = true
        guard ready.claimed.count == attempt.inventory.count else {
            return self.successorMisbehaved(
                "speaks of \(ready.claimed.count) of \(attempt.inventory.count) descriptors")
        }
        guard ready.probationMilliseconds <= WireLimit.probationMilliseconds else {
            return self.successorMisbehaved("wants a probation of \(ready.probationMilliseconds) ms")
        }
        let agrees = attempt.offering.digest(of: ready.claimed) == ready.digest
        attempt.probation = .milliseconds(Int64(ready.probationMilliseconds))
        if let terms = attempt.terms, ready.probationMilliseconds != terms.probationMilliseconds {
            return self.feed(PredecessorMachine.Event.rollbackOrdered(.termsNotTaken))
        }
        if ready.claimed.contains(false) {
            for (socket, isClaimed) in zip(attempt.inventory, ready.claimed) where !isClaimed {
                attempt.kept.insert(socket.name)
            }
        }
        if !agrees, let lost = attempt.offering.lost() { return self.feed(PredecessorMachine.Event.violated(lost)) }
        if agrees, let rehearsal = attempt.rehearsal {
            return self.endRehearsal(rehearsal, ready, attempt)
        }
        self.feed(PredecessorMachine.Event.reportedReady(agreed: agrees, ready.probation))
    }

    private func heard(_ acknowledgement: Message.Acknowledgement, _ attempt: Attempt) {
        let received = Int(acknowledgement.received)
        switch acknowledgement.subject {
        case .initialOffer:
            guard received >= attempt.offering.acknowledged, received <= attempt.offering.offered else {
                return self.successorMisbehaved("acknowledged \(received) of \(attempt.offering.offered) descriptors")
            }
            attempt.offering.acknowledged = received
            attempt.channel?.peerMadeProgress()
            self.tellControl(
                "handingOver", received, of: attempt.inventory.count, peer: attempt.successor, since: attempt.began
            )
            if received == attempt.inventory.count {
                self.feed(PredecessorMachine.Event.inventoryAcknowledged)
            } else {
                self.offerMore(attempt)
            }
        case .finalOffer:
            guard attempt.finalCount > 0, received <= attempt.finalCount else {
                return self.successorMisbehaved("acknowledged \(received) of \(attempt.finalCount) final states")
            }
            attempt.channel?.peerMadeProgress()
            if received == attempt.finalCount { attempt.finalStates = [] }
        case .connections: self.connectionsArrived(received, attempt)
        }
    }

    /// The final states, then go: what is sent first arrives first.
    private func sendGo() {
        guard let attempt else { return }
        attempt.finalStates = attempt.collected.take()?.current ?? []
        attempt.finalCount = attempt.finalStates.count
        var first = 0
        while first < attempt.finalStates.count {
            let end = min(first + self.context.capabilities.descriptorsPerMessage, attempt.finalStates.count)
            let batch = attempt.finalStates[first..<end]
            attempt.channel?.send(
                .offer(
                    .init(
                        stage: .final, first: UInt32(first), total: UInt32(attempt.finalStates.count),
                        entries: batch.map(\.entry)
                    )
                ), descriptors: batch.map { $0.withDescriptor { $0 ?? -1 } }
            )
            first = end
        }
        attempt.channel?.send(.go)
        attempt.wentLive = true
    }

    /// The process that we started, or the one that said hello in its place, may have ended.
    func successorMayHaveDied(_ source: Source) {
        guard let attempt, !attempt.isDead else { return }
        self.noteEnd(source, attempt)
        if attempt.wentLive { self.pidFileIsInDoubt = true }
        guard self.predecessor.state != .serving else { return self.makeSureOfPIDFile() }
        let goesOn = attempt.isWrapped && attempt.servesNothing && !attempt.isDead
        guard goesOn || self.countsAsDead(attempt) else { return }
        // What it had still said comes first.
        self.readDownstream()
        // Neither the end of the channel nor a death tells of it: what stands around it has the channel, and lives.
        if goesOn, !attempt.channelIsOver, !self.countsAsDead(attempt) { return self.channelEnded(attempt) }
        if self.countsAsDead(attempt) { self.tellDeath(attempt) }
    }

    // MARK: Actions

    private func sendHello() {
        guard let attempt else { return }
        var hello = self.hello
        if attempt.rehearsal != nil { hello.features |= Message.Hello.hearsFresh }
        attempt.channel?.send(.hello(hello), descriptors: [self.context.lifeline.descriptor])
    }

    private func offerInventory() {
        guard let attempt else { return }
        if let terms = attempt.terms { attempt.channel?.send(.terms(terms)) }
        for paths in attempt.offering.paths { attempt.channel?.send(.paths(paths)) }
        self.offerMore(attempt)
    }

    /// Sends batches for as long as not too many descriptors are on their way.
    private func offerMore(_ attempt: Attempt) {
        while let batch = attempt.offering.next() {
            attempt.channel?.send(frame: batch.frame, descriptors: batch.descriptors)
        }
    }

    /// The successor has yet to ask for it.
    var hasOfferToPrepare: Bool {
        guard let attempt, !attempt.channelIsOver, !attempt.offering.isPrepared else { return false }
        return self.predecessor.state == .greeting || self.predecessor.state == .offering
    }

    func prepareOffer() {
        if self.hasOfferToPrepare { self.attempt?.offering.prepare() }
    }

    func predecessorReadersFinished(_ failure: UpgradeError?) {
        if case .pausing = self.predecessor.state {
            self.feed(
                failure.map { PredecessorMachine.Event.readersFailedToPause($0) }
                    ?? PredecessorMachine.Event.readersPaused
            )
        } else {
            self.predecessorResumed(failure)
            self.feed(PredecessorMachine.Event.readersResumed)
        }
    }

    func predecessorResumed(_ failure: UpgradeError?) {
        // One that is told to leave meanwhile need not.
        if let failure, !self.isLeaving { self.logger.critical("a reader did not resume: \(failure.message)") }
        self.noteResumption()
    }

    private func signalSuccessor(_ signal: CInt) {
        guard let attempt else { return }
        // Neither number can be another's yet: the end of each is watched, and has not been seen.
        if let process = attempt.process, !attempt.childIsGone { self.context.signal(process.id, signal) }
        if attempt.lifeNumber != nil { self.context.signal(attempt.successor, signal) }
    }

    private func closeDownstream() {
        guard let attempt else { return }
        self.failMoving(attempt)
        attempt.channel?.stopReading()
        attempt.channel = nil
        attempt.theirs = nil
        attempt.finalStates = []
        attempt.collected = nil
    }

    // MARK: Outcomes

    private func reportSuccess() {
        guard let attempt else { return }
        let duration = attempt.began.duration(to: Moment.now)
        let generation = self.context.facts.current.generation
        self.logger.info(
            "upgraded",
            metadata: [
                "successor": "\(attempt.successor)", "milliseconds": "\(duration.inMilliseconds)",
                "descriptors": "\(attempt.inventory.count)",
            ]
        )
        self.emitProgress(.committed, after: duration)
        attempt.answer(
            .success(
                UpgradeReport(
                    successor: attempt.successor, generation: generation + 1, descriptors: attempt.inventory.count,
                    duration: duration, phaseNames: attempt.phases.map(\.0), phaseTimes: attempt.phases.map(\.1)
                )
            )
        )
        self.moveControlClients()
    }

    private func reportFailure(_ failure: UpgradeError) {
        guard let attempt else { return }
        attempt.offering.letGo()
        self.context.sockets.thaw()
        self.takeControlHistoryBack()
        // A successor that was killed could not remove what it had prepared.
        if let path = self.context.pidFile?.path, attempt.successor > 0 {
            let prepared = PIDFile(path: path, process: attempt.successor)
            SideThread.runBriefly { prepared.discard() }
        }
        let stops = failure.code == .stopping
        var failure = failure.whileServing(stops ? .nobody : .predecessor)
        failure.isRollback = attempt.wentLive && !stops
        if failure.isRollback {
            self.noteRollback(attempt, failure)
        } else if attempt.rehearsal == nil {
            self.logFailure(failure)
        }
        self.emit(
            failure.isRollback ? .rolledBack : .failed, peer: attempt.successor,
            elapsed: attempt.began.duration(to: Moment.now), error: failure, isRehearsal: attempt.rehearsal != nil
        )
        attempt.answer(.failure(failure))
    }

    /// Whoever asked: an answer is heard by one, and perhaps by nobody.
    private func logFailure(_ failure: UpgradeError) { self.logger.error("upgrade failed: \(failure)") }

    /// Turns what the machine went through into events.
    func noteProgress(from before: PredecessorMachine.State, to now: PredecessorMachine.State) {
        guard before != now else { return }
        self.logger.trace("state", metadata: ["from": "\(before)", "to": "\(now)"])
        switch now {
        case .greeting: self.emitProgress(.spawned)
        case .awaitingReady: self.emitProgress(.handedOver)
        case .pausing: self.emitProgress(.ready)
        case .probation:
            self.emitProgress(.go)
            self.emitProgress(.probation)
        case .relinquishing:
            if case .pausing = before { self.emitProgress(.go) }
        default: break
        }
    }

    private func emitProgress(_ phase: UpgradeEvent.Phase, after elapsed: Duration? = nil) {
        guard let attempt else { return }
        let elapsed = elapsed ?? attempt.began.duration(to: Moment.now)
        attempt.phases.append((phase, elapsed))
        self.emit(phase, peer: attempt.successor, elapsed: elapsed, isRehearsal: attempt.rehearsal != nil)
    }

    // MARK: Connections

    private func exportConnections() {
        // It may have ended since it said that it is the owner.
        if let attempt, attempt.servesNothing { self.tellDeath(attempt) }
        let readers = self.context.readers.all
        let inbox = self.context.inbox
        guard !readers.isEmpty else { return self.feed(EngineInput.exportFinished) }
        let logger = self.logger
        Task {
            await withDiscardingTaskGroup { group in
                for reader in readers {
                    group.addTask {
                        do {
                            try await reader.export(to: ConnectionExporter(inbox: inbox))
                        } catch {
                            logger.warning("connections stay: \(error)")
                        }
                    }
                }
            }
            inbox.send(.exportFinished)
        }
    }

    /// The successor is told how many connections are left, from the commit until nothing more can move.
    func watchDrain() {
        guard let attempt else { return }
        guard case .draining(let draining) = self.predecessor.state, draining.isExporting, attempt.hearsDraining else {
            attempt.drainReport = nil
            return
        }
        if attempt.drainReport == nil { attempt.drainReport = DrainReport(at: Moment.now) }
    }

    func reportDrain() {
        let left = self.context.readers.connectionCounts.open
        guard let word = self.attempt?.drainReport?.word(left, at: Moment.now) else { return }
        self.attempt?.channel?.send(.draining(word))
    }

    func exportFinished() {
        self.reportDrain()
        // At once: whoever waits for it may end the process next, and the last word comes before that.
        self.tell(PredecessorMachine.Event.exported)
        self.countConnections()
        self.context.exported.set(())
    }

    func export(_ connections: [LiveDescriptor], _ reply: @escaping Reply<Void>) {
        guard let attempt, case .draining = self.predecessor.state else { return reply(.failure(.noSuccessor)) }
        guard !attempt.channelIsOver else { return reply(.failure(attempt.takesNoConnections)) }
        let departure = Departure(connections.count, reply: reply)
        var batch = ConnectionBatch(atMost: self.context.capabilities.descriptorsPerMessage)
        for connection in connections {
            if let refusal = self.refusal(of: connection, attempt) {
                departure.ended(refusal)
            } else if let number = connection.lentToSuccessor() {
                if !batch.hasRoom(for: connection) { self.send(&batch, attempt) }
                batch.append(connection, number)
                attempt.moving.append((connection, departure))
            } else {
                departure.ended(.wasTaken)
            }
        }
        self.send(&batch, attempt)
    }

    private func send(_ batch: inout ConnectionBatch, _ attempt: Attempt) {
        let (entries, numbers) = batch.take()
        guard !entries.isEmpty else { return }
        let announced = UInt32(max(attempt.announced, attempt.moved + attempt.moving.count))
        attempt.channel?.send(.connections(.init(announced: announced, entries: entries)), descriptors: numbers)
    }

    private func refusal(of connection: LiveDescriptor, _ attempt: Attempt) -> UpgradeError? {
        let limit = WireLimit.connectionState
        guard connection.unread.count <= limit, connection.state.count <= limit,
            connection.listener.utf8.count <= WireLimit.name
        else { return UpgradeError(.wrongMoment, "a connection with more than \(limit) bytes of state cannot move") }
        guard !attempt.kept.contains(connection.listener) else {
            return UpgradeError(
                .notAdopted, "nobody in the successor serves connections of \(connection.listener)", serving: .successor
            )
        }
        return nil
    }

    private func connectionsArrived(_ received: Int, _ attempt: Attempt) {
        let count = received - attempt.moved
        guard count >= 0, count <= attempt.sent else {
            return self.successorMisbehaved("acknowledged \(count) of \(attempt.sent) connections")
        }
        attempt.channel?.peerMadeProgress()
        let arrived = attempt.moving.prefix(count)
        attempt.moving.removeFirst(count)
        attempt.moved = received
        for (connection, departure) in arrived {
            // Closed here: until then its peer would not see the end that the successor may make.
            _ = connection.takeDescriptor()
            departure.ended()
        }
    }

    /// What was not acknowledged is still its exporter's, unless the successor has begun to serve it: what it has read
    /// nobody knows, nor what it has answered. A successor that lives may begin at any time, with all that has left this
    /// process, unless it says what it has taken. Such a connection ends with the successor's own copy.
    private func failMoving(_ attempt: Attempt) {
        let (moving, sent) = (attempt.moving, attempt.taken.map { $0 - attempt.moved } ?? attempt.sent)
        attempt.moving = []
        var served = 0
        for (number, (connection, departure)) in moving.enumerated() {
            if number < sent, !attempt.servesNothing || connection.isServed {
                _ = connection.takeDescriptor()
                served += 1
            }
            departure.ended(attempt.takesNoConnections)
        }
        guard served > 0 else { return }
        self.logger.warning(
            "connections are the successor's that it has not acknowledged: not taken back",
            metadata: ["connections": "\(served)"]
        )
    }

    private func sendBye() {
        guard let attempt else { return }
        let counts = self.context.readers.connectionCounts
        attempt.channel?.send(
            .bye(.init(moved: UInt32(attempt.movedConnections), drained: UInt32(clamping: counts.drained))))
    }

    /// However the drain ends: with the last word, without a successor to say it to, or at the time-out.
    func countConnections(cut: Int = 0) {
        let more = self.context.countConnections(moved: self.attempt?.movedConnections ?? 0, cut: cut)
        guard case .draining = self.predecessor.state, more.moved + more.drained > 0 else { return }
        self.logger.info(
            "connections handed over", metadata: ["moved": "\(more.moved)", "drained": "\(more.drained)"]
        )
    }
}

extension PIDFile {
    fileprivate func remove(_ logger: Logger) {
        guard let problem = self.remove() else { return }
        logger.warning("the PID file stays: \(problem)", metadata: ["path": "\(self.path)"])
    }
}

extension UpgradeError {
    /// What it sent are two descriptors at most; that there was no room is our own affair.
    fileprivate static let noRoomForDescriptors = UpgradeError(
        .system, "this process had no descriptor left for what the successor sent, which was killed",
        cure: "Raise the limit on open files (ulimit -n, LimitNOFILE=), or find out what leaves them open."
    )
    fileprivate static func endedInsideAnother(_ process: CInt) -> Self {
        UpgradeError(
            .successorExited,
            "the successor (PID \(process)) ended inside the program that had started it, which was told to end too",
            cure: "Look at the successor's own output. A script starts it by `exec` unless it has work to do behind it."
        )
    }
    fileprivate static let noSuccessor = UpgradeError(
        .wrongMoment, "there is no successor that takes connections", serving: .predecessor
    )
    fileprivate static let wasTaken = UpgradeError(
        .wrongMoment, "a connection was to be sent whose descriptor had been taken out", serving: .predecessor
    )
}

extension Attempt {
    /// Of those that the application served.
    fileprivate var movedConnections: Int { max(0, self.moved - self.controlClients) }

    fileprivate var takesNoConnections: UpgradeError {
        UpgradeError(
            .successorClosedChannel, "the successor takes no connections any more: it has ended or closed its channel",
            serving: self.servesNothing ? .nobody : .successor
        )
    }

    fileprivate var endingError: UpgradeError {
        switch self.ending {
        case .exited(let status):
            UpgradeError(
                .successorExited, "the successor (PID \(self.successor)) exited with status \(status)",
                cure: "Its own output says why; run it by hand to see more."
            )
        case .signalled(let signal):
            UpgradeError(
                .successorKilled,
                "the successor (PID \(self.successor)) was ended by \(ProcessID.name(ofSignal: signal))",
                cure: signal == ProcessID.killSignal
                    ? "The kernel does so when memory runs out; macOS also when a running binary is overwritten in place: "
                        + "write the new one to another name, then rename it."
                    : "Its core dump, if there is one, says where."
            )
        case .unknown:
            UpgradeError(
                .successorExited, "the successor (PID \(self.successor)) ended",
                cure:
                    "Its own output says why. How it ended is not known: its parent is the service manager, or another "
                    + "part of this program reaped it."
            )
        }
    }
}

extension Duration {
    /// `3.2 s`
    fileprivate var inSeconds: String {
        let tenths = Int64((self.inMilliseconds / 100).rounded())
        return "\(tenths / 10).\(tenths % 10) s"
    }
}
