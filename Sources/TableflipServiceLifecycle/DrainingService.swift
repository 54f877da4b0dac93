// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if ServiceLifecycle
public import ServiceLifecycle

/// A server that drains by itself when this process is replaced or told to stop, as a service that ends in its turn.
///
/// ```swift
/// let web = DrainingService { try await server.drained() }       // a LiveServer of TableflipNIO
/// try await upgrader.runServices([database, web], logger: logger)
/// ```
///
/// Servers that wait for the upgrader drain all at once, and one may be done while another still answers. A group asks its
/// services to end one after the other, and takes one that ends before it was asked for a failure: it cancels all the
/// others, with their requests in flight. So this one, when it has drained, waits until it is asked.
public struct DrainingService: Service {
    private let drain: @Sendable () async throws -> Void

    /// Makes a service of a server.
    /// - Parameter drain: returns when the server has drained, and begins to drain by itself: when
    ///   ``Tableflip/Upgrader/exit`` says that this process is to leave. If it throws, the group is cancelled, as with any
    ///   service. It is cancelled with the group.
    public init(_ drain: @escaping @Sendable () async throws -> Void) { self.drain = drain }

    /// Returns when the server has drained and the group has asked for its end.
    /// - Throws: what `drain` throws; `CancellationError` if the group is cancelled meanwhile.
    public func run() async throws {
        try await self.drain()
        try await gracefulShutdown()
    }
}
#endif
