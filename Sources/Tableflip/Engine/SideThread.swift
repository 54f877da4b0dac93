// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipSystem

/// For calls that may wait for a disk: the engine must answer meanwhile, and so must the threads of Swift's pool.
enum SideThread {
    /// Calls `body` once, on a thread of its own; where none can be started, here.
    static func run(_ body: @escaping @Sendable () -> Void) {
        do { try SystemThread.start("tableflip-side", body) } catch { body() }
    }

    /// The same, and waits for it, but not for long: what a disk holds up goes on by itself. For files that are removed:
    /// nothing hangs on when, and whoever looks does not see them any more, unless the disk is to blame.
    static func runBriefly(_ body: @escaping @Sendable () -> Void) {
        guard let isDone = try? WakeUp() else { return body() }
        self.run {
            body()
            isDone.signal()
        }
        _ = Poll.isReadable(isDone.descriptor, within: .seconds(1))
    }
}
