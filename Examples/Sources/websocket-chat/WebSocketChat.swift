// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOWebSocket
import Tableflip
import TableflipNIO

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A chat over WebSocket: what one client says is sent to all. SIGHUP upgrades it, and the clients stay connected.
@main
struct WebSocketChat {
    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 3, let address = SocketAddress("tcp://" + arguments[1]) else {
            let usage = "usage: websocket-chat HOST:PORT PID-FILE\n"
            write(2, usage, usage.utf8.count)
            exit(64)  // EX_USAGE, sysexits.h
        }
        let logger = Logger(label: "websocket-chat") { StreamLogHandler.standardError(label: $0) }
        let upgrader = try Upgrader(configuration: .init(pidFile: arguments[2]), logger: logger)
        let listener = try upgrader.listen(on: address)
        let log = try Log(of: upgrader)
        let server = try await LiveServer.start(on: listener, of: upgrader) { connection in
            if let resumed = connection.resumed, resumed.protocolName == WebSocketFrames.name {
                try self.resume(connection, at: resumed.state, log)
            } else {
                try self.accept(connection, log)
            }
        }
        try await upgrader.ready()
        logger.info("listening", metadata: ["port": "\(listener.port ?? 0)", "generation": "\(upgrader.generation)"])
        try await server.drained()
    }

    /// A connection begins as HTTP/1.1, also one that moves before it has asked for more.
    private static func accept(_ connection: LiveConnection, _ log: Log) throws {
        let refusal = NoChat()
        let bound = NIOLoopBound((connection, refusal), eventLoop: connection.channel.eventLoop)
        let place = NIOLoopBoundBox(0, eventLoop: connection.channel.eventLoop)
        let upgrade = NIOWebSocketServerUpgrader(
            shouldUpgrade: { channel, _ in
                // From before the answer on: whoever has it hears everything.
                place.value = log.end
                return channel.eventLoop.makeSucceededFuture([:])
            },
            upgradePipelineHandler: { channel, _ in
                channel.eventLoop.makeCompletedFuture { try self.join(bound.value.0, at: place.value, log) }
            }
        )
        try connection.channel.pipeline.syncOperations.configureHTTPServerPipeline(
            withServerUpgrade: (
                upgraders: [upgrade],
                completionHandler: { $0.pipeline.syncOperations.removeHandler(bound.value.1, promise: nil) }
            )
        )
        try connection.movesHTTP1()
        try connection.channel.pipeline.syncOperations.addHandler(refusal)
    }

    private static func resume(_ connection: LiveConnection, at state: [UInt8], _ log: Log) throws {
        try connection.channel.pipeline.syncOperations.addHandlers([
            WebSocketFrameEncoder(), ByteToMessageHandler(WebSocketFrameDecoder(maxFrameSize: 1 << 14)),
            WebSocketProtocolErrorHandler(),
        ])
        try self.join(connection, at: Int(String(decoding: state, as: UTF8.self)) ?? log.end, log)
    }

    private static func join(_ connection: LiveConnection, at place: Int, _ log: Log) throws {
        let client = ChatClient(log: log, place: place)
        try connection.movesWebSocket(saving: { Array("\(client.place)".utf8) })
        // Messages may come in pieces. One that has begun keeps the connection here until it is whole.
        let pieces = NIOWebSocketFrameAggregator(
            minNonFinalFragmentSize: 0, maxAccumulatedFrameCount: 1024, maxAccumulatedFrameSize: 1 << 14)
        try connection.channel.pipeline.syncOperations.addHandlers([pieces, client])
    }
}

/// Answers whoever does not ask for a WebSocket.
private final class NoChat: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private var keepsAlive = true

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .head(let request): self.keepsAlive = request.isKeepAlive
        case .body: break
        case .end: self.refuse(context)
        }
    }

    private func refuse(_ context: ChannelHandlerContext) {
        var headers: HTTPHeaders = ["Upgrade": "websocket", "Content-Length": "0"]
        if !self.keepsAlive { headers.add(name: "Connection", value: "close") }
        let head = HTTPResponseHead(version: .http1_1, status: .upgradeRequired, headers: headers)
        context.write(self.wrapOutboundOut(.head(head)), promise: nil)
        let written = context.writeAndFlush(self.wrapOutboundOut(.end(nil)))
        guard !self.keepsAlive else { return }
        // NIO leaves this to the program.
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        written.whenComplete { _ in bound.value.close(promise: nil) }
    }
}
