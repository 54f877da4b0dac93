// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport
import Testing

extension LiveTests {
    /// The demonstration itself.
    @Suite(.timeLimit(.minutes(5)))
    struct FlipTests {
        @Test(arguments: [SIGINT, SIGKILL])
        func `A demonstration that is ended leaves no server and no folder behind`(_ signal: CInt) async throws {
            try await OwnThread.run {
                let folder = FileManager.default.temporaryDirectory.appending(path: "tf-\(UUID().uuidString.prefix(8))")
                try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
                defer { try? FileManager.default.removeItem(at: folder) }  // one that stays does no harm
                let flip = try Program<Line>(["--json", "--upgrades", "100"], environment: ["TMPDIR": folder.path])
                try flip.lines.wait(for: "an upgrade") { $0.contains { $0.phase == "committed" } ? () : nil }
                kill(flip.id, signal)
                try require(flip.endings.waitForEnd(within: 60), "the demonstration did not end")
                try Self.reapServers(of: flip)
                let left = try FileManager.default.contentsOfDirectory(atPath: folder.path)
                try require(left.isEmpty, "in the folder: \(left)")
            }
        }

        /// Such as one whose time is over: what it did not ask can be no loss.
        @Test func `A load that ends before it is told to is missed`() async throws {
            try await OwnThread.run {
                let folder = FileManager.default.temporaryDirectory.appending(path: "tf-\(UUID().uuidString.prefix(8))")
                try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
                defer { try? FileManager.default.removeItem(at: folder) }  // one that stays does no harm
                let client = folder.appending(path: "wrk")
                try Command.writeProgram(at: client.path) {
                    try Data("#!/bin/sh\necho '9 requests in 1.00s, 1KB read'\n".utf8).write(to: client)
                    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: client.path)
                }
                let flip = try Program<Line>(
                    ["--json", "--upgrades", "1", "--client", "wrk"], environment: ["PATH": folder.path])
                try require(flip.endings.waitForEnd(within: 60), "the demonstration did not end")
                try Self.reapServers(of: flip)
                // Its end may be known before its last line has been read.
                let missing = try flip.lines.wait(for: "the summary") { $0.compactMap(\.missing).last }
                try require(missing == ["a load to the end; its client had ended by itself"], "\(missing)")
            }
        }

        /// A line of the demonstration: an event, or the summary.
        private struct Line: Decodable {
            var pid: CInt?
            var phase: String?
            var peer: CInt?
            var missing: [String]?
        }

        /// Each falls to this process when the one before has ended.
        private static func reapServers(of flip: Program<Line>) throws {
            let servers = flip.lines.all.flatMap { [$0.pid, $0.phase == "spawned" ? $0.peer : nil] }
                .compactMap(\.self).uniqued()
            let ended = Journal<CInt>()
            Thread.detachNewThread {
                for server in servers {
                    while waitpid(server, nil, 0) < 0, errno == EINTR {}
                    ended.append(server)
                }
                ended.end()
            }
            guard ended.waitForEnd(within: 60) else {
                let left = servers.filter { !ended.all.contains($0) }
                for server in left { kill(server, SIGKILL) }
                throw Unexpected("servers are left: \(left)")
            }
        }

        @Test(arguments: [nil, "--nonsense", "--init-delay soon"])
        func `A fault file that is missing or wrong is told in words`(line: String?) async throws {
            let file = FileManager.default.temporaryDirectory.appending(path: "tf-\(UUID().uuidString.prefix(8))")
            try line.map { try Data($0.utf8).write(to: file) }
            defer { try? FileManager.default.removeItem(at: file) }  // there may be none
            try await Demo.with(["--fault-file", file.path]) { demo in
                let outcome = try demo.outcome(of: demo.startUpgrade())
                let words = outcome.error ?? ""
                try require(outcome.phase == "failed" && words.contains("the fault file \(file.path)"), "\(outcome)")
                try require(!words.contains("Error(") && !words.contains("Error Domain"), "\(outcome)")
                try require(line.map { words.contains($0.split(separator: " ")[0]) } ?? true, "\(outcome)")
            }
        }
    }
}

extension [CInt] {
    /// Each once, where it was first.
    fileprivate func uniqued() -> [CInt] {
        var seen: Set<CInt> = []
        return self.filter { seen.insert($0).inserted }
    }
}
