// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// One edit that weakens one guard of a machine. With it, some rule of the explorer must break.
struct Mutation: Sendable {
    /// What the weakened machine does.
    let name: String
    let machine: Machine
    /// It must occur exactly once.
    let text: String
    let replacement: String

    enum Machine {
        case predecessor
        case successor
    }

    static let all = Self.edits(of: .predecessor, Self.predecessor) + Self.edits(of: .successor, Self.successor)

    private typealias Edit = (name: String, text: String, replacement: String)

    private static func edits(of machine: Machine, _ edits: [Edit]) -> [Mutation] {
        edits.map { Mutation(name: $0.name, machine: machine, text: $0.text, replacement: $0.replacement) }
    }

    /// Below `Sources/TableflipCore`.
    var file: String {
        switch self.machine {
        case .predecessor: "Predecessor/PredecessorMachine.swift"
        case .successor: "Successor/SuccessorMachine.swift"
        }
    }
}

// MARK: - The predecessor

extension Mutation {
    private static var predecessor: [Edit] {
        self.requests + self.beforeGo + self.afterGo + self.unwinding + self.endings + self.predecessorDeadlines
    }

    private static let requests: [Edit] = [
        (
            "accepts an upgrade before it is in charge",
            ".stay(.refuse(.notReady))", ".go(.spawning, .spawn)"
        ),
        (
            "accepts an upgrade while its own predecessor lives",
            ".stay(.refuse(.predecessorAlive))", ".go(.spawning, .spawn)"
        ),
        (
            "accepts a second upgrade",
            "case (.upgradeRequested, _): .stay(.refuse(.upgradeRunning))",
            "case (.upgradeRequested, _): .go(.spawning, .spawn)"
        ),
        (
            "leaves a second request without an answer",
            "case (.upgradeRequested, _): .stay(.refuse(.upgradeRunning))",
            "case (.upgradeRequested, _): .stay"
        ),
        (
            "does not say that a spawn failed",
            ".go(.serving, .closeChannel, .reportFailure(failure))\n        case .upgradeRequested",
            ".go(.serving, .closeChannel)\n        case .upgradeRequested"
        ),
    ]

    private static let beforeGo: [Edit] = [
        (
            "goes on after inventories differ",
            "dismiss(.inventoriesDiffer)", ".go(.pausing(.none), .pauseReaders)"
        ),
        (
            "takes ready from a successor that has no inventory yet",
            "case (.reportedReady(agreed: true, let probation), .awaitingReady):",
            "case (.reportedReady(agreed: true, let probation), _):"
        ),
        (
            "overlooks words out of turn before ready",
            "dismiss(.outOfOrder)", ".stay"
        ),
        (
            "overlooks words out of turn while pausing",
            "withdraw(.outOfOrder)", ".stay"
        ),
        (
            "overlooks a death before ready",
            "case (.successorDied(let failure), _): .go(.serving, .closeChannel, .reportFailure(failure))",
            "case (.successorDied, _): .stay"
        ),
        (
            "says nothing to a successor that it dismisses",
            "readers: .accepting)), .sendAbort(failure))", "readers: .accepting)))"
        ),
        (
            "does not kill a successor that is not ready in time",
            ".sendAbort(.timedOut), .killSuccessor", ".sendAbort(.timedOut)"
        ),
        (
            "does not pause",
            ".go(.pausing(probation), .pauseReaders)", ".go(.pausing(probation))"
        ),
        (
            "says go instead of pausing",
            ".go(.pausing(probation), .pauseReaders)", ".go(.probation(probation), .sendGo)"
        ),
        (
            "says go before it has paused",
            ".go(.pausing(probation), .pauseReaders)", ".go(.pausing(probation), .pauseReaders, .sendGo)"
        ),
        (
            "says go when a reader could not pause",
            "case .readersFailedToPause(let failure): withdraw(failure)",
            "case .readersFailedToPause: .go(.probation(probation), .sendGo)"
        ),
        (
            "says go when pausing takes too long",
            "case .deadlinePassed: withdraw(.pauseTimedOut)",
            "case .deadlinePassed: .go(.probation(probation), .sendGo)"
        ),
        (
            "does not resume when it takes ready back",
            ".sendAbort(failure), .resumeReaders", ".sendAbort(failure)"
        ),
        (
            "says nothing to a successor when it takes ready back",
            ".sendAbort(failure), .resumeReaders", ".resumeReaders"
        ),
    ]

    private static let afterGo: [Edit] = [
        (
            "commits while giving up ownership, without probation",
            ".go(.relinquishing, .sendGo, .giveUpOwnership)",
            ".go(.committing, .sendGo, .giveUpOwnership, .sendCommit)"
        ),
        (
            "commits while giving up ownership, after probation",
            "case .deadlinePassed where probation == .timed: .go(.relinquishing, .giveUpOwnership)",
            "case .deadlinePassed where probation == .timed: .go(.committing, .giveUpOwnership, .sendCommit)"
        ),
        (
            "commits when the check overruns",
            "recall(.probationOverran)", ".go(.relinquishing, .giveUpOwnership)"
        ),
        (
            "commits though ownership was kept",
            "case .ownershipKept(let failure): recall(failure)",
            "case .ownershipKept: .go(.committing, .sendCommit)"
        ),
        (
            "commits when ownership is not given up in time",
            "recall(.ownershipOverran)", ".go(.committing, .sendCommit)"
        ),
        (
            "reports success when it says commit",
            ".go(.committing, .sendCommit)", ".go(.committing, .sendCommit, .reportSuccess)"
        ),
        (
            "closes the listeners when it says commit",
            ".go(.committing, .sendCommit)", ".go(.committing, .sendCommit, .closeListeners)"
        ),
        (
            "resumes when committed does not come",
            "kill(.commitOverran)", "takeBack(.commitOverran, from: .dead)"
        ),
        (
            "takes the end of the channel for a death",
            "kill(.channelClosed)", "takeBack(.channelClosed, from: .dead)"
        ),
        (
            "lets a successor that hung up serve on",
            "kill(.channelClosed)", ".stay"
        ),
        (
            "asks a successor that hung up to hand back",
            "kill(.channelClosed)", "recall(.channelClosed)"
        ),
        (
            "lets a successor that sends garbage serve on",
            "case .violated(let failure): kill(failure)", "case .violated: .stay"
        ),
        (
            "overlooks the successor's death",
            "case .successorDied(let failure): takeBack(failure, from: .dead, .closeChannel)",
            "case .successorDied: .stay"
        ),
        (
            "takes a successor that handed back for dead",
            "takeBack(failure, from: .handedBack)", "takeBack(failure, from: .dead)"
        ),
        (
            "resumes as soon as it has sent SIGKILL",
            ".go(.unwinding(.init(failure: failure, successor: .killed, readers: .paused)), .killSuccessor)",
            "takeBack(failure, from: .killed, .killSuccessor)"
        ),
        (
            "thinks that it has sent SIGKILL",
            "successor: .killed, readers: .paused)), .killSuccessor)", "successor: .killed, readers: .paused)))"
        ),
        (
            "does not say that it takes the service back",
            "successor: .recalled, readers: .paused)), .sendAbort(failure))",
            "successor: .recalled, readers: .paused)))"
        ),
        (
            "does not take ownership back from the dead",
            "actions: first + [.resumeReaders, .takeBackOwnership]", "actions: first + [.resumeReaders]"
        ),
    ]

    private static let unwinding: [Edit] = [
        (
            "does not take ownership back from a successor that it recalled",
            "return [.resumeReaders, .takeBackOwnership]", "return [.resumeReaders]"
        ),
        (
            "does not resume when the successor hands back on request",
            "now.successor = .handedBack\n            actions += now.resume()", "now.successor = .handedBack"
        ),
        (
            "does not resume when the successor that it killed is dead",
            "now.successor = .dead\n            actions.append(.closeChannel)\n"
                + "            if now.readers == .paused { actions += now.resume() }",
            "now.successor = .dead\n            actions.append(.closeChannel)"
        ),
        (
            "does not say that it reads again",
            "case .readersResumed where now.readers == .resuming:\n            now.readers = .accepting\n"
                + "            if now.successor == .handedBack { actions.append(.sendBye) }",
            "case .readersResumed where now.readers == .resuming:\n            now.readers = .accepting"
        ),
        (
            "lets a recalled successor that hung up read on",
            "guard now.successor == .recalled || now.successor == .dismissed else { break }",
            "guard now.successor == .dismissed else { break }"
        ),
        (
            "kills an owner that its recall has crossed",
            "case .reportedCommitted where now.successor == .recalled:",
            "case .reportedCommitted where now.successor == .dead:"
        ),
        (
            "gives its guess for the reason where the exit status is known",
            "by our own hand.\n            if now.successor == .dismissed,",
            "by our own hand.\n            if now.successor == .recalled,"
        ),
        (
            "reports an outcome twice",
            "if now.isSettled, !now.isReported {", "if now.isSettled {"
        ),
        (
            "reports a failure before it reads",
            "(self.successor == .dead || self.successor == .handedBack) && self.readers == .accepting",
            "self.successor == .dead || self.successor == .handedBack"
        ),
        (
            "is ready for the next upgrade while the successor lives",
            "var isOver: Bool { self.successor == .dead && self.readers == .accepting }",
            "var isOver: Bool { self.readers == .accepting }"
        ),
        (
            "is ready for the next upgrade before it reads",
            "var isOver: Bool { self.successor == .dead && self.readers == .accepting }",
            "var isOver: Bool { self.successor == .dead }"
        ),
        (
            "waits for readers that do not resume",
            "case .resume:\n                now.readers = .accepting", "case .resume:"
        ),
    ]

    private static let endings: [Edit] = [
        (
            "keeps its listeners when it is replaced",
            ".closeListeners, .giveUpOwnership, .reportSuccess", ".giveUpOwnership, .reportSuccess"
        ),
        (
            "stays the owner beside a successor that committed by itself",
            ".closeListeners, .giveUpOwnership, .reportSuccess", ".closeListeners, .reportSuccess"
        ),
        (
            "does not report success",
            ".giveUpOwnership, .reportSuccess, .leave", ".giveUpOwnership, .leave"
        ),
        (
            "does not leave when it is replaced",
            ".reportSuccess, .leave(.replaced)", ".reportSuccess"
        ),
        (
            "does not take a second stop for now",
            "case .stopRequested where !now.stopSeen:", "case .stopRequested:"
        ),
        (
            "lives on when its draining is over",
            "case .stopRequested, .deadlinePassed: return .go(.finished, .exitNow)",
            "case .stopRequested, .deadlinePassed: return .go(.finished)"
        ),
        (
            "leaves a successor that initialises behind when it stops",
            ".killSuccessor, .reportFailure(.stopped)", ".reportFailure(.stopped)"
        ),
        (
            "leaves a successor that serves behind when it stops",
            ".terminateSuccessor, .reportFailure(.stopped)", ".reportFailure(.stopped)"
        ),
        (
            "leaves a dismissed successor behind when it stops",
            "case .dismissed: actions.append(.killSuccessor)", "case .dismissed: break"
        ),
        (
            "leaves a recalled successor behind when it stops",
            "case .recalled, .handedBack: actions.append(.terminateSuccessor)",
            "case .recalled, .handedBack: break"
        ),
        (
            "leaves a successor behind that it was starting when it stopped",
            "return .go(.stopping(.init(successor: .ending)), .killSuccessor)",
            "return .go(.stopping(.init(successor: .ending)))"
        ),
        (
            "leaves a successor behind that does not end",
            "return stopping.successor == .ending ?", "return stopping.successor == .spawning ?"
        ),
        (
            "reports a failure again when it stops",
            "if !unwinding.isReported { actions.append(.reportFailure(.stopped)) }",
            "actions.append(.reportFailure(.stopped))"
        ),
    ]

    private static let predecessorDeadlines: [Edit] = [
        (
            "waits for ever for ready",
            ".offering, .awaitingReady: .initialisation", ".offering, .awaitingReady: nil"
        ),
        ("waits for ever for its readers to pause", "case .pausing: .pause", "case .pausing: nil"),
        (
            "waits for ever in probation",
            "case .probation(let probation): .probation(probation)", "case .probation: nil"
        ),
        ("waits for ever for ownership", "case .relinquishing: .ownership", "case .relinquishing: nil"),
        ("waits for ever for committed", "case .committing: .commit", "case .committing: nil"),
        ("waits for ever for a recalled successor", "case (.recalled, _): .recall", "case (.recalled, _): nil"),
        ("waits for ever for a dismissed successor", "case (.dismissed, _): .dismissal", "case (.dismissed, _): nil"),
        ("waits for ever for a killed successor", "case (.killed, _): .kill", "case (.killed, _): nil"),
        ("waits for ever for its readers to resume", "case (_, .resuming): .resume", "case (_, .resuming): nil"),
        (
            "waits for ever for a successor that drains",
            "case (.handedBack, _): .drain", "case (.handedBack, _): nil"
        ),
        (
            "drains for ever",
            "case .draining, .stopping: .drain", "case .draining: nil\n        case .stopping: .drain"
        ),
        (
            "stops for ever",
            "case .draining, .stopping: .drain", "case .draining: .drain\n        case .stopping: nil"
        ),
    ]
}

// MARK: - The successor

extension Mutation {
    private static var successor: [Edit] {
        self.beforeServing + self.serving + self.handingBack + self.successorDeadlines
    }

    private static let beforeServing: [Edit] = [
        (
            "takes the end of the channel for a death",
            "if event == .channelEnded, self.link == .open { self.link = .ended }",
            "if event == .channelEnded, self.link == .open { self.link = .dead }"
        ),
        (
            "waits for an inventory that cannot come",
            "case .channelEnded, .predecessorDied: self.go(.finished, .reportFailure(.predecessorLost))",
            "case .channelEnded, .predecessorDied: []"
        ),
        (
            "overlooks words out of turn before the inventory",
            "self.fail(.predecessorOutOfOrder)", "[]"
        ),
        (
            "overlooks words out of turn before go",
            "self.giveUp(.predecessorOutOfOrder)", "[]"
        ),
        (
            "overlooks a stop before go",
            "case .stopRequested: self.go(.leaving, .sendAbort(.stopped), .closeListeners, .leave(.stopped))",
            "case .stopRequested: []"
        ),
        (
            "leaves without saying why",
            "self.go(.leaving, .sendAbort(failure), .reportFailure(failure), .closeListeners",
            "self.go(.leaving, .reportFailure(failure), .closeListeners"
        ),
        (
            "reads before go",
            "self.go(.awaitingGo, .closeUnclaimed, .sendReady)",
            "self.go(.awaitingGo, .closeUnclaimed, .sendReady, .resumeReaders)"
        ),
        (
            "reads when go does not come",
            "self.giveUp(self.link == .ended ? .predecessorClosedChannel : .predecessorSilent)",
            "self.go(.starting(committed: true), .resumeReaders)"
        ),
        (
            "waits for go from a predecessor that died before ready",
            "case .readied where self.isAlone:", "case .readied where self.link == .none:"
        ),
        (
            "waits for go from nobody",
            "case .readied where self.isAlone:", "case .readied where self.link == .dead:"
        ),
        (
            "waits for go from a predecessor that died after ready",
            "case .predecessorDied: self.go(.starting(committed: true), .resumeReaders)",
            "case .predecessorDied: []"
        ),
    ]

    private static let serving: [Edit] = [
        (
            "takes ownership unasked",
            "self.go(.probation, .reportServing, .startCheck)", "self.go(.taking(taken: false), .takeOwnership)"
        ),
        (
            "takes ownership when its check passes",
            "case .checkPassed: [.sendCommit]", "case .checkPassed: self.go(.taking(taken: false), .takeOwnership)"
        ),
        (
            "changes shared things in probation",
            "self.go(.probation, .reportServing, .startCheck)",
            "self.go(.probation, .reportServing, .startCheck, .settle)"
        ),
        (
            "overlooks a commit that comes early",
            "case .commitReceived: self.go(.starting(committed: true))", "case .commitReceived: []"
        ),
        (
            "forgets a commit that came early",
            "case .readersResumed where committed || self.isAlone:", "case .readersResumed where self.isAlone:"
        ),
        (
            "waits for a commit from the dead, having started",
            "case .readersResumed where committed || self.isAlone:", "case .readersResumed where committed:"
        ),
        (
            "waits for a commit from the dead, in probation",
            "case .commitReceived, .predecessorDied: self.go(.taking(taken: false), .takeOwnership)",
            "case .commitReceived: self.go(.taking(taken: false), .takeOwnership)"
        ),
        (
            "takes ownership from a predecessor that hung up",
            "self.handBack(.predecessorClosedChannel)", "self.go(.taking(taken: false), .takeOwnership)"
        ),
        (
            "is in charge though nobody can be told",
            "case .ownershipTaken where self.link == .ended: self.go(.taking(taken: true))",
            "case .ownershipTaken where self.link == .ended: self.takeCharge()"
        ),
        (
            "is not in charge though its predecessor is dead",
            "case .predecessorDied where taken: self.takeCharge()", "case .predecessorDied where taken: []"
        ),
        (
            "is in charge without ownership while its predecessor lives",
            "case .open, .ended: self.handBack(failure)", "case .open, .ended: self.takeCharge()"
        ),
        (
            "gives up for a PID file when it is alone",
            "a PID file is worth less than the service.\n            case .dead: self.takeCharge()",
            "a PID file is worth less than the service.\n            case .dead: self.giveUp(failure)"
        ),
        (
            "gives up when it is alone and ownership takes too long",
            "case .none: self.giveUp(.ownershipOverran)\n            case .dead: self.takeCharge()",
            "case .none: self.giveUp(.ownershipOverran)\n            case .dead: self.giveUp(.ownershipOverran)"
        ),
        (
            "hands back while ownership is on its way",
            "case .open, .ended: self.go(.finished, .exitNow)",
            "case .open, .ended: self.handBack(.ownershipOverran)"
        ),
        (
            "hands back while it takes ownership",
            "the answer is `committed`, or our own abort.\n        default: []",
            "the answer is `committed`, or our own abort.\n        default: self.afterGo(event)"
        ),
        (
            "does not say that it is in charge",
            "self.go(.owner, .settle, .sendCommitted,", "self.go(.owner, .settle,"
        ),
        (
            "does not tell its other machine that it is in charge",
            ".sendCommitted, .reportServing, .becomeOwner)", ".sendCommitted, .reportServing)"
        ),
        (
            "does not tell the application that it serves",
            ".sendCommitted, .reportServing, .becomeOwner)", ".sendCommitted, .becomeOwner)"
        ),
        (
            "does not tell its other machine that the predecessor was gone before",
            "(self.link == .dead ? [.closeChannel, .noteDeparture] : [])", "[]"
        ),
        (
            "does not tell its other machine that the predecessor has gone",
            "case .predecessorDied: [.closeChannel, .noteDeparture]", "case .predecessorDied: [.closeChannel]"
        ),
        (
            "does not pass on a stop that came while it took ownership",
            "+ (self.isStopping ? [.forwardStop] : [])", ""
        ),
    ]

    private static let handingBack: [Edit] = [
        (
            "says that it paused before it has",
            "self.go(.pausing(failure), .pauseReaders)",
            "self.go(.pausing(failure), .sendAbort(failure), .pauseReaders)"
        ),
        (
            "says that it paused when it could not",
            "case .readersFailedToPause, .deadlinePassed: self.go(.finished, .exitNow)",
            "case .readersFailedToPause, .deadlinePassed: self.go(.handedBack(failure), .sendAbort(failure))"
        ),
        (
            "closes listeners that it reads from",
            "self.isAlone ? self.giveUp(failure) : self.handBack(failure)", "self.giveUp(failure)"
        ),
        (
            "hands back to nobody",
            "case .checkFailed(let failure), .abortReceived(let failure), .violated(let failure):\n"
                + "            self.isAlone ? [] : self.handBack(failure)",
            "case .checkFailed(let failure), .abortReceived(let failure), .violated(let failure):\n"
                + "            self.handBack(failure)"
        ),
        (
            "leaves the service to a predecessor that died while it paused",
            "case .readersPaused where self.link == .dead: self.standIn()",
            "case .readersPaused where self.link == .dead: self.giveUp(failure)"
        ),
        (
            "leaves the service to a predecessor that died when it had paused",
            "case .predecessorDied: self.standIn()", "case .predecessorDied: self.giveUp(failure)"
        ),
        (
            "stays when its predecessor reads again",
            "case .byeReceived, .deadlinePassed: self.go(.leaving,", "case .deadlinePassed: self.go(.leaving,"
        ),
        (
            "serves again though it was stopped",
            "guard !self.isStopping else { return self.go(.leaving, .closeListeners, .leave(.stopped)) }", ""
        ),
        (
            "forgets a stop",
            "if event == .stopRequested, self.phase != .leaving { self.isStopping = true }", ""
        ),
        (
            "does not take a second stop for now",
            "case .stopRequested where !self.isStopping:", "case .stopRequested:"
        ),
    ]

    private static let successorDeadlines: [Edit] = [
        ("leaves for ever", "case .leaving: .drain", "case .leaving: nil"),
        ("waits for ever for its readers to pause", "case .pausing: .pause", "case .pausing: nil"),
        (
            "waits for ever for the inventory", "case .greeting, .receiving: .handshake",
            "case .greeting, .receiving: nil"
        ),
        ("waits for ever for bye", "case .handedBack: .bye", "case .handedBack: nil"),
        ("waits for ever for its readers to resume", "case .starting: .resume", "case .starting: nil"),
        (
            "takes for ever to take ownership",
            "taken ? .severance : .ownership", "taken ? .severance : nil"
        ),
        (
            "waits for ever for a death when it has taken ownership",
            "taken ? .severance : .ownership", "taken ? nil : .ownership"
        ),
        (
            "initialises for ever when it is alone",
            "self.link == .dead ? .initialisation : nil", "nil"
        ),
        (
            "waits for ever for go",
            "case .awaitingGo: self.link == .ended ? .severance : .go",
            "case .awaitingGo: self.link == .ended ? .severance : nil"
        ),
        (
            "waits for ever for go from a predecessor that hung up",
            "case .awaitingGo: self.link == .ended ? .severance : .go",
            "case .awaitingGo: self.link == .ended ? nil : .go"
        ),
        (
            "waits for ever for commit",
            "case .probation: self.link == .ended ? .severance : .commit",
            "case .probation: self.link == .ended ? .severance : nil"
        ),
        (
            "waits for ever for commit from a predecessor that hung up",
            "case .probation: self.link == .ended ? .severance : .commit",
            "case .probation: self.link == .ended ? nil : .commit"
        ),
    ]
}
