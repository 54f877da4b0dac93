// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// The way of live connections to the successor.
public struct ConnectionExporter: Sendable {
    let inbox: EngineInbox

    /// Says how many connections may move, before the first one does: should this process die meanwhile, the successor
    /// can tell how many were lost.
    /// - Parameter count: how many; counts of several readers add up.
    public func announce(_ count: Int) { self.inbox.send(.announce(count)) }

    /// Sends connections, and returns when the successor has adopted them all. They are closed here then: until then
    /// the other side would not see the end of a connection.
    ///
    /// Any number may be sent at once, from any task. What waits to be adopted waits unserved, so send a few at a time
    /// and go on serving the others.
    /// - Parameter connections: the connections; their descriptors are borrowed until this returns or throws.
    /// - Throws: ``UpgradeError`` when the successor has died, is no longer listening, or does not take one of them.
    ///   Serve on those that still have their descriptors. Those that have none any more are the successor's: it has
    ///   taken them, or had begun to serve them when it died. Where it lives, and only the channel to it has ended, that
    ///   is what it has said that it has, or, where it has not said, all that had been sent to it: it may serve any of
    ///   them.
    public func send(_ connections: [LiveDescriptor]) async throws(UpgradeError) {
        let result = await withCheckedContinuation { continuation in
            self.send(connections) { continuation.resume(returning: $0) }
        }
        try result.get()
    }

    /// The same for those who do not wait in a task. The answer comes on the engine's thread.
    package func send(
        _ connections: [LiveDescriptor], then answer: @escaping @Sendable (Result<Void, UpgradeError>) -> Void
    ) {
        guard !connections.isEmpty else { return answer(.success(())) }
        self.inbox.send(.export(connections, answer))
    }
}
