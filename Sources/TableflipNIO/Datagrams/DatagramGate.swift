// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
public import NIOCore
public import Tableflip

/// Opens and shuts the reading of a datagram channel without losing what was read or written.
///
/// Two processes that read from one socket would split its datagrams between them. So the gate lets only one of them
/// read at a time; what arrives in between waits in the socket's buffer (`SO_RCVBUF`, socket(7)), which both share.
/// Replies may be sent at any time, also by a process that has been replaced.
///
/// It is made by `DatagramBootstrap.bind(to:of:)`, which registers it with the upgrader.
public final class DatagramGate: SocketReader, LoopReader {
    /// The datagram channel. Closing it loses nothing that was written to it before: what the socket has no room for is
    /// sent first.
    public let channel: any Channel
    private let listener: Listener
    private let entry: NIOLoopBound<Entry>

    /// Takes a channel that has just been registered and whose autoRead is off, on its event loop.
    init(channel: any Channel, listener: Listener) throws {
        let entry = Entry()
        self.channel = channel
        self.listener = listener
        self.entry = NIOLoopBound(entry, eventLoop: channel.eventLoop)
        try channel.pipeline.syncOperations.addHandler(entry, position: .first)
        try Self.withdrawRead(from: channel)
    }

    /// A handler may have asked to read, with autoRead off. Switching autoRead off, and nothing else, withdraws that
    /// (NIOPosix/BaseSocketChannel.swift, `pauseRead0`).
    private static func withdrawRead(from channel: any Channel) throws {
        for autoRead in [true, false] { try channel.syncOptions?.setOption(.autoRead, value: autoRead) }
    }

    /// The name of the socket that it reads from.
    public var listenerName: String? { self.listener.name }

    /// A channel that has ended, by an error say, reads nothing anyway.
    func pausing() -> EventLoopFuture<Void> {
        self.channel.eventLoop.submit {
            self.entry.value.isOpen = false
            if self.channel.isActive { try Self.withdrawRead(from: self.channel) }
        }
    }

    func resuming() -> EventLoopFuture<Void> {
        self.channel.eventLoop.flatSubmit {
            self.entry.value.isOpen = true
            return self.channel.setOption(.autoRead, value: true)
        }
    }

    /// Reads no more, and tells the handlers so by `ChannelEvent.inputClosed`: the inbound sequence of a
    /// `NIOAsyncChannel` ends behind what was read, and its task can answer that before it closes the channel.
    /// - Throws: what NIO throws when the channel cannot be told.
    public func endInput() async throws {
        try await self.pause()
        self.channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
    }

    /// Reads no more, and closes the channel when everything that was written to it has been sent. Datagrams that wait
    /// in the socket stay for the other process that holds it; without one they are lost.
    /// - Throws: what NIO throws when the channel cannot be closed.
    public func close() async throws {
        try await self.pause()
        do { try await self.channel.close().get() } catch ChannelError.alreadyClosed {}
    }

    /// First in the pipeline, nearest to the socket.
    private final class Entry: ChannelOutboundHandler {
        typealias OutboundIn = Any
        typealias OutboundOut = Any

        var isOpen = false
        /// Datagrams are sent in the order in which they were written.
        private var lastWrite: EventLoopFuture<Void>?

        func read(context: ChannelHandlerContext) {
            // autoRead alone does not hold back a handler that reads by itself.
            if self.isOpen { context.read() }
        }

        func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
            let written = context.eventLoop.makePromise(of: Void.self)
            // The application's may be another event loop's.
            written.futureResult.cascade(to: promise)
            self.lastWrite = written.futureResult
            context.write(data, promise: written)
        }

        func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
            guard mode != .input, let lastWrite else { return context.close(mode: mode, promise: promise) }
            // Closing throws away what the socket had no room for yet.
            context.flush()
            lastWrite.assumeIsolated().whenComplete { _ in context.close(mode: mode, promise: promise) }
        }
    }
}
#endif  // NIO
