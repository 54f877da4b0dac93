// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

extension LiveTests {
    /// Clients that send anything that is allowed, cut anywhere, while one upgrade follows the other.
    @Suite(.timeLimit(.minutes(10)))
    struct FuzzTests {
        /// TABLEFLIP_FUZZ_SEED repeats a run as far as the machine does; TABLEFLIP_FUZZ_SECONDS makes it longer.
        @Test
        func `Whatever is sent, cut anywhere, is answered rightly and in order through upgrades`() async throws {
            let environment = ProcessInfo.processInfo.environment
            let seed = environment["TABLEFLIP_FUZZ_SEED"].flatMap { UInt64($0) } ?? .random(in: 0...UInt64.max)
            let seconds = environment["TABLEFLIP_FUZZ_SECONDS"].flatMap { Double($0) } ?? 5
            print("TABLEFLIP_FUZZ_SEED=\(seed)")
            try await Demo.with { demo in
                let end = Date(timeIntervalSinceNow: seconds)
                let (counts, upgrades) = (Journal<Int>(), Journal<Int>())
                var bodies: [@Sendable () throws -> Void] = (0..<24).map { number in
                    {
                        var client = try FuzzClient(demo.connect(), seed: seed &+ UInt64(number))
                        while !upgrades.waitForEnd(within: 0) { try client.round() }
                        counts.append(client.answers)
                    }
                }
                bodies.append {
                    defer { upgrades.end() }
                    while Date() < end || upgrades.all.count < 5 {
                        try demo.upgrade()
                        upgrades.append(1)
                    }
                }
                do {
                    try OwnThread.runAll(bodies, within: seconds + 150)
                } catch {
                    throw Unexpected("TABLEFLIP_FUZZ_SEED=\(seed): \(error)")
                }
                print("\(counts.all.reduce(0, +)) answers over \(upgrades.all.count) upgrades")
            }
        }
    }
}
