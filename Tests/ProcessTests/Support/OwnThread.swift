// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import ProcessSupport

/// Runs what waits on a thread of its own: the pool of Swift's tasks has but one for each processor, and the tests that run
/// meanwhile need them.
func onItsOwnThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
    }
}

/// Waits until a descriptor is readable or hung up. Blocks: see ``onItsOwnThread(_:)``.
func isReadable(_ descriptor: CInt, before deadline: ContinuousClock.Instant = .now + patience) -> Bool {
    while true {
        let left = max(.zero, ContinuousClock.now.duration(to: deadline))
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        // At least a millisecond, so that it does not spin in the last one.
        let milliseconds = left.components.seconds * 1000 + left.components.attoseconds / 1_000_000_000_000_000
        if poll(&entry, 1, CInt(left > .zero ? milliseconds + 1 : 0)) > 0 { return true }
        if left <= .zero { return false }
    }
}
