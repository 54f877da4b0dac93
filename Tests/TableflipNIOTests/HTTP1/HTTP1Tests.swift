// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Tableflip
import Testing

@testable import TableflipNIO

/// When an answer is the last one.
@Suite struct HTTP1Tests {
    private static let closes = "connection: close"

    @Test func `a request that wants the end does not end what was asked before it`() throws {
        let bench = Bench { try $0.drainsHTTP1() }
        let client = try bench.connect()
        try client.send("GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\nConnection: close\r\n\r\n")
        bench.finish()
        client.answer()
        bench.linger()
        #expect(try !client.heard().contains(Self.closes))
        #expect(client.isOpen && client.asked == ["/a", "/b"])
        client.answer()
        bench.linger()
        #expect(try client.heard().contains(Self.closes))
        #expect(!client.isOpen)
    }

    @Test func `a request for another protocol does not end what was asked before it`() throws {
        let bench = Bench { try $0.drainsHTTP1() }
        let client = try bench.connect()
        try client.send("GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n")
        client.answer()
        #expect(try !client.heard().contains(Self.closes))
        #expect(client.isOpen && client.asked == ["/a", "/b"])
        client.answer()
        bench.linger()
        #expect(try client.heard().contains(Self.closes))
        #expect(!client.isOpen)
    }
}
#endif  // NIO
