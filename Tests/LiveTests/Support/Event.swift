// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// A line of `tableflip-demo serve --json-events`.
struct Event: Decodable, Hashable, Sendable, CustomStringConvertible {
    var pid: CInt
    var generation: Int
    var phase: String
    var peer: CInt
    var error: String?
    var port: UInt16?

    var description: String { "[\(self.generation)] \(self.pid) \(self.phase) \(self.peer) \(self.error ?? "")" }
}
