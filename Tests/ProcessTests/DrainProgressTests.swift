// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

/// What `tableflipctl` shows of the connections that an application serves.
@Suite(.fewAtATime, .timeLimit(.minutes(15)))
struct DrainProgressTests {
    private static func event(_ line: Substring) -> [String: Any]? {
        try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
    }

    private static func left(_ event: [String: Any]) -> Int? {
        guard let done = event["done"] as? Int, let total = event["total"] as? Int else { return nil }
        return total - done
    }

    @Test func `An upgrade shows how many connections have moved and how many are left`() async throws {
        try await Demo.with(["--drain-timeout", "60s"]) { demo in
            let kept = try await demo.kept(40)
            let busy = try await demo.busy()
            let environment = ["TABLEFLIP_CONTROL_SOCKET": demo.control]
            let watch = try Ctl(["watch", "--json"], environment: environment)
            try await watch.output(containing: "watching")
            let upgrade = try Ctl(["upgrade"], environment: environment)
            // The first word comes after a quarter of a second: on a busy machine more are left by then.
            try await upgrade.output(containing: "draining ")
            try await watch.output("a drain with one left") { line in
                guard let event = Self.event(line), event["phase"] as? String == "draining" else { return false }
                return Self.left(event) == 1
            }
            // They have left the old process by then. The new one adopts them in its own time, and the last one is not to
            // overtake others there.
            try await watch.output("forty that have moved") { line in
                guard let event = Self.event(line), event["phase"] as? String == "moving" else { return false }
                return event["done"] as? Int == 40
            }
            try busy.say("cd")
            let result = try await upgrade.result()
            #expect(result.status == 0, "\(result)")
            // In this order, each with its time.
            var lines = result.output.split(separator: "\n").map(String.init)[...]
            for words in [
                "committed ", "draining ", "connections       41 of 41 moved", "old process gone ",
                "upgraded in ",
            ] {
                let index = lines.firstIndex { $0.contains(words) }
                #expect(index != nil, "\(words) in \(result.output)")
                if let index { lines = lines[index...] }
            }
            let status = try await Ctl(["status", "--json"], environment: environment).result()
            #expect(status.objects.first?["connections"] as? Int == 41, "\(status)")
            #expect(try await Ctl(["stop"], environment: environment).result().status == 0)

            let heard = try await watch.result().objects
            let moving = heard.filter { $0["phase"] as? String == "moving" }
            #expect(moving.last?["done"] as? Int == 41 && moving.last?["total"] as? Int == 41, "\(moving)")
            let counts = moving.compactMap { $0["done"] as? Int }
            #expect(counts == counts.sorted() && counts.contains(40), "\(counts)")
            let draining = heard.filter { $0["phase"] as? String == "draining" }
            let left = draining.compactMap { Self.left($0) }
            #expect(left.last == 0 && left.contains(1), "\(left)")
            #expect(kept.count == 40)
        }
    }

    @Test func `What the drain time-out cuts is told`() async throws {
        try await Demo.with(["--drain-timeout", "10s"]) { demo in
            let kept = try await demo.kept(3)
            let busy = try await [demo.busy(), demo.busy()]
            let result = try await Ctl(
                ["upgrade"], environment: ["TABLEFLIP_CONTROL_SOCKET": demo.control]
            ).result()
            #expect(result.status == 0, "\(result)")
            for words in [
                "connections       3 of 5 moved\n", "draining          2 left, and cut\n", "old process gone ",
            ] {
                #expect(result.output.contains(words), "\(words) in \(result.output)")
            }
            let lines = result.output.split(separator: "\n")
            #expect(lines.count { $0.contains("draining ") } == 2, "its beginning, and its end: \(result.output)")
            #expect(kept.count + busy.count == 5)
        }
    }
}
