// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
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
                let flip = try Program<Event>(["--json", "--upgrades", "100"], environment: ["TMPDIR": folder.path])
                try flip.lines.wait(for: "an upgrade") { $0.contains { $0.phase == "committed" } ? () : nil }
                kill(flip.id, signal)
                try require(flip.endings.waitForEnd(within: 60), "the demonstration did not end")
                // Each falls to this process when the one before has ended.
                let events = flip.lines.all
                let servers = events.flatMap { $0.phase == "spawned" ? [$0.pid, $0.peer] : [$0.pid] }.uniqued()
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
                let left = try FileManager.default.contentsOfDirectory(atPath: folder.path)
                try require(left.isEmpty, "in the folder: \(left)")
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
