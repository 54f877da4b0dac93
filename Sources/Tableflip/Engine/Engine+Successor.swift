// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Logging
import TableflipCore
import TableflipSystem

/// Taking over: what the successor machine wants done, and what the predecessor says.
extension Engine {
    func perform(_ action: SuccessorMachine.Action) {
        switch action {
        case .sendHello:
            self.takeover.channel?.send(.hello(self.hello), descriptors: [self.context.lifeline.descriptor])
        case .sendReady: self.sendReady()
        case .closeUnclaimed: self.closeUnclaimed()
        case .resumeReaders:
            let states = self.context.finalStates
            var change = ReaderChange(.resume)
            self.takeover.hasResumed = true
            if states.hasWork { change.before = { try await states.restore() } }
            self.changeReaders(for: .successor, change)
        case .pauseReaders: self.changeReaders(for: .successor, ReaderChange(.pause))
        case .reportServing: self.reportServing()
        case .reportFailure(let failure): self.reportFailure(failure)
        case .startCheck: self.startCheck()
        case .sendCommit: self.takeover.channel?.send(.commit)
        case .takeOwnership: self.changeOwnership(.taking)
        case .sendCommitted:
            guard let channel = self.takeover.channel else { break }
            // Connections come next, the first of them before it is known how many there will be.
            self.makeRoom(forConnections: FrameHeader.maximumDescriptors)
            channel.send(.committed)
        case .settle:
            self.context.sockets.answersToNobody()
            self.adjustSockets()
        case .becomeOwner:
            self.makeSureOfOwnership()
            self.emit(.owner)
            self.feed(PredecessorMachine.Event.becameOwner(predecessorLives: !self.successor.isAlone))
        case .noteDeparture: self.noteDeparture()
        case .forwardStop: self.feed(PredecessorMachine.Event.stopRequested)
        case .sendAbort(let failure):
            // First: who waits for it has nobody who accepts meanwhile.
            self.takeover.channel?.send(.abort(Message.Abort(failure)))
            SideThread.runBriefly { [pidFile = self.context.pidFile] in pidFile?.discard() }
        case .closeListeners:
            SideThread.runBriefly { [sockets = self.context.sockets] in sockets.unlinkMade() }
            self.closeSockets(self.successor.isAlone ? .stopped : .givenBack)
        case .closeChannel:
            self.takeover.channel?.stopReading()
            self.takeover.channel = nil
        case .leave(let leaving): self.leave(leaving)
        case .exitNow:
            self.exitStatus = 1
            self.exitNow()
        }
        if self.successor.phase == .finished { self.isOver = true }
    }

    /// What the predecessor must not see while it may take the service back. Connections that it hands over wait in the
    /// channel meanwhile, so no disk may hold it up.
    private func adjustSockets() {
        let note: @Sendable (String, String) -> Void = { [logger = self.logger] name, problem in
            logger.warning(
                "an option of an inherited socket was not applied",
                metadata: ["socket": "\(name)", "problem": "\(problem)"]
            )
        }
        let (problems, files) = self.context.sockets.adjust()
        for (name, problem) in problems { note(name, problem) }
        let unclaimed = self.takeover.unclaimedPaths
        self.takeover.unclaimedPaths = []
        let inherited = self.context.sockets.files(from: self.context.directory).filter { $0.socket.isInherited }
        guard !inherited.isEmpty || !unclaimed.isEmpty else { return }
        SideThread.runBriefly { [logger = self.logger] in
            var lost: Set<String> = []
            for (socket, path) in inherited {
                guard let loss = socket.lossOfFile(at: path) else { continue }
                lost.insert(socket.name)
                let what =
                    loss == .gone ? "the file of a Unix socket is gone" : "another file is at a Unix socket's path"
                logger.warning(
                    "\(what): nobody can connect to it before the service is restarted",
                    metadata: ["socket": "\(socket.name)", "path": "\(path)"]
                )
            }
            for file in files where !lost.contains(file.name) {
                for problem in BoundSocket.adjust(path: file.path, to: file.options) { note(file.name, problem) }
            }
            for path in unclaimed { path.remove() }
        }
    }

    // MARK: What the application says

    func applicationIsReady(_ reply: @escaping Reply<Void>) {
        let isFirst = self.context.sockets.seal()
        if isFirst, self.context.exit.current == .stopped {
            self.unlinkIfAlone()
            return reply(.success(()))
        }
        guard self.successor.phase == .initialising, isFirst else { return reply(.failure(self.tooLateForReady)) }
        self.context.finalStates.seal()
        self.context.readers.seal()
        self.takeover.readyReply = reply
        do {
            try self.context.sockets.checkKeepsGroups()
            // Everything about the PID file that can fail for want of rights or room fails here, before go.
            if let pidFile = self.context.pidFile {
                if self.successor.link == .none { try self.lookAtPlace(of: pidFile) }
                try pidFile.prepare()
            }
            self.feed(SuccessorMachine.Event.readied)
        } catch {
            self.feed(SuccessorMachine.Event.initialisationFailed(error))
        }
    }

    private func lookAtPlace(of pidFile: PIDFile) throws(UpgradeError) {
        guard let process = try pidFile.namedProcess(), process != ProcessID.current, ProcessID.exists(process) else {
            return
        }
        self.logger.warning(
            "the PID file named another process that lives: if that is a service, give each its own",
            metadata: ["path": "\(pidFile.path)", "pid": "\(process)"]
        )
    }

    private var tooLateForReady: UpgradeError {
        if case .failed(let failure) = self.context.exit.current { return failure }
        return UpgradeError(
            .wrongMoment, "ready() was called again, or when this process was leaving",
            cure: "Call it once, when the process is prepared to serve."
        )
    }

    func successorReadersFinished(_ failure: UpgradeError?) {
        if case .pausing = self.successor.phase {
            if let failure { self.logger.error("\(failure.message)") }
            self.feed(failure == nil ? SuccessorMachine.Event.readersPaused : .readersFailedToPause)
        } else if let failure {
            self.takeover.hasResumed = false
            self.feed(SuccessorMachine.Event.readersFailedToResume(failure))
        } else {
            self.feed(SuccessorMachine.Event.readersResumed)
        }
    }

    // MARK: What the predecessor says

    func readUpstream() {
        self.takeover.channel?.flush()
        self.takeover.channel?.receive { arrival in
            switch consume arrival {
            case .message(let message, let descriptors): self.heard(message, descriptors)
            // One that dies while it writes leaves half a frame.
            case .violation(.endedInsideFrame): self.upstreamEnded()
            case .failed(let error):
                self.sayWhatCame()
                self.logger.error("\(error): the channel to the predecessor")
                self.feed(SuccessorMachine.Event.violated(.channelFailed(error)))
            case .violation(let error):
                self.sayWhatCame()
                // What it leaves behind is not lost.
                self.takeover.announced = self.takeover.connections
                self.feed(
                    SuccessorMachine.Event.violated(
                        UpgradeError(.predecessorMisbehaved, "the predecessor sent \(error)", cure: error.cure)
                    )
                )
            case .ended: self.upstreamEnded()
            }
        }
        if self.takeover.acknowledged < self.takeover.received { self.acknowledgeOffers() }
        if self.successor.link != .open { self.takeover.channel?.flush() }
    }

    /// No connection comes out of the channel any more, such as where there is no room for its descriptor here. The
    /// predecessor still has those.
    private func sayWhatCame() {
        guard self.successor.phase == .owner else { return }
        self.takeover.channel?.send(.taken(.init(connections: UInt32(self.takeover.connections))))
    }

    /// A process that dies closes its channel a moment before its end can be seen. Where that alone ends the upgrade, the
    /// moment is waited for: whether anybody serves is told.
    private func upstreamEnded() {
        if self.successor.phase == .receiving, let life = self.takeover.lifeNumber,
            Poll.isReadable(life, within: .milliseconds(250))
        {
            return self.predecessorDied()
        }
        self.feed(SuccessorMachine.Event.channelEnded)
    }

    private func heard(_ message: Message, _ descriptors: consuming DescriptorBatch) {
        var descriptors = descriptors
        self.logger.trace("heard", metadata: ["message": "\(message.name)", "from": "predecessor"])
        switch message {
        case .connections, .draining, .bye: self.noteWordOfPredecessor()
        default: break  // a ping may have been on its way since before the commit
        }
        switch message {
        case .hello(let hello): self.heard(hello, descriptors.takeFirst())
        case .offer(let offer): self.heard(offer, descriptors)
        case .terms(let terms): self.heard(terms)
        case .paths(let paths): self.heard(paths)
        case .go: self.feed(SuccessorMachine.Event.went)
        case .commit: self.feed(SuccessorMachine.Event.commitReceived)
        case .abort(let abort):
            // To one that has handed back it is no matter of course who goes on.
            let hasHandedBack = if case .handedBack = self.successor.phase { true } else { false }
            let stops = hasHandedBack && abort.code == UpgradeError.Code.stopping.description
            let isRehearsal = abort.code == UpgradeError.Code.rehearsed.description
            let failure = abort.error(
                stops ? .stopping : isRehearsal ? .rehearsed : .predecessorAborted, by: "the predecessor")
            self.feed(SuccessorMachine.Event.abortReceived(failure))
        case .bye(let bye):
            self.logger.debug(
                "predecessor says bye",
                metadata: ["moved": "\(bye.moved)", "drained": "\(bye.drained)"]
            )
            self.takeover.announced = self.takeover.connections
            self.feed(SuccessorMachine.Event.byeReceived)
        case .connections(let batch): self.adopt(batch, descriptors)
        case .unknown(let kind): self.logger.debug("passed over a message of the unknown kind \(kind)")
        case .ping:
            self.takeover.channel?.send(.pong)
            self.noteSignOfLife()
        case .draining(let draining): self.heard(draining)
        case .ready, .committed, .acknowledgement, .pong, .fresh, .keep, .taken:
            self.predecessorMisbehaved("sent \(message.name)")
        }
    }

    /// What failed is no affair of the machine's: this process is still being made. The predecessor, if there is one, learns
    /// why it ends.
    func refuse(_ failure: UpgradeError) { self.takeover.channel?.send(.abort(Message.Abort(failure))) }

    private func predecessorMisbehaved(_ what: String) {
        self.feed(
            SuccessorMachine.Event.violated(UpgradeError(.predecessorMisbehaved, "the predecessor \(what)"))
        )
    }

    private func heard(_ hello: Message.Hello, _ life: consuming OwnedDescriptor?) {
        guard self.successor.phase == .greeting else { return self.predecessorMisbehaved("said hello twice") }
        guard ProtocolVersion.common(self.context.versions, hello.versions) != nil else {
            return self.feed(
                SuccessorMachine.Event.violated(
                    .versions(self.context.versions, theirs: hello, whose: "predecessor")
                )
            )
        }
        self.takeover.life = life
        self.takeover.predecessor = hello.process
        self.takeover.hearsFresh = hello.features & Message.Hello.hearsFresh != 0
        WakeUp.markSignals(of: hello.process)
        self.context.facts.update {
            $0.generation = Int(hello.generation) + 1
            $0.hasPredecessor = true
            $0.predecessorLives = true
        }
        self.logger[metadataKey: "generation"] = "\(hello.generation + 1)"
        // At once: what is offered comes right behind it, and our hello goes before the answer to that.
        self.tell(SuccessorMachine.Event.greeted)
    }

    private func heard(_ terms: Message.Terms) {
        guard self.successor.phase == .receiving, self.takeover.received == 0 else {
            return self.predecessorMisbehaved("sent terms out of order")
        }
        guard terms.probationMilliseconds <= WireLimit.probationMilliseconds else {
            return self.predecessorMisbehaved("wants a probation of \(terms.probationMilliseconds) ms")
        }
        self.takeover.probation.duration = .milliseconds(Int64(terms.probationMilliseconds))
    }

    private func heard(_ paths: Message.Paths) {
        guard self.successor.phase == .receiving, self.takeover.received == 0 else {
            return self.predecessorMisbehaved("sent paths out of order")
        }
        self.takeover.paths = paths.files.reduce(into: self.takeover.paths ?? [:]) { $0[$1.index] = $1 }
    }

    private func heard(_ offer: Message.Offer, _ descriptors: consuming DescriptorBatch) {
        guard case .initial = offer.stage else { return self.heardFinal(offer, descriptors) }
        let takeover = self.takeover
        guard self.successor.phase == .receiving, Int(offer.first) == takeover.received else {
            return self.predecessorMisbehaved("offered descriptors out of order")
        }
        if takeover.received == 0 {
            OpenFileLimit.makeRoom(for: Int(offer.total))
            self.context.sockets.reserve(Int(offer.total))
        }
        do {
            try self.context.sockets.inherit(
                offer.entries, descriptors, first: takeover.received, paths: takeover.paths,
                directory: self.context.directory)
        } catch {
            return self.feed(SuccessorMachine.Event.violated(error))
        }
        takeover.received += offer.entries.count
        let isComplete = takeover.received == offer.total
        // Each wakes the predecessor. It has more on their way already, if there is more.
        if isComplete || takeover.received - takeover.acknowledged >= self.context.capabilities.descriptorsInFlight / 4
        {
            self.acknowledgeOffers()
        }
        if isComplete {
            takeover.paths = nil
            self.logger.debug("inherited", metadata: ["descriptors": "\(takeover.received)"])
            self.emit(.inherited)
            self.feed(SuccessorMachine.Event.inventoryComplete)
        }
    }

    private func acknowledgeOffers() {
        self.takeover.acknowledged = self.takeover.received
        self.takeover.channel?.send(
            .acknowledgement(.init(.initialOffer, received: UInt32(self.takeover.received))))
    }

    private func heardFinal(_ offer: Message.Offer, _ descriptors: consuming DescriptorBatch) {
        guard self.successor.phase == .awaitingGo, Int(offer.first) == self.takeover.receivedFinal else {
            return self.predecessorMisbehaved("offered final states out of order")
        }
        do {
            try self.context.finalStates.receive(offer.entries, descriptors)
        } catch {
            return self.feed(SuccessorMachine.Event.violated(error))
        }
        self.takeover.receivedFinal += offer.entries.count
        self.takeover.channel?.send(
            .acknowledgement(.init(.finalOffer, received: UInt32(self.takeover.receivedFinal))))
    }

    func predecessorDied() {
        // What it had still said comes first.
        self.readUpstream()
        self.takeover.life = nil
        self.context.facts.update { $0.predecessorLives = false }
        self.feed(SuccessorMachine.Event.predecessorDied)
    }

    // MARK: Actions

    private func sendReady() {
        let claims = self.context.sockets.claims()
        if self.takeover.hearsFresh, !claims.fresh.isEmpty {
            self.takeover.channel?.send(.fresh(.init(entries: Array(claims.fresh.prefix(WireLimit.fresh)))))
        }
        var kept = claims.listeners.filter { !self.adoptsConnections(of: $0.name) }.map { UInt32($0.index) }[...]
        while !kept.isEmpty {
            self.takeover.channel?.send(.keep(.init(listeners: Array(kept.prefix(WireLimit.keep)))))
            kept = kept.dropFirst(WireLimit.keep)
        }
        self.takeover.channel?.send(
            .ready(
                Message.Ready(
                    digest: claims.digest, claimed: claims.claimed, fresh: UInt32(claims.fresh.count),
                    probation: self.takeover.probation.kind,
                    probationMilliseconds: UInt64(self.takeover.probation.duration.inMilliseconds.rounded(.up))
                )
            )
        )
    }

    private func adoptsConnections(of listener: String) -> Bool {
        listener == self.control?.listener.name || self.context.readers.adopter(for: listener) != nil
    }

    private func closeUnclaimed() {
        let (names, paths) = self.context.sockets.closeUnclaimed()
        self.takeover.unclaimedPaths = paths
        for name in names {
            self.logger.warning("inherited and not claimed: closed here", metadata: ["socket": "\(name)"])
        }
    }

    private func reportServing() {
        guard let reply = self.takeover.readyReply else { return }
        self.takeover.readyReply = nil
        self.context.facts.update { $0.isServing = true }
        self.emit(.serving)
        self.logger.info("serving", metadata: ["pid": "\(ProcessID.current)"])
        self.serving = reply
    }

    private func reportFailure(_ failure: UpgradeError) {
        // Of a predecessor that went before it said hello nothing tells whether it lives.
        let isUnknown = failure.code == .predecessorLost && self.takeover.predecessor == 0
        let failure = isUnknown ? failure : failure.whileServing(self.whoServesInstead)
        self.exitStatus = 1
        if self.successor.phase == .finished { self.takeover.failure = failure }
        // It was told to stop, or did what was wanted of it.
        let isExpected = self.successor.isStopping || failure.code == .rehearsed
        self.logger.log(level: isExpected ? .info : .error, "this process does not take over: \(failure)")
        // Where readers have read, the application has connections to finish: it goes through to its end, as at any exit.
        let mayHaveAccepted = self.takeover.hasResumed && failure.serving == .predecessor
        self.answerReady(self.successor.isStopping || mayHaveAccepted ? .success(()) : .failure(failure))
    }

    /// This process ends at once, and the predecessor points people to what it said.
    func noteEnd(in phase: SuccessorMachine.Phase) {
        switch phase {
        case .taking:
            self.logger.error(
                "this process ends at once: it did not become the owner, and some of that may still be on its way",
                metadata: ["hookTimeout": "\(self.timings.hook)"]
            )
        case .pausing(let failure):
            self.logger.error(
                "this process ends at once: its readers have not paused, so it cannot give the service back",
                metadata: ["pauseTimeout": "\(self.timings.pause)", "reason": "\(failure)"]
            )
        default: break
        }
    }

    private func answerReady(_ result: Result<Void, UpgradeError>) {
        guard let reply = self.takeover.readyReply.take() else { return }
        reply(result)
    }

    /// Nobody else has the Unix paths of a first process.
    private func unlinkIfAlone() {
        guard self.successor.link == .none else { return }
        SideThread.runBriefly { [sockets = self.context.sockets] in sockets.unlink() }
    }

    var whoServesInstead: UpgradeError.Serving {
        self.successor.isAlone ? .nobody : .predecessor
    }

    private func noteDeparture() {
        guard self.context.predecessorLeft.current == nil else { return }
        self.noteClosedConnections()
        self.noteLostConnections()
        self.logger.info("the predecessor has left", metadata: ["pid": "\(self.takeover.predecessor)"])
        self.emit(.predecessorLeft)
        self.takeover.predecessor = 0
        WakeUp.markSignals(of: nil)
        self.context.predecessorLeft.set(())
        self.feed(PredecessorMachine.Event.predecessorLeft)
    }

    private func leave(_ leaving: SuccessorMachine.Leaving) {
        switch leaving {
        case .failed(let failure):
            self.exitStatus = 1
            self.tellToLeave(.failed(failure.whileServing(self.whoServesInstead)))
        case .handedBack(let failure):
            self.emit(.handedBack, error: failure)
            self.tellToLeave(.handedBack(failure.whileServing(self.whoServesInstead)))
        case .stopped:
            // A first process that is told to stop before, or while, it takes charge.
            SideThread.runBriefly { [pidFile = self.context.pidFile] in pidFile?.discard() }
            self.unlinkIfAlone()
            self.tellToLeave(.stopped)
            self.answerReady(.success(()))
        }
    }

    // MARK: Connections

    private func heard(_ draining: Message.Draining) {
        guard self.successor.phase == .owner else { return self.predecessorMisbehaved("spoke of its drain too early") }
        self.takeover.left = Int(draining.left)
        self.takeover.toDrain = max(self.takeover.toDrain, self.takeover.left)
        self.tellControl(
            "draining", self.takeover.toDrain - self.takeover.left, of: self.takeover.toDrain,
            peer: self.takeover.predecessor, since: self.started
        )
    }

    private func adopt(_ batch: Message.ConnectionBatch, _ descriptors: consuming DescriptorBatch) {
        guard self.successor.phase == .owner else { return self.predecessorMisbehaved("sent connections too early") }
        if Int(batch.announced) > self.takeover.announced {
            self.takeover.announced = Int(batch.announced)
            self.makeRoom(forConnections: self.takeover.announced)
        }
        self.takeover.connections += batch.entries.count
        var descriptors = descriptors
        var arrived: [String: [LiveDescriptor]] = [:]
        for entry in batch.entries {
            var next = descriptors.takeFirst()
            if self.adoptControlClient(entry, &next) { continue }
            guard let descriptor = next.take(), Self.isConnection(descriptor) else {
                self.logger.error(
                    "what was handed over is no connection: closed", metadata: ["listener": "\(entry.listener)"]
                )
                continue
            }
            arrived[entry.listener, default: []].append(LiveDescriptor(receiving: descriptor, entry))
        }
        let (inbox, logger, readers) = (self.context.inbox, self.logger, self.context.readers)
        let (connections, number) = (arrived, self.takeover.arrivals.came(batch.entries.count))
        let hasAdopted: @Sendable () -> Void = {
            let left = connections.values.joined().count { !$0.isTaken }
            inbox.send(.adopted(batch: number, left: left))
        }
        if connections.count == 1, let (listener, connections) = connections.first,
            let reader = readers.adopter(for: listener) as? any PromptAdopter
        {
            return reader.adopt(connections, then: hasAdopted)
        }
        Task {
            for (listener, connections) in connections {
                do {
                    try await readers.adopter(for: listener)?.adopt(connections)
                } catch {
                    logger.error("connections were lost: \(error)", metadata: ["listener": "\(listener)"])
                }
            }
            hasAdopted()
        }
    }

    /// Beside what was inherited, and what this process has accepted by itself. The kernel drops what has no room, and the
    /// channel would end: nobody would serve the connections that are on their way.
    private func makeRoom(forConnections count: Int) {
        let own = max(0, self.context.readers.connectionCounts.open)
        OpenFileLimit.makeRoom(for: self.takeover.received + own + count)
    }

    /// A bad one would stop a framework that adopts it.
    private static func isConnection(_ descriptor: borrowing OwnedDescriptor) -> Bool {
        DescriptorFacts.number(descriptor.borrowed, fits: .connection)
    }

    func adopted(batch number: Int, left: Int) {
        self.takeover.closed += left
        // These were still being adopted when it left.
        if self.context.predecessorLeft.current != nil { self.noteClosedConnections() }
        guard self.takeover.arrivals.adopted(batch: number) else { return }
        self.takeover.channel?.send(
            .acknowledgement(.init(.connections, received: UInt32(self.takeover.arrivals.adopted))))
        self.tellConnectionsMoved()
    }

    /// They have moved to nobody.
    private func noteClosedConnections() {
        guard self.takeover.closed > 0 else { return }
        self.logger.error(
            "connections were handed over that no reader takes: closed",
            metadata: ["connections": "\(self.takeover.closed)"]
        )
        self.takeover.closed = 0
    }

    /// The predecessor has said how many could move, and is gone without saying that the last one has.
    private func noteLostConnections() {
        let lost = self.takeover.announced - self.takeover.connections
        guard lost > 0 else { return }
        self.logger.warning(
            "the predecessor ended before its connections had moved: those still open are lost",
            metadata: ["atMost": "\(lost)", "moved": "\(self.takeover.connections - self.takeover.controlClients)"]
        )
    }
}

extension Message.Abort {
    package init(_ error: UpgradeError) {
        self.init(code: error.code.description, message: error.message, cure: error.cure)
    }

    func error(_ code: UpgradeError.Code, by whom: String) -> UpgradeError {
        UpgradeError(code, "\(whom) gave up (\(self.code)): \(self.message)", cure: self.cure)
    }
}

extension UpgradeError {
    static func channelFailed(_ error: SystemCallError) -> UpgradeError {
        UpgradeError(
            .system, "the channel to the other process cannot be used any more: \(error)",
            cure: "Look for close() of a number that its owner had closed already, and restart the service."
        )
    }

    static func versions(
        _ ours: ClosedRange<ProtocolVersion>, theirs: Message.Hello, whose: String
    ) -> UpgradeError {
        UpgradeError(
            .versionMismatch,
            "the \(whose) (\(theirs.label)) speaks versions \(theirs.versions.lowerBound.rawValue) to "
                + "\(theirs.versions.upperBound.rawValue) of the protocol, this process \(ours.lowerBound.rawValue) to "
                + "\(ours.upperBound.rawValue)",
            cure: "Upgrade by way of a release that speaks both, or restart the service."
        )
    }
}

extension WireError {
    var cure: String {
        self == .descriptorsDropped ? "Raise the limit on open files (ulimit -n, LimitNOFILE=) of the new process." : ""
    }
}
