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

/// A HTTP/1.1 server with a task for each connection. SIGHUP upgrades it: between two requests a connection moves to the
/// new process, and its client notices nothing.
@main
struct HTTPAsync {
    typealias Connection = NIOAsyncChannel<HTTPServerRequestPart, HTTPServerResponsePart>

    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 3, let address = SocketAddress("tcp://" + arguments[1]) else {
            let usage = "usage: http-async HOST:PORT PID-FILE\n"
            write(2, usage, usage.utf8.count)
            exit(64)  // EX_USAGE, sysexits.h
        }
        let logger = Logger(label: "http-async") { StreamLogHandler.standardError(label: $0) }
        let upgrader = try Upgrader(configuration: .init(pidFile: arguments[2]), logger: logger)
        let listener = try upgrader.listen(on: address)
        // The same closure for a connection that was accepted and for one that came from the predecessor.
        let (server, connections) = try await LiveServer.start(on: listener, of: upgrader) { connection in
            try connection.channel.pipeline.syncOperations.configureHTTPServerPipeline()
            try connection.movesHTTP1()
            return try Connection(wrappingChannelSynchronously: connection.channel)
        }
        try await upgrader.ready()
        logger.info("listening", metadata: ["port": "\(listener.port ?? 0)", "generation": "\(upgrader.generation)"])

        try await withThrowingDiscardingTaskGroup { group in
            group.addTask { try await server.drained() }
            // Ends when every connection has moved or ended.
            for await connection in connections {
                group.addTask {
                    do {
                        try await self.serve(connection)
                    } catch {
                        logger.debug("a connection ended: \(error)")
                    }
                }
            }
        }
    }

    /// Answers with the process id. The loop ends when either side closes the connection, or when it moves.
    private static func serve(_ connection: Connection) async throws {
        try await connection.executeThenClose { inbound, outbound in
            var request: HTTPRequestHead?
            for try await part in inbound {
                if case .head(let head) = part { request = head }
                guard case .end = part, let request else { continue }
                let body = ByteBuffer(string: "\(getpid())\n")
                var head = HTTPResponseHead(version: request.version, status: .ok)
                head.headers.add(name: "Content-Length", value: "\(body.readableBytes)")
                if !request.isKeepAlive {
                    head.headers.add(name: "Connection", value: "close")
                } else if request.version == .http1_0 {
                    head.headers.add(name: "Connection", value: "keep-alive")
                }
                try await outbound.write(.head(head))
                try await outbound.write(.body(.byteBuffer(body)))
                try await outbound.write(.end(nil))
                // NIO leaves this to the program.
                if !request.isKeepAlive { return }
            }
        }
    }
}
