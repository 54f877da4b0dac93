// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

@Suite(.fewAtATime)
struct PredecessorDeathTests {
    /// While no request is in flight: one that the old process had accepted would die with it.
    private func kill(_ process: CInt, of server: Server) async throws {
        server.client?.hold()
        server.signal(process, SIGKILL)
        #expect(try await server.ending(of: process) == .killed(SIGKILL))
        server.client?.release()
    }

    @Test(arguments: Variant.all)
    func `The old process dies while the new one initialises: the new one goes on alone`(
        _ variant: Variant
    ) async throws {
        try await Server.with(variant) { server in
            let old = server.current
            try server.misbehave("late-wait \(try server.fifo("late").path)")
            server.requestUpgrade(of: old)
            try await server.line(of: old, startingWith: "event handedOver")
            let successor = try await server.successor(of: old)
            try await self.kill(old, of: server)
            // It is not in charge before it is ready.
            #expect(server.namedProcess == old)
            try server.letGo("late")
            try await self.expectAlone(successor, after: old, server)
        }
    }

    private func expectAlone(_ successor: CInt, after old: CInt, _ server: Server) async throws {
        try await server.line(of: successor, startingWith: "event owner")
        try await server.line(of: successor, startingWith: "serving")
        try await server.line(of: successor, startingWith: "event predecessorLeft \(old)")
        try await server.answer(from: successor)
        #expect(server.namedProcess == successor)
        server.current = successor
        try server.misbehave("")
        try await server.replace()
    }

    @Test(arguments: [Variant.plain, .portable])
    func `A successor that waits for its initialisation after the old one's death does not spin`(
        _ variant: Variant
    ) async throws {
        try await Server.with(variant) { server in
            let old = server.current
            try server.misbehave("late-wait \(try server.fifo("late").path)")
            server.requestUpgrade(of: old)
            try await server.line(of: old, startingWith: "event handedOver")
            let successor = try await server.successor(of: old)
            try await self.kill(old, of: server)
            // Time has to pass: there is nothing to wait for. What spins does so all the time; what has just begun to wait
            // may have had something to do before.
            var used: [Duration] = []
            while used.count < 5, used.last.map({ $0 >= .milliseconds(20) }) ?? true {
                let before = ProcessFacts.processorTime(of: successor)
                try await Task.sleep(for: .milliseconds(500))
                used.append(ProcessFacts.processorTime(of: successor) - before)
            }
            #expect(used.contains { $0 < .milliseconds(20) }, "\(used)")
            try server.letGo("late")
            try await self.expectAlone(successor, after: old, server)
        }
    }

    /// Everything is on its way to it by then.
    @Test(arguments: [Variant.plain, .portableReader, .wrapped])
    func `The old process dies before the new one has begun: the new one goes on alone`(
        _ variant: Variant
    ) async throws {
        try await Server.with(variant) { server in
            let old = server.current
            try server.misbehave("wait \(try server.fifo("early").path)")
            server.requestUpgrade(of: old)
            try await server.line(of: old, startingWith: "event spawned")
            #expect(await server.eventually { ProcessFacts.engineWaits(in: old) })
            try await self.kill(old, of: server)
            try server.letGo("early")
            let owner = try await server.line("a new owner") { $0 == "event owner \(old)" }
            try await self.expectAlone(owner.process, after: old, server)
        }
    }

    /// There is more of it than may be on its way.
    @Test(arguments: [Variant.plain, .portableReader, .wrapped])
    func `The old process dies before the new one has everything: the new one ends with an error`(
        _ variant: Variant
    ) async throws {
        try await Server.with(variant, ["--files", "4200"]) { server in
            let old = server.current
            try server.misbehave("wait \(try server.fifo("early").path)")
            server.requestUpgrade(of: old)
            try await server.line(of: old, startingWith: "event spawned")
            server.stopClient()
            server.signal(old, SIGKILL)
            #expect(try await server.ending(of: old) == .killed(SIGKILL))
            try server.letGo("early")
            try await server.line("the successor's error") { $0.hasPrefix("error predecessorLost") }
            try await server.everythingToEnd()
            // The successor, or the shell before it.
            #expect(Set(server.log.history.endings.values) == [.killed(SIGKILL), .exited(1)])
        }
    }

    @Test
    func `A successor that hangs from the start has taken nothing when the old process dies`() async throws {
        try await Server.with(.reader) { server in
            let old = server.current
            try server.misbehave("hang")
            server.requestUpgrade(of: old)
            let spawned = try await server.line(of: old, startingWith: "event spawned")
            server.stopClient()
            server.signal(old, SIGKILL)
            _ = try await server.ending(of: old)
            let successor = try #require(spawned.words.split(separator: " ").last.flatMap { CInt($0) })
            #expect(server.processes == [successor])
            // It has no socket but its end of the channel. What is on its way there goes with it.
            let sockets = ProcessFacts(of: successor).descriptors.values.filter { $0.hasPrefix("socket") }
            #expect(sockets.count == 1)
        }
    }

    @Test(
        arguments: [Variant.reader, .portable, .wrapped],
        ["spawned", "handedOver", "ready", "go", "committed"]
    )
    func `Whenever the old process dies, the new one serves or is gone`(
        _ variant: Variant, _ phase: String
    ) async throws {
        let files = Variant(
            name: variant.name, arguments: variant.arguments + ["--files", "600"], isWrapped: variant.isWrapped
        )
        try await Server.with(files) { server in
            let old = server.current
            let mark = server.mark
            server.client?.hold()
            server.requestUpgrade(of: old)
            try await server.line(of: old, from: mark, startingWith: "event \(phase)")
            // It may have left by now.
            _ = Foundation.kill(old, SIGKILL)
            let history = try await server.log.wait(for: "the successor to serve or to end") { history in
                history.childrenHaveEnded || history.first(nil, from: mark, { $0 == "serving" }) != nil ? history : nil
            }
            if history.childrenHaveEnded {
                // It had not been given everything.
                #expect(phase == "spawned")
                return server.stopClient()
            }
            server.client?.release()
            let serving = try await server.line(from: mark, startingWith: "serving")
            try await self.expectAlone(serving.process, after: old, server)
        }
    }

    @Test(arguments: [Variant.reader, .portableReader])
    func `The old process dies while its readers pause: the new one starts to read`(_ variant: Variant) async throws {
        try await Server.with(variant, ["--pause-wait", "FIFO", "--pause-timeout", "30000"]) { server in
            let old = server.current
            server.requestUpgrade(of: old)
            try await server.line(of: old, startingWith: "event ready")
            let successor = try await server.successor(of: old)
            try await self.kill(old, of: server)
            try server.letGo("FIFO")
            try await self.expectAlone(successor, after: old, server)
        }
    }

    @Test(arguments: [Variant.reader, .portableReader])
    func `The old process dies during the probation: the new one becomes the owner`(_ variant: Variant) async throws {
        try await Server.with(variant, ["--probation", "600000"]) { server in
            let old = server.current
            server.requestUpgrade(of: old)
            try await server.line(startingWith: "event serving \(old)")
            let successor = try await server.successor(of: old)
            try await server.answer(from: successor)
            #expect(server.namedProcess == old)
            try await self.kill(old, of: server)
            try await server.line(of: successor, startingWith: "event owner")
            try await server.line(of: successor, startingWith: "event predecessorLeft")
            #expect(server.namedProcess == successor)
            try await server.answer(from: successor)
        }
    }
}
