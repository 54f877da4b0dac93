// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

@Suite(.fewAtATime)
struct MainLineTests {
    @Test(arguments: Variant.all)
    func `SIGHUP replaces the process, and no request is lost`(_ variant: Variant) async throws {
        try await Server.with(variant) { server in
            let watch = PIDFileWatch(server.pidFile)
            defer { _ = watch.stop() }
            let outcome = try await server.upgrade()
            #expect(outcome.phase == "committed")
            try await server.follow(to: outcome.peer, from: server.first)
            #expect(try await server.ending(of: server.first) == .exited(0))
            // Never absent, never half written.
            #expect(watch.stop() == ["\(server.first)\n", "\(outcome.peer)\n"])
            #expect(try await server.line(of: outcome.peer, startingWith: "serving").generation == 2)
            try await server.replace()
        }
    }

    @Test(arguments: [Variant.reader, .portable])
    func `Twenty upgrades later a process is what the second one was`(_ variant: Variant) async throws {
        let odd: [[UInt8]] = [[], [0xff, 0xfe], Array("ünï cödé".utf8), Array(" a b ".utf8), Array("--".utf8)]
        let start = Server.Start(
            arguments: ["--executable", Server.probe.path].map { Array($0.utf8) } + odd,
            argumentZero: [0x2d, 0xff] + Array("name of its own".utf8),
            environment: ["ODD": [0xff], "EMPTY": []]
        )
        try await Server.with(variant, start) { server in
            let arguments = ProcessFacts.arguments(of: server.first)
            let environment = ProcessFacts.environment(of: server.first)
            #expect(arguments.starts(with: [0x2d, 0xff]) && arguments.contains(0xfe))
            #expect(ProcessFacts.channels(of: server.first).isEmpty)
            try await server.replace()
            let kinds = server.facts(of: server.current).kinds
            // A thread beside the engine comes and goes (SideThread).
            let threads = ProcessFacts.threads(of: server.current).filter { $0 != "tableflip-side" }
            #expect(threads.contains("tableflip") && threads.contains("accept"))

            for _ in 2...20 { try await server.replace() }
            let last = server.current
            #expect(try await server.line(of: last, startingWith: "serving").generation == 21)
            #expect(ProcessFacts.arguments(of: last) == arguments)
            #expect(ProcessFacts.environment(of: last) == environment)
            #expect(ProcessFacts.channels(of: last).count == 1)
            _ = await server.eventually { ProcessFacts(of: last).kinds == kinds }
            #expect(server.facts(of: last).kinds == kinds)
            _ = await server.eventually { ProcessFacts.threads(of: last) == threads }
            #expect(ProcessFacts.threads(of: last) == threads)
        }
    }

    @Test
    func `A signal to the whole process group upgrades once and kills nobody`() async throws {
        try await Server.with { server in
            try server.misbehave("late-wait \(try server.fifo("late").path)")
            let mark = server.mark
            server.requestUpgrade(of: server.first)
            let handedOver = try await server.line(of: server.first, from: mark, startingWith: "event handedOver")
            // The successor is not in charge yet: it refuses. The old process is upgrading: so does it.
            server.signal(-server.first, SIGHUP)
            try await server.line(of: server.first, from: mark, startingWith: "event refused")
            try await server.line(from: mark, "the successor's refusal") { $0.hasSuffix("notReady") }
            try server.letGo("late")
            let committed = try await server.line(of: server.first, from: mark, startingWith: "event committed")
            #expect(handedOver.words.split(separator: " ").last == committed.words.split(separator: " ").last)
            try await server.follow(to: server.successor(of: server.first), from: server.first)
        }
    }

    @Test(arguments: [Variant.reader, .portableReader])
    func `State goes from generation to generation, at the start and at the last moment`(
        _ variant: Variant
    ) async throws {
        try await Server.with(variant, ["--state"]) { server in
            try await server.line(of: server.first, "an empty list") { $0 == "state left " }
            for generation in 2...4 {
                // A successor that fails takes nothing away.
                try server.misbehave("late-exit 3")
                let outcome = try await server.upgrade()
                #expect(outcome.phase == "failed")
                try server.misbehave("")
                try await server.replace()
                let list = (1..<generation).map(String.init).joined(separator: ",")
                let left = "state left \(list)"
                try await server.line(of: server.current, left) { $0 == left }
                let final = "state final \(list)"
                try await server.line(of: server.current, final) { $0 == final }
            }
        }
    }
}
