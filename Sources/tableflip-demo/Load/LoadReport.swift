// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
/// What a load client has counted since it began.
struct LoadReport: Codable {
    /// Of requests that were answered, in milliseconds from their beginning, which is that of connecting where a
    /// connection was needed, until the whole answer was here.
    struct Latency: Codable {
        var count = 0
        var p50 = 0.0
        var p99 = 0.0
        var p999 = 0.0
        var max = 0.0
    }

    /// Requests that were sent or whose connection could not be made.
    var requests = 0
    /// Those without a whole and right answer.
    var lost = 0
    /// Connections that were made.
    var connections = 0
    /// Of the requests, those that were answered on connections which are kept.
    var kept = 0
    /// Those connections.
    var keptConnections = 0
    /// Connections that the server closed while nothing was under way on them.
    var idleClosed = 0
    /// Answers that said `Connection: close` to a client which would have gone on.
    var saidClose = 0
    /// Clients that rest, in the mode `rest`.
    var resting = 0
    /// The longest of all latencies.
    var maxMilliseconds = 0.0
    var latency = Latency()
    /// The same for each window of time that the standard input has named. A request counts for the window in which it
    /// began and for that in which it ended.
    var windows: [String: Latency] = [:]
    /// How each lost request failed, and how often.
    var failures: [String: Int] = [:]
    /// Of the lost ones, those whose connection was there and ended before the answer.
    var cut: Int {
        self.failures.filter {
            $0.key == LoadConnection.wasClosed || $0.key.contains("reset by peer") || $0.key.contains("Broken pipe")
        }.values.reduce(0, +)
    }
    /// The process ids that answered `GET /`.
    var servers: [Int32] = []
    /// How many clients got their latest answer to `GET /` from which process id.
    var latestServers: [String: Int] = [:]
    var isFinal = false
}
#endif  // NIO
