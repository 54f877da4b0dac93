// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation

/// Runs what blocks on a thread that is nobody else's: the pool of Swift's tasks has but one for each processor, and the
/// tests that run meanwhile need them.
enum OwnThread {
    static func run(_ body: @escaping @Sendable () throws -> Void) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
        }
    }

    /// All of them at once; throws what the first of them to fail has thrown.
    static func runAll(_ bodies: [@Sendable () throws -> Void], within seconds: TimeInterval) throws {
        let results = Journal<(any Error)?>()
        for body in bodies {
            Thread.detachNewThread {
                do {
                    try body()
                    results.append(nil)
                } catch {
                    results.append(error)
                }
            }
        }
        let errors = try results.wait(for: "\(bodies.count) threads to end", within: seconds) { all in
            all.contains { $0 != nil } || all.count == bodies.count ? all : nil
        }
        for case let error? in errors { throw error }
    }
}
