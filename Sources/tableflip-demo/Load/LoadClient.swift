// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore
import NIOHTTP1
import NIOPosix

/// Clients that make one request after the other, each on a connection of its own, and count every one: sent or not,
/// answered whole or not. They never try again, so nothing is hidden. All on one event loop.
final class LoadClient {
    private let loop: any EventLoop
    private let host: String
    private let port: Int
    private(set) var report = LoadReport()
    private var servers: Set<Int32> = []
    private var isOver = false
    private var active = 0
    private let finished: EventLoopPromise<Void>

    init(loop: any EventLoop, host: String, port: Int) {
        self.loop = loop
        self.host = host
        self.port = port
        self.finished = loop.makePromise()
    }

    /// Starts so many clients.
    func start(_ clients: Int) {
        self.active = clients
        for _ in 0..<clients { self.next() }
    }

    /// Lets every request that has begun come to its end.
    func stop() -> EventLoopFuture<Void> {
        self.isOver = true
        return self.finished.futureResult
    }

    private func next() {
        guard !self.isOver else {
            self.active -= 1
            if self.active == 0 { self.finished.succeed() }
            return
        }
        self.report.requests += 1
        let began = NIODeadline.now()
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let promise = self.loop.makePromise(of: Int32.self)
        ClientBootstrap(group: self.loop)
            .connectTimeout(.seconds(10))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHTTPClientHandlers()
                    try channel.pipeline.syncOperations.addHandler(
                        OneRequest(promise: promise, host: bound.value.host, patience: .seconds(30))
                    )
                }
            }
            .connect(host: self.host, port: self.port)
            .whenFailure { promise.fail($0) }
        promise.futureResult.whenComplete { result in bound.value.ended(result, began) }
    }

    private func ended(_ result: Result<Int32, any Error>, _ began: NIODeadline) {
        switch result {
        case .success(let server):
            let milliseconds = Double((NIODeadline.now() - began).nanoseconds) / 1e6
            self.report.maxMilliseconds = max(self.report.maxMilliseconds, milliseconds)
            if self.servers.insert(server).inserted { self.report.servers.append(server) }
        case .failure(let error):
            self.report.lost += 1
            self.report.failures["\(error)", default: 0] += 1
        }
        self.next()
    }
}

/// Sends `GET /`, and takes in one answer.
private final class OneRequest: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    enum Failure: Error {
        case status(UInt)
        case closedBeforeTheEnd
        case noAnswerInTime
    }

    private var promise: EventLoopPromise<Int32>?
    private let host: String
    private let patience: TimeAmount
    private var body = ""
    private var status = HTTPResponseStatus.ok
    private var timer: Scheduled<Void>?

    init(promise: EventLoopPromise<Int32>, host: String, patience: TimeAmount) {
        self.promise = promise
        self.host = host
        self.patience = patience
    }

    func channelActive(context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        self.timer = context.eventLoop.scheduleTask(in: self.patience) {
            let (handler, context) = bound.value
            handler.end(.failure(Failure.noAnswerInTime), context)
        }
        let headers: HTTPHeaders = ["Host": self.host, "Connection": "close"]
        context.write(
            self.wrapOutboundOut(.head(.init(version: .http1_1, method: .GET, uri: "/", headers: headers))),
            promise: nil
        )
        context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .head(let head): self.status = head.status
        case .body(let bytes): self.body += String(buffer: bytes)
        case .end:
            guard self.status == .ok, let server = Int32(self.body.prefix { $0.isNumber }) else {
                return self.end(.failure(Failure.status(self.status.code)), context)
            }
            self.end(.success(server), context)
        }
    }

    func channelInactive(context: ChannelHandlerContext) { self.end(.failure(Failure.closedBeforeTheEnd), context) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { self.end(.failure(error), context) }

    private func end(_ result: Result<Int32, any Error>, _ context: ChannelHandlerContext) {
        guard let promise = self.promise else { return }
        self.promise = nil
        self.timer?.cancel()
        promise.completeWith(result)
        context.close(promise: nil)
    }
}
#endif  // NIO
