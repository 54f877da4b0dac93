// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Logging
import NIOCore
import NIOHTTP1
import NIOHTTP2
import NIOPosix
import NIOSSL
import NIOTLS
import Tableflip
import TableflipNIO

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// HTTP/1.1 and HTTP/2 over TLS. SIGHUP upgrades it. Connections stay with the process that has their keys, and are
/// brought to their end: HTTP/1.1 says `Connection: close` with its next answer, HTTP/2 sends two GOAWAY frames, with a
/// round trip between them in which the client may still open streams (RFC 9113, 6.8). Clients come back to the new
/// process, and no request is lost.
@main
struct TLSHTTP2 {
    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 5, let address = SocketAddress("tcp://" + arguments[1]) else {
            let usage = "usage: tls-http2 HOST:PORT PID-FILE CERTIFICATE.pem KEY.pem\n"
            write(2, usage, usage.utf8.count)
            exit(64)  // EX_USAGE, sysexits.h
        }
        let logger = Logger(label: "tls-http2") { StreamLogHandler.standardError(label: $0) }
        let upgrader = try Upgrader(configuration: .init(pidFile: arguments[2]), logger: logger)
        let listener = try upgrader.listen(on: address)
        var tls = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMFile(arguments[3]).map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(file: arguments[4], format: .pem))
        )
        tls.applicationProtocols = NIOHTTP2SupportedALPNProtocols
        let context = try NIOSSLContext(configuration: tls)

        let server = try await LiveServer.start(on: listener, of: upgrader) { connection in
            let bound = NIOLoopBound(connection, eventLoop: connection.channel.eventLoop)
            let negotiation = ApplicationProtocolNegotiationHandler { result, channel in
                channel.eventLoop.makeCompletedFuture {
                    if case .negotiated("h2") = result {
                        try self.setUpHTTP2(bound.value)
                    } else {
                        try self.setUpHTTP1(bound.value)
                    }
                }
            }
            let handlers: [any ChannelHandler] = [NIOSSLServerHandler(context: context), negotiation]
            try connection.channel.pipeline.syncOperations.addHandlers(handlers)
        }
        try await upgrader.ready()
        logger.info("listening", metadata: ["port": "\(listener.port ?? 0)", "generation": "\(upgrader.generation)"])
        try await server.drained()
    }

    private static func setUpHTTP1(_ connection: LiveConnection) throws {
        try connection.channel.pipeline.syncOperations.configureHTTPServerPipeline()
        try connection.drainsHTTP1()
        try connection.channel.pipeline.syncOperations.addHandler(Hello())
    }

    private static func setUpHTTP2(_ connection: LiveConnection) throws {
        let channel = connection.channel
        let loop = channel.eventLoop
        // It answers NIO's `ChannelShouldQuiesceEvent` with those frames. Without it nobody would: a
        // HTTP/2 connection would stay until the drain's deadline.
        let ending = NIOHTTP2ServerConnectionManagementHandler(
            eventLoop: loop, configuration: .init(maxIdleTime: nil, maxAge: nil, maxGraceTime: nil, keepalive: nil)
        )
        let http2 = NIOHTTP2Handler(
            mode: .server, eventLoop: loop, connectionConfiguration: .init(), streamConfiguration: .init(),
            streamDelegate: ending.http2StreamDelegate
        ) { stream in
            stream.eventLoop.makeCompletedFuture {
                try stream.pipeline.syncOperations.addHandlers([HTTP2FramePayloadToHTTP1ServerCodec(), Hello()])
            }
        }
        // The library's first: NIO's HTTP/2 refuses what it is asked while its first GOAWAY is on the way.
        try channel.pipeline.syncOperations.addHandlers([HTTP2Farewell(), http2, ending])
        // Also if it leaves already: that may have begun during the handshake.
        connection.drainsByQuiescing()
    }
}
