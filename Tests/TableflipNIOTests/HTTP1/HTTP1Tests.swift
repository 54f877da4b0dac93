// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Logging
import NIOCore
import NIOEmbedded
import NIOHTTP1
import NIOPosix
import Tableflip
import Testing

@testable import TableflipNIO

/// When an answer is the last one, and when a connection is closed.
@Suite struct HTTP1Tests {
    private static let closes = "connection: close"

    // MARK: The last answer

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

    @Test func `a connection that was taken back says with its first answer that it is the last`() throws {
        let bench = Bench { try $0.movesHTTP1() }
        bench.finish()
        let client = try bench.connect(unread: "GET /now HTTP/1.1\r\n\r\n", isTakenBack: true)
        bench.linger()
        #expect(client.asked == ["/now"])
        #expect(try client.heard().contains(Self.closes))
        #expect(!client.isOpen)
    }

    @Test func `all that a connection has brought back is answered before its end`() throws {
        let bench = Bench { try $0.movesHTTP1() }
        bench.finish()
        let request = "GET /now HTTP/1.1\r\n\r\n"
        let client = try bench.connect(unread: request + request + request, isTakenBack: true)
        bench.linger()
        let heard = try client.heard()
        #expect(heard.components("http/1.1 200 ok") == 3)
        #expect(heard.components(Self.closes) == 1)
        #expect(!client.isOpen)
    }

    @Test func `of requests that came together the last one's answer says that it is the last`() throws {
        let bench = Bench { try $0.drainsHTTP1() }
        let client = try bench.connect()
        bench.finish()
        let request = "GET /now HTTP/1.1\r\n\r\n"
        try client.send(request + request + request)
        let heard = try client.heard()
        #expect(heard.components("http/1.1 200 ok") == 3)
        #expect(heard.components(Self.closes) == 1)
        bench.linger()
        #expect(!client.isOpen)
    }

    @Test func `where the application lets a connection go nowhere, what has been asked is answered`() throws {
        let bench = Bench { try $0.movesHTTP1(saving: { nil }) }
        let client = try bench.connect()
        try client.send("GET /a HTTP/1.1\r\n\r\n")
        try bench.move()
        let request = "GET /now HTTP/1.1\r\n\r\n"
        try client.send(request + request)
        client.answer()
        bench.linger()
        let heard = try client.heard()
        #expect(heard.components("http/1.1 200 ok") == 3)
        #expect(heard.components(Self.closes) == 1)
        #expect(!client.isOpen)
    }

    // MARK: Before the first request

    @Test func `what a connection has brought along waits until its pipeline is whole`() throws {
        let loop = EmbeddedEventLoop()
        let looksUp = loop.makePromise(of: Void.self)
        let connections = LoopConnections(
            loop: loop, listener: "web", counts: LiveCounts(), spread: .zero,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        ) { [isFound = looksUp.futureResult] connection in
            let channel = connection.channel
            return channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                try connection.movesHTTP1()
            }.flatMap { isFound }.flatMapThrowing { try channel.pipeline.syncOperations.addHandler(Heads()) }
        }
        let channel = EmbeddedChannel(loop: loop)
        let isWhole = connections.initialise(channel, unread: Array("GET /x HTTP/1.1\r\n\r\n".utf8))
        loop.run()
        looksUp.succeed()
        loop.run()
        try isWhole.wait()
        channel.connect(to: try .init(unixDomainSocketPath: "/client"), promise: nil)
        loop.run()
        #expect(try channel.pipeline.syncOperations.handler(type: Heads.self).asked == ["/x"])
    }

    private final class Heads: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart

        private(set) var asked: [String] = []

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            if case .head(let head) = self.unwrapInboundIn(data) { self.asked.append(head.uri) }
        }
    }

    // MARK: Behind the last answer

    @Test func `an early answer to a request that asks for another protocol does not cut the request off`() throws {
        let bench = Bench { try $0.movesHTTP1() }
        let client = try bench.connect()
        try client.send(
            "POST /big HTTP/1.1\r\nUpgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 10\r\n\r\n123")
        client.answer(.unauthorized)
        #expect(try client.heard().contains(Self.closes))
        #expect(client.isOpen, "the rest of it would make the kernel reset the connection")
        try client.send("4567890")
        #expect(!client.isOpen)
    }

    @Test(arguments: ["GET /b HTTP/1.1\r\n\r\n", "N0T A REQUEST\r\n\r\n"], [false, true])
    func `no request is carried out behind the answer that was the last`(_ next: String, _ drains: Bool) throws {
        let bench = Bench { if drains { try $0.drainsHTTP1() } else { try $0.movesHTTP1() } }
        let client = try bench.connect()
        try client.ask("/a")
        bench.finish()
        client.socket.isFull = true
        client.answer()
        try client.send(next)
        client.socket.isFull = false
        bench.linger()
        let heard = try client.heard()
        #expect(client.asked == ["/a"])
        #expect(heard.components("http/1.1") == 1 && heard.contains(Self.closes))
        #expect(!client.isOpen)
    }

    @Test(arguments: ["Content-Length: 3", "Transfer-Encoding: gzip, chunked"])
    func `no request is carried out behind the one whose answer came early and was the last`(_ body: String) throws {
        let bench = Bench { try $0.drainsHTTP1() }
        let client = try bench.connect()
        let isChunked = body.contains("chunked")
        try client.send("POST /a HTTP/1.1\r\n\(body)\r\n\r\n")
        bench.finish()
        client.socket.isFull = true
        client.answer()
        try client.send((isChunked ? "0\r\n\r\n" : "abc") + "GET /now HTTP/1.1\r\n\r\n")
        client.socket.isFull = false
        bench.linger()
        #expect(client.asked == ["/a"])
        #expect(try client.heard().components("http/1.1") == 1)
        #expect(!client.isOpen)
    }

    @Test(arguments: [false, true], [false, true])
    func `the end of the input is seen behind what is not carried out any more`(_ drains: Bool, _ early: Bool) throws {
        let bench = Bench { if drains { try $0.drainsHTTP1() } else { try $0.movesHTTP1() } }
        let client = try bench.connect()
        try client.ask("/a", "Connection: close")
        if !early { client.answer() }
        try client.ask("/b")
        #expect(!client.sawEnd)
        client.finishSending()
        if early { client.answer() }
        #expect(client.sawEnd)
        #expect(client.asked == ["/a"])
        #expect(try client.heard().components("http/1.1") == 1)
    }

    /// Only the end tells where its body ends, and nobody could tell that to the peer if the connection moved.
    @Test func `an answer of HTTP 1.0 that does not say that the connection stays is the last`() throws {
        let bench = Bench { try $0.movesHTTP1() }
        let client = try bench.connect()
        try client.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        client.answer(version: .http1_0)
        #expect(client.isOpen && !client.head.couldMove)
        try bench.move()
        bench.linger()
        #expect(!client.isOpen)
    }

    // MARK: At rest

    /// Some old clients send one behind a body.
    @Test(arguments: [false, true])
    func `an empty line is no request that is on its way`(_ drains: Bool) throws {
        let bench = Bench { if drains { try $0.drainsHTTP1() } else { try $0.movesHTTP1() } }
        let (idle, busy) = (try bench.connect(), try bench.connect())
        try idle.send("POST /now HTTP/1.1\r\nContent-Length: 1\r\n\r\nx\r\n")
        try busy.send("POST /later HTTP/1.1\r\nContent-Length: 1\r\n\r\nx\r\n")
        #expect(!idle.head.isHolding)
        bench.finish(now: true)
        #expect(!idle.isOpen)
        busy.answer()
        #expect(try busy.heard().contains(Self.closes))
        bench.linger()
        #expect(!busy.isOpen)
    }

    @Test(
        arguments: ["", "GET /now HTTP/1.1\r\n\r\n", "POST /now HTTP/1.1\r\nContent-Length: 2\r\n\r\nab"],
        [false, true])
    func `a request of which a stop finds the beginning is answered`(_ before: String, _ drains: Bool) throws {
        let bench = Bench { if drains { try $0.drainsHTTP1() } else { try $0.movesHTTP1() } }
        let client = try bench.connect()
        try client.send(before + "GET /now HT")
        _ = try client.heard()
        bench.finish(now: true)
        bench.linger()
        #expect(client.isOpen)
        guard client.isOpen else { return }
        try client.send("TP/1.1\r\n\r\n")
        #expect(try client.heard().contains(Self.closes))
        bench.linger()
        #expect(!client.isOpen)
    }

    @Test(arguments: [false, true])
    func `a stop closes a connection at once just where no request has begun`(_ drains: Bool) throws {
        let requests = [
            "GET /now HTTP/1.1\r\n\r\n", "POST /now HTTP/1.1\r\nContent-Length: 2\r\n\r\nab",
            "POST /now HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        ]
        let ends = (0...3).map { requests[..<$0].joined().utf8.count }
        let all = Array(requests.joined().utf8)
        for cut in 0...all.count {
            let bench = Bench { if drains { try $0.drainsHTTP1() } else { try $0.movesHTTP1() } }
            let client = try bench.connect()
            if cut > 0 { try client.send(String(decoding: all[..<cut], as: UTF8.self)) }
            bench.finish(now: true)
            #expect(client.isOpen != ends.contains(cut), "cut at \(cut)")
        }
    }

    /// The decoder knows more codings.
    @Test(arguments: [false, true])
    func `a connection whose messages cannot be followed ends at rest like any other`(_ drains: Bool) throws {
        let bench = Bench { if drains { try $0.drainsHTTP1() } else { try $0.movesHTTP1() } }
        let (idle, busy) = (try bench.connect(), try bench.connect())
        let rest = " HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
        try idle.send("POST /now" + rest)
        try busy.send("POST /later" + rest)
        #expect(idle.asked == ["/now"] && !idle.head.couldMove)
        bench.finish(now: true)
        #expect(!idle.isOpen)
        #expect(busy.isOpen)
        busy.answer()
        bench.linger()
        #expect(try busy.heard().contains(Self.closes))
        #expect(!busy.isOpen)
    }

    // MARK: Promises

    /// A proxy writes what comes on one connection, and on its event loop, to another.
    @Test func `the last answer may be written with a promise of another event loop`() async throws {
        let promise = MultiThreadedEventLoopGroup.singleton.next().makePromise(of: Void.self)
        try self.answerLast(promise)
        try await promise.futureResult.get()
    }

    private func answerLast(_ promise: EventLoopPromise<Void>) throws {
        let bench = Bench { try $0.movesHTTP1() }
        let client = try bench.connect()
        try client.ask("/a", "Connection: close")
        bench.finish()
        client.answer(promise: promise)
        bench.linger()
        #expect(try client.heard().contains("200 ok"))
        #expect(!client.isOpen)
    }

    // MARK: An application that does not close

    @Test(arguments: [false, true])
    func `what has said that it ends is closed when the process leaves, if nobody has closed it`(_ now: Bool) throws {
        let bench = Bench { try $0.movesHTTP1() }
        let (open, over) = (try bench.connect(), try bench.connect())
        try open.ask("/now")
        try over.ask("/now", "Connection: close")
        // That is the application's affair.
        #expect(over.isOpen)
        bench.finish(now: now)
        bench.linger()
        #expect(!over.isOpen)
        #expect(open.isOpen != now)
    }

    @Test func `what has said that it ends is closed when the others move`() throws {
        let bench = Bench { try $0.movesHTTP1() }
        let (busy, over) = (try bench.connect(), try bench.connect())
        try over.ask("/now", "Connection: close")
        try busy.ask("/later", "Connection: close")
        try bench.move()
        bench.linger()
        #expect(!over.isOpen)
        #expect(busy.isOpen)
        busy.answer()
        bench.linger()
        #expect(try busy.heard().contains("200 ok"))
        #expect(!busy.isOpen)
    }

    // MARK: Other protocols

    @Test(arguments: [["Upgrade: h2c"], ["Upgrade: h2c", "Connection: keep-alive"]])
    func `a word of another protocol that the decoder passes over costs nothing`(_ headers: [String]) throws {
        let bench = Bench { try $0.movesHTTP1() }
        let client = try bench.connect()
        for _ in 0..<2 {
            try client.send("GET /now HTTP/1.1\r\n" + headers.map { $0 + "\r\n" }.joined() + "\r\n")
            #expect(try !client.heard().contains(Self.closes))
        }
        #expect(client.isOpen && client.asked == ["/now", "/now"])
        #expect(client.head.couldMove)
    }

    @Test func `a request for another protocol that is answered in this one is the last`() throws {
        let bench = Bench { try $0.movesHTTP1() }
        let client = try bench.connect()
        try client.ask("/now", "Upgrade: h2c", "Connection: HTTP2-Settings, upgrade")
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

    @Test func `a tunnel stays open, and what goes through it is not held`() throws {
        let bench = Bench { try $0.movesHTTP1() }
        let client = try bench.connect()
        try client.send("CONNECT a:1 HTTP/1.1\r\n\r\n")
        client.answer(.accepted)
        // As whoever builds a tunnel does. It would close the connection when the process leaves.
        let pipelining = try client.channel.pipeline.syncOperations.context(handlerType: HTTPServerPipelineHandler.self)
        client.channel.pipeline.syncOperations.removeHandler(context: pipelining, promise: nil)
        #expect(try !client.heard().contains(Self.closes))
        try client.send("\u{16}\u{3}\u{1}")
        bench.linger()
        #expect(client.isOpen && !client.head.isHolding && !client.head.couldMove)
        bench.finish()
        bench.linger()
        #expect(client.isOpen, "it ends by itself")
    }

    @Test(arguments: ["HTTP/1.0", "HTTP/1.1\r\nConnection: close"])
    func `what goes through a tunnel comes through, whatever its request said of the end`(_ request: String) throws {
        let bench = Bench { try $0.drainsHTTP1() }
        let client = try bench.connect()
        try client.send("CONNECT a:1 \(request)\r\n\r\n")
        client.answer(.accepted)
        let tunnel = Tunnel()
        let pipeline = client.channel.pipeline.syncOperations
        try pipeline.addHandler(tunnel, position: .after(try pipeline.handler(type: HTTP1Pieces.self)))
        try client.send("\u{16}\u{3}\u{1}")
        #expect(tunnel.heard == "\u{16}\u{3}\u{1}")
    }

    /// Keeps what it is given.
    private final class Tunnel: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        private(set) var heard = ""

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.heard += String(buffer: self.unwrapInboundIn(data))
        }
    }

    @Test func `a tunnel that is refused ends with the answer`() throws {
        let bench = Bench { try $0.movesHTTP1() }
        let client = try bench.connect()
        try client.send("CONNECT a:1 HTTP/1.1\r\n\r\n")
        client.answer(.forbidden)
        bench.linger()
        #expect(try client.heard().contains(Self.closes))
        #expect(!client.isOpen)
    }
}

extension String {
    /// How often something stands in it.
    fileprivate func components(_ part: String) -> Int { self.ranges(of: part).count }
}
#endif  // NIO
