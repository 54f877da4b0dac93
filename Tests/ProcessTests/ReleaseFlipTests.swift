// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport
import Testing

/// `deploy/release-flip.sh`: releases in directories, and a link that goes back by itself.
@Suite(.fewAtATime)
struct ReleaseFlipTests {
    private static let script = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "deploy/release-flip.sh").path

    private static func flip(_ directory: URL, _ server: Server, _ arguments: String...) async throws -> Ctl.Result {
        try await Ctl(
            [directory.path] + arguments, program: self.script,
            environment: [
                "TABLEFLIPCTL": Ctl.program.path, "TABLEFLIP_CONTROL_SOCKET": server.control.path,
            ]
        ).result()
    }

    private static func target(_ directory: URL) throws -> String {
        try FileManager.default.destinationOfSymbolicLink(atPath: directory.appending(path: "current").path)
    }

    @Test func `A good release stays, and a bad one leaves the link and the service where they were`() async throws {
        try await TemporaryDirectory.with("releases", "releases/1", "releases/2", "releases/bad") { directory in
            for release in ["1", "2"] {
                let program = directory.appending(path: "releases/\(release)/hello")
                try Command.writeProgram(at: program.path) {
                    try FileManager.default.copyItem(at: Server.probe.resolvingSymlinksInPath(), to: program)
                }
            }
            try FileManager.default.createSymbolicLink(
                atPath: directory.appending(path: "current").path, withDestinationPath: "releases/1")
            try Script.write("exit 3", to: directory.appending(path: "releases/bad/hello"))
            var start = Server.Start(arguments: ["--control-socket", "CONTROL"].map { Array($0.utf8) })
            start.argumentZero = Array(directory.appending(path: "current/hello").path.utf8)
            try await Server.with(.reader, start) { server in
                let good = try await Self.flip(directory, server, "2")
                #expect(good.status == 0, "\(good)")
                #expect(try Self.target(directory) == "releases/2")
                #expect(server.errorText.contains("releases/2/hello"))
                let successor = try await server.successor(of: server.first)
                try await server.follow(to: successor, from: server.first)

                let bad = try await Self.flip(directory, server, "bad", "--timeout", "30s")
                #expect(bad.status == 1 && bad.errors.contains("exited with status 3"), "\(bad)")
                #expect(bad.errors.contains("current leads to releases/2 again"), "\(bad)")
                #expect(try Self.target(directory) == "releases/2")
                try await server.answer(from: successor)

                let nothing = try await Self.flip(directory, server, "3")
                #expect(nothing.status == 64 && nothing.errors.contains("put the release there first"), "\(nothing)")

                try FileManager.default.createDirectory(
                    at: directory.appending(path: ".release-flip"), withIntermediateDirectories: false)
                let second = try await Self.flip(directory, server, "1")
                #expect(second.status == 75 && second.errors.contains("another one is at work"), "\(second)")
                #expect(try Self.target(directory) == "releases/2")
            }
        }
    }

    /// The upgrade goes on without the command that asked for it.
    @Test(arguments: [SIGTERM, SIGKILL])
    func `A command that is killed leaves the link at the new release`(_ signal: CInt) async throws {
        try await Self.withReleases("kill -\(signal) $$") { directory, flip in
            let result = try await flip(["2"], [])
            #expect(result.status == 128 + signal && result.errors.contains("it is not known what serves"), "\(result)")
            #expect(try Self.target(directory) == "releases/2")
        }
    }

    /// Releases 1 and 2, of which 1 runs, and a command that does this.
    private static func withReleases(
        _ command: String,
        _ body: (URL, _ flip: ([String], _ launcher: [String]) async throws -> Ctl.Result) async throws -> Void
    ) async throws {
        try await TemporaryDirectory.with("releases", "releases/1", "releases/2") { directory in
            try FileManager.default.createSymbolicLink(
                atPath: directory.appending(path: "current").path, withDestinationPath: "releases/1")
            let program = directory.appending(path: "ctl")
            try Script.write(command, to: program)
            try await body(directory) { arguments, launcher in
                try await Ctl(
                    [directory.path] + arguments, program: Self.script, launcher: launcher,
                    environment: ["TABLEFLIPCTL": program.path]
                ).result()
            }
        }
    }

    @Test func `What a flip that was killed has left does not decide the next one`() async throws {
        try await Self.withReleases("exit 0") { directory, flip in
            try FileManager.default.createSymbolicLink(
                atPath: directory.appending(path: ".release-flip.link").path, withDestinationPath: "releases/1")
            let result = try await flip(["2"], [])
            #expect(result.status == 0, "\(result)")
            #expect(try Self.target(directory) == "releases/2")
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path + "/releases/1").isEmpty)
        }
    }

    @Test func `A lock that cannot be made is not taken for another one at work`() async throws {
        try await Self.withReleases("exit 0") { directory, flip in
            // Root may write everywhere, but not make a directory where a file is.
            try Data().write(to: directory.appending(path: ".release-flip"))
            let result = try await flip(["2"], [])
            #expect(result.status == 1 && result.errors.contains("File exists"), "\(result)")
            #expect(!result.errors.contains("another one"), "\(result)")
            #expect(try Self.target(directory) == "releases/1")
        }
    }

    @Test func `A link that cannot be moved back hides no status`() async throws {
        // Root may write everywhere, but not put a link in the place of a directory, nor end a lock that is not empty.
        let command = "cd \"${0%/*}\" && rm current && mkdir current current/x .release-flip/x; exit 7"
        try await Self.withReleases(command) { directory, flip in
            let result = try await flip(["2"], [])
            #expect(result.status == 7 && result.errors.contains("current stays at 2"), "\(result)")
            #expect(result.errors.contains("it could not be moved back"), "\(result)")
            #expect(!FileManager.default.fileExists(atPath: directory.path + "/.release-flip.link"))
        }
    }

    @Test(arguments: ["-h", "--help", "--version", "--help-hidden"])
    func `With an option that upgrades nothing the link stays`(_ option: String) async throws {
        try await Self.withReleases("exit 0") { directory, flip in
            let result = try await flip(["2", option], [])
            #expect(result.status == 64 && result.errors.contains("usage"), "\(result)")
            #expect(try Self.target(directory) == "releases/1")
        }
    }

    /// The standard error is closed, or its reader is gone and SIGPIPE as a shell leaves it; also to the command.
    @Test(
        arguments: [8, 1],
        [
            ["sh", "-c", "exec \"$@\" 2>&-", "sh"],
            [
                "/usr/bin/python3", "-c",
                "import os, subprocess, sys; r, w = os.pipe(); os.close(r); "
                    + "sys.exit(subprocess.call(sys.argv[1:], stderr=w))",
            ],
        ])
    func `The status is the same where nobody can be told`(_ status: CInt, _ launcher: [String]) async throws {
        try await Self.withReleases("/bin/echo x >&2; exit \(status)") { directory, flip in
            let result = try await flip(["2"], launcher)
            #expect(result.status == status, "\(result)")
            #expect(try Self.target(directory) == (status == 8 ? "releases/2" : "releases/1"))
        }
    }
}
