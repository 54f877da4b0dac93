// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

/// What the private variable says although there is no predecessor, and what the program ends with.
struct StaleChannel: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var code: String
    /// The variable, given the inode of descriptor 3.
    var value: @Sendable (UInt64) -> String
    /// What descriptor 3 is; -1 for nothing.
    var descriptor: @Sendable () -> CInt

    private init(
        _ name: String, _ code: String = "staleEnvironment", value: @escaping @Sendable (UInt64) -> String,
        descriptor: @escaping @Sendable () -> CInt = { -1 }
    ) {
        self.testDescription = name
        self.code = code
        self.value = value
        self.descriptor = descriptor
    }

    /// One end of a pair; the other one is closed.
    private static func orphan() -> CInt {
        var ends: [CInt] = [-1, -1]
        guard socketpair(AF_UNIX, SocketType.stream, 0, &ends) == 0 else { return -1 }
        _ = fcntl(ends[0], F_SETFD, FD_CLOEXEC)
        close(ends[1])
        return ends[0]
    }

    private static let nonsense = ["", "3", "3:", ":", "x:y", "3:1:2", "-1:1", "2:1", "3:99999999999999999999999"]

    static let all =
        nonsense.map { text in StaleChannel("\"\(text)\"", value: { _ in text }) } + [
            StaleChannel("a closed number", value: { _ in "77:1" }),
            StaleChannel("a file", value: { "3:\($0)" }, descriptor: { open("/dev/null", O_RDONLY | O_CLOEXEC) }),
            StaleChannel("another socket", value: { "3:\($0 + 1)" }, descriptor: { orphan() }),
            StaleChannel(
                "a channel whose other end is gone", "predecessorLost", value: { "3:\($0)" }, descriptor: { orphan() }
            ),
        ]
}

@Suite(.fewAtATime)
struct EnvironmentTests {
    @Test(arguments: StaleChannel.all)
    func `A variable that was inherited by mistake is an error in words`(_ stale: StaleChannel) async throws {
        let descriptor = Command.alone { stale.descriptor() }
        defer { if descriptor >= 0 { close(descriptor) } }
        var status = stat()
        fstat(descriptor, &status)
        let start = Server.Start(
            environment: ["TABLEFLIP_CHANNEL": Array(stale.value(UInt64(status.st_ino)).utf8)],
            descriptors: descriptor < 0 ? [:] : [3: descriptor]
        )
        try await Server.withProcess(.reader, start) { server in
            let began = ContinuousClock.now
            let line = try await server.line(of: server.first, startingWith: "error \(stale.code): ")
            if stale.code == "staleEnvironment" { #expect(line.words.contains("TABLEFLIP_CHANNEL")) }
            #expect(try await server.ending(of: server.first) == .exited(1))
            #expect(ContinuousClock.now - began < .seconds(5))
            try await server.everythingToEnd()
        }
    }

    #if os(Linux)
    @Test
    func `Standard streams that are closed at the start are the null device, also after an upgrade`() async throws {
        try await Server.with(.reader, Server.Start(lacksStreams: true)) { server in
            for _ in 0..<2 {
                let descriptors = ProcessFacts(of: server.current).descriptors
                #expect(descriptors[0] == "/dev/null" && descriptors[2] == "/dev/null")
                try await server.replace()
            }
        }
    }
    #endif

    @Test(arguments: [Variant.plain, .portableReader])
    func `A program that a successor starts sees nothing of the upgrade`(_ variant: Variant) async throws {
        // The old process lingers: the channel to it is open.
        try await Server.with(variant, ["--run-child", "--linger", "FIFO", "--files", "20"]) { server in
            try await server.line(of: server.first, startingWith: "child-done")
            // The probe accepts without close-on-exec, and sets it a moment later.
            server.client?.hold()
            let outcome = try await server.upgrade()
            try await server.line(of: outcome.peer, startingWith: "child-done")
            server.client?.release()
            let lines = server.log.history.lines.filter { $0.process == outcome.peer }.map(\.words)
            #expect(lines.contains("child environment PATH"))
            #expect(!lines.contains { $0.hasPrefix("child environment TABLEFLIP") })
            let descriptors = lines.first { $0.hasPrefix("child descriptors") }
            #expect(descriptors?.split(separator: " ") == ["child", "descriptors", "0", "1", "2"])
            #expect(ProcessFacts.state(of: server.first) != nil)
            try server.letGo("FIFO")
            try await server.follow(to: outcome.peer, from: server.first)
        }
    }
}
