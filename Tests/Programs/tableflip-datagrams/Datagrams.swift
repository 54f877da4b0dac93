// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Logging
import NIOCore
import NIOPosix
import Synchronization
import Tableflip
import TableflipNIO

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A datagram server on NIO that tests start and upgrade. It answers each datagram with the same, a line feed, and its
/// process id; what begins with `late` only when it has been replaced. It says what happens as `tableflip-probe` does.
@main
struct Datagrams {
    static func main() async {
        do {
            try await self.serve()
        } catch {
            self.say(0, "error \(error)")
            exit(1)
        }
    }

    static func say(_ generation: Int, _ words: String) {
        let line = Array("\(getpid()) \(generation) \(words)\n".utf8)
        // One write: lines of several generations share the pipe and must not mix (pipe(7), PIPE_BUF).
        _ = write(1, line, line.count)
    }

    private static func value(of flag: String) -> String? {
        let index = CommandLine.arguments.firstIndex(of: flag).map { $0 + 1 }
        return index.flatMap { $0 < CommandLine.arguments.count ? CommandLine.arguments[$0] : nil }
    }

    private static func serve() async throws {
        // Long enough that a busy machine does not matter.
        let configuration = Upgrader.Configuration(
            pidFile: self.value(of: "--pid-file"), upgradeTimeout: .seconds(60), drainTimeout: .seconds(20),
            pauseTimeout: .seconds(10)
        )
        let logger = Logger(label: "datagrams") { StreamLogHandler.standardError(label: $0) }
        let upgrader = try Upgrader(configuration: configuration, logger: logger)
        let generation = upgrader.generation
        let events = upgrader.events
        let watching = Task {
            for await event in events {
                let code = event.error.map { " \($0.code)" } ?? ""
                self.say(event.generation, "event \(event.phase) \(event.peer)\(code)")
            }
        }
        guard let address = self.value(of: "--listen").flatMap({ SocketAddress($0) }) else { exit(64) }
        let listener = try upgrader.listen(on: address)
        self.say(generation, "listening \(listener.name) \(listener.port ?? 0) \(listener.isInherited)")
        if CommandLine.arguments.contains("--task") {
            try await self.serveInTask(listener, upgrader)
        } else {
            try await self.serveInHandler(listener, upgrader)
        }
        watching.cancel()
        await watching.value  // what was said until now is still told
        self.say(generation, "done")
    }

    private static func serveInHandler(_ listener: Listener, _ upgrader: Upgrader) async throws {
        let echo = NIOLoopBoundBox.makeBoxSendingValue(Echo(generation: upgrader.generation), eventLoop: self.loop)
        let gate = try await DatagramBootstrap(group: self.loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(echo.value) }
            }
            .bind(to: listener, of: upgrader)
        try await upgrader.ready()
        self.say(upgrader.generation, "serving")
        _ = await upgrader.exit
        try await self.loop.submit { echo.value.answerTheLate() }.get()
        try await gate.close()
    }

    private static let loop = MultiThreadedEventLoopGroup.singleton.next()

    private static func serveInTask(_ listener: Listener, _ upgrader: Upgrader) async throws {
        typealias Envelopes = NIOAsyncChannel<AddressedEnvelope<ByteBuffer>, AddressedEnvelope<ByteBuffer>>
        let (gate, envelopes) = try await DatagramBootstrap(group: self.loop).bind(to: listener, of: upgrader) {
            channel in
            channel.eventLoop.makeCompletedFuture { try Envelopes(wrappingChannelSynchronously: channel) }
        }
        let generation = upgrader.generation
        async let serving: Void = envelopes.executeThenClose { inbound, outbound in
            var late: [AddressedEnvelope<ByteBuffer>] = []
            for try await envelope in inbound {
                if Echo.isLate(envelope, generation) {
                    late.append(envelope)
                } else {
                    try await outbound.write(Echo.answer(to: envelope))
                }
            }
            for envelope in late { try await outbound.write(Echo.answer(to: envelope)) }
        }
        try await upgrader.ready()
        self.say(generation, "serving")
        _ = await upgrader.exit
        try await gate.endInput()
        try await serving
    }
}

private final class Echo: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>
    typealias OutboundOut = AddressedEnvelope<ByteBuffer>

    private let generation: Int
    private var late: [AddressedEnvelope<ByteBuffer>] = []
    private var context: ChannelHandlerContext?

    init(generation: Int) { self.generation = generation }

    static func isLate(_ envelope: AddressedEnvelope<ByteBuffer>, _ generation: Int) -> Bool {
        guard envelope.data.readableBytesView.starts(with: "late".utf8) else { return false }
        Datagrams.say(generation, "holds \(String(buffer: envelope.data))")
        return true
    }

    static func answer(to envelope: AddressedEnvelope<ByteBuffer>) -> AddressedEnvelope<ByteBuffer> {
        var answer = envelope
        answer.data.writeString("\n\(getpid())")
        return answer
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }
    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = self.unwrapInboundIn(data)
        if Self.isLate(envelope, self.generation) {
            self.late.append(envelope)
        } else {
            context.writeAndFlush(self.wrapOutboundOut(Self.answer(to: envelope)), promise: nil)
        }
    }

    func answerTheLate() {
        for envelope in self.late {
            self.context?.writeAndFlush(self.wrapOutboundOut(Self.answer(to: envelope)), promise: nil)
        }
    }
}
#else
@main
struct Datagrams {
    static func main() {}
}
#endif  // NIO
