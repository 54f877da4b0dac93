// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
public import NIOCore
public import NIOWebSocket

/// WebSocket on a live connection: between two messages it moves with what the application says to remember; else it is
/// closed with the status 1012, service restart (IANA's registry of RFC 6455, 7.4).
///
/// It stands behind the frame decoder and encoder. ``LiveConnection/movesWebSocket(saving:)`` puts it there.
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
    private let save: () -> [UInt8]?
    private var cutter = FrameCutter()
    /// Of what the application sends: a message of several frames is not whole.
    private var isSending = false
    private var saidClose = false
    private var context: ChannelHandlerContext?

    init(_ connection: LiveConnection, saving save: @escaping () -> [UInt8]?) {
        self.connection = connection
        self.save = save
    }

    // MARK: As a live protocol

    /// One frame after the other.
    /// - Parameter unread: all that waits.
    /// - Returns: how much of it.
    public func portion(of unread: ByteBuffer) -> LivePortion { self.cutter.portion(of: unread) }

    /// The decoder has been given these bytes.
    /// - Parameter bytes: the bytes.
    public func delivered(_ bytes: ByteBuffer) { self.cutter.delivered(bytes.readableBytes) }

    /// Between two messages, in both directions, and before either side has said that it closes.
    public var isAtRest: Bool {
        self.cutter.isAtBoundary && !self.cutter.isInMessage && !self.cutter.sawClose && !self.isSending
            && !self.saidClose
    }

    /// What the application says.
    /// - Returns: the bytes; nil: it does not move.
    public func saveState() -> [UInt8]? { self.save() }

    /// Says that the service restarts; the peer's answer ends the connection.
    public func finish() {
        guard !self.saidClose, let context else { return }
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
    /// - Parameter save: what the application must remember of this connection, at most 255 KiB, asked for just before it
    ///   moves; nil if it shall not move, then it is closed with the status 1012.
    /// - Throws: what NIO throws where the handler cannot be added.
    public func movesWebSocket(saving save: @escaping () -> [UInt8]?) throws {
        let frames = WebSocketFrames(self, saving: save)
        try self.channel.pipeline.syncOperations.addHandler(frames)
        self.moves(as: frames)
    }
}
#endif  // NIO
