// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

package import TableflipCore
package import TableflipSystem

/// A place in the engine's work: just before an action of one of its machines is performed. The list comes from the
/// machines: an action without a name does not compile.
package enum EngineStep: Hashable, Sendable, CustomStringConvertible {
    case predecessor(PredecessorMachine.Action.Name)
    case successor(SuccessorMachine.Action.Name)

    package static let all =
        PredecessorMachine.Action.Name.allCases.map { EngineStep.predecessor($0) }
        + SuccessorMachine.Action.Name.allCases.map { EngineStep.successor($0) }

    package var description: String {
        switch self {
        case .predecessor(let name): "predecessor \(name.rawValue)"
        case .successor(let name): "successor \(name.rawValue)"
        }
    }
}

/// What programs that test the engine change of it, and no other program can.
package struct EngineTrial: Sendable {
    /// Called at each step, on the thread that is about to perform the action, with the channel to the other process if
    /// there is one.
    package var atStep: (@Sendable (EngineStep, ChannelSocket?) -> Void)?
    package var patience = Patience()

    package init() {}
}
