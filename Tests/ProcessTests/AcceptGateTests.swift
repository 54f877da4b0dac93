// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport
import Testing

#if os(Linux)
/// The demo's server, which is on SwiftNIO.
@Suite(.fewAtATime, .timeLimit(.minutes(2)))
struct AcceptGateTests {
    /// epoll(7) goes on to tell of a descriptor that was closed here and lives on in another process.
    @Test(
        .enabled(
            if: ProcessInfo.processInfo.environment["TABLEFLIP_ALONE"] != nil,
            "counts wake-ups, so it runs alone: TABLEFLIP_ALONE=1 swift test --filter AcceptGateTests"
        )
    )
    func `A process that drains is not woken by the connections of its successor`() async throws {
        try await Demo.with { demo in
            let old = demo.process
            let kept = try TCPConnection(port: demo.port)
            #expect(try kept.ask().contains("\(old)"))
            let new = try await demo.upgrade()
            let before = Self.wakeUps(of: old)
            for _ in 0..<300 {
                #expect(try TCPConnection(port: demo.port).ask().contains("\(new)"))
            }
            // One of its threads may look at the time once in a while; each connection would be three times as much.
            let woken = Self.wakeUps(of: old) - before
            #expect(woken < 50, "it was woken \(woken) times")
            #expect(ProcessFacts.state(of: old) != nil, "it still drains")
            // The connection that it kept is answered, and closed: then it leaves.
            #expect(try kept.ask().contains("\(old)"))
            _ = try await demo.value(of: "peer", at: "predecessorLeft")
        }
    }

    /// How often any of its threads has gone on after waiting (proc(5), voluntary_ctxt_switches).
    private static func wakeUps(of process: CInt) -> Int {
        let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/task")) ?? []
        return tasks.reduce(0) { sum, task in
            let status = (try? String(contentsOfFile: "/proc/\(process)/task/\(task)/status", encoding: .utf8)) ?? ""
            let line = status.split(separator: "\n").first { $0.hasPrefix("voluntary_ctxt_switches") }
            return sum + (line?.split(separator: "\t").last.flatMap { Int($0) } ?? 0)
        }
    }
}

/// `tableflip-demo serve`, all its generations.
private struct Demo {
    let process: CInt
    let port: UInt16
    private let events: Events

    static func with(_ body: (Demo) async throws -> Void) async throws {
        guard Harness.isReady else { fatalError("prctl") }
        let program = Server.probe.deletingLastPathComponent().appending(path: "tableflip-demo").path
        try await TemporaryDirectory.with { directory in
            let words = [
                program, "serve", "--listen", "127.0.0.1:0", "--pid-file", directory.path + "/pid", "--json-events",
                "--drain-timeout", "60s", "--stay",
            ]
            let command = Command(
                path: program, arguments: words.map { Array($0.utf8) }, environment: [Array("PATH=/bin".utf8)],
                errors: directory.path + "/errors"
            )
            let (process, output) = try Command.alone {
                var ends: [CInt] = [-1, -1]
                guard pipe(&ends) == 0 else { throw POSIXError(.EMFILE) }
                defer { close(ends[1]) }
                for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
                return (try command.start(output: ends[1]), ends[0])
            }
            let events = Events(output)
            defer {
                kill(-process, SIGKILL)
                while waitpid(-process, nil, 0) > 0 {}
            }
            // They come from two tasks, in either order.
            var port: Int?
            var isOwner = false
            while port == nil || !isOwner {
                let (phase, event) = try await events.next(["listening", "owner"])
                if phase == "owner" { isOwner = true } else { port = event["port"] as? Int }
            }
            try await body(Demo(process: process, port: UInt16(try #require(port)), events: events))
        }
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

        init(_ output: CInt) {
            let (lines, continuation) = AsyncStream.makeStream(of: String.self)
            self.lines = lines
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

        /// The next event of one of these phases.
        func next(_ phases: Set<String>) async throws -> (phase: String, event: [String: Any]) {
            for await line in self.lines {
                let event = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
                if let event, let phase = event["phase"] as? String, phases.contains(phase) { return (phase, event) }
            }
            throw Ended(phases: phases)
        }
    }
}

/// A connection that a client keeps.
private final class TCPConnection {
    private let socket: CInt

    init(port: UInt16) throws {
        self.socket = Command.alone {
            let socket = Glibc.socket(AF_INET, SocketType.stream, 0)
            _ = fcntl(socket, F_SETFD, FD_CLOEXEC)
            return socket
        }
        var patience = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(self.socket, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        // SAFETY: sockaddr_in starts as every sockaddr does; the size says where it ends.
        let result = withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(self.socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        try #require(result == 0)
    }

    deinit { close(self.socket) }

    /// - Returns: the whole answer.
    func ask() throws -> String {
        let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        try #require(send(self.socket, request, request.utf8.count, CInt(MSG_NOSIGNAL)) == request.utf8.count)
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = recv(self.socket, &bytes, bytes.count, 0)
        try #require(count > 0)
        return String(decoding: bytes[..<count], as: UTF8.self)
    }
}
#endif
