// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// Whatever reads from the sockets of an upgrader: an accept loop, a NIO channel, a datagram loop.
///
/// Between two processes that share a socket only one may read (see `docs/states.md`). So each reader registers with
/// ``Upgrader/register(_:)``, before ``Upgrader/ready()`` and **paused**, and reads only between ``resume()`` and
/// ``pause()``. A socket without a registered reader is shared throughout, as in tableflip: both processes accept from
/// it, from when the new one listens until the old one has closed it, and there is no way back once the new one has begun.
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
    /// more. Until every reader's has returned, the successor is told how many are left (``connectionCounts``), for
    /// `tableflipctl` to show: so return when the others have ended as well. ``Upgrader/drained()`` waits for that, and is to
    /// be called before `main` returns. The default has none.
    /// - Parameter successor: where to send them.
    /// - Throws: anything; it is logged.
    func export(to successor: ConnectionExporter) async throws

    /// The name of the listener that this reader reads from; nil: any. Decides who adopts a connection.
    var listenerName: String? { get }

    /// How many connections this process still serves for this reader, and how many have ended here since it was told
    /// to leave. Asked for by `tableflipctl status`, four times a second while the process drains, and at the end of it,
    /// from any thread.
    var connectionCounts: ConnectionCounts { get }
}

/// A reader that also serves connections which another process has accepted: those that its predecessor's readers send
/// (``SocketReader/export(to:)``).
///
/// Where the reader of a listener is none such at ``Upgrader/ready()``, the predecessor keeps the connections, and they end
/// there: nobody loses one because the new program serves them in another way.
public protocol AdoptingReader: SocketReader {
    /// Serves connections that the predecessor had accepted on this reader's listener. They come in batches, several at a
    /// time; the predecessor sends more when this has returned. Return when they are in your hands, not when they have
    /// ended: they are acknowledged in the order in which they came, and those of one listener hold back those of the
    /// others.
    /// - Parameter connections: the connections. Take each one's descriptor: what is not taken is closed.
    /// - Throws: anything; it is logged, and what was not taken is lost.
    func adopt(_ connections: [LiveDescriptor]) async throws
}

/// A reader that needs no task. It spares clients the waking of one more thread: those who wait while neither process
/// reads, and each connection that moves. The calls come on the engine's thread, and must not wait.
package protocol PromptReader: SocketReader {
    /// ``SocketReader/pause()``.
    func pause(then answer: @escaping @Sendable ((any Error)?) -> Void)

    /// ``SocketReader/resume()``.
    func resume(then answer: @escaping @Sendable ((any Error)?) -> Void)
}

/// The same of connections that move.
package protocol PromptAdopter: AdoptingReader {
    /// ``AdoptingReader/adopt(_:)``.
    func adopt(_ connections: [LiveDescriptor], then served: @escaping @Sendable () -> Void)
}

extension SocketReader {
    /// Has nothing that could move.
    public func export(to successor: ConnectionExporter) async throws {}

    /// Any.
    public var listenerName: String? { nil }

    /// None that it knows of.
    public var connectionCounts: ConnectionCounts { ConnectionCounts() }
}

/// What became of the connections of a process that leaves.
public struct ConnectionCounts: Hashable, Sendable {
    /// Still open here.
    public var open: Int
    /// Ended here since the process was told to leave, by either side.
    public var drained: Int

    /// Makes counts.
    /// - Parameters:
    ///   - open: see ``open``.
    ///   - drained: see ``drained``.
    public init(open: Int = 0, drained: Int = 0) {
        self.open = open
        self.drained = drained
    }

    static func + (left: Self, right: Self) -> Self {
        .init(open: left.open + right.open, drained: left.drained + right.drained)
    }
}
