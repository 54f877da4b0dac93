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
    }
}

extension [CInt] {
    /// Each once, where it was first.
    fileprivate func uniqued() -> [CInt] {
        var seen: Set<CInt> = []
        return self.filter { seen.insert($0).inserted }
    }
}
