// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport
import Testing

/// What the private variable says although there is no predecessor, and what the program ends with.
struct StaleChannel: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var code: String
    /// What the error says of the variable.
    var words: String
    /// The variable, given the inode of descriptor 3.
    var value: @Sendable (UInt64) -> String
    /// What descriptor 3 is; -1 for nothing.
    var descriptor: @Sendable () -> CInt

    private init(
        _ name: String, code: String = "staleEnvironment", _ words: String,
        value: @escaping @Sendable (UInt64) -> String,
        descriptor: @escaping @Sendable () -> CInt = { -1 }
    ) {
        self.testDescription = name
        self.code = code
        self.words = words
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
        nonsense.map { text in StaleChannel("\"\(text)\"", "is \"\(text)\", which is not of", value: { _ in text }) }
        + [
            StaleChannel("a closed number", "names descriptor 77, which cannot be used", value: { _ in "77:1" }),
            StaleChannel(
                "a file", "names descriptor 3, which is no socket", value: { "3:\($0)" },
                descriptor: { open("/dev/null", O_RDONLY | O_CLOEXEC) }
            ),
            StaleChannel(
                "another socket", "names descriptor 3, which is another socket by now", value: { "3:\($0 + 1)" },
                descriptor: { orphan() }
            ),
            StaleChannel(
                "a channel whose other end is gone", code: "predecessorLost",
                "went away before it had handed over everything", value: { "3:\($0)" },
                descriptor: { orphan() }
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
            let line = try await server.line(of: server.first, startingWith: "error \(stale.code): ")
            // And not that something took too long.
            #expect(line.words.contains(stale.words), "\(line)")
            if stale.code == "staleEnvironment" {
                #expect(line.words.contains("TABLEFLIP_CHANNEL \(stale.words)"), "\(line)")
                #expect(line.words.contains("unset (env -u TABLEFLIP_CHANNEL)"), "\(line)")
            }
            #expect(try await server.ending(of: server.first) == .exited(1))
            try await server.everythingToEnd()
        }
    }

    /// As a service manager says it; but so many there are not.
    @Test
    func `A number of passed descriptors that cannot be true keeps no service from starting`() async throws {
        let start = Server.Start(
            environment: ["LISTEN_FDS": Array("\(CInt.max)".utf8)],
            launcher: ["sh", "-c", "LISTEN_PID=$$ exec \"$0\" \"$@\""]
        )
        try await Server.with(.reader, start) { server in try await server.replace() }
    }

    #if os(Linux)
    @Test(arguments: Server.Start.ClosedStreams.allCases)
    func `Standard streams that are closed at the start are the null device, also after an upgrade`(
        _ closed: Server.Start.ClosedStreams
    ) async throws {
        try await Server.with(.reader, Server.Start(closed: closed)) { server in
            for _ in 0..<2 {
                let descriptors = ProcessFacts(of: server.current).descriptors
                switch closed {
                case .inputAndError: #expect(descriptors[0] == "/dev/null" && descriptors[2] == "/dev/null")
                case .output: #expect(descriptors[1] == "/dev/null")
                }
                try await server.replace()
            }
        }
    }

    /// The flag belongs to the open file, which this process and all generations share.
    @Test(arguments: [0, O_NONBLOCK], [Variant.reader, .portableReader])
    func `Standard streams block as they did before, and listeners never do`(
        _ flag: CInt, _ variant: Variant
    ) async throws {
        var ends: [CInt] = [-1, -1]
        try Command.alone {
            try #require(pipe(&ends) == 0)
            for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        }
        defer { for end in ends { close(end) } }
        let before = fcntl(ends[0], F_GETFL) | flag
        try #require(fcntl(ends[0], F_SETFL, before) == 0)
        try await Server.with(variant, Server.Start(descriptors: [0: ends[0]])) { server in
            for _ in 0..<3 {
                #expect(fcntl(ends[0], F_GETFL) == before)
                server.client?.hold()
                let flags = ProcessFacts.flags(ofSocketsOf: server.current)
                server.client?.release()
                // The upgrader's and the application's.
                #expect(flags.count >= 2 && flags.allSatisfy { $0 & O_NONBLOCK != 0 }, "\(flags)")
                try await server.replace()
            }
            #expect(fcntl(ends[0], F_GETFL) == before)
        }
    }

    @Test(arguments: [Variant.reader, .portableReader] + Variant.managed.prefix(2))
    func `While other threads open files and start programs, nothing reaches anybody for whom it was not meant`(
        _ variant: Variant
    ) async throws {
        let start = Server.Start(arguments: ["--storm", "--say-descriptors"].map { Array($0.utf8) })
        try await Server.withProcess(variant, start) { server in
            try await server.line(of: server.first, startingWith: "serving")
            try server.misbehave("late-wait \(try server.fifo("late").path)")
            for _ in 0..<5 {
                let old = server.current
                let began = server.mark
                server.requestUpgrade(of: old)
                try await server.line(of: old, from: began, startingWith: "event handedOver")
                // These are started while the channel and all that belongs to an upgrade are open.
                let mark = server.mark
                try await server.log.wait(for: "three programs") { history in
                    history.lines.dropFirst(mark).count { $0.process == old && $0.words.hasPrefix("storm") } >= 3
                        ? () : nil
                }
                try server.letGo("late")
                let outcome = try await server.outcome(of: old, from: began)
                try #require(outcome.phase == "committed")
                server.current = outcome.peer
                let descriptors = try await server.line(of: outcome.peer, startingWith: "descriptors")
                #expect(descriptors.words == "descriptors 0,1,2,3")
                try await server.line(of: outcome.peer, startingWith: "event predecessorLeft \(old)")
            }
            let storm = Set(server.log.history.lines.map(\.words).filter { $0.hasPrefix("storm") })
            #expect(storm == ["storm clean"])
        }
    }
    #endif

    @Test(arguments: [Variant.plain, .portableReader])
    func `A program that a successor starts sees nothing of the upgrade`(_ variant: Variant) async throws {
        // The old process lingers: the channel to it is open.
        let arguments = ["--run-child", "--linger", "FIFO", "--drain-timeout", "300000", "--files", "20"]
        try await Server.with(variant, arguments) { server in
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
