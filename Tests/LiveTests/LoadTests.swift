// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Testing

extension LiveTests {
    /// Many clients, each of which counts every request.
    @Suite(.timeLimit(.minutes(5)))
    struct LoadTests {
        @Test(
            arguments: [
                ["--mode", "keep"], ["--mode", "keep", "--think", "2ms"], ["--mode", "pipeline"],
                ["--mode", "chunked", "--body", "20K"], ["--mode", "upload", "--body", "1M", "--think", "10ms"],
            ]
        )
        func `Every request is answered through 18 upgrades, and every client keeps its connection`(
            mode: [String]
        ) async throws {
            try await Demo.with { demo in
                let load = try LoadProgram(demo, clients: 8, mode)
                for _ in 0..<18 {
                    try load.progress(16)
                    try demo.upgrade()
                }
                try load.progress(16)
                try load.stop()
            }
        }

        @Test
        func `A thousand connections at rest are still open after three upgrades`() async throws {
            try await Demo.with { demo in
                let load = try LoadProgram(demo, clients: 1000, ["--mode", "rest"])
                try load.rest()
                for _ in 0..<3 { try demo.upgrade() }
                let last = try load.stop()
                try require(last.latestServers == ["\(demo.process)": 1000], "answered by \(last.latestServers)")
            }
        }

        /// The signal reaches a process that still takes over from its predecessor.
        @Test
        func `Each new owner may be told at once to make way`() async throws {
            try await Demo.with { demo in
                let (resting, busy) = (
                    try LoadProgram(demo, clients: 500, ["--mode", "rest"]),
                    try LoadProgram(demo, clients: 8, ["--mode", "keep"])
                )
                try resting.rest()
                try busy.progress(8)
                for _ in 0..<10 {
                    let upgrade = try demo.startUpgrade()
                    try demo.event("owner", of: demo.commit(upgrade))
                    try demo.insist(after: upgrade)
                }
                try resting.stop()
                try busy.stop()
            }
        }
    }
}

extension Demo {
    /// Asks the new owner for an upgrade of its own. It may refuse while its predecessor drains; then it is asked again.
    fileprivate func insist(after last: Upgrade) throws {
        let upgrade = try self.startUpgrade()
        let answer = try self.events.wait(for: "an answer to the signal") { events in
            events.dropFirst(upgrade.mark).first {
                $0.pid == upgrade.old && ["refused", "requested"].contains($0.phase)
            }
        }
        try self.event("predecessorLeft", of: upgrade.old)
        if answer.phase == "refused" { return try self.upgrade() }
        try self.end(upgrade)
    }
}
