// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

extension SuccessorMachine.Action {
    /// An action without what it carries. Tests let things go wrong at each.
    package enum Name: String, CaseIterable, Hashable, Sendable {
        case sendHello
        case sendReady
        case closeUnclaimed
        case resumeReaders
        case pauseReaders
        case reportServing
        case reportFailure
        case startCheck
        case sendCommit
        case takeOwnership
        case sendCommitted
        case settle
        case becomeOwner
        case noteDeparture
        case forwardStop
        case sendAbort
        case closeListeners
        case closeChannel
        case leave
        case exitNow
    }

    package var name: Name {
        switch self {
        case .sendHello: .sendHello
        case .sendReady: .sendReady
        case .closeUnclaimed: .closeUnclaimed
        case .resumeReaders: .resumeReaders
        case .pauseReaders: .pauseReaders
        case .reportServing: .reportServing
        case .reportFailure: .reportFailure
        case .startCheck: .startCheck
        case .sendCommit: .sendCommit
        case .takeOwnership: .takeOwnership
        case .sendCommitted: .sendCommitted
        case .settle: .settle
        case .becomeOwner: .becomeOwner
        case .noteDeparture: .noteDeparture
        case .forwardStop: .forwardStop
        case .sendAbort: .sendAbort
        case .closeListeners: .closeListeners
        case .closeChannel: .closeChannel
        case .leave: .leave
        case .exitNow: .exitNow
        }
    }
}
