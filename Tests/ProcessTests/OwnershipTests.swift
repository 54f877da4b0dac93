// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

/// A lock that only the owner of the service holds, as a program would hold it: flock(2), and an error where it is taken.
@Suite(.fewAtATime)
struct OwnershipTests {
    /// Who took the lock, in order. It must have been free each time, by the kernel's word and by that of the processes.
    private func holders(_ server: Server, died: CInt? = nil) -> [CInt] {
        var holders: [CInt] = []
        var holder: CInt?
        for line in server.log.history.lines {
            switch line.words {
            case "lock taken":
                #expect(holder == nil || holder == died, "two holders: \(server.transcript)")
                holder = line.process
                holders.append(line.process)
            case "lock released":
                #expect(holder == line.process, "another's lock: \(server.transcript)")
                holder = nil
            default: break
            }
        }
        #expect(holder == server.current, "nobody holds it: \(server.transcript)")
        return holders
    }

    @Test(arguments: [Variant.reader, .portable, .wrapped])
    func `A lock that only the owner holds goes through twenty upgrades, and no two ever hold it`(
        _ variant: Variant
    ) async throws {
        try await Server.with(variant, ["--owner-lock"]) { server in
            var owners = [server.first]
            for _ in 1...20 {
                try await server.replace()
                owners.append(server.current)
            }
            #expect(self.holders(server) == owners)
        }
    }

    @Test(arguments: [Variant.reader, .portableReader])
    func `A successor that cannot take the lock gives the service back, and the old process takes it again`(
        _ variant: Variant
    ) async throws {
        try await Server.with(variant, ["--owner-lock"]) { server in
            try await server.unharmed {
                try server.misbehave("no-lock")
                let mark = server.mark
                let outcome = try await server.upgrade()
                #expect(outcome.phase == "rolledBack" && outcome.code == "successorAborted")
                try await server.line(of: server.first, from: mark, "the lock is taken again") { $0 == "lock taken" }
                #expect(server.errorText.contains("the lock is not wanted"))
            }
            #expect(self.holders(server) == [server.first, server.first, server.current])
        }
    }

    @Test
    func `A hundred upgrades and rollbacks, and no two processes ever hold the lock`() async throws {
        try await Server.with(.reader, ["--owner-lock", "--probation", "600000", "--check"]) { server in
            var owners = [server.first]
            for number in 1...100 {
                let mark = server.mark
                switch number % 3 {
                case 1:
                    try server.misbehave("")
                    try await server.replace()
                    owners.append(server.current)
                case 2:
                    // Before ownership is given up.
                    try server.misbehave("fail-check it is cold")
                    #expect(try await server.upgrade().phase == "rolledBack")
                default:
                    // And after that.
                    try server.misbehave("no-lock")
                    #expect(try await server.upgrade().phase == "rolledBack")
                    try await server.line(of: server.current, from: mark, "the lock is taken again") {
                        $0 == "lock taken"
                    }
                    owners.append(server.current)
                }
                // Until a successor that handed back has left, another upgrade is refused.
                let (group, current) = (server.first, server.current)
                #expect(await server.eventually { ProcessFacts.processes(inGroup: group) == [current] })
            }
            #expect(self.holders(server) == owners)
            #expect(server.log.history.first { $0 == "lock refused" } == nil)
        }
    }

    @Test(arguments: [Variant.reader, .portable])
    func `An owner that is killed leaves the lock to its successor`(_ variant: Variant) async throws {
        try await Server.with(variant, ["--owner-lock"]) { server in
            let old = server.current
            try server.misbehave("late-wait \(try server.fifo("late").path)")
            server.requestUpgrade(of: old)
            try await server.line(of: old, startingWith: "event handedOver")
            let successor = try await server.successor(of: old)
            server.client?.hold()
            server.signal(old, SIGKILL)
            #expect(try await server.ending(of: old) == .killed(SIGKILL))
            server.client?.release()
            try server.letGo("late")
            try await server.line(of: successor, startingWith: "event owner")
            try await server.line(of: successor, startingWith: "serving")
            server.current = successor
            #expect(self.holders(server, died: old) == [old, successor])
            try server.misbehave("")
            try await server.replace()
        }
    }
}
