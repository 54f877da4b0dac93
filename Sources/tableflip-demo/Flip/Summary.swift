// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
/// The end of a demonstration, as its last line of JSON has it.
struct Summary: Codable {
    var event = "summary"
    var upgrades = 0
    var failedUpgrades = 0
    var rollbacks = 0
    var generations = 1
    var requests = 0
    /// Of the requests, those on connections that lived through all upgrades.
    var kept = 0
    var keptConnections = 0
    var lost = 0
    /// Requests that a successor had accepted and that ended with it, when it was killed on purpose. Not among the lost.
    var killed = 0
    var maxLatencyMs = 0.0
    /// Old processes that have ended.
    var oldProcessesGone = 0
    /// How requests were lost, and how often.
    var failures: [String: Int] = [:]
    /// What was to happen and did not; empty is good.
    var missing: [String] = []

    enum CodingKeys: String, CodingKey {
        case event
        case upgrades
        case failedUpgrades = "failed_upgrades"
        case rollbacks
        case generations
        case requests
        case kept
        case keptConnections = "kept_connections"
        case lost
        case killed
        case maxLatencyMs = "max_latency_ms"
        case oldProcessesGone = "old_processes_gone"
        case failures
        case missing
    }

    var isGood: Bool { self.lost == 0 && self.missing.isEmpty }
}

/// One generation, for the table at the end.
struct GenerationRow {
    var generation: Int
    var pid: Int32
    /// From the signal until each phase, in milliseconds.
    var ready: Double?
    var committed: Double?
    var outcome: String
}
#endif  // NIO
