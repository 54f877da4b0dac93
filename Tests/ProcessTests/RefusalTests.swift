// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

@Suite(.fewAtATime)
struct RefusalTests {
    @Test(arguments: [Variant.plain, .portableReader])
    func `Of two upgrades at once one runs and the other is refused`(_ variant: Variant) async throws {
        try await Server.with(variant) { server in
            try await server.unharmed {
                try server.misbehave("hang")
                let mark = server.mark
                server.requestUpgrade(of: server.current)
                let spawned = try await server.line(of: server.current, from: mark, startingWith: "event spawned")
                let second = try await server.upgrade()
                #expect(second.phase == "refused" && second.code == "upgradeRunning")
                // The refusal names the one that runs.
                #expect(spawned.words == "event spawned \(second.peer)")
                server.signal(second.peer, SIGKILL)
                let first = try await server.line(of: server.current, from: mark, startingWith: "event failed")
                #expect(first.words == "event failed \(second.peer) successorKilled")
            }
        }
    }

    @Test(arguments: [Variant.plain, .portableReader])
    func `While the process before still drains, an upgrade is refused by both`(_ variant: Variant) async throws {
        try await Server.with(variant, ["--linger", "FIFO", "--drain-timeout", "300000"]) { server in
            let old = server.current
            let outcome = try await server.upgrade()
            let new = outcome.peer
            try #require(outcome.phase == "committed")
            try await server.line(of: new, startingWith: "serving")
            try await server.answer(from: new)

            let mark = server.mark
            server.requestUpgrade(of: new)
            let refusal = try await server.outcome(of: new, from: mark)
            #expect(refusal.phase == "refused" && refusal.code == "predecessorAlive" && refusal.peer == old)
            server.requestUpgrade(of: old)
            let late = try await server.outcome(of: old, from: mark)
            #expect(late.phase == "refused" && late.code == "replaced" && late.peer == new)

            // Two bytes: one for each that leaves from here on.
            try server.letGo("FIFO")
            try await server.follow(to: new, from: old)
            try server.letGo("FIFO")
            try await server.replace()
        }
    }

    @Test(arguments: [Variant.plain, .portableReader])
    func `On request an upgrade waits until the process before has left, and only one does`(
        _ variant: Variant
    ) async throws {
        try await Server.controlled(
            variant, ["--linger", "FIFO", "--overlap-waits", "--drain-timeout", "300000"]
        ) { server in
            let old = server.current
            let outcome = try await server.upgrade()
            let new = outcome.peer
            try #require(outcome.phase == "committed")
            try await server.line(of: new, startingWith: "event owner")

            let mark = server.mark
            let check = try await Ctl.run(server, "check")
            #expect(check.status == 0 && check.output.contains("would wait for the previous process (PID \(old))"))
            server.requestUpgrade(of: new)
            try await server.line(of: new, from: mark, startingWith: "event waiting \(old)")
            let second = try await Ctl.run(server, "check")
            #expect(second.status == 1 && second.errors.contains("an upgrade waits already"), "\(second)")
            server.requestUpgrade(of: new)
            let refusal = try await server.outcome(of: new, from: mark)
            #expect(refusal.phase == "refused" && refusal.code == "upgradeRunning" && refusal.peer == old)
            let words = try await server.line(of: new, from: mark, startingWith: "words upgradeRunning")
            #expect(words.words.contains("waits already") && words.words.contains("\(old)"))
            #expect(server.log.history.first(new, from: mark) { $0.hasPrefix("event requested") } == nil)

            // Two bytes: one for each that leaves.
            try server.letGo("FIFO")
            try await server.line(of: new, from: mark, startingWith: "event predecessorLeft \(old)")
            let committed = try await server.line(of: new, from: mark, startingWith: "event committed")
            try server.letGo("FIFO")
            let third = try #require(committed.words.split(separator: " ").last.flatMap { CInt($0) })
            try await server.follow(to: third, from: new)
            try server.letGo("FIFO")
        }
    }

    @Test(arguments: [true, false])
    func `A check while the process before drains says what an upgrade would do, and a rehearsal does it`(
        _ waits: Bool
    ) async throws {
        let arguments = ["--linger", "FIFO", "--drain-timeout", "300000"] + (waits ? ["--overlap-waits"] : [])
        try await Server.controlled(.reader, arguments) { server in
            let old = server.current
            let outcome = try await server.upgrade()
            let new = outcome.peer
            try #require(outcome.phase == "committed")
            try await server.line(of: new, startingWith: "event owner")
            let mark = server.mark
            let rehearsal = try Ctl(server, "check", "--start")
            if waits {
                try await server.line(of: new, from: mark, startingWith: "event waiting \(old)")
                try server.letGo("FIFO")
                let result = try await rehearsal.result()
                #expect(result.status == 0 && result.output.contains("(PID \(old))"), "\(result)")
            } else {
                let result = try await rehearsal.result()
                #expect(result.status == 1, "\(result)")
                for words in ["(PID \(old)) is still draining", "would wait 1.0 seconds, and be refused"] {
                    #expect(result.errors.contains(words), "\(words) in \(result)")
                }
                try server.letGo("FIFO")
            }
            try await server.follow(to: new, from: old)
            try server.letGo("FIFO")
            try await server.replace()
        }
    }

    @Test(arguments: [Variant.plain, .portableReader])
    func `A stop answers an upgrade that waits`(_ variant: Variant) async throws {
        try await Server.with(variant, ["--linger", "FIFO", "--overlap-waits", "--drain-timeout", "300000"]) { server in
            let outcome = try await server.upgrade()
            let new = outcome.peer
            try #require(outcome.phase == "committed")
            try await server.line(of: new, startingWith: "event owner")
            let mark = server.mark
            server.requestUpgrade(of: new)
            try await server.line(of: new, from: mark, startingWith: "event waiting")
            server.stopClient()
            server.signal(new, SIGTERM)
            let refusal = try await server.outcome(of: new, from: mark)
            #expect(refusal.phase == "refused" && refusal.code == "stopping")
            try server.letGo("FIFO")
            try server.letGo("FIFO")
            try await server.everythingToEnd()
            #expect(server.log.history.first(from: mark) { $0.hasPrefix("event requested") } == nil)
        }
    }

    @Test
    func `A reader that does not pause in time ends the upgrade, not the service`() async throws {
        try await Server.with(.reader, ["--pause-wait", "FIFO", "--pause-timeout", "5000"]) { server in
            let before = server.facts(of: server.current)
            let outcome = try await server.upgrade()
            #expect(outcome.phase == "failed" && outcome.code == "pauseFailed")
            try await server.answer(from: server.current)
            // The first byte is for the call that has overrun.
            try server.letGo("FIFO")
            await server.expect(server.current, toBeAs: before)
            try server.letGo("FIFO")
            try await server.replace()
        }
    }
}
