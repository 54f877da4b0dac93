// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
public import NIOCore
public import NIOPosix
import Synchronization
public import Tableflip

extension DatagramBootstrap {
    /// Reads from a UDP socket of the upgrader. Nothing is read before ``Upgrader/ready()``, and nothing any more
    /// once this process has been replaced.
    ///
    /// ```swift
    /// let socket = try upgrader.listen(on: .udp(host: "127.0.0.1", port: 5353))
    /// let gate = try await DatagramBootstrap(group: group)
    ///     .channelInitializer { … }
    ///     .bind(to: socket, of: upgrader)
    /// try await upgrader.ready()
    /// _ = await upgrader.exit
    /// try await gate.close()      // once the handlers have answered what they have read
    /// ```
    ///
    /// The channel gets a descriptor of its own, a duplicate that it closes when it is closed. Options of the bootstrap that are
    /// the kernel's (`datagramReceiveOffload`, say) are both processes' from here on, also if the upgrade fails.
    /// - Parameters:
    ///   - listener: a UDP socket of the upgrader.
    ///   - upgrader: where the gate registers as a reader.
    /// - Returns: the gate before the channel.
    /// - Throws: `UpgradeError` where it is no UDP socket (`listenFailed`), or has been handed on already
    ///   (`wrongMoment`); else what NIO throws.
    public func bind(to listener: Listener, of upgrader: Upgrader) async throws -> DatagramGate {
        // NIO would take whatever the number stands for, and trap on it; also on what is written to a Unix datagram
        // socket (NIOPosix/PendingDatagramWritesManager.swift).
        guard listener.address.description.hasPrefix("udp") else {
            throw UpgradeError(.listenFailed, "\(listener.name) is no UDP socket", cure: "Listen on udp://HOST:PORT.")
        }
        let descriptor = try listener.duplicate(as: .datagram).release()
        // From here on the channel owns the descriptor; it cannot be told from outside whether a failed bootstrap has
        // closed it already, so it is left alone then.
        let gate = try await self.channelOption(.autoRead, value: false).withBoundSocket(descriptor)
            .flatMapThrowing { try DatagramGate(channel: $0, listener: listener) }.get()
        upgrader.register(gate)
        return gate
    }

    /// As ``bind(to:of:)``, for datagrams that are served by a task.
    ///
    /// ```swift
    /// let (gate, datagrams) = try await DatagramBootstrap(group: group).bind(to: socket, of: upgrader) { channel in
    ///     channel.eventLoop.makeCompletedFuture {
    ///         try NIOAsyncChannel<AddressedEnvelope<ByteBuffer>, AddressedEnvelope<ByteBuffer>>(
    ///             wrappingChannelSynchronously: channel)
    ///     }
    /// }
    /// async let serving: Void = serve(datagrams)
    /// try await upgrader.ready()
    /// _ = await upgrader.exit
    /// try await gate.endInput()   // the sequence ends behind what was read
    /// try await serving
    /// ```
    /// - Parameters:
    ///   - listener: a UDP socket of the upgrader.
    ///   - upgrader: where the gate registers as a reader.
    ///   - channelInitializer: builds the pipeline, on the channel's event loop, in the place of the bootstrap's own
    ///     initializer. If it fails, the channel is closed.
    /// - Returns: the gate before the channel, and what the initializer made.
    /// - Throws: as ``bind(to:of:)``, and what the initializer throws.
    public func bind<Output: Sendable>(
        to listener: Listener, of upgrader: Upgrader,
        channelInitializer: @escaping @Sendable (any Channel) -> EventLoopFuture<Output>
    ) async throws -> (gate: DatagramGate, output: Output) {
        // NIO's own `withBoundSocket` of this form always fails: it registers a channel whose type it has forgotten
        // (NIOPosix/Bootstrap.swift, NIOCore/Channel.swift: `registerAlreadyConfigured0`).
        let made = Made<Output>()
        let gate = try await self.channelInitializer { channel in
            channelInitializer(channel).map { output in made.output.withLock { $0 = output } }
                .flatMapErrorThrowing { error in
                    channel.close(promise: nil)
                    throw error
                }
        }.bind(to: listener, of: upgrader)
        guard let output = made.output.withLock({ $0 }) else { throw ChannelError.inappropriateOperationForState }
        return (gate, output)
    }
}

private final class Made<Output: Sendable>: Sendable {
    let output = Mutex<Output?>(nil)
}
#endif  // NIO
