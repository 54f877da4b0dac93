// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if ServiceLifecycle
import Logging
import ServiceLifecycle
import Synchronization

/// One service, from the moment at which this process became the owner to that at which it no longer is.
final class OwnerTerm: Sendable {
    private struct State {
        var task: Task<Void, any Error>?
        var isEnding = false
        var isCancelled = false
        var isOver = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    /// A group of its own, so that it can be shut down alone.
    private let group: ServiceGroup
    private let logger: Logger
    private let state = Mutex(State())

    init(_ service: any Service, logger: Logger) {
        self.logger = logger
        self.group = ServiceGroup(
            configuration: .init(
                services: [.init(service: service, successTerminationBehavior: .gracefullyShutdownGroup)],
                logger: logger))
    }

    /// Runs the service. Called by the service around it, whose shutdown and cancellation are this one's too.
    /// - Returns: what it failed at when it was to end; nil if it ended well, or was cancelled because it took too long.
    func serve() async throws -> (any Error)? {
        defer { self.close() }
        // A task of its own, so that it can be cancelled alone.
        let task = Task { [group] in try await group.run() }
        let isCancelled = self.state.withLock { state in
            state.task = task
            return state.isCancelled
        }
        if isCancelled { task.cancel() }
        do {
            try await withTaskCancellationHandler {
                try await task.value
            } onCancel: {
                task.cancel()
            }
            return nil
        } catch {
            // No reason to cut off everybody else, who may have requests to answer.
            guard self.state.withLock({ $0.isEnding }), !Task.isCancelled else { throw error }
            self.logger.error("a service failed when the ownership was given up: \(error)")
            return error is CancellationError ? nil : error
        }
    }

    /// Shuts the service down, and returns when it has ended. If the calling task is cancelled, so is the service.
    func end() async {
        self.state.withLock { $0.isEnding = true }
        await self.group.triggerGracefulShutdown()
        await withTaskCancellationHandler {
            await self.untilOver()
        } onCancel: {
            let task = self.state.withLock { state in
                state.isCancelled = true
                return state.task
            }
            task?.cancel()
        }
    }

    /// It has ended, or never began and never will.
    func close() {
        let waiting = self.state.withLock { state in
            state.isOver = true
            defer { state.waiting = [] }
            return state.waiting
        }
        for continuation in waiting { continuation.resume() }
    }

    /// Not cut short by a cancellation: what still runs has not ended.
    private func untilOver() async {
        await withCheckedContinuation { continuation in
            let isOver = self.state.withLock { state in
                if !state.isOver { state.waiting.append(continuation) }
                return state.isOver
            }
            if isOver { continuation.resume() }
        }
    }
}

/// The terms of one process, one after the other.
final class OwnerTerms: Sendable {
    private struct State {
        var current: OwnerTerm?
        var isClosed = false
    }

    let coming: AsyncStream<OwnerTerm>
    private let continuation: AsyncStream<OwnerTerm>.Continuation
    private let state = Mutex(State())

    init() { (self.coming, self.continuation) = AsyncStream.makeStream() }

    func begin(_ term: OwnerTerm) {
        let isClosed = self.state.withLock { state in
            if !state.isClosed { state.current = term }
            return state.isClosed
        }
        if !isClosed { self.continuation.yield(term) }
    }

    func end() async {
        // It stays the current one until then: should nobody come to serve it, `close` ends the wait.
        let current = self.state.withLock { $0.current }
        await current?.end()
    }

    func expectNoMore() { self.continuation.finish() }

    /// Nobody serves any more.
    func close() {
        let current = self.state.withLock { state in
            state.isClosed = true
            return state.current
        }
        current?.close()
        self.continuation.finish()
    }
}
#endif
