// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore
import NIOHTTP1

/// A connection of a client: sends requests, and checks each answer byte for byte.
final class LoadConnection: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private let client: LoadClient
    private let plan: LoadPlan
    private var context: ChannelHandlerContext?
    /// Sent and not answered, the oldest first.
    private var exchanges: CircularBuffer<LoadExchange> = []
    private var answer = Answer()
    private var isOver = false

    private struct Answer {
        var status = HTTPResponseStatus.ok
        var saysClose = false
        /// Of a body that must come back, so much has.
        var length = 0
        var isRight = true
        var text = ""
    }

    init(client: LoadClient, plan: LoadPlan) {
        self.client = client
        self.plan = plan
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    /// All in one go.
    func send(_ batch: [LoadExchange]) {
        self.exchanges.append(contentsOf: batch)
        guard let context else { return self.end(because: "closed before the request") }
        for exchange in batch { self.write(exchange, context) }
        context.flush()
    }

    func close() {
        self.isOver = true
        self.context?.close(promise: nil)
    }

    func check(_ now: NIODeadline) {
        if let oldest = self.exchanges.first, now - oldest.began > self.plan.patience {
            self.end(because: "no answer in time")
        }
    }

    private func write(_ exchange: LoadExchange, _ context: ChannelHandlerContext) {
        var head = HTTPRequestHead(version: .http1_1, method: exchange.body == nil ? .GET : .POST, uri: "/")
        head.headers.add(name: "Host", value: self.plan.host)
        if !self.client.keeps { head.headers.add(name: "Connection", value: "close") }
        if let body = exchange.body {
            head.uri = "/echo"
            if self.plan.mode != .chunked { head.headers.add(name: "Content-Length", value: "\(body.readableBytes)") }
        }
        // A body without a length is sent in chunks by the encoder, one for each part.
        context.write(self.wrapOutboundOut(.head(head)), promise: nil)
        if var body = exchange.body {
            let size = self.plan.mode == .chunked ? max(1, body.readableBytes / 5) : body.readableBytes
            while let part = body.readSlice(length: min(size, body.readableBytes)), part.readableBytes > 0 {
                context.write(self.wrapOutboundOut(.body(.byteBuffer(part))), promise: nil)
            }
        }
        context.write(self.wrapOutboundOut(.end(nil)), promise: nil)
    }

    // MARK: Answers

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.isOver else { return }
        switch self.unwrapInboundIn(data) {
        case .head(let head): self.answer = Answer(status: head.status, saysClose: !head.isKeepAlive)
        case .body(let bytes): self.take(bytes)
        case .end: self.finishAnswer()
        }
    }

    private func take(_ bytes: ByteBuffer) {
        guard let body = self.exchanges.first?.body else {
            if self.answer.text.utf8.count < 64 { self.answer.text += String(buffer: bytes) }
            return
        }
        let start = body.readerIndex + self.answer.length
        self.answer.isRight = self.answer.isRight && body.getSlice(at: start, length: bytes.readableBytes) == bytes
        self.answer.length += bytes.readableBytes
    }

    private func finishAnswer() {
        guard let exchange = self.exchanges.popFirst() else { return self.end(because: "an answer to nothing") }
        var (server, isRight) = (Int32?.none, self.answer.status == .ok)
        if let body = exchange.body {
            isRight = isRight && self.answer.isRight && self.answer.length == body.readableBytes
        } else {
            server = self.answer.text.hasSuffix("\n") ? Int32(self.answer.text.dropLast()) : nil
            isRight = isRight && server != nil
        }
        if isRight {
            self.client.answered(exchange, by: server)
        } else {
            self.client.lost(exchange, self.answer.status == .ok ? "wrong body" : "status \(self.answer.status.code)")
        }
        if self.exchanges.isEmpty {
            self.client.cameToRest(saidClose: self.answer.saysClose)
        } else if self.answer.saysClose {
            self.end(because: Self.wasClosed)
        }
    }

    // MARK: Ends

    static let wasClosed = "closed before the answer"

    func channelInactive(context: ChannelHandlerContext) { self.end(because: Self.wasClosed) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { self.end(because: "\(error)") }

    /// Whatever is under way is lost.
    private func end(because reason: String) {
        guard !self.isOver else { return }
        self.isOver = true
        let lost = self.exchanges
        self.exchanges = []
        for exchange in lost { self.client.lost(exchange, reason) }
        self.context?.close(promise: nil)
        self.client.connectionEnded(whileIdle: lost.isEmpty)
    }
}
#endif  // NIO
