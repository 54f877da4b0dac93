// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport
import Testing

/// The real `tableflipctl`, as somebody at a shell starts it.
final class Ctl {
    struct Result: Sendable {
        var status: CInt
        var output: String
        var errors: String

        /// The objects of --json.
        var objects: [[String: Any]] {
            self.output.split(separator: "\n").compactMap {
                try? JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
            }
        }
    }

    private struct State {
        var output = ""
        var result: Result?
        var waiters: [@Sendable (State) -> Bool] = []
    }

    static let program = Server.products.appending(path: "tableflipctl")

    let process: CInt
    private let state = Locked(State())

    /// Starts it, or another program, by way of a launcher, with variables beside what this process has.
    init(
        _ arguments: [String], program: String? = nil, launcher: [String] = [], environment: [String: String] = [:]
    ) throws {
        guard Harness.isReady else { fatalError("prctl") }
        let errors = FileManager.default.temporaryDirectory.appending(path: "tf-ctl-\(UUID().uuidString.prefix(8))")
        var all = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("TABLEFLIP") }
        all.merge(environment) { $1 }
        let words = launcher + [program ?? Self.program.path] + arguments
        let command = Command(
            path: "/usr/bin/env", arguments: (["env"] + words).map { Array($0.utf8) },
            environment: all.map { Array("\($0)=\($1)".utf8) }, errors: errors.path
        )
        let (process, output) = try command.startWithOutput()
        self.process = process
        let state = self.state
        Thread.detachNewThread {
            var bytes = [UInt8](repeating: 0, count: 4096)
            while true {
                let count = read(output, &bytes, bytes.count)
                guard count > 0 else { break }
                let text = String(decoding: bytes[..<count], as: UTF8.self)
                Self.change(state) { $0.output += text }
            }
            close(output)
            var status: CInt = 0
            while waitpid(process, &status, 0) < 0, errno == EINTR {}
            let words = (try? String(contentsOf: errors, encoding: .utf8)) ?? ""
            try? FileManager.default.removeItem(at: errors)
            let ending: CInt = if case .exited(let code) = Ending(status: status) { code } else { -1 }
            Self.change(state) { $0.result = Result(status: ending, output: $0.output, errors: words) }
        }
    }

    private static func change(_ state: Locked<State>, _ body: (inout State) -> Void) {
        state.withLock { state in
            body(&state)
            let now = state
            state.waiters.removeAll { $0(now) }
        }
    }

    /// Starts it for this service.
    convenience init(_ server: Server, _ arguments: String..., launcher: [String] = []) throws {
        try self.init(arguments, launcher: launcher, environment: ["TABLEFLIP_CONTROL_SOCKET": server.control.path])
    }

    @discardableResult
    static func run(_ server: Server, _ arguments: String..., launcher: [String] = []) async throws -> Result {
        try await Ctl(
            arguments, launcher: launcher, environment: ["TABLEFLIP_CONTROL_SOCKET": server.control.path]
        ).result()
    }

    /// Waits until it has written this.
    func output(containing words: String) async throws {
        let _: Bool = try await self.wait("\"\(words)\"") { $0.output.contains(words) || $0.result != nil ? true : nil }
        let seen = self.state.withLock { $0.output.contains(words) }
        #expect(seen, "\(words)")
    }

    /// Waits for a line.
    func output(_ what: String, _ isIt: @escaping @Sendable (Substring) -> Bool) async throws {
        let _: Bool = try await self.wait(what) { state in
            state.output.split(separator: "\n").contains(where: isIt) || state.result != nil ? true : nil
        }
        #expect(self.state.withLock { $0.output.split(separator: "\n").contains(where: isIt) }, "\(what)")
    }

    /// Waits for its end.
    func result() async throws -> Result { try await self.wait("the end of tableflipctl") { $0.result } }

    private func wait<Value: Sendable>(
        _ what: String, _ look: @escaping @Sendable (State) -> Value?
    ) async throws -> Value {
        let (values, continuation) = AsyncStream.makeStream(of: Value.self)
        let waiter: @Sendable (State) -> Bool = { state in
            guard let value = look(state) else { return false }
            continuation.yield(value)
            continuation.finish()
            return true
        }
        self.state.withLock { state in if !waiter(state) { state.waiters.append(waiter) } }
        let deadline = Task {
            try await Task.sleep(for: patience)
            continuation.finish()
        }
        defer { deadline.cancel() }
        for await value in values { return value }
        kill(self.process, SIGKILL)
        throw Overdue(description: "\(what): not within a minute")
    }
}

extension Server {
    var control: URL { self.directory.appending(path: "CONTROL") }

    /// A service with a control socket, and a client that loses nothing.
    static func controlled<Result>(
        _ variant: Variant = .reader, _ arguments: [String] = [], _ body: (Server) async throws -> Result
    ) async throws -> Result {
        try await self.with(variant, ["--control-socket", "CONTROL"] + arguments, body)
    }

    /// The same without a client, for one that is to end. It serves.
    static func controlledAlone<Result>(
        _ arguments: [String] = [], _ body: (Server) async throws -> Result
    ) async throws -> Result {
        let words = ["--control-socket", "CONTROL"] + arguments
        return try await self.withProcess(.reader, .init(arguments: words.map { Array($0.utf8) })) { server in
            try await server.line(startingWith: "serving")
            return try await body(server)
        }
    }
}
