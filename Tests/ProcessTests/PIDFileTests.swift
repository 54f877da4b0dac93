// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

@Suite(.fewAtATime)
struct PIDFileTests {
    @Test(arguments: [Variant.plain, .portableReader])
    func `A PID file that cannot be written ends the upgrade before anything is given up`(
        _ variant: Variant
    ) async throws {
        try await TemporaryDirectory.with("run") { directory in
            let run = directory.appending(path: "run")
            let file = run.appending(path: "pid")
            try await Server.with(variant, ["--pid-file", file.path]) { server in
                let before = server.facts(of: server.current)
                try FileManager.default.removeItem(at: run)
                let mark = server.mark
                let outcome = try await server.upgrade()
                #expect(outcome.phase == "failed" && outcome.code == "successorAborted")
                try await server.line(of: server.current, from: mark, "the path") {
                    $0.hasPrefix("words") && $0.contains(file.path)
                }
                #expect(server.log.history.first(server.current, from: mark) { $0.hasPrefix("event go") } == nil)
                try await server.answer(from: server.current)
                await server.expect(server.current, toBeAs: before)
                try FileManager.default.createDirectory(at: run, withIntermediateDirectories: true)
                server.pidFile = file
                try await server.replace()
            }
        }
    }

    @Test
    func `A relative path counts from where the first process started`() async throws {
        try await TemporaryDirectory.with { directory in
            let start = Server.Start(arguments: ["--pid-file", "own.pid"].map { Array($0.utf8) }, directory: directory)
            try await Server.with(.reader, start) { server in
                server.pidFile = directory.appending(path: "own.pid")
                #expect(server.namedProcess == server.first)
                try await server.replace()
                try await server.replace()
            }
        }
    }
}
