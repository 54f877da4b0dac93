// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if os(Linux)
import Foundation
import ProcessSupport
import Testing

/// A service that was started by root, has bound its sockets, and then given up every privilege for good.
@Suite(.fewAtATime)
struct PrivilegeTests {
    private static let user = 65534

    /// Below it, a port takes a privilege (ip(7), ip_unprivileged_port_start).
    private static let firstFreePort: UInt16 = {
        let text = try? String(contentsOfFile: "/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding: .utf8)
        return text.flatMap { UInt16($0.trimmingCharacters(in: .newlines)) } ?? 1024
    }()

    private static let mayTry = getuid() == 0 && Server.has("setpriv")

    /// An address of the loopback device that no other test, and no other run of it, listens on (every one of 127.0.0.0/8
    /// is): between the look at a port and its use nobody takes it.
    private static func host(_ test: Int) -> String {
        let process = getpid()
        return "127.\(2 + 2 * (process >> 16 & 0x3f) + CInt(test)).\(process >> 8 & 0xff).\(process & 0xff)"
    }

    /// Ports below 1024 that nobody listens on, not even at every address.
    private static func lowPorts(_ count: Int, of host: String) -> [UInt16] {
        Array((600..<1024).shuffled().lazy.filter { (try? Connection($0, host: host)) == nil }.prefix(count))
    }

    private func with(_ arguments: [String], _ body: (Server) async throws -> Void) async throws {
        let start = Server.Start(
            arguments: (["--drop-privileges", "--executable", "PROGRAM"] + arguments).map { Array($0.utf8) },
            launcher: ["setpriv", "--no-new-privs"],
            prepare: { directory in
                // Where its user may read and write.
                let program = directory.appending(path: "PROGRAM")
                try Command.writeProgram(at: program.path) {
                    try FileManager.default.copyItem(at: Server.probe, to: program)
                }
                guard chown(directory.path, uid_t(Self.user), gid_t(Self.user)) == 0 else { throw POSIXError(.EPERM) }
            }
        )
        try await Server.with(.reader, start, body)
    }

    /// Of the process that dropped them itself the first thread counts for nothing: an async `main` has left it to
    /// libdispatch, which ended it for the C library, so that setuid(2) does not reach it. It runs nothing any more.
    private func expectNoPrivilege(of process: CInt, hasDropped: Bool = false) {
        var statuses = ProcessFacts.statuses(of: process)
        if hasDropped { statuses[process] = nil }
        #expect(!statuses.isEmpty)
        // A thread may end meanwhile.
        for status in statuses.values where !status.isEmpty {
            #expect(status["NoNewPrivs"] == "1")
            for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                #expect(status[name] == "0000000000000000", "\(name)")
            }
            for name in ["Uid", "Gid"] {
                let four = Array(repeating: "\(Self.user)", count: 4).joined(separator: "\t")
                #expect(status[name] == four, "\(name)")
            }
            #expect(status["Groups"] == "")
        }
    }

    @Test(.enabled(if: Self.mayTry, "it takes root, and setpriv; apt-get install util-linux"))
    func `Without any privilege a service upgrades, and keeps a port that takes one`() async throws {
        let host = Self.host(0)
        let port = try #require(Self.lowPorts(1, of: host).first)
        try await self.with(["--listen", "tcp://\(host):\(port)"]) { server in
            self.expectNoPrivilege(of: server.first, hasDropped: true)
            for _ in 0..<3 {
                try await server.replace()
                self.expectNoPrivilege(of: server.current)
                let connection = try Connection(port, host: host)
                try connection.ask()
                #expect(try await connection.answer() == server.current)
            }
        }
    }

    @Test(
        .enabled(if: Self.mayTry, "it takes root, and setpriv; apt-get install util-linux"),
        .enabled(if: Self.firstFreePort >= 1024, "here every port is free to all (net.ipv4.ip_unprivileged_port_start)")
    )
    func `A new version that wants another such port says that it may not, and the old one serves on`() async throws {
        let host = Self.host(1)
        let ports = Self.lowPorts(2, of: host)
        try #require(ports.count == 2)
        try await TemporaryDirectory.with { directory in
            let switchFile = directory.appending(path: "wanted")
            let wanted = "tcp://\(host):\(ports[1])"
            try await self.with(
                ["--listen", "tcp://\(host):\(ports[0])", "--listen-if", switchFile.path, wanted]
            ) { server in
                try await server.unharmed {
                    try Data().write(to: switchFile)
                    let outcome = try await server.upgrade()
                    #expect(outcome.phase == "failed" && outcome.code == "successorExited")
                    let reason = try await server.line("the reason") { $0.hasPrefix("error listenFailed: ") }.words
                    #expect(reason.contains(wanted) && reason.contains("Permission denied"), "\(reason)")
                    try FileManager.default.removeItem(at: switchFile)
                }
            }
        }
    }
}
#endif
