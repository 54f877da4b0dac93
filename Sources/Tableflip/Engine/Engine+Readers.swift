// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Logging
import TableflipCore
import TableflipSystem

/// What the readers of all sockets are asked to do, one thing after the other.
extension Engine {
    /// To whom a change of the readers is reported.
    enum Role {
        case predecessor
        case successor
        /// To neither: readers that come late do what the others did.
        case latecomers
    }

    /// The change that the readers were asked for, and the one after it. On the engine's thread only.
    struct ReaderChanges {
        var number = 0
        var role = Role.successor
        var task: Task<Void, Never>?
        /// What they were asked last.
        var latest: ReaderChange.Kind?
        /// Until then they may take, where no machine waits for them.
        var latecomersDeadline: Moment?
        /// What they have not answered yet.
        var running: ReaderChange.Kind?
        /// What they are asked when they have answered, or at this moment.
        var next: (role: Role, change: ReaderChange, deadline: Moment)?
    }

    /// Asks all readers at once. The answer comes as `.readersFinished`, at the latest when the machine's deadline ends
    /// the wait. What they were asked before is cancelled; they are not asked for two things at a time, unless they take
    /// long to notice.
    func changeReaders(for role: Role, _ change: ReaderChange) {
        self.readerChanges.task?.cancel()
        guard self.readerChanges.running != nil else { return self.beginReaderChange(for: role, change) }
        let deadline = self.readerChanges.next?.deadline ?? Moment.now + self.timings.overtaking
        self.readerChanges.next = (role, change, deadline)
    }

    func beginReaderChange(for role: Role, _ change: ReaderChange) {
        self.begin(change, of: self.context.readers.call(), for: role)
    }

    private func begin(_ change: ReaderChange, of readers: ReaderRegistry.Roll, for role: Role) {
        let number = self.readerChanges.number + 1
        self.readerChanges = ReaderChanges(number: number, role: role, latest: change.kind)
        let inbox = self.context.inbox
        guard !readers.all.isEmpty || change.hasMore else {
            self.feed(EngineInput.readersFinished(number: number, nil))
            return
        }
        self.readerChanges.running = change.kind
        self.readerChanges.task = change.make(of: readers) { inbox.send(.readersFinished(number: number, $0)) }
    }

    /// A process that leaves reads nothing any more.
    func withdrawResumption() {
        if self.readerChanges.running == .resume { self.readerChanges.task?.cancel() }
        if self.readerChanges.next?.change.kind == .resume { self.readerChanges.next = nil }
    }

    func readersFinished(_ number: Int, _ failure: UpgradeError?) {
        // Of a change that was not waited for any longer.
        guard number == self.readerChanges.number else { return }
        self.readerChanges.running = nil
        self.readerChanges.task = nil
        // Overtaken by a later change: its result says nothing about now.
        if let next = self.readerChanges.next { return self.beginReaderChange(for: next.role, next.change) }
        let role = self.readerChanges.role
        switch role {
        case .predecessor: self.predecessorReadersFinished(failure)
        case .successor: self.successorReadersFinished(failure)
        case .latecomers: self.latecomersFinished(failure)
        }
        // After its failure a successor pauses all; an owner goes on with those that read.
        if failure == nil || role != .successor { self.welcomeReaders() }
    }

    func readerAddedLate(_ listener: String?) {
        let kept = self.takeover.predecessor == 0 ? "" : "; the predecessor keeps its connections"
        self.logger.warning(
            "a reader was registered after ready()\(kept)", metadata: ["listener": "\(listener ?? "any")"])
        self.welcomeReaders()
    }

    /// Readers that were registered after `ready()`. Where the others read they begin as well, else together with them:
    /// nobody else would ask them before the next failed upgrade.
    private func welcomeReaders() {
        let changes = self.readerChanges
        guard changes.latest == .resume, changes.running == nil, !self.isLeaving else { return }
        let readers = self.context.readers.callNewcomers()
        guard !readers.all.isEmpty else { return }
        self.begin(ReaderChange(.resume), of: readers, for: .latecomers)
        // No machine waits for them.
        self.readerChanges.latecomersDeadline = Moment.now + self.timings.latecomers
    }

    func latecomersOverran() {
        self.stopWaitingForReaders()
        self.readersFinished(self.readerChanges.number, .resumeTimedOut)
    }

    /// The predecessor's machine goes on without a reader that hangs.
    func resumptionOverran() {
        self.stopWaitingForReaders()
        self.predecessorResumed(.resumeTimedOut)
        self.welcomeReaders()
    }

    private func stopWaitingForReaders() {
        self.readerChanges.task?.cancel()
        // What they answer yet is stale.
        self.readerChanges.number += 1
        self.readerChanges.running = nil
    }

    private func latecomersFinished(_ failure: UpgradeError?) {
        self.readerChanges.latecomersDeadline = nil
        guard let failure, !self.isLeaving else { return }
        self.logger.critical("a reader did not resume: \(failure.message)")
        // In its probation this process can still give the service back.
        self.feed(SuccessorMachine.Event.checkFailed(failure))
    }
}
