// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
public import NIOCore

/// Lets no stream be refused when a HTTP/2 connection is brought to its end. It stands right before `NIOHTTP2Handler`:
///
/// ```swift
/// try channel.pipeline.syncOperations.addHandlers([HTTP2Farewell(), http2, connectionManagement])
/// connection.drainsByQuiescing()
/// ```
///
/// A server says goodbye in two steps (RFC 9113, 6.8): a GOAWAY that excludes no stream, and after a round trip another
/// one that names the last. Streams that a client opens in between are to be served. `NIOHTTP2Handler`, up to 1.46 at
/// least, refuses every stream from its first GOAWAY on. A refused stream may be repeated, but not every client does. So
/// this handler keeps NIO's `ChannelShouldQuiesceEvent` back, itself sends the first GOAWAY and a PING, and passes the
/// event on when the client has acknowledged: it has seen the GOAWAY by then, and everything that it had asked before has
/// been handed on. What NIO sends after that repeats the first step, which is allowed, and then names the last stream.
///
/// A client that has not said anything yet (its TLS handshake has only just ended) is let speak first: it has connected
/// to ask for something.
///
/// A connection that NIO has begun to end by itself (its age, its idleness) is left to it: a GOAWAY must not name a later
/// stream than the one before.
///
/// It waits as long as the client takes, as NIO's own second step would; `Upgrader.Configuration.drainTimeout` limits it.
public final class HTTP2Farewell: ChannelDuplexHandler, RemovableChannelHandler {
    /// What comes in.
    public typealias InboundIn = ByteBuffer
    /// What goes on in.
    public typealias InboundOut = ByteBuffer
    /// What is to go out.
    public typealias OutboundIn = IOData
    /// What goes on out.
    public typealias OutboundOut = IOData

    private enum Phase {
        case open
        /// It shall end, and its client has not spoken yet.
        case asked
        /// GOAWAY and PING have been sent.
        case told
        case over
    }

    private var phase = Phase.open
    private var scanner = PingScanner()
    private var goaways = GoawayScanner()
    private let ping: UInt64

    /// Makes the handler of one connection.
    public convenience init() { self.init(ping: .random(in: .min ... .max)) }

    init(ping: UInt64) { self.ping = ping }

    /// Passes bytes on, and looks for the acknowledgement in them.
    /// - Parameters:
    ///   - context: where it stands.
    ///   - data: bytes.
    public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard self.phase != .over else { return context.fireChannelRead(data) }
        let isAcknowledged = self.scanner.scan(self.unwrapInboundIn(data), for: self.ping)
        // First what was asked before it.
        context.fireChannelRead(data)
        if isAcknowledged, self.phase == .told {
            self.phase = .over
            context.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
        }
    }

    /// After the first words of a client that was awaited.
    /// - Parameter context: where it stands.
    public func channelReadComplete(context: ChannelHandlerContext) {
        context.fireChannelReadComplete()
        if self.phase == .asked, self.scanner.sawPreface { self.sayGoodbye(context) }
    }

    /// Keeps the word to quiesce back.
    /// - Parameters:
    ///   - context: where it stands.
    ///   - event: any.
    public func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard event is ChannelShouldQuiesceEvent, self.phase != .over else {
            return context.fireUserInboundEventTriggered(event)
        }
        guard self.phase == .open else { return }
        self.phase = .asked
        if self.scanner.sawPreface { self.sayGoodbye(context) }
    }

    /// Passes frames on, and looks for a goodbye that is not ours.
    /// - Parameters:
    ///   - context: where it stands.
    ///   - data: frames.
    ///   - promise: for whoever wrote them.
    public func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let isAsked = self.phase == .asked
        if self.phase == .open || isAsked, self.goaways.scan(self.unwrapOutboundIn(data)) {
            self.phase = .over
            // Not from within what writes it.
            if isAsked {
                context.eventLoop.assumeIsolated().execute {
                    context.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
                }
            }
        }
        context.write(data, promise: promise)
    }

    /// `NIOHTTP2Handler` writes each frame whole before it returns to the event loop, so between two of them there is
    /// room for ours. Its own SETTINGS, which must be the first, it sends when it is added.
    private func sayGoodbye(_ context: ChannelHandlerContext) {
        self.phase = .told
        var frames = context.channel.allocator.buffer(capacity: 34)
        // Length and type, flags, stream 0; then the last stream, which is any, and NO_ERROR.
        frames.writeMultipleIntegers(UInt32(8 << 8 | 7), UInt8(0), UInt32(0), UInt32(Int32.max), UInt32(0))
        frames.writeMultipleIntegers(UInt32(8 << 8 | 6), UInt8(0), UInt32(0), self.ping)
        context.writeAndFlush(self.wrapOutboundOut(.byteBuffer(frames)), promise: nil)
    }
}

@available(*, unavailable)
extension HTTP2Farewell: Sendable {}
#endif  // NIO
