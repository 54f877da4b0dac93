// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip

/// A thread of its own (pthread_create(3)) for what may block: the threads of Swift's pool are few, and everybody's.
package enum SystemThread {
    /// Calls `body` once. All signals are blocked there but those of faults: the application's threads take them.
    package static func start(_ name: String, _ body: @escaping @Sendable () -> Void) throws(SystemCallError) {
        let call = Unmanaged.passRetained(Call(body))
        // SAFETY: the reference is retained here, and released by the thread, or below where there is none: exactly once.
        let error = tf_start_thread(runCall, call.toOpaque(), name)
        guard error == 0 else {
            call.release()
            throw SystemCallError("pthread_create", error)
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
    // SAFETY: the one reference that `start` retained.
    Unmanaged<SystemThread.Call>.fromOpaque(context).takeRetainedValue().body()
}
