// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

@Suite(.fewAtATime)
struct LimitTests {
    /// A service with 500 files whose successors come to life with other limits.
    private func withLimit(
        _ limit: String, _ arguments: [String], _ body: (Server) async throws -> Void
    ) async throws {
        let start = Server.Start(
            arguments: (["--files", "500", "--executable", "PROGRAM"] + arguments).map { Array($0.utf8) },
            prepare: { directory in
                try Script.write(
                    "ulimit \(limit)\nexec \"\(Server.probe.path)\" \"$@\"", to: directory.appending(path: "PROGRAM")
                )
            }
        )
        try await Server.with(.reader, start, body)
    }

    @Test(arguments: [[], ["--portable"]])
    func `A soft limit on open files that is too low for what is carried is raised`(
        _ arguments: [String]
    ) async throws {
        try await self.withLimit("-Sn 256", arguments) { server in
            try await server.replace()
            try await server.replace()
            #expect(ProcessFacts(of: server.current).descriptors.count > 500)
        }
    }

    @Test(arguments: [[], ["--portable"]])
    func `A hard limit on open files that is too low is told of`(_ arguments: [String]) async throws {
        try await self.withLimit("-n 256", arguments) { server in
            let before = server.facts(of: server.current)
            let outcome = try await server.upgrade()
            #expect(outcome.phase == "failed" && outcome.code == "successorAborted")
            // The successor's own words reach whoever asked for the upgrade.
            try await server.line(of: server.current, "the reason") {
                $0.hasPrefix("words successorAborted") && $0.contains("RLIMIT_NOFILE") && $0.contains("ulimit -n")
            }
            await server.expect(server.first, toBeAs: before)
            // Another limit from here on.
            try Script.write(
                "exec \"\(Server.probe.path)\" \"$@\"", to: server.directory.appending(path: "PROGRAM")
            )
            try await server.replace()
        }
    }
}
