// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore

/// What a load is made of.
struct LoadPlan {
    var mode = LoadMode.close
    var host: String
    var port: Int
    var clients: Int
    /// Between an answer and the next request of a client.
    var think = TimeAmount.zero
    /// Per client; nil for as many as there is time for.
    var requests: Int?
    /// How many requests a client of the mode `pipeline` writes at once.
    var depth = 16
    /// How large the bodies are.
    var bodySize: Int
    /// How long to wait for an answer before it counts as lost.
    var patience = TimeAmount.seconds(30)

    /// Whether a client keeps its connection from one request to the next.
    func keeps(_ client: Int) -> Bool { self.mode == .mixed ? client % 2 == 1 : self.mode != .close }
}
#endif  // NIO
