// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Logging
public import NIOCore
public import Tableflip
import TableflipSystem

/// Opens and shuts the accepting of connections on a NIO server channel without dropping any.
///
/// Closing a server channel under load resets connections that were accepted and whose initialiser is still running,
/// and a debug build of NIO stops when another process accepts the connection that it was woken for. So the gate lets
/// only one of two processes accept at a time, and counts every accepted channel until its initialiser has completed:
/// ``pause()`` returns when there are none.
///
/// It is made by `ServerBootstrap.bind(to:of:)`, or by ``install(on:for:of:)`` where something else makes the channel, and
/// registered with the upgrader.
public final class AcceptGate: SocketReader, LoopReader {
    /// The server channel. To be closed with ``close()``.
    public let channel: any Channel
    private let listener: Listener
    private let state: NIOLoopBound<State>
    private static let backoff = TimeAmount.milliseconds(100)
    private static let rest = TimeAmount.milliseconds(100)

    /// On the channel's event loop only.
    private final class State {
        var isOpen = false
        /// Accepted and not yet through their initialisers.
        private(set) var initialising = 0
        var whenEmpty: EventLoopPromise<Void>?
        /// What sets connections up may say nothing of one that it fails at, as NIO's asynchronous bootstraps do
        /// (NIOCore/AsyncChannel/AsyncChannelHandler.swift): then its end tells.
        let watchesEnds: Bool
        private var numbers: [ObjectIdentifier: Int] = [:]
        private var accepted = 0

        init(watchesEnds: Bool) { self.watchesEnds = watchesEnds }

        /// To be called on the server channel's event loop.
        func countIn(_ channel: any Channel, _ loop: any EventLoop) {
            self.initialising += 1
            guard self.watchesEnds else { return }
            self.accepted += 1
            let (id, number) = (ObjectIdentifier(channel), self.accepted)
            self.numbers[id] = number
            channel.closeFuture.hop(to: loop).assumeIsolated().whenComplete { _ in
                // The next one may have its place in memory.
                guard self.numbers[id] == number else { return }
                self.numbers[id] = nil
                self.countOut()
            }
        }

        /// It is with its handlers.
        func countOut(_ channel: any Channel) {
            let isCounted = !self.watchesEnds || self.numbers.removeValue(forKey: ObjectIdentifier(channel)) != nil
            guard isCounted else { return }
            self.countOut()
        }

        func countOut() {
            self.initialising -= 1
            if self.initialising == 0 { self.ended() }
        }

        /// Nothing passes any more.
        func ended() {
            self.whenEmpty.take()?.succeed()
        }
    }

    /// Puts a gate before a server channel that a framework makes of a duplicate of the listener's descriptor, and registers
    /// it with the upgrader: for those that hand out the channel as they bind it. gRPC Swift does
    /// (grpc-swift-nio-transport 2.6):
    ///
    /// ```swift
    /// config.channelDebuggingCallbacks.onBindTCPListener = { channel in
    ///     channel.eventLoop.makeCompletedFuture {
    ///         _ = try AcceptGate.install(on: channel, for: listener, of: upgrader)
    ///     }
    /// }
    /// let transport = HTTP2ServerTransport.Posix(
    ///     listeningSocketDescriptor: Int(try listener.duplicate().release()), transportSecurity: .plaintext, config: config)
    /// ```
    ///
    /// To be called on the channel's event loop, in the `serverChannelInitializer` of its bootstrap or later with `autoRead`
    /// off from the beginning; and before ``Upgrader/ready()``, so wait until the framework has bound. From then on the
    /// channel accepts only when the upgrader lets it, whoever reads, and its queue is as long as the listener asks for. The
    /// connections are the framework's: none moves. When ``Upgrader/exit`` has its value, ``pause()`` first, then let the
    /// framework end in its own way, which closes the channel and with it the duplicate. For one that does not,
    /// ``close()`` does both.
    /// - Parameters:
    ///   - channel: the server channel.
    ///   - listener: what it accepts from.
    ///   - upgrader: where the gate registers as a reader.
    /// - Returns: the gate. The upgrader keeps it.
    /// - Throws: what NIO throws where the channel has been closed; `UpgradeError` where its queue cannot be made longer.
    public static func install(
        on channel: any Channel, for listener: Listener, of upgrader: Upgrader
    ) throws -> AcceptGate {
        try channel.syncOptions?.setOption(.autoRead, value: false)
        let gate = try AcceptGate(channel: channel, listener: listener, logger: upgrader.logger, watchesEnds: true)
        upgrader.register(gate)
        return gate
    }

    /// Takes a channel that does not read yet, on its event loop.
    init(channel: any Channel, listener: Listener, logger: Logger, watchesEnds: Bool = false) throws {
        let state = State(watchesEnds: watchesEnds)
        self.channel = channel
        self.listener = listener
        self.state = NIOLoopBound(state, eventLoop: channel.eventLoop)
        let entry = Entry(state: state)
        // When accept(2) fails for want of descriptors it fails again at once, and for as long as they are wanting. The
        // pause goes behind the entry: its later read passes there as well.
        let pause = AcceptBackoffHandler { _ in Self.backoff }
        try channel.pipeline.syncOperations.addHandlers([entry, pause], position: .first)
        let exit = Exit(state: state, entry: entry)
        if channel.isActive {
            try channel.pipeline.syncOperations.addHandler(exit, position: .last)
        } else {
            // The bootstrap has yet to add what sets connections up.
            entry.exit = exit
        }
        try listener.restoreBacklog()
        let name = listener.name
        channel.closeFuture.assumeIsolated().whenComplete { _ in
            state.ended()
            guard state.isOpen else { return }
            // NIO does so when accept(2) fails as it should not (NIOPosix/SocketChannel.swift, `shouldCloseOnReadError`).
            logger.error(
                "the server channel has closed, and not by its gate: this process accepts nothing more",
                metadata: ["listener": "\(name)"]
            )
        }
    }

    /// The name of the listener that it accepts from.
    public var listenerName: String? { self.listener.name }

    /// Succeeds when every connection accepted before is with its handlers. A channel that has ended, by an error say,
    /// accepts nothing anyway; the process that comes next accepts by its own.
    func pausing() -> EventLoopFuture<Void> {
        self.channel.eventLoop.flatSubmit {
            self.state.value.isOpen = false
            guard self.channel.isActive else { return self.channel.eventLoop.makeSucceededVoidFuture() }
            return self.channel.setOption(.autoRead, value: false).flatMap {
                let state = self.state.value
                guard state.initialising > 0 else { return self.channel.eventLoop.makeSucceededVoidFuture() }
                let promise = state.whenEmpty ?? self.channel.eventLoop.makePromise()
                state.whenEmpty = promise
                return promise.futureResult
            }
        }
    }

    func resuming() -> EventLoopFuture<Void> {
        self.channel.eventLoop.flatSubmit {
            self.state.value.isOpen = true
            return self.channel.setOption(.autoRead, value: true)
        }
    }

    /// Pauses, then closes the server channel. Connections that wait in the accept queue stay for the other process that
    /// holds the socket; without one they end.
    public func close() async throws {
        try await self.pause()
        do { try await self.channel.close().get() } catch ChannelError.alreadyClosed {}
    }

    /// Accepts what has come by now and waits in the queue: without another process that holds the socket, closing it resets
    /// those. Not for long: on a busy machine there is always one more.
    func acceptRest() -> EventLoopFuture<Void> {
        self.channel.eventLoop.flatSubmit {
            let promise = self.channel.eventLoop.makePromise(of: Void.self)
            self.acceptRest(until: .now() + Self.rest, promise)
            return promise.futureResult
        }
    }

    private func acceptRest(until deadline: NIODeadline, _ done: EventLoopPromise<Void>) {
        guard self.state.value.isOpen, self.channel.isActive, self.hasWaiting, NIODeadline.now() < deadline else {
            return done.succeed()
        }
        // A timer lets the loop look at its sockets; a task would not.
        self.channel.eventLoop.scheduleTask(in: .microseconds(20)) { self.acceptRest(until: deadline, done) }
    }

    private var hasWaiting: Bool { self.channel.pipeline.socketAnswers(DescriptorFacts.hasWaiting) }

    /// First in the pipeline, nearest to the socket.
    private final class Entry: ChannelDuplexHandler {
        typealias InboundIn = any Channel
        typealias InboundOut = any Channel
        typealias OutboundIn = Never

        private let state: State
        /// Whether an error passes that never was a channel: accept(2) itself failed, for want of descriptors say.
        fileprivate var passesError = false

        /// To be added when the channel is active, and before it reads.
        fileprivate var exit: Exit?

        init(state: State) { self.state = state }

        func channelActive(context: ChannelHandlerContext) {
            do {
                if let exit = self.exit.take() {
                    try context.pipeline.syncOperations.addHandler(exit, position: .last)
                }
                context.fireChannelActive()
            } catch {
                context.fireErrorCaught(error)
                context.close(promise: nil)
            }
        }

        func read(context: ChannelHandlerContext) {
            // autoRead alone does not hold back a handler that reads by itself.
            if self.state.isOpen { context.read() }
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.state.countIn(self.unwrapInboundIn(data), context.eventLoop)
            context.fireChannelRead(data)
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            self.passesError = true
            context.fireErrorCaught(error)
            self.passesError = false
        }
    }

    /// Last in the pipeline: an accepted channel passes once its initialiser has succeeded, an error once it has not.
    private final class Exit: ChannelInboundHandler {
        typealias InboundIn = any Channel
        typealias InboundOut = any Channel

        private let state: State
        private let entry: Entry

        init(state: State, entry: Entry) {
            self.state = state
            self.entry = entry
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            context.fireChannelRead(data)
            self.state.countOut(self.unwrapInboundIn(data))
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            if !self.entry.passesError, !self.state.watchesEnds { self.state.countOut() }
            context.fireErrorCaught(error)
        }
    }
}
#endif  // NIO
