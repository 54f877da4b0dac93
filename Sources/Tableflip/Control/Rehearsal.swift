// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import TableflipCore
import TableflipSystem

/// `tableflipctl check --start`: an upgrade as far as ready, and back. Only the new program knows what it claims of the
/// inventory, and whether it comes to serve at all. What is found is written on the engine's thread and read there.
final class Rehearsal: Sendable {
    private let findings: Mutex<[ControlFinding]>

    /// - Parameter known: what could be known without it, all of it good.
    init(known: [ControlFinding]) {
        // What is carried is said again, by what becomes of it.
        self.findings = Mutex(known.filter { $0.name != "inherited" })
    }

    func found(_ finding: ControlFinding) { self.findings.withLock { $0.append(finding) } }

    /// The answer to whoever asked for it: the attempt has ended in this way, and never in another.
    func answer(afterwards failure: UpgradeError) -> ControlReply {
        let findings = self.findings.withLock { $0 }
        switch failure.code {
        case .rehearsed: return .findings(findings)
        // That this service was stopped, or the attempt taken back, says nothing of the new program.
        case .stopping, .rolledBack: return .failed(ControlFailure(failure))
        default: return .findings(findings + [.init("start", isGood: false, failure.words)])
        }
    }
}

extension Engine {
    /// The successor is ready, and is sent home.
    func endRehearsal(_ rehearsal: Rehearsal, _ ready: Message.Ready, _ attempt: Attempt) {
        let milliseconds = attempt.began.duration(to: Moment.now).inMilliseconds.rounded()
        rehearsal.found(
            .init("start", isGood: true, "ready after \(Int(milliseconds)) ms, as PID \(attempt.successor)"))
        for (socket, isClaimed) in zip(attempt.inventory, ready.claimed).prefix(Self.mostFindings) {
            rehearsal.found(.init(isClaimed ? "inherited" : "unclaimed", isGood: true, "\(socket.kind) \(socket.name)"))
        }
        if attempt.inventory.count > Self.mostFindings {
            rehearsal.found(
                .init("inherited", isGood: true, "and \(attempt.inventory.count - Self.mostFindings) more"))
        }
        for entry in attempt.fresh {
            let address = entry.address.isEmpty || entry.address == entry.name ? "" : " at \(entry.address)"
            rehearsal.found(.init("new", isGood: true, "\(entry.kind) \(entry.name)\(address)"))
        }
        let untold = Int(ready.fresh) - attempt.fresh.count
        if untold > 0 {
            // A successor whose library is older tells only how many there are.
            let words = attempt.fresh.isEmpty ? "\(untold) that this process does not have" : "and \(untold) more"
            rehearsal.found(.init("new", isGood: true, words))
        }
        self.feed(PredecessorMachine.Event.rollbackOrdered(.rehearsed))
    }

    /// An answer has its limits.
    private static let mostFindings = 1000
}

extension UpgradeError {
    fileprivate static let rehearsed = UpgradeError(
        .rehearsed, "it was a rehearsal: the new program was ready, and was ended again", serving: .predecessor
    )

    /// For people, in a line.
    var words: String { self.cure.isEmpty ? self.message : "\(self.message). \(self.cure)" }
}
