// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation

/// A running `tableflip-demo serve`, all its generations.
final class Demo: @unchecked Sendable {
    // SAFETY: `state` is touched under `lock` only; everything else is constant.
    private struct State {
        var current: CInt
        var connections: [Connection] = []
        var isStopping = false
    }

    let port: UInt16
    private let directory: URL
    private let program: Program<Event>
    private let lock = NSLock()
    private var state: State

    var events: Journal<Event> { self.program.lines }
    var pidFile: URL { self.directory.appending(path: "pid") }

    /// The process in charge, as far as the test has followed.
    var process: CInt {
        get { self.lock.withLock { self.state.current } }
        set { self.lock.withLock { self.state.current = newValue } }
    }

    private init(_ arguments: [String], in directory: URL) throws {
        signal(SIGPIPE, SIG_IGN)
        let errors = directory.appending(path: "errors")
        try Data().write(to: errors)
        self.directory = directory
        self.program = try Program(
            [
                "serve", "--listen", "127.0.0.1:0", "--pid-file", directory.appending(path: "pid").path,
                "--json-events", "--upgrade-timeout", "60s", "--drain-timeout", "60s", "--pause-timeout", "30s",
            ] + arguments,
            errors: errors
        )
        let first = self.program.id
        self.state = State(current: first)
        self.port = try self.program.lines.wait(for: "the first server to listen") { events in
            events.first { $0.phase == "listening" && $0.pid == first }?.port
        }
        try self.event("owner", of: first)
    }

    /// Starts a server, on a thread of its own, and leaves nothing of it behind.
    static func with(_ arguments: [String] = [], _ body: @escaping @Sendable (Demo) throws -> Void) async throws {
        try await OwnThread.run {
            let directory = FileManager.default.temporaryDirectory.appending(path: "tf-\(UUID().uuidString.prefix(8))")
            try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(at: directory) }  // one that stays does no harm
            let demo = try Demo(arguments, in: directory)
            do {
                try body(demo)
                for connection in demo.connections { connection.close() }
                try demo.stop()
            } catch {
                demo.end()
                throw Unexpected("\(error)\n\(demo.transcript)")
            }
        }
    }

    /// A new connection, which ends with the server at the latest.
    func connect() throws -> Connection {
        let connection = try Connection(port: self.port)
        self.lock.withLock { self.state.connections.append(connection) }
        return connection
    }

    func connect(_ count: Int) throws -> [Connection] { try (0..<count).map { _ in try self.connect() } }

    private var connections: [Connection] { self.lock.withLock { self.state.connections } }

    // MARK: Ends

    /// Tells the process in charge to stop, unless that was done before, and waits for the end of all.
    func stop() throws {
        let isFirst = self.lock.withLock {
            defer { self.state.isStopping = true }
            return !self.state.isStopping
        }
        if isFirst { try require(kill(self.process, SIGTERM) == 0, "\(self.process) is gone") }
        try self.waitForEnd()
    }

    /// Waits for the end of all, which nobody has to be told any more.
    func waitForEnd() throws {
        self.lock.withLock { self.state.isStopping = true }
        try require(self.program.endings.waitForEnd(within: 60), "the servers did not stop")
        try require(
            !self.errors.contains("Fatal error") && !self.errors.contains("Sanitizer"), "a server has crashed")
    }

    /// Tells the process in charge to stop, and waits for nothing.
    func startStop() throws {
        self.lock.withLock { self.state.isStopping = true }
        try require(kill(self.process, SIGTERM) == 0, "\(self.process) is gone")
    }

    /// Whatever is left. A process that was seen to end is not signalled: its number may be another's by now.
    private func end() {
        let ended = Set(self.program.endings.all)
        let processes = Set(
            self.events.all.flatMap { [$0.pid, $0.phase == "spawned" ? $0.peer : $0.pid] } + [self.program.id])
        // Only members of the group that this test made.
        for process in processes.subtracting(ended) where getpgid(process) == self.program.id { kill(process, SIGKILL) }
        for connection in self.connections { connection.close() }
        _ = self.program.endings.waitForEnd(within: 30)
    }

    /// What all generations wrote to their standard error.
    var errors: String {
        (try? String(contentsOf: self.directory.appending(path: "errors"), encoding: .utf8)) ?? ""
    }

    /// For people who look for the reason of a failure.
    private var transcript: String {
        let errors = self.errors
        // A crash's last words are long, and their beginning says why.
        let part = errors.firstRange(of: "Fatal error").map { errors[$0.lowerBound...].prefix(4000) }
        let lines = self.events.all.map { "\($0)" } + [String(part ?? errors.suffix(4000))]
        return lines.joined(separator: "\n")
    }
}
