// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// Sebastiano Vigna's generator: small, fast, and the same on every machine for the same seed.
struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var value = self.state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }

    /// A number from 0 up to, but not including, `bound`. Slightly uneven, and much faster than `Int.random(in:)`.
    mutating func below(_ bound: Int) -> Int { Int(truncatingIfNeeded: (self.next() >> 33) % UInt64(bound)) }
}
