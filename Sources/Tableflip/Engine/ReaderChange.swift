// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import TableflipCore

/// What is asked of all readers at once, and what comes before and after it.
struct ReaderChange: Sendable {
    typealias Step = @Sendable () async throws -> Void

    enum Kind: Sendable {
        case pause
        case resume
    }

    let kind: Kind
    var before: Step?
    var after: Step?

    init(_ kind: Kind) { self.kind = kind }

    /// There is something to do though there is no reader.
    var hasMore: Bool { self.before != nil || self.after != nil }

    /// - Parameters:
    ///   - readers: whoever is asked.
    ///   - answer: gets the first failure, on any thread; what comes after one is not done.
    /// - Returns: the task that does it, where one is needed.
    func make(
        of readers: ReaderRegistry.Roll, then answer: @escaping @Sendable (UpgradeError?) -> Void
    ) -> Task<Void, Never>? {
        guard !self.hasMore, let prompt = readers.prompt else {
            return Task { [all = readers.all] in answer(await self.make(of: all)) }
        }
        self.make(of: prompt, then: answer)
        return nil
    }

    private func make(of readers: [any PromptReader], then answer: @escaping @Sendable (UpgradeError?) -> Void) {
        let answers = Answers(of: self.kind, readers.count, then: answer)
        for reader in readers {
            switch self.kind {
            case .pause: reader.pause { answers.add($0) }
            case .resume: reader.resume { answers.add($0) }
            }
        }
    }

    private func make(of readers: [any SocketReader]) async -> UpgradeError? {
        if let failure = await Self.failure(of: self.before) { return failure }
        let kind = self.kind
        let failure = await withTaskGroup(of: UpgradeError?.self) { group in
            for reader in readers {
                group.addTask {
                    do {
                        // What was asked for later may have been done already.
                        try Task.checkCancellation()
                        switch kind {
                        case .pause: try await reader.pause()
                        case .resume: try await reader.resume()
                        }
                        return nil
                    } catch {
                        return .readerFailed(to: kind, error)
                    }
                }
            }
            return await group.reduce(UpgradeError?.none) { $0 ?? $1 }
        }
        if let failure { return failure }
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

/// What several readers say that were asked at once. The last one to answer passes on the first failure, if there was any.
private final class Answers: Sendable {
    private struct State {
        var missing: Int
        var failure: UpgradeError?
    }

    private let kind: ReaderChange.Kind
    private let state: Mutex<State>
    private let answer: @Sendable (UpgradeError?) -> Void

    init(of kind: ReaderChange.Kind, _ count: Int, then answer: @escaping @Sendable (UpgradeError?) -> Void) {
        self.kind = kind
        self.state = Mutex(State(missing: count))
        self.answer = answer
    }

    func add(_ error: (any Error)?) {
        let outcome: UpgradeError?? = self.state.withLock { state in
            state.failure = state.failure ?? error.map { .readerFailed(to: self.kind, $0) }
            state.missing -= 1
            return state.missing == 0 ? .some(state.failure) : nil
        }
        if let outcome { self.answer(outcome) }
    }
}

extension UpgradeError {
    fileprivate static func readerFailed(to kind: ReaderChange.Kind, _ error: any Error) -> UpgradeError {
        UpgradeError(kind == .pause ? .pauseFailed : .resumeFailed, "a reader failed", becauseOf: error)
    }
}
