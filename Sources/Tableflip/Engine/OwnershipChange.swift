// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore

/// Why the hooks of ownership are called.
enum OwnershipChange: Sendable {
    /// This process is to become the owner.
    case taking
    /// It could not, for this reason: what had begun ends again.
    case undoing(UpgradeError)
    /// The successor is to become the owner.
    case givingUp
    /// The successor did not; or hooks came late to an owner.
    case resuming
    /// This process leaves.
    case leaving

    var direction: OwnershipHooks.Direction {
        switch self {
        case .taking, .resuming: .begin
        case .undoing, .givingUp, .leaving: .end
        }
    }

    var onFailure: OwnershipHooks.Failure {
        switch self {
        case .taking, .givingUp: .endsTheChange
        case .undoing, .resuming, .leaving: .isPassedOver
        }
    }
}
