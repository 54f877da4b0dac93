// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

@Suite(.fewAtATime)
struct ProbationTests {
    static let variants = [Variant.reader, .portableReader, .wrapped]

    @Test(arguments: Self.variants)
    func `A successor becomes the owner when its probation is over`(_ variant: Variant) async throws {
        try await Server.with(variant, ["--probation", "300"]) { server in
            let old = server.first
            let began = ContinuousClock.now
            let mark = server.mark
            server.requestUpgrade(of: old)
            try await server.line(startingWith: "event serving \(old)")
            let successor = try await server.successor(of: old)
            try await server.answer(from: successor)
            let outcome = try await server.outcome(of: old, from: mark)
            #expect(outcome.phase == "committed" && ContinuousClock.now - began >= .milliseconds(300))
            try await server.follow(to: successor, from: old)
        }
    }

    @Test(arguments: Self.variants)
    func `A successor that dies in its probation leaves the service to the old process`(
        _ variant: Variant
    ) async throws {
        // Which is not over before it dies; the check of a good one passes at once.
        try await Server.with(variant, ["--probation", "60000", "--check"]) { server in
            try await server.unharmed {
                try server.misbehave("kill-after-ready")
                // What a process has accepted dies with it.
                server.client?.hold()
                let outcome = try await server.upgrade()
                server.client?.release()
                #expect(outcome.phase == "rolledBack")
                #expect(variant.codesOfAKill.contains(outcome.code), "\(outcome)")
                let home = server.directory.path
                let isTidy = await server.eventually {
                    let files = try? FileManager.default.contentsOfDirectory(atPath: home)
                    return files?.filter { $0.hasPrefix("pid") } == ["pid"]
                }
                #expect(isTidy)
            }
        }
    }

    /// Not behind a shell, which has the channel as well.
    @Test(arguments: [Variant.reader, .portableReader])
    func `A successor that closes its channel is killed before the old process serves again`(
        _ variant: Variant
    ) async throws {
        // Which is not over before it dies; the check of a good one passes at once.
        try await Server.with(variant, ["--probation", "60000", "--check"]) { server in
            try await server.unharmed {
                try server.misbehave("close-channel-after-ready")
                server.client?.hold()
                let outcome = try await server.upgrade()
                #expect(ProcessFacts.state(of: outcome.peer) == nil)
                server.client?.release()
                #expect(outcome.phase == "rolledBack")
                #expect(outcome.code == "successorClosedChannel")
            }
        }
    }

    @Test(arguments: Self.variants)
    func `What waits in the queue of a successor that dies is answered by the old process`(
        _ variant: Variant
    ) async throws {
        // It is the test that kills it, and not the old process for its silence.
        try await Server.with(variant, ["--probation", "600000", "--looks", "200"]) { server in
            let old = server.first
            let before = server.facts(of: old)
            let mark = server.mark
            server.requestUpgrade(of: old)
            try await server.line(startingWith: "event serving \(old)")
            let successor = try await server.successor(of: old)
            try await server.answer(from: successor)
            server.client?.hold()
            server.signal(successor, SIGSTOP)
            // Until every thread has heard of it, the one that accepts goes on.
            #expect(await server.eventually { ProcessFacts.isStopped(successor) })
            server.client?.release()
            server.signal(successor, SIGKILL)
            #expect(try await server.outcome(of: old, from: mark).phase == "rolledBack")
            try await server.answer(from: old)
            await server.expect(old, toBeAs: before)
        }
    }

    @Test(arguments: Self.variants)
    func `A successor that is stopped in its probation gives the service back without losing a request`(
        _ variant: Variant
    ) async throws {
        try await Server.with(variant, ["--probation", "600000"]) { server in
            let old = server.first
            let before = server.facts(of: old)
            let mark = server.mark
            server.requestUpgrade(of: old)
            try await server.line(startingWith: "event serving \(old)")
            let successor = try await server.successor(of: old)
            try await server.answer(from: successor)
            server.signal(successor, SIGTERM)
            let outcome = try await server.outcome(of: old, from: mark)
            #expect(outcome.phase == "rolledBack" && outcome.code == "successorAborted")
            // As after any rollback: the service goes on, and its connections are not to be cut short.
            try await server.line(of: successor, startingWith: "leaving handedBack")
            try await server.answer(from: old)
            await server.expect(old, toBeAs: before)
            #expect(server.namedProcess == old)
        }
    }

    @Test(arguments: Self.variants)
    func `A successor becomes the owner when its check has passed`(_ variant: Variant) async throws {
        try await Server.with(variant, ["--probation", "600000", "--check"]) { server in
            try await server.replace()
        }
    }

    @Test(arguments: Self.variants)
    func `A successor that fails its check gives the service back without losing a request`(
        _ variant: Variant
    ) async throws {
        try await self.giveBack(
            variant, ["--probation", "600000"], "fail-check the cache is cold", saying: "the cache is cold")
    }

    @Test(arguments: Self.variants)
    func `A successor whose check hangs gives the service back without losing a request`(
        _ variant: Variant
    ) async throws {
        // The good one at the end has to check within it; and the old one would call back who does not say that it failed.
        try await self.giveBack(
            variant, ["--probation", "3000", "--quick", "30000"], "hang-check", saying: "check did not return")
    }

    /// The successor hands the service back by itself, in these words.
    private func giveBack(
        _ variant: Variant, _ arguments: [String], _ misbehaviour: String, saying words: String
    ) async throws {
        try await Server.with(variant, arguments + ["--check"]) { server in
            try await server.unharmed {
                try server.misbehave(misbehaviour)
                let outcome = try await server.upgrade()
                #expect(outcome.phase == "rolledBack" && outcome.code == "successorAborted")
                try await server.line(of: server.first, "words about the check") {
                    $0.hasPrefix("words") && $0.contains(words)
                }
            }
        }
    }

    @Test(arguments: Self.variants)
    func `An operator ends a probation early`(_ variant: Variant) async throws {
        try await Server.with(variant, ["--probation", "60000", "--order", "commit"]) { server in
            let old = server.first
            try await server.replace()
            try await server.line(of: old, startingWith: "order commit")
        }
    }

    @Test(arguments: Self.variants)
    func `An operator takes an upgrade back without losing a request`(_ variant: Variant) async throws {
        try await Server.with(variant, ["--probation", "60000", "--order", "roll-back"]) { server in
            let old = server.first
            let before = server.facts(of: old)
            for _ in 0..<3 {
                let outcome = try await server.upgrade()
                #expect(outcome.phase == "rolledBack" && outcome.code == "rolledBack")
                // Until it has left, and a shell before it, another upgrade is refused.
                await server.expect(old, toBeAs: before)
            }
            try await server.answer(from: old)
            await server.expect(old, toBeAs: before)
            #expect(server.namedProcess == old)
        }
    }

    /// The new release has a reader that needs its time, and a configuration that says so. The old one knows neither.
    @Test(arguments: Self.variants)
    func `A successor that may take longer to pause than its predecessor is not killed when it is taken back`(
        _ variant: Variant
    ) async throws {
        try await Server.controlled(variant, ["--probation", "60000", "--pause-timeout", "2000"]) { server in
            let old = server.first
            let before = server.facts(of: old)
            try server.misbehave("slow-pause \(try server.fifo("pause").path)")
            let mark = server.mark
            // The old one has as little time to pause: no request is on its way then.
            server.client?.hold()
            server.requestUpgrade(of: old)
            let probation = try await server.line(of: old, from: mark, startingWith: "event probation")
            server.client?.release()
            let successor = try #require(CInt(probation.words.split(separator: " ").last ?? ""))
            try await server.answer(from: successor)
            let order = try Ctl(server, "rollback")
            try await server.line(of: successor, from: mark, startingWith: "pausing")
            try await server.answer(from: successor)
            let outcome = try? await server.log.wait(for: "no outcome yet", within: .seconds(4)) { history in
                history.first(old, from: mark) { $0.hasPrefix("event rolledBack") }
            }
            #expect(outcome == nil)
            try server.letGo("pause")
            #expect(try await server.outcome(of: old, from: mark).code == "rolledBack")
            #expect(try await order.result().status == 0)
            try await server.line(of: successor, startingWith: "leaving handedBack")
            try await server.answer(from: old)
            await server.expect(old, toBeAs: before)
        }
    }

    @Test(arguments: Self.variants)
    func `A successor that is frozen in its probation is killed, and who waited is answered`(
        _ variant: Variant
    ) async throws {
        try await Server.with(variant, ["--probation", "60000"]) { server in
            let old = server.first
            let before = server.facts(of: old)
            let mark = server.mark
            server.requestUpgrade(of: old)
            try await server.line(startingWith: "event serving \(old)")
            let successor = try await server.successor(of: old)
            try await server.answer(from: successor)
            server.client?.hold()
            server.signal(successor, SIGSTOP)
            let outcome = try await server.outcome(of: old, from: mark)
            #expect(outcome.phase == "rolledBack" && outcome.code == "successorSilent")
            // The kernel may have yet to take it apart, and a shell in between to reap it.
            #expect(await server.eventually { [nil, "Z"].contains(ProcessFacts.state(of: successor)) })
            server.client?.release()
            try await server.answer(from: old)
            await server.expect(old, toBeAs: before)
            #expect(server.namedProcess == old)
        }
    }
}
