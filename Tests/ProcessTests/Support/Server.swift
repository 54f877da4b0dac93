// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

/// A service: the probe, all its generations, and a client that never stops asking.
final class Server {
    /// How to start it, beside the variant.
    struct Start {
        var arguments: [[UInt8]] = []
        var argumentZero: [UInt8]?
        var environment: [[UInt8]] = []
        var descriptors: [CInt: CInt] = [:]
        /// Where it starts; nil: where the tests do.
        var directory: URL?
    }

    static let probe: URL = {
        #if os(macOS)
        let bundle = Bundle.allBundles.first { $0.bundlePath.hasSuffix(".xctest") }?.bundleURL
        #else
        let bundle = Bundle.main.executableURL
        #endif
        guard let bundle else { fatalError("where are the products of this build?") }
        return bundle.resolvingSymlinksInPath().deletingLastPathComponent().appending(path: "tableflip-probe")
    }()

    let variant: Variant
    /// For its files; short, as a Unix address has little room.
    let directory: URL
    let log = Log()
    /// The first generation, whose id is also that of the process group of all.
    let first: CInt
    /// The process in charge, as far as the test has followed.
    var current: CInt
    private(set) var client: Client?

    var pidFile: URL { self.directory.appending(path: "pid") }
    var socket: URL { self.directory.appending(path: "socket") }
    var wrapper: URL { self.directory.appending(path: "wrapper") }
    var errors: URL { self.directory.appending(path: "errors") }

    private init(_ variant: Variant, _ start: Start) throws {
        guard Harness.isReady else { fatalError("prctl") }
        self.variant = variant
        self.directory = FileManager.default.temporaryDirectory.appending(path: "tf-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: self.directory, withIntermediateDirectories: true)
        let command = Self.command(variant, start, self.directory)
        if variant.isWrapped {
            try Script.write("\"\(Self.probe.path)\" \"$@\"\nexit $?", to: self.directory.appending(path: "wrapper"))
        }
        (self.first, self.current) = try Self.run(command, self.log)
    }

    private static func command(_ variant: Variant, _ start: Start, _ directory: URL) -> Command {
        let address =
            switch variant.transport {
            case .tcp: "tcp://127.0.0.1:0"
            case .udp: "udp://127.0.0.1:0"
            case .unix: "unix:\(directory.path)/socket"
            }
        var options = [
            "--listen", address, "--pid-file", directory.path + "/pid", "--behaviour-file", directory.path + "/behaviour",
            // Long enough that a busy machine does not matter. What a test wants shorter follows, and wins.
            "--upgrade-timeout", "30000", "--pause-timeout", "10000", "--drain-timeout", "20000",
        ]
        if variant.isWrapped { options += ["--executable", directory.path + "/wrapper"] }
        options += variant.arguments
        let zero = start.argumentZero ?? Array(self.probe.path.utf8)
        var command = Command(
            path: self.probe.path, arguments: [zero] + options.map { Array($0.utf8) } + start.arguments,
            environment: self.environment + start.environment, descriptors: start.descriptors,
            errors: directory.path + "/errors"
        )
        if let place = start.directory {
            let script = ["sh", "-c", "cd \"$0\" && exec \"$@\"", place.path]
            command.path = "/bin/sh"
            command.arguments = script.map { Array($0.utf8) } + command.arguments
        }
        return command
    }

    /// As here, except for what this process may have been started with itself.
    private static var environment: [[UInt8]] {
        ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("TABLEFLIP") && $0.key != "SWIFT_BACKTRACE" }
            .map { Array("\($0.key)=\($0.value)".utf8) }
    }

    // MARK: Life

    /// Starts a service that serves, and leaves nothing of it behind.
    static func with<Result>(
        _ variant: Variant = .reader, _ arguments: [String] = [], _ body: (Server) async throws -> Result
    ) async throws -> Result {
        try await self.with(variant, Start(arguments: arguments.map { Array($0.utf8) }), body)
    }

    static func with<Result>(
        _ variant: Variant, _ start: Start, _ body: (Server) async throws -> Result
    ) async throws -> Result {
        try await self.withProcess(variant, start) { server in
            try await server.startClient()
            let result = try await body(server)
            server.stopClient()
            return result
        }
    }

    /// The same for a process that may never come to serve, and without a client.
    static func withProcess<Result>(
        _ variant: Variant, _ start: Start, _ body: (Server) async throws -> Result
    ) async throws -> Result {
        let server = try Server(variant, start)
        do {
            let result = try await body(server)
            try await server.end()
            return result
        } catch {
            _ = server.client?.stop()
            let transcript = server.transcript
            try await server.end()
            throw Overdue(description: "\(error)\n\(transcript)")
        }
    }

    private static func run(_ command: Command, _ log: Log) throws -> (CInt, CInt) {
        var ends: [CInt] = [-1, -1]
        let process = try Command.lock.withLock { _ in
            guard pipe(&ends) == 0 else { throw POSIXError(.EMFILE) }
            for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
            defer { close(ends[1]) }
            return try command.start(output: ends[1])
        }
        let reading = ends[0]
        Thread.detachNewThread { Self.readLines(reading, log) }
        Thread.detachNewThread { Self.reap(process, log) }
        return (process, process)
    }

    private static func readLines(_ descriptor: CInt, _ log: Log) {
        var pending: [UInt8] = []
        var bytes = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = read(descriptor, &bytes, bytes.count)
            guard count > 0 else { break }
            pending += bytes[..<count]
            while let end = pending.firstIndex(of: UInt8(ascii: "\n")) {
                let line = Line(String(decoding: pending[..<end], as: UTF8.self))
                pending.removeSubrange(...end)
                if let line { log.record { $0.lines.append(line) } }
            }
        }
        close(descriptor)
        log.record { $0.outputHasEnded = true }
    }

    /// Orphans become children of this process before their parent is reaped, so the row never breaks off early.
    private static func reap(_ group: CInt, _ log: Log) {
        var status: CInt = 0
        while true {
            let process = waitpid(-group, &status, 0)
            if process < 0, errno == EINTR { continue }
            guard process > 0 else { break }
            let ending = Ending(status: status)
            log.record { $0.endings[process] = ending }
        }
        log.record { $0.childrenHaveEnded = true }
    }

    private func startClient() async throws {
        let first = self.first
        let history = try await self.log.wait(for: "the first generation to serve") { history in
            history.childrenHaveEnded || history.first(first, { $0 == "serving" }) != nil ? history : nil
        }
        guard !history.childrenHaveEnded, let listening = history.first(first, { $0.hasPrefix("listening") }) else {
            throw Overdue(description: "the first generation did not come to serve")
        }
        // listening ADDRESS PORT INHERITED
        let port = listening.words.split(separator: " ").dropFirst(2).first.flatMap { UInt16($0) } ?? 0
        let address: Client.Address =
            switch self.variant.transport {
            case .tcp: .tcp(port: port)
            case .udp: .udp(port: port)
            case .unix: .unix(path: self.socket.path)
            }
        self.client = Client(address, self.log)
        try await self.answer(from: first)
    }

    /// Ends the client, which must have been answered each time.
    func stopClient() {
        guard let client = self.client else { return }
        self.client = nil
        #expect(client.stop() == [], "requests that were lost")
    }

    /// Ends what is left. Only members of the process group that this server made are signalled, each by its id.
    private func end() async throws {
        while !self.log.history.childrenHaveEnded || !self.log.history.outputHasEnded {
            for process in self.processes { kill(process, SIGKILL) }
            let seen = self.log.history.endings.count
            try await self.log.wait(for: "the end of all processes") { history in
                history.endings.count > seen || (history.childrenHaveEnded && history.outputHasEnded) ? () : nil
            }
        }
        #expect(!self.errorText.contains("Fatal error") && !self.errorText.contains("Sanitizer"), "\(self.transcript)")
        try FileManager.default.removeItem(at: self.directory)
    }

    /// Everything of this service that lives.
    var processes: [CInt] {
        guard !self.log.history.childrenHaveEnded else { return [] }
        #if os(Linux)
        return ProcessFacts.processes(inGroup: self.first)
        #else
        return Set(self.log.history.lines.map(\.process) + [self.first]).filter { getpgid($0) == self.first }
        #endif
    }

    private var errorText: String { (try? String(contentsOf: self.errors, encoding: .utf8)) ?? "" }

    /// For people who look for the reason of a failure.
    private var transcript: String {
        let history = self.log.history
        return (history.lines.map(\.description) + ["endings \(history.endings)", "answers \(history.answers)"])
            .joined(separator: "\n") + "\n" + self.errorText
    }
}
