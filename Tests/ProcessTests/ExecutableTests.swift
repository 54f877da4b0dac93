// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport
import Testing

/// What stands where the program should be, and what the upgrade fails with.
struct WrongProgram: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var code: String
    /// Puts it there; nothing is there before.
    var make: @Sendable (URL) throws -> Void

    init(_ name: String, _ code: String, _ make: @escaping @Sendable (URL) throws -> Void) {
        self.testDescription = name
        self.code = code
        self.make = make
    }

    private static func file(_ contents: Data, _ permissions: Int = 0o755) -> @Sendable (URL) throws -> Void {
        { url in
            try Command.writeProgram(at: url.path) {
                try contents.write(to: url)
                try FileManager.default.setAttributes([.posixPermissions: permissions], ofItemAtPath: url.path)
            }
        }
    }

    /// The first bytes of the real one.
    private static func start(_ count: Int) -> @Sendable (URL) throws -> Void {
        { url in try self.file(Data(contentsOf: Server.probe).prefix(count))(url) }
    }

    static let all = [
        WrongProgram("nothing", "executableMissing") { _ in },
        WrongProgram("a link to nothing", "executableMissing") {
            try FileManager.default.createSymbolicLink(atPath: $0.path, withDestinationPath: "nowhere")
        },
        WrongProgram("a link to itself", "executableMissing") {
            try FileManager.default.createSymbolicLink(atPath: $0.path, withDestinationPath: $0.path)
        },
        WrongProgram("a directory", "executableNotPermitted") {
            try FileManager.default.createDirectory(at: $0, withIntermediateDirectories: false)
        },
        WrongProgram("a file that may not be executed", "executableNotPermitted") {
            try start(Int.max)($0)
            try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: $0.path)
        },
        WrongProgram("text", "executableFormat", file(Data("echo I am no program\n".utf8))),
        WrongProgram("an empty file", "executableFormat", file(Data())),
        WrongProgram("the first 20 bytes of a program", "executableFormat", start(20)),
        WrongProgram("the first 100 bytes of a program", "executableFormat", start(100)),
        WrongProgram("the first 4096 bytes of a program", "successorKilled", start(4096)),
        WrongProgram("a script without interpreter", "executableMissing", file(Data("#!/no/such/shell\n".utf8))),
    ]
}

@Suite(.fewAtATime)
struct ExecutableTests {
    /// Runs a service whose program is a copy of the probe, `release-1`, by way of the link `current`.
    private func withReleases(_ body: (Server, URL) async throws -> Void) async throws {
        try await TemporaryDirectory.with { releases in
            try self.install(releases.appending(path: "release-1"))
            try self.link(releases, to: "release-1")
            try await Server.with(.reader, ["--executable", releases.path + "/current"]) { server in
                try await server.replace()
                try await body(server, releases)
            }
        }
    }

    /// A copy of its own: another inode.
    private func install(_ url: URL) throws {
        try Command.writeProgram(at: url.path) { try FileManager.default.copyItem(at: Server.probe, to: url) }
    }

    /// As a deploy does it: a new link, renamed over the old one.
    private func link(_ releases: URL, to release: String) throws {
        let new = releases.appending(path: "new")
        try FileManager.default.createSymbolicLink(atPath: new.path, withDestinationPath: release)
        #expect(rename(new.path, releases.path + "/current") == 0)
    }

    @Test(arguments: WrongProgram.all)
    func `A program that cannot be started is told of by its kind, and the right one works again`(
        _ program: WrongProgram
    ) async throws {
        try await self.withReleases { server, releases in
            let current = releases.appending(path: "current")
            try await server.unharmed {
                try FileManager.default.removeItem(at: current)
                try program.make(current)
                let outcome = try await server.upgrade()
                #expect(outcome.phase == "failed")
                #expect(outcome.code == program.code)
                try? FileManager.default.removeItem(at: current)
                // A link that leads nowhere is no item.
                unlink(current.path)
                try self.link(releases, to: "release-1")
            }
        }
    }

    @Test
    func `A program that is still being written is told of`() async throws {
        try await self.withReleases { server, releases in
            try self.install(releases.appending(path: "release-2"))
            try await server.unharmed {
                try self.link(releases, to: "release-2")
                let writing = Command.alone { open(releases.path + "/release-2", O_WRONLY | O_CLOEXEC) }
                let outcome = try await server.upgrade()
                // And whoever is being started has no copy of it.
                try Command.writeProgram(at: releases.path + "/release-2") { _ = close(writing) }
                #expect(outcome.phase == "failed" && outcome.code == "executableNotPermitted")
            }
            #expect(ProcessFacts.executable(of: server.current) == releases.path + "/release-2")
        }
    }

    @Test
    func `A link that was flipped and a file that was replaced by rename are followed`() async throws {
        try await self.withReleases { server, releases in
            #expect(ProcessFacts.executable(of: server.current) == releases.path + "/release-1")
            try self.install(releases.appending(path: "release-2"))
            try self.link(releases, to: "release-2")
            try await server.replace()
            #expect(ProcessFacts.executable(of: server.current) == releases.path + "/release-2")
            // Both names are in the log.
            #expect(server.errorText.contains("path=\(releases.path)/current"))
            #expect(server.errorText.contains("file=\(releases.path)/release-2"))

            try self.install(releases.appending(path: "release-2.new"))
            #expect(rename(releases.path + "/release-2.new", releases.path + "/release-2") == 0)
            #expect(ProcessFacts.executable(of: server.current) == releases.path + "/release-2 (deleted)")
            try await server.replace()
            #expect(ProcessFacts.executable(of: server.current) == releases.path + "/release-2")
        }
    }

    @Test
    func `A program whose path is no text is found again`() async throws {
        try await TemporaryDirectory.with { directory in
            try self.install(directory.appending(path: "program"))
            let name: [UInt8] = Array("./".utf8) + [0xfe, 0xff]
            let path = Array(directory.path.utf8) + name.dropFirst() + [0]
            #expect(rename(directory.path + "/program", path.map { CChar(bitPattern: $0) }) == 0)
            try await Server.with(.reader, Server.Start(program: name, directory: directory)) { server in
                try await server.replace()
                #expect(ProcessFacts.arguments(of: server.current).starts(with: name + [0]))
            }
        }
    }

    @Test(arguments: ["removed", "renamed"])
    func `A start directory that is gone is told of, and works again once it is back`(_ way: String) async throws {
        try await TemporaryDirectory.with("start") { directory in
            let start = directory.appending(path: "start")
            let other = directory.appending(path: "other")
            try await Server.with(.reader, Server.Start(directory: start)) { server in
                try await server.unharmed {
                    if way == "removed" {
                        try FileManager.default.removeItem(at: start)
                    } else {
                        try FileManager.default.moveItem(at: start, to: other)
                    }
                    let mark = server.mark
                    let outcome = try await server.upgrade()
                    #expect(outcome.phase == "failed" && outcome.code == "directoryMissing")
                    let words = try await server.line(from: mark, startingWith: "words directoryMissing")
                    #expect(words.words.contains(start.path) && words.words.contains("Create it again"))
                    if way == "removed" {
                        try FileManager.default.createDirectory(at: start, withIntermediateDirectories: true)
                    } else {
                        try FileManager.default.moveItem(at: other, to: start)
                    }
                }
            }
        }
    }

    #if os(Linux)
    @Test
    func `A program that is found in PATH is searched anew, replaced or hidden by one that comes earlier`() async throws
    {
        try await TemporaryDirectory.with("early", "late") { directory in
            let early = directory.appending(path: "early/program-in-path")
            let late = directory.appending(path: "late/program-in-path")
            try self.install(late)
            let path = "/bin:/usr/bin:\(directory.path)/early:\(directory.path)/late"
            let start = Server.Start(
                program: Array("program-in-path".utf8), environment: ["PATH": Array(path.utf8)], directory: directory
            )
            try await Server.with(.reader, start) { server in
                try self.install(directory.appending(path: "new"))
                #expect(rename(directory.path + "/new", late.path) == 0)
                #expect(ProcessFacts.executable(of: server.current) == late.path + " (deleted)")
                try await server.replace()
                #expect(ProcessFacts.executable(of: server.current) == late.path)
                try self.install(early)
                try await server.replace()
                #expect(ProcessFacts.executable(of: server.current) == early.path)
            }
        }
    }

    @Test
    func `A program that is named by its path and was replaced by rename is the new one`() async throws {
        try await TemporaryDirectory.with { directory in
            let program = directory.appending(path: "program")
            try self.install(program)
            let start = Server.Start(program: Array("./program".utf8), directory: directory)
            try await Server.with(.reader, start) { server in
                try self.install(directory.appending(path: "new"))
                #expect(rename(directory.path + "/new", program.path) == 0)
                #expect(ProcessFacts.executable(of: server.current) == program.path + " (deleted)")
                try await server.replace()
                #expect(ProcessFacts.executable(of: server.current) == program.path)
            }
        }
    }
    #endif

    /// Each is an argv[0], without `--executable`.
    @Test(arguments: ["./program", "sub/../program", "DIRECTORY/ünï/program", "program-in-path"])
    func `The program is found by its argv[0], from where it started`(_ name: String) async throws {
        try await TemporaryDirectory.with("sub", "ünï", "bin") { directory in
            for file in ["program", "ünï/program", "bin/program-in-path"] {
                try self.install(directory.appending(path: file))
            }
            let name = Array(name.replacing("DIRECTORY", with: directory.path).utf8)
            let start = Server.Start(
                program: name, environment: ["PATH": Array("/bin:/usr/bin:bin".utf8)], directory: directory
            )
            try await Server.with(.reader, start) { server in
                try await server.replace()
                #expect(ProcessFacts.arguments(of: server.current).starts(with: name + [0]))
                #expect(ProcessFacts.executable(of: server.current)?.hasPrefix(directory.path) == true)
                try await server.replace()
            }
        }
    }
}
