// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

/// Which sockets a successor gets, and what becomes of them.
@Suite(.fewAtATime)
struct InheritanceTests {
    private func start(_ arguments: String...) -> Server.Start {
        Server.Start(arguments: arguments.map { Array($0.utf8) })
    }

    /// `listening NAME PORT INHERITED`
    private func listening(_ name: String, of process: CInt, _ server: Server) async throws -> [Substring] {
        try await server.line(of: process, startingWith: "listening \(name) ").words.split(separator: " ")
    }

    #if os(Linux)
    private static func names(_ unique: String) -> Int {
        let names = ProcessFacts.text("/proc/net/unix")
        return ["@\(unique)\n", "@\(unique)-gram\n"].count { names.contains($0) }
    }

    @Test(arguments: [Variant.reader, .portableReader])
    func `Sockets of every kind go from process to process`(_ variant: Variant) async throws {
        try await TemporaryDirectory.with { directory in
            let unique = directory.lastPathComponent
            let addresses = [
                "tcp4://127.0.0.1:0", "tcp6://[::1]:0", "udp://127.0.0.1:0", "unixgram:\(directory.path)/gram",
                "unixpacket:\(directory.path)/packet", "unix:@\(unique)", "unixgram:@\(unique)-gram",
            ]
            let start = Server.Start(arguments: addresses.flatMap { ["--listen", $0] }.map { Array($0.utf8) })
            try await Server.with(variant, start) { server in
                for _ in 0..<2 {
                    let old = server.current
                    try await server.replace()
                    for address in addresses {
                        let before = try await self.listening(address, of: old, server)
                        let now = try await self.listening(address, of: server.current, server)
                        #expect(now[2] == before[2] && now[3] == "true", "\(address)")
                    }
                }
                // An abstract name is there as long as a socket has it, and no file is.
                // The kernel shows the list piece by piece: a look may miss what moves meanwhile.
                #expect(await server.eventually { Self.names(unique) == 2 })
                server.stopClient()
                server.signal(server.current, SIGTERM)
                try await server.everythingToEnd()
                #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path).isEmpty)
                #expect(Self.names(unique) == 0)
            }
        }
    }
    #endif

    @Test
    func `The sockets of a group on one port stay apart`() async throws {
        try await Server.with(.reader, self.start("--group", "2")) { server in
            let first = try await self.listening("group-1", of: server.first, server)
            #expect(try await self.listening("group-2", of: server.first, server)[2] == first[2])
            try await server.replace()
            for name in ["group-1", "group-2"] {
                let now = try await self.listening(name, of: server.current, server)
                #expect(now[2] == first[2] && now[3] == "true")
            }
            #if os(Linux)
            let sockets = ProcessFacts(of: server.current).descriptors.values.filter { $0.hasPrefix("socket:") }
            // Each is there twice: for the upgrader and for the application.
            let counts = Dictionary(grouping: sockets) { $0 }.values.map(\.count)
            #expect(counts.filter { $0 == 2 }.count >= 3, "\(sockets)")
            #endif
        }
    }

    /// Either way connections would wait in a queue that nobody reads.
    @Test
    func `A group with one member more or fewer fails the new version, and the old one serves on`() async throws {
        try await TemporaryDirectory.with { directory in
            let script = directory.appending(path: "new-version")
            let size = directory.appending(path: "size").path
            try Script.write("exec \"\(Server.probe.path)\" \"$@\" --group $(cat '\(size)')", to: script)
            try await Server.with(.reader, self.start("--group", "2", "--executable", script.path)) { server in
                for (number, word) in [(3, "would join the group"), (1, "was not asked for")] {
                    try "\(number)".write(toFile: size, atomically: true, encoding: .utf8)
                    #expect(try await server.upgrade().phase == "failed")
                    try await server.line("why") { line in
                        line.hasPrefix("error invalidConfiguration: group ") && line.contains(word)
                    }
                    try await server.answer(from: server.first)
                }
                // The same again, and none of them at all, lose nothing.
                for number in [2, 0] {
                    try "\(number)".write(toFile: size, atomically: true, encoding: .utf8)
                    try await server.replace()
                }
            }
        }
    }

    @Test
    func `A listener that the new version leaves out is closed with a warning, and its path goes after commit`()
        async throws
    {
        try await TemporaryDirectory.with { directory in
            let switchFile = directory.appending(path: "wanted")
            let path = directory.path + "/extra"
            try Data().write(to: switchFile)
            let start = self.start("--listen-if", switchFile.path, "unix:\(path)", "--probation", "60000", "--check")
            try await Server.with(.reader, start) { server in
                _ = try await self.listening("unix:\(path)", of: server.first, server)
                try FileManager.default.removeItem(at: switchFile)
                // The successor serves without it, and dies before it is the owner: nothing is lost.
                try server.misbehave("kill-after-ready")
                server.client?.hold()
                #expect(try await server.upgrade().phase == "rolledBack")
                server.client?.release()
                #expect(FileManager.default.fileExists(atPath: path))
                try server.misbehave("")
                try await server.replace()
                #expect(await server.eventually { !FileManager.default.fileExists(atPath: path) })
                let log = try String(contentsOf: server.directory.appending(path: "errors"), encoding: .utf8)
                #expect(log.contains("inherited and not claimed") && log.contains("unix:\(path)"))
            }
        }
    }

    @Test(arguments: [Variant.reader, .portableReader])
    func `A listener that only the new version has is bound anew, and inherited from then on`(
        _ variant: Variant
    ) async throws {
        try await TemporaryDirectory.with { directory in
            let switchFile = directory.appending(path: "wanted")
            let address = "tcp4://127.0.0.1:0"
            try await Server.with(variant, self.start("--listen-if", switchFile.path, address)) { server in
                try Data().write(to: switchFile)
                try await server.replace()
                #expect(server.log.history.first(server.first) { $0.hasPrefix("listening \(address) ") } == nil)
                let second = try await self.listening(address, of: server.current, server)
                #expect(second[3] == "false")
                let port = try #require(UInt16(second[2]))
                #expect(port != 0 && port != server.port)
                try await self.ask(port, of: server.current)

                try await server.replace()
                let third = try await self.listening(address, of: server.current, server)
                #expect(third[2] == second[2] && third[3] == "true")
                try await self.ask(port, of: server.current)
            }
        }
    }

    private func ask(_ port: UInt16, of process: CInt) async throws {
        let connection = try Connection(port)
        try connection.ask()
        #expect(try await connection.answer() == process)
    }

    /// More than fit into one message.
    @Test(arguments: [3, 300], [Variant.plain, .portableReader])
    func `A name leads to its own descriptor, in every generation and in whatever order they are asked for`(
        _ count: Int, _ variant: Variant
    ) async throws {
        try await TemporaryDirectory.with("own") { directory in
            let own = directory.appending(path: "own")
            for number in 0..<count { try Data().write(to: own.appending(path: "note-\(number)")) }
            try await Server.with(variant, self.start("--notes", "\(count)", own.path)) { server in
                // No successor can open them by their path.
                let kept = directory.appending(path: "kept")
                try FileManager.default.moveItem(at: own, to: kept)
                for _ in 2...4 { try await server.replace() }
                let strayed = try (0..<count).filter { number in
                    let text = try String(contentsOf: kept.appending(path: "note-\(number)"), encoding: .utf8)
                    return text != (1...4).map { "\($0) note \(number)\n" }.joined()
                }
                #expect(strayed == [])
            }
        }
    }

    @Test
    func `An address that is taken fails the new version that wants it, and harms nobody`() async throws {
        try await TemporaryDirectory.with { directory in
            let switchFile = directory.appending(path: "wanted")
            try await Server.with(.reader) { other in
                let line = try await other.line(of: other.first, startingWith: "listening ").words
                let taken = "tcp://127.0.0.1:\(line.split(separator: " ")[2])"
                try await Server.with(.reader, self.start("--listen-if", switchFile.path, taken)) { server in
                    try await server.unharmed {
                        try Data().write(to: switchFile)
                        let outcome = try await server.upgrade()
                        #expect(outcome.phase == "failed" && outcome.code == "successorExited")
                        let words = try await server.line("the reason") { $0.hasPrefix("error addressInUse: ") }
                        #expect(words.words.contains(taken))
                        try FileManager.default.removeItem(at: switchFile)
                    }
                }
                try await other.replace()
            }
        }
    }

    private static let hasQueueLength = ["/usr/bin/ss", "/bin/ss", "/usr/sbin/ss", "/sbin/ss"]
        .contains { (path: String) in access(path, X_OK) == 0 }

    @Test(.enabled(if: Self.hasQueueLength, "it takes ss; apt-get install iproute2"))
    func `What cannot be changed about an inherited socket is a warning, and the rest is applied after commit`()
        async throws
    {
        try await TemporaryDirectory.with { directory in
            // The first generation is started without the options, its successors with them.
            let script = directory.appending(path: "new-version")
            try Script.write("exec \"\(Server.probe.path)\" \"$@\" --backlog 7 --ipv6-only 0", to: script)
            let start = self.start("--listen", "tcp6://[::1]:0", "--executable", script.path)
            try await Server.with(.reader, start) { server in
                let port = try await self.listening("tcp6://[::1]:0", of: server.first, server)[2]
                #expect(try await self.backlog(port) != 7)
                try server.misbehave("late-exit 3")
                #expect(try await server.upgrade().phase == "failed")
                #expect(try await self.backlog(port) != 7)
                try server.misbehave("")
                try await server.replace()
                #if os(Linux)
                #expect(try await self.backlog(port) == 7)
                #endif
                let log = try String(contentsOf: server.directory.appending(path: "errors"), encoding: .utf8)
                #expect(log.contains("an option of an inherited socket was not applied"))
                #expect(log.contains("IPV6_V6ONLY is 1 and cannot be changed"))
            }
        }
    }

    @Test
    func `The file of a Unix listener gets the mode that a new version asks for, when that owns the service`()
        async throws
    {
        try await TemporaryDirectory.with { directory in
            let script = directory.appending(path: "new-version")
            try Script.write("exec \"\(Server.probe.path)\" \"$@\" --unix-mode 606", to: script)
            let path = directory.appending(path: "socket").path
            let start = self.start("--listen", "unix:\(path)", "--executable", script.path)
            let mode: @Sendable () -> Int? = {
                try? FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
            }
            try await Server.with(.reader, start) { server in
                let before = mode()
                #expect(before != nil && before != 0o606)
                try server.misbehave("late-exit 3")
                #expect(try await server.upgrade().phase == "failed")
                #expect(mode() == before)
                try server.misbehave("")
                try await server.replace()
                // A busy disk has its time.
                #expect(await server.eventually { mode() == 0o606 })
                try await server.replace()
                #expect(mode() == 0o606)
                #expect(!server.errorText.contains("was not applied"), "\(server.errorText)")
            }
        }
    }

    /// How long the queue of an IPv6 listener may be, as ss(8) has it; nil where there is no ss.
    private func backlog(_ port: Substring) async throws -> Int? {
        #if os(Linux)
        let result = try await Ctl(["-H", "-ltn6", "sport = :\(port)"], program: "ss").result()
        let words = result.output.split { $0 == " " || $0 == "\n" }
        return words.count > 2 ? Int(words[2]) : nil
        #else
        return nil
        #endif
    }

    @Test
    func `A descriptor that somebody else closed is named before anything is given up`() async throws {
        try await Server.with(.reader, self.start("--lose-descriptor")) { server in
            try await server.line(of: server.first, startingWith: "lost")
            let outcome = try await server.upgrade()
            #expect(outcome.phase == "failed" && outcome.code == "inventoryMismatch")
            let words = try await server.line(of: server.first, startingWith: "words inventoryMismatch")
            #expect(words.words.contains("lost"))
            try await server.answer(from: server.first)
            #expect(ProcessFacts(of: server.first).children.isEmpty)
        }
    }

    @Test(arguments: ["--reap-all", "--ignore-children"], [Variant.reader, .portableReader])
    func `A program that reaps every child, or none, upgrades and survives failures`(
        _ option: String, _ variant: Variant
    ) async throws {
        try await Server.with(variant, self.start(option)) { server in
            for behaviour in ["exit 3", "late-kill 9"] {
                try server.misbehave(behaviour)
                let outcome = try await server.upgrade()
                // How it ended may be lost to whoever reaped it; that it ended is not.
                #expect(outcome.phase == "failed")
                #expect(["successorExited", "successorKilled"].contains(outcome.code), "\(outcome.code)")
                try await server.answer(from: server.first)
            }
            try server.misbehave("")
            let outcome = try await server.upgrade()
            #expect(outcome.phase == "committed")
            try await server.line(of: outcome.peer, startingWith: "event predecessorLeft \(server.first)")
            try await server.answer(from: outcome.peer)
        }
    }

    @Test
    func `A successor that the kernel killed is told of with what may have done it`() async throws {
        try await Server.with(.reader) { server in
            try await server.unharmed {
                try server.misbehave("late-kill 9")
                let outcome = try await server.upgrade()
                #expect(outcome.code == "successorKilled")
                let words = try await server.line(of: server.current, startingWith: "words successorKilled")
                for part in ["memory", "macOS also when a running binary is overwritten", "rename it"] {
                    #expect(words.words.contains(part), "\(words)")
                }
            }
        }
    }
}
