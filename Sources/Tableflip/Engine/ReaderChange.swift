// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore

/// What is asked of all readers at once, and what comes before and after it.
struct ReaderChange: Sendable {
    typealias Step = @Sendable () async throws -> Void

    var before: Step?
    var change: @Sendable (any SocketReader) async throws -> Void
    var after: Step?

    /// There is something to do though there is no reader.
    var hasMore: Bool { self.before != nil || self.after != nil }

    static var resume: ReaderChange { .init(change: { try await $0.resume() }) }
    static var pause: ReaderChange { .init(change: { try await $0.pause() }) }

    /// - Returns: the first failure; what comes after one is not done.
    func make(of readers: [any SocketReader]) async -> UpgradeError? {
        if let failure = await Self.failure(of: self.before) { return failure }
        let change = self.change
        let words = await withTaskGroup(of: String?.self) { group in
            for reader in readers {
                group.addTask {
                    do {
                        try await change(reader)
                        return nil
                    } catch {
                        return "\(error)"
                    }
                }
            }
            return await group.reduce(String?.none) { $0 ?? $1 }
        }
        if let words { return UpgradeError(.pauseFailed, "a reader failed: \(words)") }
        return await Self.failure(of: self.after)
    }

    private static func failure(of step: Step?) async -> UpgradeError? {
        do {
            try await step?()
            return nil
        } catch {
            return error as? UpgradeError ?? UpgradeError(.stateFailed, "a final state failed: \(error)")
        }
    }
}
