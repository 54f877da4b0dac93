// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore

/// What an event is called on a line for people.
extension ControlEvent {
    var label: String {
        switch self.phase {
        case "requested": "asked"
        case "handingOver": "handing over"
        case "handedOver": "handed over"
        case "go": "paused"
        case "inherited": "inherited"
        case "moving": "connections"
        case "predecessorLeft": "old process gone"
        case "handedBack": "handed back"
        case "drainOverran": "drain overran"
        case "rolledBack": "rolled back"
        case "owner": "new owner"
        default: self.phase
        }
    }

    var details: String {
        switch self.phase {
        case "waiting": "for the process before to leave"
        case "requested": "of PID \(self.process), generation \(self.generation)"
        case "spawned": "PID \(self.peer)"
        case "handingOver": "\(self.done ?? 0) of \(self.total ?? 0) descriptors"
        case "handedOver": "it initialises"
        case "ready": "it holds the same sockets"
        case "go": "the new process may serve"
        case "committed": "PID \(self.peer) owns the service"
        case "owner", "serving", "inherited": "PID \(self.process), generation \(self.generation)"
        case "moving": "\(self.done ?? 0) of \(self.total ?? 0) moved"
        case "draining": "\(self.left) left"
        case "predecessorLeft": "PID \(self.peer)"
        case "probation": self.total.map { "for \(Int64($0).asAge)" } ?? ""
        case "stopping": "PID \(self.process)"
        default: self.failure.map { "\($0.code): \($0.message)" } ?? (self.peer > 0 ? "PID \(self.peer)" : "")
        }
    }

    /// What goes on until the next event; nil: nothing that anybody waits for.
    var activity: String? {
        switch self.phase {
        case "waiting": "waiting for the process before to leave"
        case "requested": "starting the new process"
        case "spawned": "handing over"
        case "handingOver": "handing over \(self.done ?? 0) of \(self.total ?? 0)"
        case "handedOver": "initialising"
        case "ready": "pausing"
        case "go": "the new process begins to serve"
        case "probation": "probation"
        case "committed", "owner", "inherited", "serving": "the old process finishes what it has begun"
        case "moving": "connections moved \(self.done ?? 0) of \(self.total ?? 0)"
        case "draining": "draining \(self.left) left"
        default: nil
        }
    }

    /// What a progress has yet to do.
    var left: Int { max(0, (self.total ?? 0) - (self.done ?? 0)) }

    /// Something that went well, badly, or neither.
    var colour: Colour? {
        switch self.phase {
        case "committed", "owner", "serving", "predecessorLeft": .green
        case "failed", "rolledBack", "refused", "handedBack", "drainOverran": .red
        case "stopping", "waiting", "probation": .yellow
        default: nil
        }
    }
}
