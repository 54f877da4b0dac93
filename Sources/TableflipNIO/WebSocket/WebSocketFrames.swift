// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
public import NIOCore
public import NIOWebSocket

/// WebSocket on a live connection: between two messages it moves with what the application says to remember; else it is
/// closed with the status 1012, service restart (IANA's registry of RFC 6455, 7.4).
///
/// It stands behind the frame decoder and encoder. ``LiveConnection/movesWebSocket(owesAnswer:saving:)`` puts it there.
public final class WebSocketFrames: ChannelDuplexHandler, RemovableChannelHandler, LiveProtocol {
    /// What comes in.
    public typealias InboundIn = WebSocketFrame
    /// What is to go out.
    public typealias OutboundIn = WebSocketFrame
    /// What goes on out.
    public typealias OutboundOut = WebSocketFrame

    /// `websocket`.
    public static let name = "websocket"

    private let connection: LiveConnection
    private let owesAnswer: () -> Bool
    private let save: () -> [UInt8]?
    private var cutter = FrameCutter()
    /// Of what the application sends: a message of several frames is not whole.
    private var isSending = false
    private var saidClose = false
    private var context: ChannelHandlerContext?

    init(
        _ connection: LiveConnection, owesAnswer: @escaping () -> Bool, saving save: @escaping () -> [UInt8]?
    ) {
        self.connection = connection
        self.owesAnswer = owesAnswer
        self.save = save
    }

    // MARK: As a live protocol

    /// One frame after the other; while the process leaves, no new message before the last one has been answered.
    /// - Parameter unread: all that waits.
    /// - Returns: how much of it.
    public func portion(of unread: ByteBuffer) -> LivePortion {
        let portion = self.cutter.portion(of: unread)
        // Else a peer that never pauses would never let it come to rest.
        let mustWait = self.connection.isLeaving && !self.saidClose && self.cutter.isBeforeMessage && self.owesAnswer()
        return mustWait ? .afterAnswer : portion
    }

    /// The decoder has been given these bytes.
    /// - Parameter bytes: the bytes.
    public func delivered(_ bytes: ByteBuffer) { self.cutter.delivered(bytes.readableBytes) }

    /// Between two messages, in both directions, with no answer owed, and before either side has said that it closes.
    public var isAtRest: Bool {
        self.cutter.isAtBoundary && !self.cutter.isInMessage && !self.cutter.sawClose && !self.isSending
            && !self.saidClose && !self.owesAnswer()
    }

    /// What the application says.
    /// - Returns: the bytes; nil: it does not move.
    public func saveState() -> [UInt8]? { self.save() }

    /// Says that the service restarts, when what is owed has been answered and what is being sent is whole; the peer's
    /// answer ends the connection.
    public func finish() {
        guard !self.saidClose, let context else { return }
        // Where nothing is held back it may owe one for ever.
        guard !self.isSending, self.connection.head.stays || !self.owesAnswer() else {
            self.connection.head.whenSettled = { self.finish() }
            return
        }
        self.saidClose = true
        var status = context.channel.allocator.buffer(capacity: 2)
        status.writeInteger(UInt16(1012))
        let frame = WebSocketFrame(fin: true, opcode: .connectionClose, data: status)
        context.writeAndFlush(self.wrapOutboundOut(frame), promise: nil)
    }

    // MARK: As a handler

    /// Can speak from here on.
    /// - Parameter context: where it stands.
    public func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    /// Cannot speak any more.
    /// - Parameter context: where it stood.
    public func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    /// Ends the connection when the peer has answered the farewell.
    /// - Parameters:
    ///   - context: where it stands.
    ///   - data: a frame.
    public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let isFarewell = self.saidClose && self.unwrapInboundIn(data).opcode == .connectionClose
        context.fireChannelRead(data)
        if isFarewell { context.close(promise: nil) }
    }

    /// Notes messages that are not whole, and the application's own farewell.
    /// - Parameters:
    ///   - context: where it stands.
    ///   - data: a frame.
    ///   - promise: for whoever wrote it.
    public func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let frame = self.unwrapOutboundIn(data)
        // Nothing follows a close (RFC 6455, 5.5.1).
        guard !self.saidClose else {
            promise?.fail(ChannelError.outputClosed)
            return
        }
        if frame.opcode == .connectionClose { self.saidClose = true }
        let wasSending = self.isSending
        if !frame.opcode.isControl { self.isSending = !frame.fin }
        context.write(data, promise: promise)
        // What kept it from moving may have been this message.
        if wasSending, !self.isSending { self.connection.settled() }
    }
}

extension WebSocketOpcode {
    fileprivate var isControl: Bool { self == .connectionClose || self == .ping || self == .pong }
}

extension LiveConnection {
    /// Lets a WebSocket connection move between two messages. To be called when the pipeline has the frame encoder and
    /// decoder and before the application's own handlers are added: in the `upgradePipelineHandler` of NIO's upgrader,
    /// before it returns; and, in the process that it moves to, when ``resumed`` says ``WebSocketFrames/name``.
    ///
    /// A message counts as dealt with when the handlers have returned from `channelRead`. Who answers later, from a task
    /// (`NIOAsyncChannel`) or when a database has answered, says so by `owesAnswer`: until then the connection neither
    /// moves nor is closed, and while the process leaves it is given no further message. A handler between this one and
    /// the task can count; it calls ``settled()`` when an answer has been written:
    ///
    /// ```swift
    /// /// Each message is answered by one.
    /// final class Unanswered: ChannelDuplexHandler {
    ///     typealias InboundIn = WebSocketFrame
    ///     typealias InboundOut = WebSocketFrame
    ///     typealias OutboundIn = WebSocketFrame
    ///     typealias OutboundOut = WebSocketFrame
    ///     private let connection: LiveConnection
    ///     private(set) var count = 0
    ///
    ///     init(_ connection: LiveConnection) { self.connection = connection }
    ///
    ///     func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    ///         if self.endsMessage(self.unwrapInboundIn(data)) { self.count += 1 }
    ///         context.fireChannelRead(data)
    ///     }
    ///     func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    ///         context.write(data, promise: promise)
    ///         guard self.endsMessage(self.unwrapOutboundIn(data)) else { return }
    ///         self.count -= 1
    ///         self.connection.settled()
    ///     }
    ///     private func endsMessage(_ frame: WebSocketFrame) -> Bool {
    ///         frame.fin && [.text, .binary, .continuation].contains(frame.opcode)
    ///     }
    /// }
    ///
    /// let unanswered = Unanswered(connection)
    /// try connection.movesWebSocket(owesAnswer: { unanswered.count > 0 }, saving: { [] })
    /// try connection.channel.pipeline.syncOperations.addHandler(unanswered)
    /// return try NIOAsyncChannel<WebSocketFrame, WebSocketFrame>(wrappingChannelSynchronously: connection.channel)
    /// ```
    /// - Parameters:
    ///   - owesAnswer: whether the application has yet to answer what it was given, and will without another message; asked
    ///     on the event loop, often. When it has answered, ``settled()`` is to be called.
    ///   - save: what the application must remember of this connection, at most 255 KiB, asked for just before it moves;
    ///     nil if it shall not move, then it is closed with the status 1012.
    /// - Throws: what NIO throws where the handler cannot be added.
    public func movesWebSocket(
        owesAnswer: @escaping () -> Bool = { false }, saving save: @escaping () -> [UInt8]?
    ) throws {
        let frames = WebSocketFrames(self, owesAnswer: owesAnswer, saving: save)
        try self.channel.pipeline.syncOperations.addHandler(frames)
        self.moves(as: frames)
    }
}
#endif  // NIO
