// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

@Suite(.fewAtATime)
struct StopTests {
    /// The client is ended first: nobody owes a stopped service's clients an answer.
    private func stop(_ server: Server, _ process: CInt) {
        server.stopClient()
        server.signal(process, SIGTERM)
    }

    private func expectNothingLeft(of server: Server) async throws {
        try await server.everythingToEnd()
        let left = try FileManager.default.contentsOfDirectory(atPath: server.directory.path)
        #expect(!left.contains { $0.hasPrefix("pid") || $0 == "socket" }, "\(left)")
    }

    @Test(arguments: Variant.all)
    func `SIGTERM stops the service, and nothing is left of it`(_ variant: Variant) async throws {
        try await Server.with(variant) { server in
            try await server.replace()
            self.stop(server, server.current)
            try await server.line(of: server.current, startingWith: "leaving stopped")
            try await self.expectNothingLeft(of: server)
            #expect(server.log.history.endings.values.allSatisfy { $0 == .exited(0) })
        }
    }

    @Test(arguments: [Variant.plain, .reader, .portableReader, .wrapped], ["hang", "late-hang"])
    func `SIGTERM during an upgrade takes the successor along`(_ variant: Variant, _ behaviour: String) async throws {
        try await Server.with(variant) { server in
            try server.misbehave(behaviour)
            server.requestUpgrade(of: server.current)
            try await server.line(
                of: server.current, startingWith: behaviour == "hang" ? "event spawned" : "event handedOver"
            )
            self.stop(server, server.current)
            try await server.line(of: server.current, startingWith: "leaving stopped")
            try await server.line(of: server.current, "the upgrade's failure") {
                $0.hasPrefix("event failed") && $0.hasSuffix(" stopping")
            }
            #expect(try await server.ending(of: server.current) == .exited(0))
            // Behind a shell, what never spoke is not known; see `MisbehavingSuccessorTests`.
            if variant.isWrapped, behaviour == "hang" { return }
            try await self.expectNothingLeft(of: server)
        }
    }

    /// SIGKILL reaches the shell alone. What stands behind it finds the whole handover in its channel.
    @Test(arguments: [Variant.wrapped, .portableWrapped])
    func `SIGTERM takes a successor along that has not said anything yet`(_ variant: Variant) async throws {
        try await Server.with(variant, ["--say-descriptors"]) { server in
            try server.misbehave("wait \(try server.fifo("start").path)")
            let mark = server.mark
            server.requestUpgrade(of: server.current)
            try await server.line(from: mark, startingWith: "descriptors")
            try await server.line(of: server.current, startingWith: "event spawned")
            self.stop(server, server.current)
            #expect(try await server.ending(of: server.current) == .exited(0))
            try server.letGo("start")
            try await self.expectNothingLeft(of: server)
        }
    }

    @Test(arguments: [Variant.reader, .portableReader])
    func `SIGTERM after go stops both`(_ variant: Variant) async throws {
        try await Server.with(variant, ["--probation", "600000"]) { server in
            server.requestUpgrade(of: server.current)
            try await server.line(startingWith: "event serving \(server.first)")
            let successor = try await server.successor(of: server.current)
            try await server.answer(from: successor)
            self.stop(server, server.current)
            try await self.expectNothingLeft(of: server)
            #expect(server.log.history.endings[server.first] == .exited(0))
        }
    }

    /// To the old process alone, or to both: then the successor hears of it twice, and still not by its second signal.
    @Test(arguments: [Variant.reader, .portableReader], [false, true])
    func `After go a stop lets the successor finish what it has begun`(
        _ variant: Variant, _ isForGroup: Bool
    ) async throws {
        try await Server.with(variant, ["--probation", "60000", "--say-accepts"]) { server in
            server.requestUpgrade(of: server.current)
            try await server.line(startingWith: "event serving \(server.first)")
            let successor = try await server.successor(of: server.current)
            try await server.answer(from: successor)
            server.stopClient()
            let connection = try Connection(server.port)
            let accepted = "accepted \(connection.localPort)"
            try await server.line(of: successor, accepted) { $0 == accepted }
            server.signal(isForGroup ? -server.first : server.first, SIGTERM)
            try await server.line(of: successor, startingWith: "event stopping")
            try connection.ask()
            #expect(try await connection.answer() == successor)
            try await self.expectNothingLeft(of: server)
            #expect(server.log.history.endings.values.allSatisfy { $0 == .exited(0) }, "\(server.log.history.endings)")
        }
    }

    @Test(arguments: [SIGTERM, SIGINT], [Variant.plain, .portableReader])
    func `A signal to the whole group during an upgrade stops both, and nothing is left`(
        _ signal: CInt, _ variant: Variant
    ) async throws {
        try await Server.with(variant) { server in
            try server.misbehave("late-wait \(try server.fifo("late").path)")
            server.requestUpgrade(of: server.current)
            try await server.line(of: server.current, startingWith: "event handedOver")
            server.stopClient()
            server.signal(-server.first, signal)
            try await server.line(of: server.first, startingWith: "leaving stopped")
            try await self.expectNothingLeft(of: server)
            #expect(server.log.history.endings[server.first] == .exited(0))
        }
    }

    /// By default each of them ends a process.
    @Test(arguments: [SIGHUP, SIGTERM, SIGINT])
    func `A signal before ready neither kills nor is lost`(_ signal: CInt) async throws {
        let start = Server.Start(arguments: ["--ready-wait", "FIFO"].map { Array($0.utf8) })
        try await Server.withProcess(.reader, start) { server in
            try await server.line(of: server.first, startingWith: "waiting")
            server.signal(server.first, signal)
            if signal == SIGHUP {
                let refusal = try await server.outcome(of: server.first, from: 0)
                #expect(refusal.phase == "refused" && refusal.code == "notReady")
                try server.letGo("FIFO")
                try await server.line(of: server.first, startingWith: "event owner")
                #expect(try await server.upgrade().phase == "committed")
            } else {
                try await server.line(of: server.first, startingWith: "event stopping")
                try server.letGo("FIFO")
                // It is no error: what the program does at the end of every stop it does at the end of this one.
                try await server.line(of: server.first, startingWith: "leaving stopped")
                try await self.expectNothingLeft(of: server)
                #expect(server.log.history.endings[server.first] == .exited(0))
            }
        }
    }

    @Test(arguments: [Variant.plain, .portable])
    func `SIGTERM to a successor before it is ready ends it, and the old one goes on`(_ variant: Variant) async throws {
        try await Server.with(variant) { server in
            try await server.unharmed {
                try server.misbehave("late-wait \(try server.fifo("late").path)")
                let mark = server.mark
                server.requestUpgrade(of: server.current)
                try await server.line(of: server.current, startingWith: "event handedOver")
                server.signal(try await server.successor(of: server.current), SIGTERM)
                let outcome = try await server.outcome(of: server.current, from: mark)
                #expect(outcome.phase == "failed" && outcome.code == "successorAborted")
                try server.letGo("late")
            }
        }
    }

    @Test(arguments: [Variant.plain, .portableReader])
    func `A second SIGTERM means now`(_ variant: Variant) async throws {
        try await Server.with(variant, ["--linger", "FIFO", "--drain-timeout", "300000"]) { server in
            self.stop(server, server.current)
            try await server.line(of: server.current, startingWith: "leaving stopped")
            let refusal = try await server.upgrade()
            #expect(refusal.phase == "refused" && refusal.code == "stopping")
            // Nobody waits here for the end of the drain.
            server.signal(server.current, SIGTERM)
            #expect(try await server.ending(of: server.current) == .exited(0))
            try await self.expectNothingLeft(of: server)
        }
    }

    @Test
    func `A second SIGTERM to a process that was replaced means now`() async throws {
        try await Server.with(.reader, ["--linger", "FIFO", "--drain-timeout", "300000"]) { server in
            let old = server.current
            let outcome = try await server.upgrade()
            try #require(outcome.phase == "committed")
            server.signal(old, SIGTERM)
            try await server.line(of: old, startingWith: "event stopping")
            server.signal(old, SIGTERM)
            try await server.follow(to: outcome.peer, from: old)
        }
    }

    @Test(arguments: [Variant.plain, .portableReader])
    func `An application that never returns is ended when the drain time is over`(_ variant: Variant) async throws {
        // Long enough for the old process to have told of the commit by then.
        try await Server.with(variant, ["--linger", "FIFO", "--drain-timeout", "3000"]) { server in
            for isReplaced in [true, false] {
                let leaving = server.current
                let began = ContinuousClock.now
                if isReplaced {
                    let outcome = try await server.upgrade()
                    try #require(outcome.phase == "committed")
                    try await server.follow(to: outcome.peer, from: leaving)
                } else {
                    self.stop(server, leaving)
                }
                #expect(try await server.ending(of: leaving) == .exited(0))
                let time = ContinuousClock.now - began
                #expect(time >= .milliseconds(2990))
                // The event of it comes too late for an application that is ended; the log has it.
                #expect(server.errorText.contains("the drain time-out has passed"))
                #expect(server.log.history.first(leaving) { $0 == "done" } == nil)
            }
            try await self.expectNothingLeft(of: server)
        }
    }
}
