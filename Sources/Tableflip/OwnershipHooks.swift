// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import TableflipCore

/// The work of this program that only one process may do: how it is begun and ended, and which of it is under way. And
/// who may refuse an upgrade.
final class OwnershipHooks: Sendable {
    typealias Hook = @Sendable () async throws -> Void

    enum Direction: Sendable {
        /// Begin what is not under way, in the order in which it was added.
        case begin
        /// End what is under way, in the reverse order.
        case end

        /// Of the hook, as the program knows it.
        var name: String { self == .begin ? "becameOwner" : "losingOwnership" }
    }

    enum Failure: Sendable {
        case endsTheChange
        /// The rest is done all the same.
        case isPassedOver
    }

    private struct Entry {
        let begin: Hook
        let end: Hook
        var isUnderWay = false
        var isNew = true
    }

    private struct State {
        var entries: [Entry] = []
        var vetoes: [Hook] = []
        var running: Direction?
    }

    private let state = Mutex(State())

    func add(begin: @escaping Hook, end: @escaping Hook) {
        self.state.withLock { $0.entries.append(Entry(begin: begin, end: end)) }
    }

    func add(veto: @escaping Hook) { self.state.withLock { $0.vetoes.append(veto) } }

    var vetoes: [Hook] { self.state.withLock { $0.vetoes } }

    func hasWork(_ direction: Direction) -> Bool {
        self.state.withLock { $0.entries.contains { $0.isUnderWay == (direction == .end) } }
    }

    /// What is being called; one change follows the other.
    var running: Direction? { self.state.withLock { $0.running } }

    /// Something was added since work was last begun.
    var hasNew: Bool { self.state.withLock { $0.entries.contains { $0.isNew } } }

    /// Calls the hooks, one after the other. A hook that fails has changed nothing: what it was to begin is not under
    /// way, what it was to end still is. After `limit` the task that calls them is cancelled. A hook that does not notice
    /// is waited for all the same, because it may be in the middle of its work: the machines' deadlines say what then.
    /// - Returns: the first failure.
    func change(_ direction: Direction, onFailure: Failure, within limit: Duration) async -> UpgradeError? {
        // On a busy machine time must not pass before anything was called.
        let hasBegun = Latch<Void>()
        let work = Task {
            hasBegun.set(())
            return await self.callAll(direction, onFailure)
        }
        let timer = Task {
            _ = await hasBegun.wait()
            try await Task.sleep(for: limit, clock: .suspending)
            work.cancel()
        }
        let failure = await withTaskCancellationHandler {
            await work.value
        } onCancel: {
            work.cancel()
        }
        timer.cancel()
        return failure.map { error in
            error is CancellationError
                ? UpgradeError(
                    .ownershipFailed, "\(direction.name) did not finish within \(limit)", cure: "See hookTimeout.")
                : UpgradeError(.ownershipFailed, "\(direction.name) failed", becauseOf: error)
        }
    }

    private func callAll(_ direction: Direction, _ onFailure: Failure) async -> (any Error)? {
        var first: (any Error)?
        let count = self.state.withLock { state in
            state.running = direction
            return state.entries.count
        }
        defer { self.state.withLock { $0.running = nil } }
        for index in direction == .begin ? Array(0..<count) : (0..<count).reversed() {
            guard let hook = self.hook(index, direction) else { continue }
            do {
                try Task.checkCancellation()
                try await hook()
                self.state.withLock { $0.entries[index].isUnderWay = direction == .begin }
            } catch {
                first = first ?? error
                if onFailure == .endsTheChange { break }
            }
        }
        return first
    }

    private func hook(_ index: Int, _ direction: Direction) -> Hook? {
        self.state.withLock { state in
            state.entries[index].isNew = false
            let entry = state.entries[index]
            switch direction {
            case .begin: return entry.isUnderWay ? nil : entry.begin
            case .end: return entry.isUnderWay ? entry.end : nil
            }
        }
    }
}
