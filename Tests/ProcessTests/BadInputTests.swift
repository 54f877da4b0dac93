// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

/// What the user of the library does wrong is answered in words: what it was about, and what to do.
@Suite(.fewAtATime)
struct BadInputTests {
    struct Answer: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var code: String
        var words: [String]

        init(_ mistake: String, _ code: String, _ words: String...) {
            self.testDescription = mistake
            self.code = code
            self.words = words
        }

        static let all = [
            Answer("upgrade-before-ready", "notReady", "does not own the service yet", "Upgrade after ready()"),
            Answer("second-upgrader", "alreadyCreated", "has an upgrader already", "Make one, and pass it on"),
            Answer("ready-twice", "wrongMoment", "ready() was called again", "Call it once"),
            Answer(
                "listen-after-ready", "wrongMoment", "tcp://127.0.0.1:0 was asked for after ready()",
                "everything before ready()"
            ),
        ]
    }

    @Test(arguments: Answer.all)
    func `A call at the wrong moment is answered in words, and the service is none the worse`(
        _ answer: Answer
    ) async throws {
        try await Server.with(.reader, ["--mistake", answer.testDescription]) { server in
            let line = try await server.line(of: server.first, startingWith: "mistake ").words
            for words in ["mistake \(answer.code): "] + answer.words { #expect(line.contains(words), "\(line)") }
            try await server.replace()
        }
    }

    private func expectError(_ arguments: [String], _ code: String, _ words: String...) async throws {
        let start = Server.Start(arguments: arguments.map { Array($0.utf8) })
        try await Server.withProcess(.reader, start) { server in
            let line = try await server.line(of: server.first, startingWith: "error ").words
            for words in ["error \(code): "] + words { #expect(line.contains(words), "\(line)") }
            #expect(try await server.ending(of: server.first) == .exited(1))
        }
    }

    @Test
    func `A Unix path that is too long is named with its length and the limit`() async throws {
        let path = "/tmp/" + String(repeating: "x", count: 200)
        try await self.expectError(["--listen", "unix:\(path)"], "invalidAddress", path, "205", "bytes")
    }

    @Test
    func `A port that another has taken is named, with who to look for`() async throws {
        try await Server.with(.reader) { server in
            let address = "tcp://127.0.0.1:\(server.port)"
            try await self.expectError(["--listen", address], "addressInUse", address, "ss -")
        }
    }

    @Test
    func `A PID file whose directory is missing is named, with the cure`() async throws {
        let path = "/no/such/directory/pid"
        try await self.expectError(["--pid-file", path], "pidFile", path, "Create its directory")
    }

    @Test
    func `A file that is no PID file is not replaced by one, and stays`() async throws {
        try await TemporaryDirectory.with { directory in
            let file = directory.appending(path: "precious")
            try Data("precious\n".utf8).write(to: file)
            try await self.expectError(["--pid-file", file.path], "pidFile", file.path, "Move it away")
            #expect(try String(contentsOf: file, encoding: .utf8) == "precious\n")
            let fifo = directory.appending(path: "fifo").path
            #expect(mkfifo(fifo, 0o600) == 0)
            try await self.expectError(["--pid-file", fifo], "pidFile", fifo, "no regular file")
        }
    }

    @Test(
        arguments: [
            ["--pid-file", "own.pid"], ["--control-socket", "control"], ["--executable", "./hello"],
            ["--listen", "unix:socket"],
        ]
    )
    func `A relative path that the next generation would look for elsewhere is named`(_ option: [String]) async throws {
        try await self.expectError(
            ["--directory", "/"] + option, "invalidConfiguration", option[1].replacing("unix:", with: ""),
            "starts in /", "absolute path")
    }
}
