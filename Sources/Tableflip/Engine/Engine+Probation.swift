// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Logging
import TableflipCore
import TableflipSystem

/// The time in which a new process serves and the old one could take the service back.
extension Engine {
    /// The check of this process's own probation. On the engine's thread only.
    struct Check {
        let task: Task<Void, Never>
        var deadline: Moment
    }

    // MARK: In the successor

    /// Without a check time alone decides, and the predecessor has the watch.
    func startCheck() {
        guard let check = self.takeover.probation.check, self.takeover.probation.kind == .checked else { return }
        let inbox = self.context.inbox
        let task = Task {
            do {
                try await check()
                inbox.send(.checked(nil))
            } catch {
                inbox.send(
                    .checked(
                        UpgradeError(
                            .probationFailed, "the check of its probation failed", becauseOf: error,
                            cure: "Mend what it tells of, or the check, and upgrade again."
                        )
                    )
                )
            }
        }
        // Also when every thread of Swift's pool is blocked: the engine has its own.
        self.takeover.check = Check(task: task, deadline: self.lookAtClock() + self.takeover.probation.duration)
    }

    func checkReturned(_ failure: UpgradeError?) {
        guard self.takeover.check != nil else { return }
        self.endCheck()
        self.feed(failure.map { SuccessorMachine.Event.checkFailed($0) } ?? .checkPassed)
    }

    /// Its result means nothing any more.
    func endCheck() {
        guard let check = self.takeover.check.take() else { return }
        check.task.cancel()
    }

    // MARK: In the predecessor

    func orderCommit(_ reply: @escaping Reply<UpgradeReport>) {
        switch self.predecessor.state {
        case .probation:
            self.attempt?.follow(reply)
            self.logger.info("the probation is ended early: commit")
            self.feed(PredecessorMachine.Event.commitOrdered)
        // It is on its way.
        case .relinquishing, .committing: self.attempt?.follow(reply)
        default:
            reply(
                .failure(
                    UpgradeError(
                        .wrongMoment, "no successor is in its probation, so there is nothing to commit",
                        cure: "A commit ends the probation of an upgrade that is running."
                    )
                )
            )
        }
    }

    /// Also before the successor serves: then the upgrade is given up.
    func orderRollback(_ words: String, _ reply: @escaping Reply<Void>) {
        let why = words.isEmpty ? "" : ": \(words)"
        let failure = UpgradeError(.rolledBack, "the operator took the upgrade back\(why)")
        switch self.predecessor.state {
        case .greeting, .offering, .awaitingReady, .pausing, .probation, .relinquishing:
            self.followRollback(reply)
            self.logger.info("the upgrade is taken back\(why)")
            self.feed(PredecessorMachine.Event.rollbackOrdered(failure))
        // Too late, but it may yet fail; or it is on its way back.
        case .committing: self.followRollback(reply)
        case .unwinding(let unwinding) where !unwinding.isReported: self.followRollback(reply)
        default:
            guard let request = self.withdrawUpgrade() else { return self.refuseRollback(reply) }
            self.logger.info("the upgrade is taken back before it began\(why)")
            self.refuseUpgrade(failure, request)
            reply(.success(()))
        }
    }

    private func refuseRollback(_ reply: Reply<Void>) {
        reply(
            .failure(
                UpgradeError(
                    .wrongMoment, "no upgrade is running that could be taken back",
                    cure: "After a commit, upgrade to the former release instead."
                )
            )
        )
    }

    private func followRollback(_ reply: @escaping Reply<Void>) {
        self.attempt?.follow { result in
            switch result {
            case .failure(let failure) where failure.code == .stopping: reply(.failure(failure))
            case .failure: reply(.success(()))
            case .success(let report):
                reply(
                    .failure(
                        UpgradeError(
                            .replaced, "the order came too late: PID \(report.successor) owns the service",
                            cure: "Upgrade to the former release.", serving: .successor
                        )
                    )
                )
            }
        }
    }

    /// Its pulse is felt in every state in which the successor may read and this process may not.
    func watchPulse() {
        guard let attempt else { return }
        let mayRead =
            switch self.predecessor.state {
            case .probation, .relinquishing, .committing: true
            case .unwinding(let unwinding): unwinding.successor == .recalled
            default: false
            }
        if !mayRead {
            attempt.pulse = nil
        } else if attempt.answersPings, attempt.pulse == nil {
            attempt.pulse = Pulse(at: Moment.now, looks: self.timings.patience.looks)
        }
    }

    func feelPulse() {
        guard let attempt, let pulse = attempt.pulse else { return }
        guard pulse.isAsked else {
            attempt.channel?.send(.ping)
            attempt.pulse?.asked(at: Moment.now)
            return
        }
        // What has arrived by now counts: this process may have been stopped for a while.
        self.readDownstream()
        self.settle()
        guard self.attempt === attempt, attempt.pulse?.isAsked == true else { return }
        attempt.pulse?.lookedInVain(at: Moment.now)
        guard attempt.pulse?.hasStopped == true else { return }
        attempt.pulse = nil
        self.feed(PredecessorMachine.Event.violated(.successorSilent(for: pulse.patience)))
    }

    /// The way home has begun.
    func noteFailure() {
        guard let attempt, attempt.failedAt == nil else { return }
        attempt.failedAt = Moment.now
    }

    /// This process reads again.
    func noteResumption() {
        guard let attempt, attempt.resumedAfter == nil, let failedAt = attempt.failedAt else { return }
        attempt.resumedAfter = failedAt.duration(to: Moment.now)
    }

    func noteRollback(_ attempt: Attempt, _ failure: UpgradeError) {
        let downtime = attempt.resumedAfter.map { "\($0.inMilliseconds)" } ?? "unknown"
        self.logger.warning(
            "rolled back: this process serves again",
            metadata: [
                "successor": "\(attempt.successor)", "reason": "\(failure.code): \(failure.message)",
                "milliseconds": "\(downtime)",
            ]
        )
    }
}

extension UpgradeError {
    static func successorSilent(for time: Duration) -> UpgradeError {
        UpgradeError(
            .successorSilent, "the successor served and did not answer for \(time), so it was killed",
            cure: "It was stopped (SIGSTOP, a debugger, a frozen cgroup), or hung in the kernel: look at what it waits "
                + "for."
        )
    }

    /// A successor whose library is older passes over what it is told of its probation.
    static let termsNotTaken = UpgradeError(
        .probationFailed,
        "the successor did not take the probation that was asked for: its library is too old for that",
        cure: "Upgrade without asking for a probation; its own configuration decides then."
    )
}
