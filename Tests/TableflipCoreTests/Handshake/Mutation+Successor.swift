// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

extension Mutation {
    static var ofSuccessor: [Edit] {
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
            "self.go(.leaving, .sendAbort(failure), .closeListeners, .reportFailure(failure)",
            "self.go(.leaving, .closeListeners, .reportFailure(failure)"
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
            "self.go(.owner, .sendCommitted, .settle,", "self.go(.owner, .settle,"
        ),
        (
            "does not tell its other machine that it is in charge",
            ".settle, .reportServing, .becomeOwner)", ".settle, .reportServing)"
        ),
        (
            "does not tell the application that it serves",
            ".settle, .reportServing, .becomeOwner)", ".settle, .becomeOwner)"
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
            "case .byeReceived, .deadlinePassed:", "case .deadlinePassed:"
        ),
        (
            "closes its connections though another process serves on",
            "case .abortReceived(let reason) where reason.code == .stopping:", "case .abortReceived:"
        ),
        (
            "does not hear that nobody serves on",
            "case .abortReceived(let reason) where reason.code == .stopping:\n"
                + "            self.go(.leaving, .closeListeners, .reportFailure(failure), .leave(.stopped))", ""
        ),
        (
            "takes its own stop for the service's",
            ".closeListeners, .reportFailure(failure), .leave(.handedBack(failure)))",
            ".closeListeners, .reportFailure(failure), .leave(self.isStopping ? .stopped : .handedBack(failure)))"
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
            "tells its application of the failure before it is certain that it is not needed",
            "self.go(.handedBack(failure), .sendAbort(failure))",
            "self.go(.handedBack(failure), .sendAbort(failure), .reportFailure(failure))"
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
