// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import Tableflip
import TableflipNIO

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// What `../main.go` does with net/http and tableflip: answers each request with the process id, and SIGHUP replaces it.
@main
struct Server {
    static func main() async throws {
        guard CommandLine.arguments.count == 3, CommandLine.arguments[1] == "--pid-file" else {
            fatalError("usage: latency-server --pid-file PATH")
        }
        let upgrader = try Upgrader(
            configuration: .init(pidFile: CommandLine.arguments[2]),
            logger: Logger(label: "latency-server") { _ in SwiftLogNoOpLogHandler() }
        )
        let listener = try upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0))
        let server = try await LiveServer.start(on: listener, of: upgrader) { connection in
            // As net/http does.
            try connection.channel.syncOptions?.setOption(.tcpOption(.tcp_nodelay), value: 1)
            try connection.channel.pipeline.syncOperations.configureHTTPServerPipeline()
            try connection.movesHTTP1()
            try connection.channel.pipeline.syncOperations.addHandler(Hello())
        }
        let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        if upgrader.hasPredecessor { try await server.warmUp(with: Array(request.utf8)) }
        try await upgrader.ready()
        let line = Array("127.0.0.1:\(listener.port ?? 0)\n".utf8)
        _ = write(1, line, line.count)
        try await server.drained()
    }
}

private final class Hello: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private static let body = ByteBuffer(string: "\(getpid())\n")
    private var closes = false

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .head(let head): self.closes = !head.isKeepAlive
        case .body: break
        case .end:
            var head = HTTPResponseHead(version: .http1_1, status: .ok)
            head.headers.add(name: "Content-Length", value: "\(Self.body.readableBytes)")
            if self.closes { head.headers.add(name: "Connection", value: "close") }
            context.write(self.wrapOutboundOut(.head(head)), promise: nil)
            context.write(self.wrapOutboundOut(.body(.byteBuffer(Self.body))), promise: nil)
            let written = context.writeAndFlush(self.wrapOutboundOut(.end(nil)))
            guard self.closes else { return }
            let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
            written.whenComplete { _ in bound.value.close(promise: nil) }
        }
    }
}
