// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport
import Testing

#if os(Linux)
/// The demo's server, which is on SwiftNIO.
@Suite(.fewAtATime, .timeLimit(.minutes(5)))
struct AcceptGateTests {
    /// epoll(7) goes on to tell of a descriptor that was closed here and lives on in another process.
    @Test(
        .enabled(
            if: ProcessInfo.processInfo.environment["TABLEFLIP_ALONE"] != nil,
            "counts wake-ups, so it runs alone: TABLEFLIP_ALONE=1 swift test --filter AcceptGateTests"
        )
    )
    func `A process that drains is not woken by the connections of its successor`() async throws {
        try await Demo.with(["--drain-timeout", "60s", "--stay"]) { demo in
            let old = demo.process
            let kept = try Connection(demo.port)
            #expect(try await kept.keepAsking().contains("\(old)"))
            let new = try await demo.upgrade()
            let before = Self.wakeUps(of: old)
            for _ in 0..<300 {
                #expect(try await Connection(demo.port).keepAsking().contains("\(new)"))
            }
            // Its engine looks at the time a few times a second, however long this takes; each connection would be three.
            let woken = Self.wakeUps(of: old) - before
            #expect(woken < 300, "it was woken \(woken) times")
            #expect(ProcessFacts.state(of: old) != nil, "it still drains")
            // The connection that it kept is answered, and closed: then it leaves.
            #expect(try await kept.keepAsking().contains("\(old)"))
            _ = try await demo.value(of: "peer", at: "predecessorLeft")
        }
    }

    /// How often any of its threads has gone on after waiting (proc(5), voluntary_ctxt_switches).
    private static func wakeUps(of process: CInt) -> Int {
        let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/task")) ?? []
        return tasks.reduce(0) { sum, task in
            let status = (try? String(contentsOfFile: "/proc/\(process)/task/\(task)/status", encoding: .utf8)) ?? ""
            let line = status.split(separator: "\n").first { $0.hasPrefix("voluntary_ctxt_switches") }
            return sum + (line?.split(separator: "\t").last.flatMap { Int($0) } ?? 0)
        }
    }
}
#endif
