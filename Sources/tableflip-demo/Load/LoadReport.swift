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
    /// The process ids that answered `GET /`.
    var servers: [Int32] = []
    /// How many clients got their latest answer to `GET /` from which process id.
    var latestServers: [String: Int] = [:]
    var isFinal = false

    /// Of what was lost since an earlier report, what may have been inside a process that was killed: its connection was
    /// there and ended before the answer. At most so many.
    func cut(since earlier: LoadReport, atMost limit: Int) -> [String: Int] {
        var (cut, left) = ([String: Int](), limit)
        for (reason, count) in self.failures where Self.isCut(reason) {
            let new = min(count - earlier.failures[reason, default: 0], left)
            if new > 0 { (cut[reason], left) = (new, left - new) }
        }
        return cut
    }

    /// Without failures that count for something else.
    func excusing(_ excused: [String: Int]) -> LoadReport {
        var report = self
        for (reason, count) in excused {
            report.lost -= count
            let left = self.failures[reason, default: 0] - count
            report.failures[reason] = left > 0 ? left : nil
        }
        return report
    }

    private static func isCut(_ reason: String) -> Bool {
        reason == LoadConnection.wasClosed || reason.contains("reset by peer") || reason.contains("Broken pipe")
    }
}
#endif  // NIO
