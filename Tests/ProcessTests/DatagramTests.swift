// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

/// A datagram server on NIO, by handlers and by tasks.
@Suite(.fewAtATime, .timeLimit(.minutes(15)))
struct DatagramTests {
    static let variants = [
        Variant(name: "handlers", program: "tableflip-datagrams", transport: .udp),
        Variant(name: "a task", program: "tableflip-datagrams", arguments: ["--task"], transport: .udp),
    ]

    @Test(arguments: variants)
    func `Through twenty upgrades each datagram is answered, and once`(_ variant: Variant) async throws {
        try await Server.with(variant) { server in
            let client = try DatagramClient(port: try await Self.port(of: server))
            for _ in 0..<20 { try await server.replace() }
            let result = try await client.finish()
            #expect(result.failures == [])
            #expect(result.unanswered == [], "of \(result.sent)")
            #expect(result.answeredTwice == [], "of \(result.sent)")
            #expect(result.sent > 20 && result.processes.count > 1, "\(result.sent) by \(result.processes)")
        }
    }

    @Test(arguments: variants)
    func `What was read before the handover is answered after it, by the process that read it`(
        _ variant: Variant
    ) async throws {
        try await Server.with(variant) { server in
            let old = server.current
            let socket = try DatagramClient.connect(try await Self.port(of: server))
            defer { close(socket) }
            let question = Array("late".utf8)
            try #require(send(socket, question, question.count, 0) == question.count)
            try await server.line(of: old, startingWith: "holds late")
            try await server.replace()
            // It has been sent by now: the old process is gone. To arrive it may take a moment.
            try #require(try await onItsOwnThread { isReadable(socket) })
            var bytes = [UInt8](repeating: 0, count: 64)
            let count = recv(socket, &bytes, bytes.count, CInt(MSG_DONTWAIT))
            try #require(count > 0)
            #expect(String(decoding: bytes[..<count], as: UTF8.self) == "late\n\(old)")
        }
    }

    private static func port(of server: Server) async throws -> UInt16 {
        let line = try await server.line(of: server.first, startingWith: "listening")
        return try #require(line.words.split(separator: " ").dropFirst(2).first.flatMap { UInt16($0) })
    }
}
