// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation

/// A value behind a lock that ThreadSanitizer knows. It does not see the standard library's `Mutex` lock on Linux, and
/// would report every use.
final class Locked<Value>: @unchecked Sendable {
    // SAFETY: `value` is touched under `lock` only.
    private let lock = NSLock()
    private var value: Value

    init(_ value: Value) { self.value = value }

    func withLock<Result>(_ body: (inout Value) throws -> Result) rethrows -> Result {
        self.lock.lock()
        defer { self.lock.unlock() }
        return try body(&self.value)
    }
}
