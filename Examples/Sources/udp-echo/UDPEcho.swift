// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Logging
import NIOCore
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

/// A datagram server on SwiftNIO that sends everything back. SIGHUP upgrades it: between two processes that share a
/// socket only one reads, so no datagram is lost or answered twice.
@main
struct UDPEcho {
    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 3, let address = SocketAddress("udp://" + arguments[1]) else {
            let usage = "usage: udp-echo HOST:PORT PID-FILE\n"
            write(2, usage, usage.utf8.count)
            exit(64)  // EX_USAGE, sysexits.h
        }
        let logger = Logger(label: "udp-echo") { StreamLogHandler.standardError(label: $0) }
        let upgrader = try Upgrader(configuration: .init(pidFile: arguments[2]), logger: logger)
        let socket = try upgrader.listen(on: address)
        let gate = try await DatagramBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Echo()) }
            }
            .bind(to: socket, of: upgrader)
        try await upgrader.ready()
        logger.info("listening", metadata: ["port": "\(socket.port ?? 0)", "generation": "\(upgrader.generation)"])

        _ = await upgrader.exit
        // Everything that was read has been answered, and everything that was written is sent before it closes.
        try await gate.close()
    }
}

private final class Echo: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>
    typealias OutboundOut = AddressedEnvelope<ByteBuffer>

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        context.writeAndFlush(self.wrapOutboundOut(self.unwrapInboundIn(data)), promise: nil)
    }
}
