// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

@Suite(.fewAtATime)
struct ListenerTests {
    private static let unix = Variant(name: "unix", arguments: ["--reader"], transport: .unix)

    /// Device and inode of what is at a path, and nothing for nothing.
    private func identity(_ url: URL) -> [UInt64] {
        var status = stat()
        return lstat(url.path, &status) == 0 ? [UInt64(status.st_dev), UInt64(status.st_ino)] : []
    }

    @Test
    func `The path of a Unix listener outlives every upgrade, and not the service`() async throws {
        try await Server.with(Self.unix) { server in
            let before = self.identity(server.socket)
            #expect(!before.isEmpty)
            for behaviour in ["exit 1", "late-exit 1", "late-close-channel"] {
                try server.misbehave(behaviour)
                #expect(try await server.upgrade().phase == "failed")
                #expect(self.identity(server.socket) == before)
            }
            try server.misbehave("")
            try await server.replace()
            try await server.replace()
            #expect(self.identity(server.socket) == before)
            server.stopClient()
            server.signal(server.current, SIGTERM)
            try await server.everythingToEnd()
            #expect(self.identity(server.socket) == [])
        }
    }

    @Test(arguments: [0, 2])
    func `A path that another program has taken meanwhile is left to it`(_ upgrades: Int) async throws {
        let variant = Variant(name: "reader, with a path", arguments: ["--reader"], hasPath: true)
        try await Server.with(variant) { server in
            let before = self.identity(server.socket)
            try FileManager.default.removeItem(at: server.socket)
            let other = try LocalListener(at: server.socket.path)
            defer { other.close() }
            let its = self.identity(server.socket)
            #expect(!its.isEmpty && its != before)
            for _ in 0..<upgrades { try await server.replace() }
            #expect(self.identity(server.socket) == its)
            server.stopClient()
            server.signal(server.current, SIGTERM)
            try await server.everythingToEnd()
            #expect(self.identity(server.socket) == its)
        }
    }

    @Test
    func `A path that a crash left behind is replaced`() async throws {
        let start = Server.Start(prepare: { directory in
            // What a service leaves that had no time to clean up.
            let socket = socket(AF_UNIX, SocketType.stream, 0)
            defer { close(socket) }
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            let path = directory.path + "/socket"
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
            let result = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
            #expect(result == 0)
        })
        try await Server.with(Self.unix, start) { try await $0.replace() }
    }

    @Test
    func `A file that is no socket is nobody's to replace`() async throws {
        let start = Server.Start(prepare: { try Data("precious".utf8).write(to: $0.appending(path: "socket")) })
        try await Server.withProcess(Self.unix, start) { server in
            try await server.line("an error, or not") { $0.hasPrefix("error ") || $0 == "serving" }
            let contents = try? Data(contentsOf: server.socket)
            #expect(contents == Data("precious".utf8))
        }
    }

    @Test(arguments: [Variant.reader, Self.unix])
    func `A listener that another service has is in use, and that service is none the worse`(
        _ variant: Variant
    ) async throws {
        try await Server.with(variant) { server in
            let address =
                switch server.client?.address {
                case .tcp(let port): "tcp://127.0.0.1:\(port)"
                case .unix(let path): "unix:\(path)"
                default: ""
                }
            let before = self.identity(server.socket)
            let second = Server.Start(arguments: ["--listen", address].map { Array($0.utf8) })
            try await Server.withProcess(.reader, second) { second in
                try await second.line(of: second.first, startingWith: "error addressInUse: \(address)")
                #expect(try await second.ending(of: second.first) == .exited(1))
            }
            #expect(self.identity(server.socket) == before)
            try await server.answer(from: server.first)
            try await server.replace()
        }
    }
}
