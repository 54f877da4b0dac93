// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import Synchronization
import Tableflip
import TableflipCore
import TableflipSystem

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Starts no process, but a thread that plays one.
struct PlayedSpawner: ProcessSpawner {
    let stage: Stage
    let probation: Upgrader.Configuration.Probation

    func spawn(_ request: SpawnRequest, channel: CInt) throws(UpgradeError) -> SpawnedProcess {
        let play = self.stage.nextPlay()
        let start = StubUpgrader.Start(
            executable: request.executable.path, arguments: request.arguments.texts,
            environment: request.environment.texts, directory: request.directory, play: play
        )
        if case .cannotStart(let error) = play {
            self.stage.started(start, nil)
            throw error
        }
        do throws(SystemCallError) {
            let successor = try PlayedSuccessor(play, self.probation)
            let process = try successor.start(channel: channel)
            self.stage.started(start, successor)
            return process
        } catch {
            throw UpgradeError(.spawnFailed, "a successor cannot be played: \(error)")
        }
    }
}

/// A successor's side of the handshake. Its process id is that of this process, for the kernel says who speaks; so no
/// signal may ever be sent to it, and the upgrader's go to ``end(_:)``.
final class PlayedSuccessor: Sendable {
    private let play: StubUpgrader.Play
    private let probation: Upgrader.Configuration.Probation
    /// What came of its check and has not been told yet.
    private let verdict: Mutex<Message?> = Mutex(nil)
    /// Where the predecessor is told how it ended; nil once it was.
    private let report: Mutex<OwnedDescriptor?> = Mutex(nil)
    /// Its end of the channel, until its thread has it.
    private let socket: Mutex<OwnedDescriptor?> = Mutex(nil)
    private let ended = Atomic(false)
    /// Wakes the thread when it is to end.
    private let wakeUp: WakeUp
    private let lifeline: Lifeline

    init(_ play: StubUpgrader.Play, _ probation: Upgrader.Configuration.Probation) throws(SystemCallError) {
        self.play = play
        self.probation = probation
        self.wakeUp = try WakeUp()
        self.lifeline = try Lifeline(capabilities: .current)
    }

    /// Begins to play. The channel is borrowed.
    func start(channel: CInt) throws(SystemCallError) -> SpawnedProcess {
        var ends: [CInt] = [-1, -1]
        try check("pipe") { tf_pipe(&ends) }
        let watch = OwnedDescriptor(takingOwnershipOf: ends[0])
        let writing = ends[1]
        self.report.withLock { $0 = OwnedDescriptor(takingOwnershipOf: writing) }
        try self.socket.withLock { socket throws(SystemCallError) in
            socket = try OwnedDescriptor(duplicating: channel)
        }
        try SystemThread.start("tableflip-play") { [self] in
            if let socket = self.socket.withLock({ $0.take() }) { self.run(socket) }
        }
        return SpawnedProcess(id: ProcessID.current, watch: watch)
    }

    /// Only the first time means something.
    func end(_ ending: SpawnedProcess.Ending) {
        self.report.withLock { report in
            guard let open = report.take() else { return }
            let bytes = ending.bytes
            _ = write(open.borrowed, bytes, bytes.count)
        }
        self.ended.store(true, ordering: .releasing)
        self.wakeUp.signal()
    }

    private func run(_ socket: consuming OwnedDescriptor) {
        let channel = ChannelSocket(takingOwnershipOf: socket, capabilities: .current)
        channel.send(.hello(.init(generation: 2, process: ProcessID.current)), descriptors: [self.lifeline.descriptor])
        var part = Handshake(play: self.play, probation: self.probation)
        defer { part.check?.cancel() }
        while !self.ended.load(ordering: .acquiring) {
            var poll = Poll<Bool>()
            poll.add(true, channel.descriptor, channel.interest)
            poll.add(false, self.wakeUp.descriptor, Poll<Bool>.readable)
            // The predecessor's own time-outs end what takes too long: through `end`.
            _ = poll.wait(.seconds(3600))
            channel.flush()
            var answers: [Message] = []
            var isOver = false
            channel.receive { arrival in
                switch consume arrival {
                case .message(let message, let descriptors):
                    part.hear(message, descriptors, &answers)
                    channel.peerMadeProgress()
                case .violation: isOver = true
                case .ended: isOver = true
                case .failed: isOver = true
                }
            }
            if part.checksNow, let check = self.probation.check { part.check = Task { await self.pass(check) } }
            _ = self.wakeUp.clear()
            if let verdict = self.verdict.withLock({ $0.take() }) { answers.append(verdict) }
            for answer in answers { channel.send(answer) }
            if let ending = part.ending ?? (isOver ? part.leaving : nil) { return self.end(ending) }
        }
    }
}

extension PlayedSuccessor {
    private func pass(_ check: @Sendable () async throws -> Void) async {
        let verdict: Message
        do {
            try await check()
            verdict = .commit
        } catch {
            verdict = .abort(
                Message.Abort(
                    UpgradeError(.probationFailed, "the check of its probation failed", becauseOf: error)))
        }
        self.verdict.withLock { $0 = verdict }
        self.wakeUp.signal()
    }
}

/// What has been heard so far.
private struct Handshake {
    let play: StubUpgrader.Play
    private var probation: Upgrader.Configuration.Probation
    /// Of its probation, once it serves.
    var check: Task<Void, Never>?
    private var serves = false
    private var digest = InventoryDigest()
    private var received: UInt32 = 0
    private var connections: UInt32 = 0
    private var hasCommitted = false
    /// How it ends now.
    private(set) var ending: SpawnedProcess.Ending?

    init(play: StubUpgrader.Play, probation: Upgrader.Configuration.Probation) {
        self.play = play
        self.probation = probation
    }

    /// Whoever fails otherwise has no time for it.
    var checksNow: Bool {
        self.serves && self.check == nil && self.play == .takesOver && self.probation.kind == .checked
    }

    /// How it ends when its predecessor is through with it.
    var leaving: SpawnedProcess.Ending { .exited(self.hasCommitted ? 0 : 1) }

    mutating func hear(_ message: Message, _ descriptors: consuming DescriptorBatch, _ answers: inout [Message]) {
        switch message {
        case .offer(let offer) where offer.stage == .final:
            answers.append(.acknowledgement(.init(.finalOffer, received: offer.first + UInt32(offer.entries.count))))
        case .offer(let offer):
            for entry in offer.entries {
                guard let descriptor = descriptors.takeFirst() else { break }
                self.digest.combine(
                    entry, identity: DescriptorFacts.inode(of: descriptor.borrowed) ?? DescriptorFacts.notOpen)
                self.received += 1
            }
            answers.append(.acknowledgement(.init(.initialOffer, received: self.received)))
            if self.received == offer.total { self.initialise(&answers) }
        case .terms(let terms): self.probation.duration = .milliseconds(Int64(terms.probationMilliseconds))
        case .go:
            self.serves = true
            switch self.play {
            case .failsProbation(let words): answers.append(.givingUp(words))
            case .crashesInProbation(let signal): self.ending = .signalled(signal)
            default: break
            }
        case .commit:
            if case .handsBack(let words) = self.play {
                answers.append(.givingUp(words))
            } else {
                answers.append(.committed)
                self.hasCommitted = true
            }
        case .connections(let batch):
            // They end here, as do the sockets: nobody serves on.
            self.connections += UInt32(batch.entries.count)
            answers.append(.acknowledgement(.init(.connections, received: self.connections)))
        case .abort, .bye: self.ending = self.leaving
        default: break
        }
    }

    private mutating func initialise(_ answers: inout [Message]) {
        switch self.play {
        case .takesOver: self.sayReady(&answers)
        case .handsBack:
            // When it is to become the owner, and not before.
            self.probation.check = nil
            self.sayReady(&answers)
        case .failsProbation, .crashesInProbation:
            if self.probation.duration == .zero { self.probation.duration = .seconds(60) }
            self.sayReady(&answers)
        case .givesUp(let words):
            answers.append(.givingUp(words))
            self.ending = .exited(1)
        case .exits(let status): self.ending = .exited(status)
        case .isKilled(let signal): self.ending = .signalled(signal)
        case .hangs, .cannotStart: break
        }
    }

    private func sayReady(_ answers: inout [Message]) {
        answers.append(
            .ready(
                .init(
                    digest: self.digest.value, claimed: Array(repeating: true, count: Int(self.received)), fresh: 0,
                    probation: self.probation.kind,
                    probationMilliseconds: UInt64(self.probation.duration.inMilliseconds.rounded(.up))
                )
            )
        )
    }
}

extension Message {
    fileprivate static func givingUp(_ words: String) -> Message {
        .abort(.init(code: UpgradeError.Code.successorAborted.description, message: words, cure: ""))
    }
}
