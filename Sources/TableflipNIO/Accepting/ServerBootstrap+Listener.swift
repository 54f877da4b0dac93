// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import Logging
import NIOCore
public import NIOPosix
public import Tableflip

extension ServerBootstrap {
    /// Serves on a socket of the upgrader. Nothing is accepted before ``Upgrader/ready()``, and nothing any more once
    /// this process has been replaced.
    ///
    /// ```swift
    /// let listener = try upgrader.listen(on: .tcp(host: "127.0.0.1", port: 8080))
    /// let gate = try await ServerBootstrap(group: group)
    ///     .childChannelInitializer { … }
    ///     .bind(to: listener, of: upgrader)
    /// try await upgrader.ready()
    /// _ = await upgrader.exit
    /// try await gate.close()      // then wait for the child channels to finish
    /// ```
    ///
    /// The channel gets a descriptor of its own, a duplicate that it closes when it is closed. The accept queue is as
    /// long as the listener asks for: NIO's adoption of a socket resets it to 128, which is put right here.
    /// - Parameters:
    ///   - listener: a stream socket of the upgrader.
    ///   - upgrader: where the gate registers as a reader.
    /// - Returns: the gate before the server channel.
    /// - Throws: `UpgradeError` where the listener has been handed on already; else what NIO throws.
    public func bind(to listener: Listener, of upgrader: Upgrader) async throws -> AcceptGate {
        let gate = try await self.gate(on: listener, logger: upgrader.logger)
        upgrader.register(gate)
        return gate
    }

    /// A gate that nobody has registered yet.
    func gate(on listener: Listener, logger: Logger) async throws -> AcceptGate {
        let descriptor = try listener.duplicate(as: .listener).release()
        // From here on the channel owns the descriptor; it cannot be told from outside whether a failed bootstrap has
        // closed it already, so it is left alone then.
        let channel = try await self.serverChannelOption(.autoRead, value: false).withBoundSocket(descriptor).get()
        return try await channel.eventLoop.submit {
            try AcceptGate(channel: channel, listener: listener, logger: logger)
        }.get()
    }
}
#endif  // NIO
