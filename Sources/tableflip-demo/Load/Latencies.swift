// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
/// How long requests took: counts in classes that are at most 1/64 wide, so that millions take little room.
struct Latencies {
    private static let steps = 64

    private var counts: [Int: Int] = [:]
    private var total = 0
    private var longest: Int64 = 0

    mutating func add(nanoseconds: Int64) {
        self.counts[Self.index(of: nanoseconds), default: 0] += 1
        self.total += 1
        self.longest = max(self.longest, nanoseconds)
    }

    var summary: LoadReport.Latency {
        let sorted = self.counts.sorted { $0.key < $1.key }
        /// The least time that this part of all requests did not exceed.
        func quantile(_ part: Double) -> Double {
            var left = Int((Double(self.total) * part).rounded(.up))
            for (index, count) in sorted {
                left -= count
                if left <= 0 { return Double(min(Self.limit(of: index), self.longest)) / 1e6 }
            }
            return 0
        }
        return LoadReport.Latency(
            count: self.total, p50: quantile(0.5), p99: quantile(0.99), p999: quantile(0.999),
            max: Double(self.longest) / 1e6
        )
    }

    /// Each power of two is divided into as many equal classes.
    private static func index(of nanoseconds: Int64) -> Int {
        let value = max(Int(nanoseconds), Self.steps)
        let exponent = Int.bitWidth - 1 - value.leadingZeroBitCount
        return exponent * Self.steps + (value >> (exponent - 6)) - Self.steps
    }

    /// The first value that is too large for a class.
    private static func limit(of index: Int) -> Int64 {
        let (exponent, step) = index.quotientAndRemainder(dividingBy: Self.steps)
        return Int64((Self.steps + step + 1) << (exponent - 6))
    }
}
#endif  // NIO
