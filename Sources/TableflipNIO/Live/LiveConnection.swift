// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
public import NIOCore

/// A connection of a ``LiveServer``, as those who set it up and its protocol see it. For its event loop only.
public struct LiveConnection {
    let head: ConnectionHead

    /// What a predecessor knew of a connection that it handed over.
    public struct Resumed: Hashable, Sendable {
        /// ``LiveProtocol/name`` of what was spoken; empty where no protocol was set.
        public var protocolName: String
        /// What ``LiveProtocol/saveState()`` returned.
        public var state: [UInt8]
    }

    /// The channel. Handlers are added at its end; the first one is the library's.
    public var channel: any Channel { self.head.channel }

    /// For a connection that came from the predecessor, where it stood: the pipeline is to be built so that it goes on
    /// from there. nil for one that has just been accepted.
    public var resumed: Resumed? { self.head.resumed }

    /// Sets the protocol by which the connection moves, in the place of the one before. What was not delivered yet waits
    /// until the new one says so. To be called when the connection is set up, or, when its protocol changes, by the
    /// handler that changes it and before it returns to the event loop.
    /// - Parameter liveProtocol: the connection's own object.
    public func moves(as liveProtocol: some LiveProtocol) { self.head.change(to: liveProtocol) }

    /// Sets a protocol that does not move but knows how to end the connection: it is told to
    /// ``LiveProtocol/finish()`` when the process leaves. What comes goes down as it comes.
    /// - Parameter liveProtocol: the connection's own object.
    public func drains(by liveProtocol: some LiveProtocol) { self.head.drain(by: liveProtocol) }

    /// The connection does not move; when the process leaves, NIO's `ChannelShouldQuiesceEvent` goes through its pipeline.
    /// That is so without any call as well, but then only what is in the pipeline by that time hears of it: to be called
    /// where a handshake (TLS, ALPN) has added the handlers that answer the event, such as HTTP/2's
    /// `NIOHTTP2ServerConnectionManagementHandler`.
    public func drainsByQuiescing() { self.drains(by: Quiescing(self.channel)) }

    /// Something has been answered, or has ended: the connection may be at rest now. May be called at any time, also from
    /// within a handler.
    public func settled() { self.head.settled() }

    /// This process is leaving: a connection had better be brought to its end, or to rest.
    public var isLeaving: Bool { self.head.isLeaving }
}

@available(*, unavailable)
extension LiveConnection: Sendable {}
#endif  // NIO
