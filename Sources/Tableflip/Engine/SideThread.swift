// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip

/// For calls that may wait for a disk: the engine must answer meanwhile, and so must the threads of Swift's pool.
enum SideThread {
    /// Calls `body` once, on a thread of its own; where none can be started, here.
    static func run(_ body: @escaping @Sendable () -> Void) {
        let box = Unmanaged.passRetained(Call(body))
        // SAFETY: the reference is retained here and released by the thread, exactly once.
        guard tf_start_thread(runCall, box.toOpaque(), "tableflip-side") == 0 else {
            return box.takeRetainedValue().body()
        }
    }

    fileprivate final class Call {
        let body: @Sendable () -> Void

        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
}

/// A thread body must be a function of the file: a closure would inherit the isolation of where it stands.
private func runCall(_ context: UnsafeMutableRawPointer?) {
    guard let context else { return }
    // SAFETY: the one reference that `run` retained.
    Unmanaged<SideThread.Call>.fromOpaque(context).takeRetainedValue().body()
}
