// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem

#if canImport(Glibc)
@preconcurrency import Glibc
#elseif canImport(Musl)
@preconcurrency import Musl
#else
import Darwin
#endif

/// Feeds frames to what a peer can reach, millions of them, and fails if it crashes, hangs, leaks or accepts what it
/// would not say the same way itself. `Scripts/fuzz.sh` builds and runs it.
///
/// usage: tableflip-fuzz COUNT SEED FIXTURE…
@main
struct Fuzz {
    static func main() {
        let words = CommandLine.arguments
        guard words.count > 3, let count = Int(words[1]), count > 0, let seed = UInt64(words[2]) else {
            self.fail("usage: tableflip-fuzz COUNT SEED FIXTURE...")
        }
        print("\(count) frames, seed \(seed)")
        fflush(stdout)
        var frames = FrameSource(seed: seed, fixtures: words[3...].map { FrameSource.read($0) })
        var watch = Watch(seed: seed)
        // Of every ten frames one goes through a socket, for that takes system calls.
        let chunk = max(1, min(10_000, count / 20))
        let descriptors = Self.openDescriptors()
        var decoder = DecoderFuzz()
        var channel = ChannelFuzz()
        var number = 0
        while number < count {
            let end = min(number + chunk, count)
            watch.rewind()
            while number < end {
                watch.begin(number)
                let failure = number % 10 == 9 ? channel.step(&frames) : decoder.step(&frames)
                watch.end()
                if let failure { self.fail("seed \(seed), frame \(number): \(failure)") }
                number += 1
            }
            channel.finish()
            let now = Self.openDescriptors()
            if now != descriptors {
                self.fail("seed \(seed), frame \(number): \(now) descriptors are open instead of \(descriptors)")
            }
            watch.checkMemory(done: number, of: count)
        }
        // Both ways through have been gone, else the fuzzer tests nothing.
        for (name, some) in [
            ("decoded", decoder.decoded), ("refused", decoder.refused), ("heard", channel.heard),
            ("violations", channel.violations), ("descriptors", channel.received),
        ] where some < count / 1000 { self.fail("seed \(seed): only \(some) \(name)") }
        print(
            "decoder: \(decoder.decoded) frames accepted, \(decoder.refused) refused; channel: \(channel.heard) accepted, "
                + "\(channel.violations) refused, \(channel.received) descriptors received; slowest frame "
                + "\(watch.slowest / 1000) us; no crash, hang or leak"
        )
    }

    static func fail(_ words: String) -> Never {
        print("tableflip-fuzz: \(words)")
        exit(1)
    }

    /// How many numbers are open. Nothing here opens a high one.
    private static func openDescriptors() -> Int { (0..<2048).count { fcntl($0, F_GETFD) >= 0 } }
}
