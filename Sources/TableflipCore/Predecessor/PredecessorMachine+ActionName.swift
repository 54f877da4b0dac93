// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

extension PredecessorMachine.Action {
    /// An action without what it carries. Tests let things go wrong at each.
    package enum Name: String, CaseIterable, Hashable, Sendable {
        case refuse
        case spawn
        case sendHello
        case offerInventory
        case pauseReaders
        case resumeReaders
        case sendGo
        case giveUpOwnership
        case takeBackOwnership
        case sendCommit
        case sendAbort
        case sendBye
        case terminateSuccessor
        case killSuccessor
        case closeChannel
        case exportConnections
        case closeListeners
        case endService
        case reportSuccess
        case reportFailure
        case leave
        case exitNow
    }

    package var name: Name {
        switch self {
        case .refuse: .refuse
        case .spawn: .spawn
        case .sendHello: .sendHello
        case .offerInventory: .offerInventory
        case .pauseReaders: .pauseReaders
        case .resumeReaders: .resumeReaders
        case .sendGo: .sendGo
        case .giveUpOwnership: .giveUpOwnership
        case .takeBackOwnership: .takeBackOwnership
        case .sendCommit: .sendCommit
        case .sendAbort: .sendAbort
        case .sendBye: .sendBye
        case .terminateSuccessor: .terminateSuccessor
        case .killSuccessor: .killSuccessor
        case .closeChannel: .closeChannel
        case .exportConnections: .exportConnections
        case .closeListeners: .closeListeners
        case .endService: .endService
        case .reportSuccess: .reportSuccess
        case .reportFailure: .reportFailure
        case .leave: .leave
        case .exitNow: .exitNow
        }
    }
}
