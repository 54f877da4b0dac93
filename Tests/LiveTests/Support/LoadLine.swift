// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// What the tests want to know of a line of `tableflip-demo load`.
struct LoadLine: Decodable, Hashable, Sendable {
    var requests: Int
    var lost: Int
    var connections: Int
    var idleClosed: Int
    var saidClose: Int
    var resting: Int
    var failures: [String: Int]
    var latestServers: [String: Int]
    var servers: [CInt]
    var isFinal: Bool
}
