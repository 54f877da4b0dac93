// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport
import Testing

/// `tableflip-demo serve`, all its generations.
struct Demo {
    /// The first generation.
    let process: CInt
    let port: UInt16
    let control: String
    private let events: Events

    static func with(_ arguments: [String] = [], _ body: (Demo) async throws -> Void) async throws {
        guard Harness.isReady else { fatalError("prctl") }
        let program = Server.probe.deletingLastPathComponent().appending(path: "tableflip-demo").path
        try await TemporaryDirectory.with { directory in
            let words =
                [
                    program, "serve", "--listen", "127.0.0.1:0", "--pid-file", directory.path + "/pid", "--json-events",
                    "--pause-timeout", "30s", "--control-socket", directory.path + "/control",
                ] + arguments
            let command = Command(
                path: program, arguments: words.map { Array($0.utf8) }, environment: [Array("PATH=/bin".utf8)],
                errors: directory.path + "/errors"
            )
            let (process, output) = try command.startWithOutput()
            let events = Events(output)
            let reaper = Reaper(of: process)
            do {
                // They come from two tasks, in either order.
                var port: Int?
                var isOwner = false
                while port == nil || !isOwner {
                    let (phase, event) = try await events.next(["listening", "owner"])
                    if phase == "owner" { isOwner = true } else { port = event["port"] as? Int }
                }
                try await body(
                    Demo(
                        process: process, port: UInt16(try #require(port)), control: directory.path + "/control",
                        events: events))
            } catch {
                try await reaper.end()
                throw error
            }
            try await reaper.end()
        }
    }

    /// A thread that reaps each process of a group at once. What waits to be reaped keeps Swift Testing's exit tests from
    /// noticing their own children (waitid(2) with P_ALL and WNOWAIT tells of the same one again and again). Orphans
    /// become children of this process before their parent is reaped, so the row never breaks off early.
    private final class Reaper: Sendable {
        private let group: CInt
        private let done = DispatchSemaphore(value: 0)

        init(of group: CInt) {
            self.group = group
            let done = self.done
            Thread.detachNewThread {
                while waitpid(-group, nil, 0) > 0 || errno == EINTR {}
                done.signal()
            }
        }

        /// Kills what is left, and waits until all of it is gone.
        func end() async throws {
            let (group, done) = (self.group, self.done)
            try await onItsOwnThread {
                // One may have been on its way into the group.
                for _ in 0..<patience.components.seconds {
                    if done.wait(timeout: .now()) == .success { return }
                    kill(-group, SIGKILL)
                    if done.wait(timeout: .now() + 1) == .success { return }
                }
                throw Overdue(description: "the end of the demo's processes: not within \(patience)")
            }
        }
    }

    /// Connections that rest when they have been answered.
    func kept(_ count: Int) async throws -> [Connection] {
        let connections = try (0..<count).map { _ in try Connection(self.port) }
        for connection in connections {
            #expect(try await connection.keepAsking().hasSuffix("\(self.process)\n"))
        }
        return connections
    }

    /// A connection with an answer that has begun and cannot end before `cd` is said: it must stay where it is.
    func busy() async throws -> Connection {
        let connection = try Connection(self.port)
        try connection.say("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
        #expect(try await connection.hear().hasPrefix("HTTP/1.1 200 OK\r\n"))
        return connection
    }

    /// What the next event of this phase says under this name.
    func value(of name: String, at phase: String) async throws -> CInt {
        try await self.events.value(of: name, at: phase)
    }

    /// - Returns: the process that serves then. A busy machine may need more than the second that a pause may take: then
    ///   there are more attempts.
    func upgrade() async throws -> CInt {
        for _ in 0..<5 {
            kill(self.process, SIGHUP)
            let (phase, event) = try await self.events.next(["committed", "failed", "rolledBack", "refused"])
            if phase == "committed" { return CInt(try #require(event["peer"] as? Int)) }
            print("an upgrade of the demo failed: \(event)")
        }
        throw POSIXError(.ETIMEDOUT)
    }

    /// The lines of all generations.
    private final class Events: Sendable {
        private struct Ended: Error { let phases: Set<String> }

        private let lines: AsyncStream<String>
        private let continuation: AsyncStream<String>.Continuation

        init(_ output: CInt) {
            let (lines, continuation) = AsyncStream.makeStream(of: String.self)
            self.lines = lines
            self.continuation = continuation
            Thread.detachNewThread {
                guard let file = fdopen(output, "r") else { return continuation.finish() }
                var line: UnsafeMutablePointer<CChar>?
                var room = 0
                // SAFETY: getline makes and grows the buffer, which ends with a zero.
                while getline(&line, &room, file) > 0, let text = line { continuation.yield(String(cString: text)) }
                free(line)
                fclose(file)
                continuation.finish()
            }
        }

        func value(of name: String, at phase: String) async throws -> CInt {
            CInt(try #require(try await self.next([phase]).event[name] as? Int))
        }

        /// The next event of one of these phases. There are none any more after one that has not come in time.
        func next(_ phases: Set<String>) async throws -> (phase: String, event: [String: Any]) {
            let deadline = Task { [continuation] in
                try await Task.sleep(for: patience)
                continuation.finish()
            }
            defer { deadline.cancel() }
            for await line in self.lines {
                let event = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
                if let event, let phase = event["phase"] as? String, phases.contains(phase) { return (phase, event) }
            }
            throw Ended(phases: phases)
        }
    }
}
