// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation

/// Does long work on a thread of its own. Other tests run in this process, and theirs is Swift's small pool of threads: a
/// test that keeps one busy for seconds makes the deadlines of theirs pass.
func aside<Value: Sendable>(_ work: @escaping @Sendable () -> Value) async -> Value {
    await withCheckedContinuation { continuation in
        Thread.detachNewThread { continuation.resume(returning: work()) }
    }
}
