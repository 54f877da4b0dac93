// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

extension Mutation {
    static var ofPredecessor: [Edit] {
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
            "does not tell a successor that it may not reach that it stops",
            ".sendAbort(.stopped), .killSuccessor, .reportFailure(.stopped)",
            ".killSuccessor, .reportFailure(.stopped)"
        ),
        (
            "lets a successor live that it comes to know when it has stopped",
            "case .greeted: return .stay(.killSuccessor)", "case .greeted: return .stay"
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
            "case .recalled: actions.append(.terminateSuccessor)", "case .recalled: break"
        ),
        (
            "leaves a successor behind that handed back when it stops",
            "actions += [.sendAbort(.stopped), .terminateSuccessor]", "actions += [.sendAbort(.stopped)]"
        ),
        (
            "does not tell a successor that handed back that it stops",
            "actions += [.sendAbort(.stopped), .terminateSuccessor]", "actions += [.terminateSuccessor]"
        ),
        (
            "lets its successor believe that it reads again when it stops",
            "return .stay(.sendAbort(.stopped), .sendBye)", "return .stay(.sendBye)"
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
            "case (.handedBack, _): .departure", "case (.handedBack, _): nil"
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
