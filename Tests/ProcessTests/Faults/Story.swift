// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Tableflip
import TableflipCore

/// A way that an upgrade can go, and which steps it comes past.
enum Story: Hashable, CaseIterable {
    /// The successor passes its check and becomes the owner.
    case committed
    /// The old process's application does not return from its main.
    case overrun
    /// The operator takes the upgrade back in probation.
    case takenBack
    /// The successor fails its check.
    case handedBack
    /// The same, and its readers do not pause.
    case stuck
    /// The channel ends in probation while both processes live.
    case severed
    /// The old process is told to stop while the successor is in probation.
    case stopped
    /// The successor is told to stop while it takes ownership.
    case stoppedLate

    /// What the successor's check does; empty: it passes at once.
    var behaviour: String {
        switch self {
        case .committed, .overrun, .stoppedLate: ""
        case .takenBack, .severed, .stopped: "hang-check"
        case .handedBack, .stuck: "fail-check it is cold"
        }
    }

    /// What happens at which step before, or together with, the fault that is looked at.
    var events: [EngineStep: String] {
        switch self {
        case .committed, .handedBack: [:]
        case .overrun: [.predecessor(.closeListeners): "stay"]
        case .takenBack: [.predecessor(.sendGo): "roll-back"]
        case .stuck: [.successor(.startCheck): "no-pause"]
        case .severed: [.successor(.startCheck): "channel"]
        case .stopped: [.predecessor(.sendGo): "terminate"]
        case .stoppedLate: [.successor(.takeOwnership): "terminate slow-hook"]
        }
    }

    /// At its end no process is left, because that is what was asked for.
    var endsTheService: Bool { self == .stopped || self == .stoppedLate }

    var probation: Duration {
        switch self {
        case .committed, .overrun, .stoppedLate: .milliseconds(600)
        case .takenBack, .handedBack, .stuck, .severed, .stopped: .seconds(20)
        }
    }
}

extension EngineStep {
    /// The story that is told for this step; nil where there is nothing to go wrong: see ``notReached``.
    var story: Story? {
        switch self {
        case .predecessor(let name): name.story
        case .successor(let name): name.story
        }
    }

    /// Why no fault can happen there.
    var notReached: String? {
        switch self {
        case .predecessor(.refuse): "a request is refused where it is taken in, and nothing is performed"
        default: nil
        }
    }

    /// Whether nobody is left to serve if the process of this role dies here. The table in docs/protocol.md says why.
    var deathEndsTheService: Bool {
        switch self {
        // The successor does not hold everything yet.
        case .predecessor(.spawn), .predecessor(.sendHello), .predecessor(.offerInventory): true
        // The successor is leaving, or has left.
        case .predecessor(.reportFailure), .predecessor(.closeChannel): true
        // The predecessor is leaving, or has left.
        case .successor(.settle), .successor(.becomeOwner), .successor(.closeChannel), .successor(.noteDeparture): true
        default: false
        }
    }
}

extension PredecessorMachine.Action.Name {
    fileprivate var story: Story? {
        switch self {
        case .refuse: nil
        case .spawn, .sendHello, .offerInventory, .pauseReaders, .sendGo, .giveUpOwnership, .sendCommit: .committed
        case .closeListeners, .reportSuccess, .leave: .committed
        case .resumeReaders, .takeBackOwnership, .sendAbort, .sendBye, .reportFailure, .closeChannel: .takenBack
        case .killSuccessor: .severed
        case .terminateSuccessor, .endService: .stopped
        // Told to leave, another process may be gone before it gets there.
        case .exportConnections, .exitNow: .overrun
        }
    }
}

extension SuccessorMachine.Action.Name {
    fileprivate var story: Story? {
        switch self {
        case .sendHello, .sendReady, .closeUnclaimed, .resumeReaders, .reportServing, .startCheck: .committed
        case .sendCommit, .takeOwnership, .sendCommitted, .settle, .becomeOwner: .committed
        case .closeChannel, .noteDeparture: .committed
        case .pauseReaders, .sendAbort, .reportFailure, .closeListeners, .leave: .handedBack
        case .forwardStop: .stoppedLate
        case .exitNow: .stuck
        }
    }
}
