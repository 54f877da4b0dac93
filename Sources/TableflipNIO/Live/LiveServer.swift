// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Logging
public import NIOCore
public import NIOPosix
import Synchronization
public import Tableflip

/// A server on a listener of the upgrader whose connections live through upgrades.
///
/// ```swift
/// let server = try await LiveServer.start(on: listener, of: upgrader) { connection in
///     try connection.channel.pipeline.syncOperations.configureHTTPServerPipeline()
///     try connection.movesHTTP1()
///     try connection.channel.pipeline.syncOperations.addHandler(Hello())
/// }
/// try await upgrader.ready()      // from here on it accepts
/// try await server.drained()      // replaced or told to stop, and every connection has moved or ended
/// ```
///
/// Nothing is accepted before ``Upgrader/ready()``. When the process is replaced, each connection that speaks a
/// ``LiveProtocol`` moves to the successor at the moment at which nothing of it is under way, and its peer notices
/// nothing. What cannot move is told to end: HTTP/1.1 by `Connection: close` with its next answer, others by NIO's
/// `ChannelShouldQuiesceEvent`. What is left at ``Upgrader/Configuration/drainTimeout`` ends with the process, is counted
/// and logged.
///
/// The same closure builds the pipeline of an accepted connection and of one that came from the predecessor. Child
/// options of a bootstrap would not reach the latter: set them in the closure, with
/// `connection.channel.syncOptions`. A channel that came from the predecessor has no `parent`; timers, counters and
/// whatever else its handlers keep start anew, unless the protocol carries it (``LiveProtocol/saveState()``).
public final class LiveServer: AdoptingReader, LoopReader, PromptAdopter {
    /// The server channel. It ends with ``drained()``.
    public var channel: any Channel { self.gate.channel }
    private let gate: AcceptGate
    let loops: [NIOLoopBoundBox<LoopConnections>]
    private let counts: LiveCounts
    private let upgrader: Upgrader
    private let turn = Atomic<Int>(0)

    private init(
        gate: AcceptGate, loops: [NIOLoopBoundBox<LoopConnections>], counts: LiveCounts, upgrader: Upgrader
    ) {
        self.gate = gate
        self.loops = loops
        self.counts = counts
        self.upgrader = upgrader
    }

    /// Serves on a listener. It begins to accept with ``Upgrader/ready()``.
    /// - Parameters:
    ///   - listener: a stream socket of the upgrader. The server channel gets a duplicate, which it owns and closes.
    ///   - upgrader: where the server registers as a reader.
    ///   - group: the event loops; connections are spread over all of them, also those that come from a predecessor.
    ///   - spread: over how much time those connections are told to end that cannot move; zero: at once.
    ///   - configure: changes the bootstrap, for options of the server channel. What connections need belongs into `setUp`:
    ///     its child options would not reach those that come from a predecessor, and its child initialiser is not used.
    ///   - setUp: builds the pipeline, on the connection's event loop. If it throws, the connection is closed.
    /// - Returns: the server.
    /// - Throws: `UpgradeError` where the listener has been handed on already; else what NIO throws.
    public static func start(
        on listener: Listener, of upgrader: Upgrader, group: MultiThreadedEventLoopGroup = .singleton,
        spread: Duration = .zero, configure: (ServerBootstrap) -> ServerBootstrap = { $0 },
        setUp: @escaping @Sendable (LiveConnection) throws -> Void
    ) async throws -> LiveServer {
        try await self.start(on: listener, of: upgrader, group: group, spread: spread, configure: configure) {
            connection in
            connection.channel.eventLoop.makeCompletedFuture { try setUp(connection) }
        }
    }

    /// As ``start(on:of:group:spread:configure:setUp:)``, for a pipeline that is built in several steps.
    /// - Parameters:
    ///   - listener: a stream socket of the upgrader. The server channel gets a duplicate, which it owns and closes.
    ///   - upgrader: where the server registers as a reader.
    ///   - group: the event loops.
    ///   - spread: over how much time those connections are told to end that cannot move; zero: at once.
    ///   - configure: changes the bootstrap, for options of the server channel.
    ///   - childChannelInitializer: builds the pipeline, on the connection's event loop. If it fails, the connection is
    ///     closed.
    /// - Returns: the server.
    /// - Throws: `UpgradeError` where the listener has been handed on already; else what NIO throws.
    public static func start(
        on listener: Listener, of upgrader: Upgrader, group: MultiThreadedEventLoopGroup = .singleton,
        spread: Duration = .zero, configure: (ServerBootstrap) -> ServerBootstrap = { $0 },
        childChannelInitializer: @escaping @Sendable (LiveConnection) -> EventLoopFuture<Void>
    ) async throws -> LiveServer {
        let counts = LiveCounts()
        let loops = group.makeIterator().map { loop in
            NIOLoopBoundBox.makeBoxSendingValue(
                LoopConnections(
                    loop: loop, listener: listener.name, counts: counts, spread: spread, logger: upgrader.logger,
                    setUp: childChannelInitializer
                ), eventLoop: loop
            )
        }
        let byLoop = Dictionary(uniqueKeysWithValues: loops.map { (ObjectIdentifier($0.eventLoop), $0) })
        let bootstrap = configure(ServerBootstrap(group: group))
            .childChannelInitializer { channel in
                guard let loop = byLoop[ObjectIdentifier(channel.eventLoop)] else {
                    return channel.eventLoop.makeFailedFuture(ForeignEventLoop())
                }
                return loop.value.initialise(channel)
            }
        let gate = try await bootstrap.gate(on: listener, logger: upgrader.logger)
        let server = LiveServer(gate: gate, loops: loops, counts: counts, upgrader: upgrader)
        upgrader.register(server)
        return server
    }

    /// The same for connections that are served by tasks: what `setUp` makes of each, such as a `NIOAsyncChannel`, comes
    /// out of a sequence.
    ///
    /// ```swift
    /// let (server, connections) = try await LiveServer.start(on: listener, of: upgrader) { connection in
    ///     try connection.channel.pipeline.syncOperations.configureHTTPServerPipeline()
    ///     try connection.movesHTTP1()
    ///     return try NIOAsyncChannel<HTTPServerRequestPart, HTTPServerResponsePart>(
    ///         wrappingChannelSynchronously: connection.channel)
    /// }
    /// ```
    ///
    /// The input of a connection that moves ends for its task as if the peer had closed it, at a moment at which no answer
    /// is owed. HTTP/1 counts them; for a WebSocket the pipeline must (``LiveConnection/movesWebSocket(owesAnswer:saving:)``),
    /// or the task may find that it cannot send its answer any more. The sequence ends when the server has drained.
    /// - Parameters:
    ///   - listener: a stream socket of the upgrader. The server channel gets a duplicate, which it owns and closes.
    ///   - upgrader: where the server registers as a reader.
    ///   - group: the event loops.
    ///   - spread: over how much time those connections are told to end that cannot move; zero: at once.
    ///   - configure: changes the bootstrap, for options of the server channel.
    ///   - setUp: builds the pipeline and returns what serves the connection. If it throws, the connection is closed.
    /// - Returns: the server and its connections.
    /// - Throws: `UpgradeError` where the listener has been handed on already; else what NIO throws.
    public static func start<Output: Sendable>(
        on listener: Listener, of upgrader: Upgrader, group: MultiThreadedEventLoopGroup = .singleton,
        spread: Duration = .zero, configure: (ServerBootstrap) -> ServerBootstrap = { $0 },
        setUp: @escaping @Sendable (LiveConnection) throws -> Output
    ) async throws -> (server: LiveServer, connections: AsyncStream<Output>) {
        let (connections, continuation) = AsyncStream.makeStream(of: Output.self)
        let server = try await self.start(
            on: listener, of: upgrader, group: group, spread: spread, configure: configure
        ) { (connection: LiveConnection) throws in
            let output = try setUp(connection)
            // Nobody would serve it: one that a predecessor hands over to a server that has drained.
            if case .terminated = continuation.yield(output) { throw ChannelError.ioOnClosedChannel }
        }
        server.channel.closeFuture.whenComplete { _ in server.whenEnded { continuation.finish() } }
        return (server, connections)
    }

    // MARK: The end

    /// Waits until this process is to leave, and then until every connection has moved to the successor or ended.
    /// Afterwards `main` may return.
    ///
    /// After a stop, connections at rest are closed at once, and the others, and those by which something has come in that
    /// nobody has read yet, when they have been answered. After a rollback they stay until their peers have been told, as
    /// nobody takes them.
    ///
    /// A stop reaches a server when it is asked this. Several are asked at the same time (`async let`), for one that is
    /// asked after another has drained would accept until then. In a `ServiceGroup` a server that returns from this may
    /// be too early for the group: wrap it in `DrainingService` of TableflipServiceLifecycle.
    ///
    /// Whoever cancels the task does not want to wait: the server closes, and its connections are cut.
    /// - Throws: `CancellationError`; what NIO throws when the server channel cannot be closed.
    public func drained() async throws {
        try await withTaskCancellationHandler {
            try await self.drain()
        } onCancel: {
            for loop in self.loops { loop.eventLoop.execute { loop.value.cut() } }
        }
        try Task.checkCancellation()
    }

    private func drain() async throws {
        let reason = await self.upgrader.exit
        if case .stopped = reason, !Task.isCancelled { try await self.acceptRest().get() }
        try await self.gate.close()
        switch reason {
        case .replaced:
            await self.upgrader.drained()
            // Those that came too late for the export, if there are any.
            try await self.finish(now: false)
        case .handedBack: try await self.finish(now: false)
        default: try await self.finish(now: true)
        }
        await self.upgrader.drained()
    }

    private func finish(now: Bool) async throws {
        repeat {
            let endings = self.loops.map { loop in loop.eventLoop.flatSubmit { loop.value.finish(now: now) } }
            for ending in endings { try await ending.get() }
            // While one loop was waited for, the predecessor may have handed connections to another.
        } while self.counts.current.open > 0
    }

    private func whenEnded(_ body: @escaping @Sendable () -> Void) {
        let endings = self.loops.map { loop in loop.eventLoop.flatSubmit { loop.value.emptied() } }
        EventLoopFuture.andAllComplete(endings, on: self.channel.eventLoop).whenComplete { _ in body() }
    }

    // MARK: As a reader

    /// The name of the listener.
    public var listenerName: String? { self.gate.listenerName }

    /// Over all event loops.
    public var connectionCounts: ConnectionCounts { self.counts.current }

    func acceptRest() -> EventLoopFuture<Void> { self.gate.acceptRest() }

    func pausing() -> EventLoopFuture<Void> { self.gate.pausing() }

    func resuming() -> EventLoopFuture<Void> { self.gate.resuming() }

    /// Sends the successor each connection when it is at rest; see ``LiveServer``.
    /// - Parameter successor: where to send them.
    /// - Throws: nothing of its own.
    public func export(to successor: ConnectionExporter) async throws {
        successor.announce(self.counts.current.open)
        let moves = self.loops.map { loop in loop.eventLoop.flatSubmit { loop.value.move(to: successor) } }
        for move in moves { try await move.get() }
    }

    /// Serves connections that came from the predecessor, evenly on all event loops.
    /// - Parameter connections: the connections.
    /// - Throws: nothing of its own; a connection whose pipeline cannot be built is lost, and logged.
    public func adopt(_ connections: [LiveDescriptor]) async throws {
        await withCheckedContinuation { continuation in self.adopt(connections) { continuation.resume() } }
    }

    /// The same at once, on the thread of the caller: a task would be one more thread that must wake up before a
    /// connection is served again.
    package func adopt(_ connections: [LiveDescriptor], then served: @escaping @Sendable () -> Void) {
        var shares = [[LiveDescriptor]](repeating: [], count: self.loops.count)
        let first = self.turn.add(connections.count, ordering: .relaxed).oldValue
        for (number, connection) in connections.enumerated() {
            shares[(first + number) % self.loops.count].append(connection)
        }
        let adoptions = zip(self.loops, shares).filter { !$0.1.isEmpty }.map { loop, share in
            loop.eventLoop.flatSubmit { loop.value.adopt(share) }
        }
        EventLoopFuture.andAllComplete(adoptions, on: self.channel.eventLoop).whenComplete { _ in served() }
    }
}

/// A group was configured other than the one that was given.
private struct ForeignEventLoop: Error, CustomStringConvertible {
    var description: String { "the bootstrap was given event loops of another group" }
}
#endif  // NIO
