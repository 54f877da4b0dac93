// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem

/// Why the command could not do what it was asked to.
struct CtlError: Error {
    var outcome: Outcome
    var code: String
    var message: String
    var cure: String

    init(_ outcome: Outcome, code: String, _ message: String, cure: String = "") {
        self.outcome = outcome
        self.code = code
        self.message = message
        self.cure = cure
    }

    init(_ failure: ControlFailure) {
        self.init(failure.outcome, code: failure.code, failure.message, cure: failure.cure)
        // What an operator wants to know before anything else.
        guard failure.outcome == .failed || failure.outcome == .rolledBack else { return }
        let remark = "The old process serves on."
        // Some cures are a command.
        let end = self.cure.isEmpty ? "" : self.cure.hasSuffix(".") ? " " : ". "
        self.cure += end + remark
    }

    var words: String { self.cure.isEmpty ? self.message : "\(self.message). \(self.cure)" }
}

extension ControlFailure {
    var outcome: Outcome {
        if self.isRollback { return .rolledBack }
        return switch self.code {
        case "notPermitted": .notPermitted
        case "controlVersion", "badRequest": .notUnderstood
        case "upgradeRunning": .running
        case "rolledBack": .rolledBack
        case "notReady", "predecessorAlive", "successorAlive", "replaced", "vetoed", "processOne", "busy",
            "wrongMoment", "notFollowed":
            .refused
        default: self.serving == "nobody" ? .nobodyServes : .failed
        }
    }
}

extension ControlRequest {
    /// Whether it changes anything.
    fileprivate var isOrder: Bool {
        switch self {
        case .status, .watch, .check: false
        case .upgrade, .rehearse, .commit, .rollback, .stop: true
        }
    }
}

/// A connection to the control socket. Waits for nothing without a deadline.
final class Service {
    /// For a connection, and for the first word of an answer: whoever serves answers within milliseconds.
    static let patience = Duration.seconds(5)

    private let path: String
    /// What it was asked for is carried out whether the answer is heard or not.
    private let isOrder: Bool
    private let connection: OwnedDescriptor
    private var decoder = ControlDecoder(limit: ControlLimit.reply)
    private(set) var hasAnswered = false
    private let clock = ContinuousClock()
    private let asked: ContinuousClock.Instant

    init(asking request: ControlRequest, at path: String) throws(CtlError) {
        self.path = path
        self.isOrder = request.isOrder
        if request.isOrder { Surroundings.outliveReader() }
        do throws(SystemCallError) {
            self.connection = try LocalConnection.connect(to: path, timeout: Self.patience)
        } catch {
            throw Surroundings.explain(error, path)
        }
        // A request is small: it fits into an empty socket. Where the service has hung up already, its reason is still there
        // to be read.
        self.asked = self.clock.now
        _ = LocalConnection.send(request.frame.encoded()[...], to: self.connection.borrowed)
    }

    /// The next reply; nil: the time is over. Throws what the service refuses.
    func next(within time: Duration? = nil) throws(CtlError) -> ControlReply? {
        let limit = self.clock.now + (time ?? .seconds(365 * 86_400))
        let silence = self.asked + Self.patience
        // What only asks has come to nothing without an answer, however soon its own time is over.
        let deadline = self.hasAnswered ? limit : self.isOrder ? min(limit, silence) : silence
        while true {
            if let reply = try self.decoded() { return reply }
            var poll = Poll<Int>()
            poll.add(0, self.connection.borrowed, Poll<Int>.readable)
            let left = max(.zero, self.clock.now.duration(to: deadline))
            if poll.wait(min(left, .seconds(86_400))).isEmpty, self.clock.now >= deadline {
                guard self.hasAnswered || self.clock.now < silence else { throw self.silence }
                return nil
            }
            try self.read()
        }
    }

    static let openEnd = "It may still be carried out: look at `tableflipctl status` before you ask again."

    /// Between commit and the new process's word that it owns the service nobody answers: who asks then, waits in the queue,
    /// and is heard by the one or the other.
    private var silence: CtlError {
        CtlError(
            self.isOrder ? .nobodyServes : .nobodyAnswers, code: "noAnswer",
            "nobody has answered at \(self.path) for \(Self.patience.components.seconds) s",
            cure: self.isOrder
                ? Self.openEnd
                : "The process in charge may be stopped, or has just been asked to leave: try again, and look at its log."
        )
    }

    /// What an answer means that this program does not understand. An order that was accepted goes on: to a new process, it
    /// may be, that speaks another version.
    private var misunderstanding: Outcome { self.isOrder && self.hasAnswered ? .nobodyServes : .notUnderstood }

    func unexpected(_ reply: ControlReply) -> CtlError {
        CtlError(
            self.misunderstanding, code: "badReply",
            "the service answered with \(reply.kind), which is no answer to this"
        )
    }

    private func decoded() throws(CtlError) -> ControlReply? {
        do throws(WireError) {
            guard let frame = try self.decoder.next() else { return nil }
            guard frame.version == ControlFrame.version else {
                throw .invalidValue(
                    kind: frame.kind,
                    field: "version: \(frame.version) where this tableflipctl speaks \(ControlFrame.version)"
                )
            }
            self.hasAnswered = true
            return try ControlReply(frame)
        } catch {
            throw CtlError(
                self.misunderstanding, code: "badReply", "what listens at \(self.path) sent \(error)",
                cure: "Use the tableflipctl of the release that the service was built with."
            )
        }
    }

    private func read() throws(CtlError) {
        var bytes = [UInt8](repeating: 0, count: 16 * 1024)
        switch LocalConnection.receive(from: self.connection.borrowed, into: &bytes) {
        case .bytes(let count): self.decoder.append(bytes[..<count])
        case .wouldBlock: break
        case .ended:
            guard self.hasAnswered else {
                throw CtlError(
                    .nobodyAnswers, code: "noAnswer", "the service hung up at \(self.path) without an answer",
                    cure: "It may have ended just now; look at its log."
                )
            }
            throw .hungUp(self.path)
        }
    }

    /// The one reply to a request that has only one.
    func answer() throws(CtlError) -> ControlReply {
        while true {
            guard let reply = try self.next(within: Self.patience) else { throw .hungUp(self.path) }
            switch reply {
            case .failed(let failure): throw CtlError(failure)
            case .unknown: continue
            default: return reply
            }
        }
    }
}

extension CtlError {
    static let hungUpCode = "hungUp"

    static func hungUp(_ path: String) -> CtlError {
        CtlError(
            .nobodyServes, code: Self.hungUpCode, "the service hung up at \(path) before it had said what came of it",
            cure: "Look at its log, and at `tableflipctl status`."
        )
    }
}
