// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
/// What a load client has counted since it began.
struct LoadReport: Codable {
    /// Requests that were sent or whose connection could not be made.
    var requests = 0
    /// Those without a whole answer.
    var lost = 0
    /// The longest from the start of connecting until the whole answer was here, among those of the report and all before.
    var maxMilliseconds = 0.0
    /// How each lost request failed, and how often.
    var failures: [String: Int] = [:]
    /// The process ids that answered.
    var servers: [Int32] = []
    var isFinal = false
}
#endif  // NIO
