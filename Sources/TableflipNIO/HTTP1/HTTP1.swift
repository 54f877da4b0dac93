// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
public import NIOCore
public import NIOHTTP1

/// HTTP/1 on a live connection: between two requests it can move; what cannot move is told to end.
///
/// It stands right behind the decoder, where messages are still in the order in which they came and before anything
/// that buffers. ``LiveConnection/movesHTTP1(saving:)`` and ``LiveConnection/drainsHTTP1()`` put it there.
///
/// When the process leaves and the connection cannot move, or nobody takes it, the next answer says
/// `Connection: close` (RFC 9112, 9.6) and the connection is closed behind it, but not before: the peer's next request
/// may be on its way already.
public final class HTTP1: ChannelDuplexHandler, RemovableChannelHandler, LiveProtocol {
    /// What comes in.
    public typealias InboundIn = HTTPServerRequestPart
    /// What goes on in.
    public typealias InboundOut = HTTPServerRequestPart
    /// What is to go out.
    public typealias OutboundIn = HTTPServerResponsePart
    /// What goes on out.
    public typealias OutboundOut = HTTPServerResponsePart

    /// `http/1`.
    public static let name = "http/1"

    private let connection: LiveConnection
    private var cutter: HTTP1Cutter
    private let save: () -> [UInt8]?
    /// More waits behind what the decoder has been given, where nothing is held.
    private var isFollowed = false
    /// Requests that have begun and whose answers have not ended.
    private var owed = 0
    /// The decoder is within one.
    private var isInRequest = false
    /// Either side has said that the connection ends with the present answer. That end must be ours: if the connection
    /// moved before, closing it here would tell the peer nothing. No other request is carried out (RFC 9112, 9.6).
    private var isClosing = false
    /// The present answer is the one that says so. A request that does may stand behind others, which are answered first.
    private var saidClose = false
    /// A request asked for another protocol, or to be connected with somebody else. The decoder reads nothing more behind
    /// it, whatever the answer (NIOHTTP1/HTTPDecoder.swift, `stopParsing`).
    private var asksForUpgrade = false
    /// The latter.
    private var asksForTunnel = false
    private var shallFinish = false
    /// The last answer has been sent: a close cuts nothing off.
    private var isSent = false

    init(_ connection: LiveConnection, drains: Bool, saving save: @escaping () -> [UInt8]? = { [] }) {
        self.connection = connection
        self.save = save
        self.cutter = HTTP1Cutter(holdsHeads: !drains)
        // What it has brought along is answered before anybody says `finish`.
        self.shallFinish = connection.head.endsHere
    }

    // MARK: As a live protocol

    /// Whole requests, and nothing while one is being answered.
    /// - Parameter unread: all that waits.
    /// - Returns: how much of it.
    public func portion(of unread: ByteBuffer) -> LivePortion {
        let mustWait = self.cutter.isAtBoundary && (self.owed > 0 || self.asksForUpgrade)
        guard !mustWait, !self.hasHeardAll else { return .afterAnswer }
        return self.cutter.portion(of: unread)
    }

    /// The decoder has been given these bytes.
    /// - Parameter bytes: the bytes.
    public func delivered(_ bytes: ByteBuffer) {
        self.cutter.delivered(bytes.readableBytes, isBlank: bytes.isLineEnds)
        if self.cutter.isOpaque { self.connection.head.stay() }
    }

    /// Between an answer and the next request.
    public var isAtRest: Bool {
        self.isBetweenRequests && self.owed == 0 && !self.isClosing && !self.asksForUpgrade
    }

    /// Where nothing moves, it is enough to know it of what the decoder has told.
    private var isBetweenRequests: Bool {
        self.cutter.isAtBoundary || self.cutter.isOpaque && !self.isInRequest
    }

    /// What the decoder is given next, where nothing is held.
    func nextPiece(of rest: inout ByteBuffer) -> ByteBuffer? {
        guard rest.readableBytes > 0, !self.hasHeardAll, !self.connection.head.isGone else {
            self.isFollowed = false
            return nil
        }
        var length = rest.readableBytes
        if case .bytes(let count) = self.cutter.portion(of: rest) { length = min(max(count, 1), length) }
        let piece = rest.readSlice(length: length)
        self.isFollowed = !rest.isLineEnds
        return piece
    }

    /// The last request has come.
    private var hasHeardAll: Bool { self.isClosing && !self.isInRequest }

    /// What the application says.
    /// - Returns: the bytes; nil: it does not move.
    public func saveState() -> [UInt8]? { self.save() }

    /// Cuts no more.
    public func giveUp() { self.cutter.giveUp() }

    /// The next answer is the last one, if it has not been given already.
    public func finish() {
        self.shallFinish = true
        self.closeIfSent()
    }

    // MARK: As a handler

    /// Notes where requests begin and end.
    /// - Parameters:
    ///   - context: where it stands.
    ///   - data: a part of a request.
    public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .head(let head):
            // It stood in one piece with the last one.
            guard !self.isClosing else { return }
            self.isInRequest = true
            let body = HTTP1Cutter.Body(
                lengths: head.headers["content-length"], codings: head.headers["transfer-encoding"]
            )
            self.cutter.decodedHead(body)
            self.owed += 1
            if !head.isKeepAlive { self.isClosing = true }
            self.asksForTunnel = head.method == .CONNECT
            self.asksForUpgrade = self.asksForTunnel || head.asksForUpgrade
            context.fireChannelRead(data)
            // Nobody can tell where such a request ends. What the decoder leaves over, it would give to this handler as
            // bytes when it is removed.
            if self.asksForUpgrade, body == .unknown { self.resign(context) }
        case .body: if !self.hasHeardAll { context.fireChannelRead(data) }
        case .end:
            self.cutter.decodedEnd()
            guard !self.hasHeardAll else { return }
            self.isInRequest = false
            context.fireChannelRead(data)
            self.closeIfSent()
        }
    }

    /// What could not be decoded is not understood from here on.
    /// - Parameters:
    ///   - context: where it stands.
    ///   - error: what went wrong.
    public func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.cutter.giveUp()
        // It would be answered.
        if self.hasHeardAll, error is HTTPParserError { return }
        context.fireErrorCaught(error)
    }

    /// Notes where answers end, and says with the last one that it is the last.
    /// - Parameters:
    ///   - context: where it stands.
    ///   - data: a part of an answer.
    ///   - promise: for whoever wrote it.
    public func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch self.unwrapOutboundIn(data) {
        case .head(var head):
            guard head.status != .switchingProtocols, !self.isTunnel(head) else {
                return self.switchProtocols(data, promise, context)
            }
            if head.status.code >= 200 {
                if self.isTheLast { head.headers.replaceOrAdd(name: "Connection", value: "close") }
                if !head.isKeepAlive {
                    self.isClosing = true
                    self.saidClose = true
                }
                return context.write(self.wrapOutboundOut(.head(head)), promise: promise)
            }
            context.write(data, promise: promise)
        case .body: context.write(data, promise: promise)
        case .end: self.endAnswer(data, promise, context)
        }
    }

    /// What follows goes from end to end (RFC 9110, 9.3.6). As the protocol of a connection that was switched it is
    /// nobody's here: it does not move, and ends by itself.
    private func isTunnel(_ head: HTTPResponseHead) -> Bool {
        self.asksForTunnel && self.owed <= 1 && (200..<300).contains(head.status.code)
    }

    /// The answer that begins now shall be the last one on this connection in this process.
    private var isTheLast: Bool {
        // Requests that are here already are answered before.
        guard self.owed <= 1 else { return false }
        if self.asksForUpgrade { return true }
        guard !self.isFollowed, self.connection.head.held?.isLineEnds ?? true else { return false }
        if self.shallFinish { return true }
        // It was to move, and something has come in between.
        return self.connection.isLeaving && (self.cutter.isOpaque || self.connection.head.sawEnd)
    }

    /// The last answer has been given.
    private var hasEnded: Bool { self.isClosing && (self.saidClose || self.owed == 0) }

    private func endAnswer(_ data: NIOAny, _ promise: EventLoopPromise<Void>?, _ context: ChannelHandlerContext) {
        // An answer that nobody asked for is the error handler's, to what was no request.
        self.owed = max(0, self.owed - 1)
        guard self.hasEnded else {
            context.write(data, promise: promise)
            return self.connection.settled()
        }
        let written = context.eventLoop.makePromise(of: Void.self)
        // The application's may be another event loop's.
        written.futureResult.cascade(to: promise)
        written.futureResult.assumeIsolated().whenComplete { _ in
            self.isSent = true
            self.closeIfSent()
        }
        context.write(data, promise: written)
        self.connection.head.saidLastWord()
    }

    /// Most servers close by themselves; those that do not would keep the process until its deadline. Where it stays, the
    /// request is heard to its end: the kernel resets a connection that is closed before, and the answer may be lost.
    private func closeIfSent() {
        guard self.isSent, self.connection.isLeaving || self.asksForUpgrade && !self.isInRequest else { return }
        self.connection.channel.close(promise: nil)
    }

    /// NIO's upgraders write no end behind this head, and build the new pipeline while it is being written. An end that
    /// does follow passes where this handler was.
    private func switchProtocols(
        _ data: NIOAny, _ promise: EventLoopPromise<Void>?, _ context: ChannelHandlerContext
    ) {
        self.cutter.giveUp()
        // What follows is no HTTP/1: that end was none of the connection.
        self.isClosing = false
        self.connection.head.resignProtocol()
        // The flush that follows does not get past a handler that has gone.
        context.writeAndFlush(data, promise: promise)
        context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    }

    /// What follows is no HTTP/1.
    private func resign(_ context: ChannelHandlerContext) {
        self.cutter.giveUp()
        self.connection.head.resignProtocol()
        context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    }
}

extension HTTPRequestHead {
    /// `Upgrade` alone is a word between two hops that this one has not sent for (RFC 9110, 7.8): the decoder passes over
    /// it.
    fileprivate var asksForUpgrade: Bool {
        self.headers.contains(name: "upgrade")
            && self.headers[canonicalForm: "connection"].contains { $0.lowercased() == "upgrade" }
    }
}

extension LiveConnection {
    /// Lets the connection move between two HTTP/1 requests. To be called when its pipeline has the decoder, so after
    /// `configureHTTPServerPipeline`. Not for a connection that is encrypted in this process: see ``drainsHTTP1()``.
    ///
    /// A connection that becomes another protocol's (WebSocket, by an upgrade) stays from then on, unless that protocol
    /// is set with ``moves(as:)``.
    /// - Parameter save: what the application must remember of this connection, such as what a proxy has said at its
    ///   beginning, which is said only once; at most 255 KiB, asked for just before it moves. ``resumed`` has it in the
    ///   process that it moves to. nil if it shall not move, then its next answer is the last: so for as long as that
    ///   proxy has not been heard to the end.
    /// - Throws: what NIO throws where there is no `HTTPRequestDecoder`.
    public func movesHTTP1(saving save: @escaping () -> [UInt8]? = { [] }) throws {
        self.moves(as: try self.addHTTP1(drains: false, saving: save))
    }

    /// Ends the connection politely when the process leaves, and does not move it: for HTTP/1 over TLS, whose keys do
    /// not move. To be called when the pipeline has the decoder.
    /// - Throws: what NIO throws where there is no `HTTPRequestDecoder`.
    public func drainsHTTP1() throws { self.drains(by: try self.addHTTP1(drains: true)) }

    private func addHTTP1(drains: Bool, saving save: @escaping () -> [UInt8]? = { [] }) throws -> HTTP1 {
        let pipeline = self.channel.pipeline.syncOperations
        let decoder = try pipeline.handler(type: ByteToMessageHandler<HTTPRequestDecoder>.self)
        let http = HTTP1(self, drains: drains, saving: save)
        if drains { try pipeline.addHandler(HTTP1Pieces(http), position: .before(decoder)) }
        try pipeline.addHandler(http, position: .after(decoder))
        return http
    }
}
#endif  // NIO
