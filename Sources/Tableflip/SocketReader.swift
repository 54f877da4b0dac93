// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// Whatever reads from the sockets of an upgrader: an accept loop, a NIO channel, a datagram loop.
///
/// Between two processes that share a socket only one may read (see `docs/states.md`). So each reader registers with
/// ``Upgrader/register(_:)`` before ``Upgrader/ready()``, **paused**, and reads only between ``resume()`` and
/// ``pause()``. A socket without a registered reader is shared throughout, as in tableflip: both processes accept from
/// it for a moment, and there is no way back once the new one has begun.
///
/// The calls come on Swift's cooperative pool, at most one `pause` and one `resume` at a time. Each has a deadline; when
/// it has passed, the task is cancelled and the other call may come before this one has returned: the later call wins.
public protocol SocketReader: Sendable {
    /// Stops reading. On return nothing is accepted any more, and what was accepted before is in the application's
    /// hands. The socket must stay open, and must not be shut down: that would end it for both processes.
    /// - Throws: anything; the upgrade is given up, and ``resume()`` is called.
    func pause() async throws

    /// Starts to read, for the first time or again.
    /// - Throws: anything; a successor then hands back, a predecessor logs it.
    func resume() async throws

    /// After the successor has become the owner: sends it the connections that can move, and returns when there are no
    /// more. The default has none.
    /// - Parameter successor: where to send them.
    /// - Throws: anything; it is logged.
    func export(to successor: ConnectionExporter) async throws

    /// In the successor: serves a connection that the predecessor had accepted on the listener of this name. The
    /// default closes it.
    /// - Parameter connection: the connection. Its descriptor belongs to the callee.
    /// - Throws: anything; it is logged, and the connection is lost.
    func adopt(_ connection: consuming AdoptedConnection) async throws

    /// The name of the listener that this reader reads from; nil: any. Decides who adopts a connection.
    var listenerName: String? { get }
}

extension SocketReader {
    /// Has nothing that could move.
    public func export(to successor: ConnectionExporter) async throws {}

    /// Closes the connection.
    public func adopt(_ connection: consuming AdoptedConnection) async throws {}

    /// Any.
    public var listenerName: String? { nil }
}

/// A live connection that a predecessor handed on.
public struct AdoptedConnection: ~Copyable, Sendable {
    /// The connection. Close-on-exec; belongs to whoever holds this value.
    public let descriptor: OwnedDescriptor
    /// The name of the listener that it was accepted on.
    public let listener: String
    /// What the predecessor had read from it and not used.
    public let unread: [UInt8]
    /// What else its protocol must remember.
    public let state: [UInt8]

    /// Takes the descriptor out. The caller closes it.
    /// - Returns: the connection.
    public consuming func takeDescriptor() -> OwnedDescriptor { self.descriptor }
}

/// The way of live connections to the successor.
public struct ConnectionExporter: Sendable {
    let inbox: EngineInbox

    /// Says how many connections may move, before the first one does: should this process die meanwhile, the successor
    /// can tell how many were lost.
    /// - Parameter count: how many; counts of several readers add up.
    public func announce(_ count: Int) { self.inbox.send(.announce(count)) }

    /// Sends a connection, and returns when the successor has adopted it. The descriptor stays the caller's: close it
    /// then (until then the other side would not see the end of the connection), or go on serving it if this throws.
    /// - Parameters:
    ///   - descriptor: the connection; nothing may read from it or write to it meanwhile.
    ///   - listener: the name of the listener it was accepted on.
    ///   - unread: what was read from it and not used; at most 256 KiB.
    ///   - state: what else its protocol must remember; at most 256 KiB.
    /// - Throws: ``UpgradeError`` when the successor has died or is no longer listening.
    public func send(
        _ descriptor: borrowing OwnedDescriptor, listener: String, unread: [UInt8] = [], state: [UInt8] = []
    ) async throws(UpgradeError) {
        let number = descriptor.withBorrowed { $0 }
        let result = await withCheckedContinuation { continuation in
            self.inbox.send(
                .export(
                    .init(descriptor: number, listener: listener, unread: unread, state: state) {
                        continuation.resume(returning: $0)
                    }
                )
            )
        }
        try result.get()
    }
}
