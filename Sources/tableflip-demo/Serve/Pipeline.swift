// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore
import NIOHTTP1
import NIOWebSocket
import TableflipNIO

/// What a connection of the server is made of: HTTP/1, and on `/ws` WebSocket. Both move.
enum Pipeline {
    static func setUp(_ connection: LiveConnection, moves: Bool) throws {
        let channel = connection.channel
        try channel.syncOptions?.setOption(.allowRemoteHalfClosure, value: true)
        // A Unix or vsock connection has no such option, and no need of it.
        try? channel.syncOptions?.setOption(.tcpOption(.tcp_nodelay), value: 1)
        if connection.resumed?.protocolName == WebSocketFrames.name {
            try self.resumeWebSocket(connection)
        } else {
            try self.setUpHTTP(connection, moves: moves)
        }
    }

    /// The same HTTP without the library's handlers, for comparison.
    static func setUpBare(_ channel: any Channel) -> EventLoopFuture<Void> {
        channel.eventLoop.makeCompletedFuture {
            try channel.syncOptions?.setOption(.allowRemoteHalfClosure, value: true)
            try channel.syncOptions?.setOption(.tcpOption(.tcp_nodelay), value: 1)
            try channel.pipeline.syncOperations.configureHTTPServerPipeline()
            try channel.pipeline.syncOperations.addHandler(HTTPHandler())
        }
    }

    private static func setUpHTTP(_ connection: LiveConnection, moves: Bool) throws {
        let pipeline = connection.channel.pipeline.syncOperations
        let http = HTTPHandler()
        let bound = NIOLoopBound((connection, http), eventLoop: connection.channel.eventLoop)
        let upgrader = NIOWebSocketServerUpgrader(
            shouldUpgrade: { channel, head in
                channel.eventLoop.makeSucceededFuture(head.uri == "/ws" ? HTTPHeaders() : nil)
            },
            upgradePipelineHandler: { channel, _ in
                channel.eventLoop.makeCompletedFuture { try self.addEcho(bound.value.0) }
            }
        )
        try pipeline.configureHTTPServerPipeline(
            withServerUpgrade: (
                upgraders: [upgrader],
                completionHandler: { context in
                    context.pipeline.syncOperations.removeHandler(bound.value.1, promise: nil)
                }
            )
        )
        if moves { try connection.movesHTTP1() } else { try connection.drainsHTTP1() }
        try pipeline.addHandler(http)
    }

    private static func resumeWebSocket(_ connection: LiveConnection) throws {
        let pipeline = connection.channel.pipeline.syncOperations
        try pipeline.addHandler(WebSocketFrameEncoder())
        try pipeline.addHandler(ByteToMessageHandler(WebSocketFrameDecoder(maxFrameSize: 1 << 20)))
        try self.addEcho(connection)
    }

    private static func addEcho(_ connection: LiveConnection) throws {
        let echo = WebSocketEcho()
        try connection.movesWebSocket(saving: { [] })
        try connection.channel.pipeline.syncOperations.addHandler(echo)
    }
}
#endif  // NIO
