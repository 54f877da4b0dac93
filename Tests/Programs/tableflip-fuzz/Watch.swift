// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Time and memory. A frame that takes for ever is ended by SIGALRM, whose default action ends the program; the seed has
/// been printed by then.
struct Watch {
    /// For one frame. It takes microseconds; a busy machine may be elsewhere for a while.
    private static let frameLimit = 2_000_000_000
    /// For all frames between two calls of ``rewind()``.
    private static let hangLimit: CUnsignedInt = 60
    /// What the peak may grow by once everything has happened at least once.
    private static let memoryLimit = 64 << 20

    private let seed: UInt64
    private(set) var slowest = 0
    private var began = 0
    private var number = 0
    private var usualMemory: Int?

    init(seed: UInt64) { self.seed = seed }

    /// Nothing hangs so far.
    func rewind() { alarm(Self.hangLimit) }

    mutating func begin(_ number: Int) {
        self.number = number
        self.began = Self.now
    }

    mutating func end() {
        let took = Self.now - self.began
        self.slowest = max(self.slowest, took)
        if took > Self.frameLimit { Fuzz.fail("seed \(self.seed), frame \(self.number): took \(took / 1_000_000) ms") }
    }

    mutating func checkMemory(done: Int, of count: Int) {
        guard done >= count / 10 else { return }
        let peak = Self.peakMemory
        if let usual = self.usualMemory, peak - usual > Self.memoryLimit {
            Fuzz.fail("seed \(self.seed), frame \(done): memory grew from \(usual >> 20) to \(peak >> 20) MiB")
        }
        self.usualMemory = self.usualMemory ?? peak
    }

    private static var now: Int {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int(time.tv_sec) * 1_000_000_000 + Int(time.tv_nsec)
    }

    private static var peakMemory: Int {
        var usage = rusage()
        #if canImport(Darwin)
        getrusage(RUSAGE_SELF, &usage)
        return usage.ru_maxrss
        #elseif canImport(Glibc)
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return Int(usage.ru_maxrss) << 10
        #else
        getrusage(RUSAGE_SELF, &usage)
        return Int(usage.ru_maxrss) << 10
        #endif
    }
}
