// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Foundation
import NIOCore
import NIOHTTP1

/// Answers the requests of one connection.
final class HTTPHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private static let pid = "\(getpid())\n"
    private static let chunk = 16 * 1024

    private var head: HTTPRequestHead?
    private var isEchoing = false
    /// The response that is being written is the last one.
    private var closes = false
    /// The client has said all that it has to say, and still listens.
    private var sawEnd = false
    /// The end of the response before this moment, as far as there was one.
    private var written: EventLoopFuture<Void>?

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            self.isEchoing = head.method == .POST && head.uri == "/echo"
            if self.isEchoing { self.begin(context, length: head.headers.first(name: "content-length")) }
        case .body(let bytes):
            if self.isEchoing { context.writeAndFlush(self.wrapOutboundOut(.body(.byteBuffer(bytes))), promise: nil) }
        case .end:
            guard let head = self.head else { return }
            if self.isEchoing { self.end(context) } else { self.answer(head, context) }
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event as? ChannelEvent == .inputClosed {
            self.sawEnd = true
            if self.head == nil { self.close(context) }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func answer(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        guard let url = URLComponents(string: head.uri) else { return self.refuse(.badRequest, context) }
        let parts = url.path.split(separator: "/")
        guard head.method == .GET else { return self.refuse(.methodNotAllowed, context) }
        switch parts.first {
        case nil: self.answer(Self.pid, context)
        case "delay":
            guard parts.count == 2, let delay = Duration(words: String(parts[1])) else {
                return self.refuse(.badRequest, context)
            }
            let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
            context.eventLoop.scheduleTask(in: TimeAmount(delay)) {
                let (handler, context) = bound.value
                handler.answer(Self.pid, context)
            }
        case "bytes":
            let over = url.queryItems?.first { $0.name == "over" }?.value
            guard parts.count == 2, let count = Int(parts[1]), count >= 0, count <= 1 << 34,
                let time = over.map({ Duration(words: $0) }) ?? .zero
            else { return self.refuse(.badRequest, context) }
            self.begin(context, length: nil)
            self.send(count, over: time, context)
        default: self.refuse(.notFound, context)
        }
    }

    /// `count` bytes in pieces, evenly over a time. The next piece waits until the one before has been written.
    private func send(_ count: Int, over time: Duration, _ context: ChannelHandlerContext) {
        guard count > 0, context.channel.isActive else { return self.end(context) }
        let size = min(count, Self.chunk)
        let pieces = (count + Self.chunk - 1) / Self.chunk
        let pause = time / pieces
        let buffer = context.channel.allocator.buffer(repeating: UInt8(ascii: "x"), count: size)
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        context.writeAndFlush(self.wrapOutboundOut(.body(.byteBuffer(buffer)))).whenSuccess {
            let (handler, context) = bound.value
            guard pause > .zero else { return handler.send(count - size, over: .zero, context) }
            context.eventLoop.scheduleTask(in: TimeAmount(pause)) {
                let (handler, context) = bound.value
                handler.send(count - size, over: time - pause, context)
            }
        }
    }

    private func refuse(_ status: HTTPResponseStatus, _ context: ChannelHandlerContext) {
        self.answer("\(status)\n", status: status, context)
    }

    private func answer(_ text: String, status: HTTPResponseStatus = .ok, _ context: ChannelHandlerContext) {
        self.begin(context, status: status, length: "\(text.utf8.count)")
        let buffer = context.channel.allocator.buffer(string: text)
        // What follows the head of an answer to HEAD would be taken for the next answer.
        if self.head?.method != .HEAD { context.write(self.wrapOutboundOut(.body(.byteBuffer(buffer))), promise: nil) }
        self.end(context)
    }

    private func begin(_ context: ChannelHandlerContext, status: HTTPResponseStatus = .ok, length: String?) {
        guard let head = self.head else { return }
        var headers = HTTPHeaders()
        self.closes = !head.isKeepAlive
        if let length {
            headers.add(name: "Content-Length", value: length)
        } else if head.version == .http1_1 {
            headers.add(name: "Transfer-Encoding", value: "chunked")
        } else {
            // It knows no other end (RFC 9112, 6.1 and 6.3).
            self.closes = true
        }
        if self.closes {
            headers.add(name: "Connection", value: "close")
        } else if head.version == .http1_0 {
            headers.add(name: "Connection", value: "keep-alive")
        }
        context.write(
            self.wrapOutboundOut(.head(HTTPResponseHead(version: head.version, status: status, headers: headers))),
            promise: nil
        )
    }

    private func end(_ context: ChannelHandlerContext) {
        self.head = nil
        self.written = context.writeAndFlush(self.wrapOutboundOut(.end(nil)))
        if self.closes || self.sawEnd { self.close(context) }
    }

    /// Behind everything that was written.
    private func close(_ context: ChannelHandlerContext) {
        guard let written else { return context.close(promise: nil) }
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        written.whenComplete { _ in bound.value.close(promise: nil) }
    }
}

extension TimeAmount {
    fileprivate init(_ duration: Duration) { self = .nanoseconds(Int64(duration.milliseconds * 1e6)) }
}
#endif  // NIO
