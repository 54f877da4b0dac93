// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore
import NIOEmbedded
import Testing

@testable import TableflipNIO

/// A connection that ends while its peer has not read everything.
@Suite struct ClosingTests {
    enum Leaving: CaseIterable {
        case replaced, stopped, handedBack
    }

    enum HalfClose: CaseIterable {
        case none, before, during
    }

    private func leave(_ bench: Bench, _ leaving: Leaving) throws {
        switch leaving {
        case .replaced: try bench.move()
        case .stopped: bench.finish(now: true)
        case .handedBack: bench.finish()
        }
        bench.turn()
    }

    @Test(arguments: Leaving.allCases, HalfClose.allCases)
    func `the last answer is not cut off when the process leaves`(_ leaving: Leaving, _ halfClose: HalfClose) throws {
        let bench = Bench { try $0.movesHTTP1() }
        let client = try bench.connect()
        client.socket.isFull = true
        try client.ask("/now", "Connection: close")
        if halfClose == .before { client.finishSending() }
        try self.leave(bench, leaving)
        bench.linger()
        if halfClose == .during { client.finishSending() }
        bench.linger()
        #expect(client.isOpen, "it has not heard all")
        client.socket.isFull = false
        bench.linger()
        #expect(try client.heard().contains("200 ok"))
        #expect(!client.isOpen)
    }

    @Test(arguments: [false, true])
    func `an application that closes while the process leaves cuts nothing off`(_ halfCloses: Bool) throws {
        let bench = Bench { try $0.movesHTTP1() }
        let client = try bench.connect()
        try client.ask("/a", "Connection: close")
        bench.finish()
        client.socket.isFull = true
        client.answer()
        if halfCloses { client.finishSending() }
        // Twice does not mean at once.
        for _ in 0..<2 { client.channel.close(promise: nil) }
        bench.finish()
        bench.linger()
        #expect(client.isOpen)
        client.socket.isFull = false
        #expect(try client.heard().contains("200 ok"))
        #expect(client.isOpen != halfCloses)
        bench.linger()
        #expect(!client.isOpen)
    }

    @Test func `who has heard all has time to close, whoever else closes meanwhile`() throws {
        let bench = Bench { try $0.movesHTTP1() }
        let client = try bench.connect()
        try client.ask("/now", "Connection: close")
        bench.finish()
        #expect(client.socket.outputEnded && client.isOpen)
        client.channel.close(promise: nil)
        bench.finish()
        bench.turn()
        #expect(client.isOpen)
        client.finishSending()
        #expect(!client.isOpen)
    }

    @Test func `the answer to what a connection brings along to a process that stops says that it is the last`() throws
    {
        let bench = Bench { try $0.movesHTTP1() }
        bench.finish(now: true)
        let client = try bench.connect(unread: "GET /now HTTP/1.1\r\n\r\n")
        bench.linger()
        let heard = try client.heard()
        #expect(heard.contains("200 ok") && heard.contains("connection: close"), "\(heard)")
        #expect(!client.isOpen)
    }

    @Test func `what is asked behind an answer that is still unsent is answered before a stop closes`() throws {
        let bench = Bench { try $0.movesHTTP1() }
        let client = try bench.connect()
        client.socket.isFull = true
        try client.ask("/now")
        bench.finish(now: true)
        try client.ask("/later")
        client.socket.isFull = false
        bench.turn()
        #expect(client.isOpen && client.asked == ["/now", "/later"])
        client.answer()
        bench.linger()
        #expect(try client.heard().ranges(of: "200 ok").count == 2)
        #expect(!client.isOpen)
    }
}
#endif  // NIO
