// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport
import Testing

/// What `tableflipctl upgrade` draws on a terminal, seen by way of tmux(1).
@Suite(
    .fewAtATime, .timeLimit(.minutes(15)),
    .enabled(if: Server.has("tmux"), "tmux is not installed: apt-get install tmux")
)
struct TerminalTests {
    /// A terminal of 80 columns in which one command runs. Its server is this test's own, by its socket.
    private struct Terminal {
        let socket: String
        /// The server, and the command in the terminal, which the server has not always reaped when it ends.
        private let processes: [pid_t]

        static func with(
            _ directory: URL, _ words: [String], _ body: (Terminal) async throws -> Void
        ) async throws {
            let terminal = try await Terminal(directory, words)
            do {
                try await body(terminal)
            } catch {
                try await terminal.end()
                throw error
            }
            try await terminal.end()
        }

        private init(_ directory: URL, _ words: [String]) async throws {
            self.socket = directory.appending(path: "tmux").path
            let configuration = directory.appending(path: "tmux.conf")
            try Data("set -g remain-on-exit on\nset -g default-terminal screen-256color\n".utf8).write(
                to: configuration)
            // In the foreground: a server that makes itself a daemon leaves a process behind that nobody knows.
            let command = Command(
                path: "/usr/bin/env",
                arguments: ["env", "-u", "TMUX", "tmux", "-D", "-S", self.socket, "-f", configuration.path].map {
                    Array($0.utf8)
                },
                environment: ["PATH=/usr/local/bin:/usr/bin:/bin", "TERM=xterm-256color", "LC_ALL=C.UTF-8"].map {
                    Array($0.utf8)
                },
                errors: directory.appending(path: "tmux.errors").path
            )
            let (server, output) = try command.startWithOutput()
            close(output)
            // Through a shell that stays: where tmux learns of the end of what it has started before it reads the last
            // words, it closes the terminal and never reads them (server_child_exited in its server.c).
            let staying = ["sh", "-c", "\"$@\"; exec cat", "sh"]
            var result: Ctl.Result
            let deadline = ContinuousClock.now + patience
            repeat {  // until it listens
                result = try await Self.ask(
                    ["-N", "-S", self.socket, "new-session", "-d", "-x", "80", "-y", "24"] + staying + words)
            } while result.status != 0 && ContinuousClock.now < deadline
            #expect(result.status == 0, "\(result)")
            let answer = try await Self.ask(["-S", self.socket, "display-message", "-p", "#{pane_pid}"])
            let pane = pid_t(answer.output.trimmingCharacters(in: .whitespacesAndNewlines))
            self.processes = [server] + (pane.map { [$0] } ?? [])
            try #require(pane != nil, "\(answer)")
        }

        private static func ask(_ words: [String]) async throws -> Ctl.Result {
            try await Ctl(words, program: "tmux", environment: ["TMUX": "", "TERM": "xterm-256color"]).result()
        }

        private func ask(_ words: String...) async throws -> Ctl.Result {
            try await Self.ask(["-S", self.socket] + words)
        }

        /// The screen, as soon as it shows these words.
        func screen(showing words: String) async throws -> String {
            try await self.screen("\"\(words)\"") { $0.contains(words) }
        }

        func screen(_ what: String, where isSeen: @Sendable (String) -> Bool) async throws -> String {
            let deadline = ContinuousClock.now + patience
            var seen = ""
            while ContinuousClock.now < deadline {
                seen = try await self.ask("capture-pane", "-p", "-t", ":").output
                if isSeen(seen) { return seen }
            }
            Issue.record("\(what) does not show: \(seen)")
            return seen
        }

        /// With its colours.
        func paintedScreen() async throws -> String { try await self.ask("capture-pane", "-p", "-e", "-t", ":").output }

        /// Ends the server and reaps both at once: they are orphans, which fall to this process (`Harness`), and as long as
        /// one lies there nobody learns of the end of an exit test.
        private func end() async throws {
            _ = try await self.ask("kill-server")
            let deadline = ContinuousClock.now + patience
            for process in self.processes {
                // Fails at once for what the server has reaped. That of the command comes to this process with its end.
                while waitpid(process, nil, WNOHANG) == 0, ContinuousClock.now < deadline {
                    try await Task.sleep(for: .milliseconds(1))
                }
            }
        }
    }

    @Test(arguments: [true, false])
    func `The picture moves while the new process initialises, and fits into 80 columns`(
        _ hasColour: Bool
    ) async throws {
        try await Server.controlled { server in
            let fifo = try server.fifo("go")
            try server.misbehave("late-wait \(fifo.path)")
            let variables = ["TABLEFLIP_CONTROL_SOCKET=\(server.control.path)"] + (hasColour ? [] : ["NO_COLOR=1"])
            let words = ["env", "-u", "NO_COLOR"] + variables + [Ctl.program.path, "upgrade"]
            try await Terminal.with(server.directory, words) { terminal in
                var screen = try await terminal.screen(showing: " initialising")
                let successor = try await server.successor(of: server.first)
                #expect(screen.contains("s  spawned           PID \(successor)"))
                #expect(screen.contains("s  handed over "))
                let line = try #require(screen.split(separator: "\n").first { $0.contains(" initialising") })
                #expect(["|", "/", "-", "\\"].contains { line.contains(" \($0) initialising") }, "\(line)")

                try server.letGo("go")
                screen = try await terminal.screen(showing: "upgraded in ")
                #expect(!screen.contains(" initialising"), "\(screen)")
                for words in ["ready", "committed", "new owner", "old process gone"] {
                    #expect(screen.contains("s  \(words) "), "\(screen)")
                }
                #expect(screen.contains(": PID \(successor) serves, generation 2"))
                for line in screen.split(separator: "\n") { #expect(line.count <= 80, "\(line)") }
                #expect(try await terminal.paintedScreen().contains("\u{1b}[") == hasColour)
                try await server.follow(to: successor, from: server.first)
            }
        }
    }

    private static func secondsLeft(_ screen: String) -> Int? {
        screen.firstMatch(of: #/ probation, ([0-9]+) s left/#).flatMap { Int($0.1) }
    }

    @Test func `A probation counts down`() async throws {
        try await Server.controlled { server in
            let words = [
                "env", "TABLEFLIP_CONTROL_SOCKET=\(server.control.path)", Ctl.program.path, "upgrade", "--probation",
                "1m",
            ]
            try await Terminal.with(server.directory, words) { terminal in
                let early = try await terminal.screen("the time left") { Self.secondsLeft($0) != nil }
                let first = try #require(Self.secondsLeft(early))
                let screen = try await terminal.screen("less than \(first) s") { Self.secondsLeft($0) ?? first < first }
                #expect(first <= 60)
                #expect(screen.contains("s  probation         for 1 min 0 s"), "\(screen)")
                #expect(try await Ctl.run(server, "commit").status == 0)
                _ = try await terminal.screen(showing: "upgraded in ")
                try await server.follow(to: try await server.successor(of: server.first), from: server.first)
            }
        }
    }

    @Test func `The connections that the old process still has are on the line that moves`() async throws {
        try await Demo.with(["--drain-timeout", "60s"]) { demo in
            let kept = try await demo.kept(6)
            let busy = try await [demo.busy(), demo.busy()]
            try await TemporaryDirectory.with { directory in
                let words = ["env", "TABLEFLIP_CONTROL_SOCKET=\(demo.control)", Ctl.program.path, "upgrade"]
                try await Terminal.with(directory, words) { terminal in
                    _ = try await terminal.screen(showing: " connections moved 6 of 8, draining 2 left")
                    try busy[0].say("cd")
                    _ = try await terminal.screen(showing: " connections moved 7 of 8, draining 1 left")
                    try busy[1].say("cd")
                    let screen = try await terminal.screen(showing: "upgraded in ")
                    for words in ["draining ", "connections       8 of 8 moved", "old process gone "] {
                        #expect(screen.contains("s  \(words)"), "\(screen)")
                    }
                    #expect(!screen.contains("connections moved"), "\(screen)")
                    for line in screen.split(separator: "\n") { #expect(line.count <= 80, "\(line)") }
                }
            }
            #expect(kept.count == 6)
        }
    }

    @Test func `A failure in a terminal is told below the phases`() async throws {
        try await Server.controlled { server in
            try server.misbehave("exit 3")
            let words = ["env", "TABLEFLIP_CONTROL_SOCKET=\(server.control.path)", Ctl.program.path, "upgrade"]
            try await Terminal.with(server.directory, words) { terminal in
                let screen = try await terminal.screen(showing: "The old process serves on.")
                #expect(screen.contains("s  failed ") && screen.contains("exited with status 3"), "\(screen)")
            }
        }
    }
}
