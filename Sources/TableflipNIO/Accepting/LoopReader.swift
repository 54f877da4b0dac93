// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if NIO
import NIOCore
import Tableflip

/// A reader that lives on an event loop, and is asked there without a task between: while neither process reads, each
/// thread that must wake up first is time that clients wait.
protocol LoopReader: PromptReader {
    /// Reads no more. Succeeds when what was read before is with its handlers.
    func pausing() -> EventLoopFuture<Void>

    /// Reads.
    func resuming() -> EventLoopFuture<Void>
}

extension LoopReader {
    /// Reads no more, and returns when everything that was read before is with its handlers.
    public func pause() async throws { try await self.pausing().get() }

    /// Reads.
    public func resume() async throws { try await self.resuming().get() }

    package func pause(then answer: @escaping @Sendable ((any Error)?) -> Void) {
        self.pausing().whenComplete { answer($0.failure) }
    }

    package func resume(then answer: @escaping @Sendable ((any Error)?) -> Void) {
        self.resuming().whenComplete { answer($0.failure) }
    }
}

extension Result {
    fileprivate var failure: Failure? { if case .failure(let error) = self { error } else { nil } }
}
#endif  // NIO
