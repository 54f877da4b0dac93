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
        let (control, channel) = words[3...].reduce(into: ([[UInt8]](), [[UInt8]]())) { fixtures, path in
            if path.contains("/control-") {
                fixtures.0.append(FrameSource.read(path))
            } else {
                fixtures.1.append(FrameSource.read(path))
            }
        }
        guard !control.isEmpty, !channel.isEmpty else { self.fail("fixtures of the channel or of control are missing") }
        self.run(
            count, seed, FrameSource(seed: seed, fixtures: channel),
            FrameSource(seed: seed, controlFixtures: control)
        )
    }

    private static func run(_ count: Int, _ seed: UInt64, _ channelFrames: FrameSource, _ controlFrames: FrameSource) {
        var frames = channelFrames
        var controlFrames = controlFrames
        var watch = Watch(seed: seed)
        // Of every ten frames one goes through a socket, for that takes system calls, and three are the control socket's.
        let chunk = max(1, min(10_000, count / 20))
        let descriptors = Self.openDescriptors()
        var decoder = DecoderFuzz()
        var channel = ChannelFuzz()
        var control = ControlFuzz()
        var number = 0
        while number < count {
            let end = min(number + chunk, count)
            watch.rewind()
            while number < end {
                watch.begin(number)
                let failure =
                    switch number % 10 {
                    case 9: channel.step(&frames)
                    case 6...8: control.step(&controlFrames)
                    default: decoder.step(&frames)
                    }
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
            ("control requests decoded", control.decoded), ("control requests refused", control.refused),
        ] where some < count / 1000 { self.fail("seed \(seed): only \(some) \(name)") }
        print(
            "decoder: \(decoder.decoded) frames accepted, \(decoder.refused) refused; channel: \(channel.heard) accepted, "
                + "\(channel.violations) refused, \(channel.received) descriptors received; control: \(control.decoded) accepted, "
                + "\(control.refused) refused; slowest frame "
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
