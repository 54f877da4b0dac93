// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport
import Testing

/// A service: the probe, all its generations, and a client that never stops asking.
final class Server {
    static let products: URL = {
        #if os(macOS)
        let bundle = Bundle.allBundles.first { $0.bundlePath.hasSuffix(".xctest") }?.bundleURL
        #else
        let bundle = Bundle.main.executableURL
        #endif
        guard let bundle else { fatalError("where are the products of this build?") }
        return bundle.resolvingSymlinksInPath().deletingLastPathComponent()
    }()
    static let probe = products.appending(path: "tableflip-probe")

    let variant: Variant
    /// For its files; short, as a Unix address has little room.
    let directory: URL
    let log = Log()
    /// The first generation, whose id is also that of the process group of all.
    let first: CInt
    /// The process in charge, as far as the test has followed.
    var current: CInt
    var pidFile: URL
    private(set) var client: Client?
    private var fifos: [String: CInt] = [:]

    /// Of the first address, where that has one.
    var port: UInt16 {
        let listening = self.log.history.first(self.first) { $0.hasPrefix("listening") }
        // listening ADDRESS PORT INHERITED
        return listening?.words.split(separator: " ").dropFirst(2).first.flatMap { UInt16($0) } ?? 0
    }

    var socket: URL { self.directory.appending(path: "socket") }

    private init(_ variant: Variant, _ start: Start) throws {
        guard Harness.isReady else { fatalError("prctl") }
        self.variant = variant
        self.directory = FileManager.default.temporaryDirectory.appending(path: "tf-\(UUID().uuidString.prefix(8))")
        self.pidFile = self.directory.appending(path: "pid")
        try FileManager.default.createDirectory(at: self.directory, withIntermediateDirectories: true)
        try start.prepare?(self.directory)
        if start.wantsFifo { self.fifos["FIFO"] = try Self.makeFifo(self.directory.appending(path: "FIFO")) }
        if variant.isWrapped {
            try Script.write("\"\(Self.probe.path)\" \"$@\"\nexit $?", to: self.directory.appending(path: "wrapper"))
        }
        self.first = try Self.run(start.command(variant, self.directory), self.log)
        self.current = self.first
    }

    /// Whether a program is there for those that tests start.
    static func has(_ program: String) -> Bool {
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        return path.split(separator: ":").contains { access("\($0)/\(program)", X_OK) == 0 }
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

    private static func run(_ command: Command, _ log: Log) throws -> CInt {
        let (process, output) = try command.startWithOutput()
        Thread.detachNewThread { Self.readLines(output, log) }
        Thread.detachNewThread { Self.reap(process, log) }
        return process
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
        guard !history.childrenHaveEnded else {
            throw Overdue(description: "the first generation did not come to serve")
        }
        let address: Client.Address =
            switch self.variant.transport {
            case .tcp: .tcp(port: self.port)
            case .udp: .udp(port: self.port)
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
            let seen = self.log.history.endings.count
            for process in self.processes { kill(process, SIGKILL) }
            try await self.log.wait(for: "the end of all processes") { history in
                history.endings.count > seen || (history.childrenHaveEnded && history.outputHasEnded) ? () : nil
            }
        }
        for descriptor in self.fifos.values { close(descriptor) }
        #expect(!self.errorText.contains("Fatal error") && !self.errorText.contains("Sanitizer"), "\(self.transcript)")
        try FileManager.default.removeItem(at: self.directory)
    }

    /// Everything of this service that lives.
    var processes: Set<CInt> {
        let history = self.log.history
        #if os(Linux)
        return history.childrenHaveEnded ? [] : ProcessFacts.processes(inGroup: self.first)
        #else
        // What is an orphan is no child of ours there.
        return Set(history.lines.map(\.process) + [self.first]).filter { getpgid($0) == self.first }
        #endif
    }

    /// A named pipe by which the probe can be let go on.
    func fifo(_ name: String) throws -> URL {
        let url = self.directory.appending(path: name)
        self.fifos[name] = try Self.makeFifo(url)
        return url
    }

    private static func makeFifo(_ url: URL) throws -> CInt {
        guard mkfifo(url.path, 0o600) == 0 else { throw POSIXError(.EEXIST) }
        // Open for both, it neither waits for the other side nor loses what nobody reads yet.
        return open(url.path, O_RDWR | O_CLOEXEC)
    }

    func letGo(_ name: String, _ byte: String = "x") throws {
        guard let descriptor = self.fifos[name], write(descriptor, byte, 1) == 1 else { throw POSIXError(.EPIPE) }
    }

    /// What all generations wrote to their standard error.
    var errorText: String {
        (try? String(contentsOf: self.directory.appending(path: "errors"), encoding: .utf8)) ?? ""
    }

    /// For people who look for the reason of a failure.
    var transcript: String {
        let history = self.log.history
        let lines = history.lines.map { $0.description(since: history.start) }
        let counts = ["endings \(history.endings)", "answers \(history.answers)"]
        return (lines + counts).joined(separator: "\n") + "\n" + self.errorText
    }
}
