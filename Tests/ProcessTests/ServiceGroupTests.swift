// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if ServiceLifecycle
import Foundation
import Testing

/// A program made of services, with real processes and signals.
@Suite(.fewAtATime)
struct ServiceGroupTests {
    private static let variant = Variant(name: "services")
    private static var start: Server.Start {
        let program = Server.probe.deletingLastPathComponent().appending(path: "tableflip-service-probe")
        return .init(program: Array(program.path.utf8), directory: FileManager.default.temporaryDirectory)
    }

    private func lines(of process: CInt, _ server: Server) -> [String] {
        let wanted = ["lock taken", "lock released", "answers ended", "done"]
        return server.log.history.lines.filter { $0.process == process }.map(\.words).filter(wanted.contains)
    }

    @Test func `SIGHUP replaces a group of services, in order, and no request is lost`() async throws {
        try await Server.with(Self.variant, Self.start) { server in
            for _ in 0..<5 {
                let old = server.current
                try await server.line(of: old, startingWith: "lock taken")
                try await server.replace()
                // What only the owner does ends first; then the group ends from the last service to the first.
                #expect(self.lines(of: old, server) == ["lock taken", "lock released", "answers ended", "done"])
            }
            let locks = server.log.history.lines.filter { $0.words == "lock taken" }.map(\.process)
            #expect(Set(locks).count == locks.count)
        }
    }

    @Test(arguments: [SIGTERM, SIGINT])
    func `A signal stops a group of services, in order`(_ signal: CInt) async throws {
        try await Server.withProcess(Self.variant, Self.start) { server in
            try await server.line(of: server.first, startingWith: "event owner")
            try await server.line(of: server.first, startingWith: "lock taken")
            server.signal(server.first, signal)
            #expect(try await server.ending(of: server.first) == .exited(0))
            try await server.everythingToEnd()
            #expect(self.lines(of: server.first, server) == ["lock taken", "lock released", "answers ended", "done"])
        }
    }

    @Test func `A signal that comes while the services start is not lost`() async throws {
        var start = Self.start
        start.arguments = ["--prepare-wait", "FIFO"].map { Array($0.utf8) }
        try await Server.withProcess(Self.variant, start) { server in
            // Before that there is no service yet: asking a process for sockets that is to stop is an error.
            try await server.line(of: server.first, startingWith: "preparing")
            server.signal(server.first, SIGTERM)
            #expect(try await server.ending(of: server.first) == .exited(0))
            try await server.everythingToEnd()
            #expect(self.lines(of: server.first, server) == ["answers ended", "done"])
            #expect(server.namedProcess == nil)
        }
    }
}
#endif
