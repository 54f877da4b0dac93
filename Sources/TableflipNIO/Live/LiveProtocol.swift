// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
public import NIOCore

/// What a protocol tells about one of its connections, so that it can go on in another process.
///
/// A connection can move while nothing of it is inside a decoder and no answer is owed. To be sure of that, what the
/// network brings waits in one place, before the pipeline, and a protocol says how much of it may go down at a time:
/// never past the end of one message. What still waits moves along, so no byte is lost and none is parsed twice.
///
/// There is one object for each connection, used on its event loop only: usually the channel handler that sees each
/// message begin, end and be answered. ``HTTP1`` and ``WebSocketFrames`` are such protocols; a line protocol takes
/// twenty-five lines:
///
/// ```swift
/// final class Lines: ChannelInboundHandler, LiveProtocol {
///     typealias InboundIn = ByteBuffer
///     typealias OutboundOut = ByteBuffer
///     static let name = "lines"
///     private let connection: LiveConnection
///     private var owed = 0
///
///     init(_ connection: LiveConnection) { self.connection = connection }
///
///     var isAtRest: Bool { self.owed == 0 }
///     func portion(of unread: ByteBuffer) -> LivePortion {
///         guard self.owed == 0 else { return .afterAnswer }
///         let line = unread.readableBytesView.firstIndex(of: UInt8(ascii: "\n"))
///         return line.map { .bytes($0 + 1 - unread.readerIndex) } ?? .incomplete
///     }
///     func channelRead(context: ChannelHandlerContext, data: NIOAny) {
///         self.owed += 1
///         context.writeAndFlush(data, promise: nil)                        // its answer, now or later; then:
///         self.owed -= 1
///         self.connection.settled()
///     }
/// }
///
/// let server = try await LiveServer.start(on: listener, of: upgrader) { connection in
///     let lines = Lines(connection)
///     try connection.channel.pipeline.syncOperations.addHandler(lines)
///     connection.moves(as: lines)
/// }
/// ```
public protocol LiveProtocol: AnyObject {
    /// What the successor knows the protocol by: ``LiveConnection/resumed`` has it there. At most 255 bytes.
    static var name: String { get }

    /// How much of what waits may be given to the pipeline now. It is given at once, and ``delivered(_:)`` follows.
    /// - Parameter unread: all that waits; never empty.
    /// - Returns: how much of it.
    func portion(of unread: ByteBuffer) -> LivePortion

    /// The pipeline has been given these bytes, and may have answered already.
    /// - Parameter bytes: what ``portion(of:)`` had said.
    func delivered(_ bytes: ByteBuffer)

    /// Nothing is inside a decoder, no answer is owed, and the connection is not about to end. Asked for only when all
    /// portions have been delivered; ``LiveConnection/settled()`` makes the library ask again.
    var isAtRest: Bool { get }

    /// What else must be remembered: ``LiveConnection/resumed`` has it in the successor. Asked for at rest, just before
    /// the connection moves; at most 255 KiB.
    /// - Returns: the bytes; nil if the connection shall not move, then it is told to ``finish()``.
    func saveState() -> [UInt8]?

    /// The input has ended in the middle of a message, or the connection cannot be understood any more: what comes goes
    /// through as it is, and the connection stays.
    func giveUp()

    /// The connection shall end in this process, at the next moment that loses nothing: nobody takes it over. HTTP/1.1
    /// says `Connection: close` with the next answer. May be called twice.
    func finish()
}

extension LiveProtocol {
    /// Nothing to remember of them.
    public func delivered(_ bytes: ByteBuffer) {}

    /// Nothing else.
    public func saveState() -> [UInt8]? { [] }

    /// Nothing to forget.
    public func giveUp() {}

    /// Nothing to say: it is closed at rest, or by the peer.
    public func finish() {}
}

/// How much of what a connection has read may be used now.
public enum LivePortion: Hashable, Sendable {
    /// So many bytes, at least one: the next message, or a piece of it.
    case bytes(Int)
    /// The beginning of a message, which is not to be used before there is more of it.
    case incomplete
    /// Nothing before what was delivered has been answered. The connection is not read from meanwhile.
    case afterAnswer
}
#endif  // NIO
