// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import TableflipCore
import TableflipSystem

/// The thread that the engine lives on.
enum EngineThread {
    /// Gives the engine to a thread of its own, on which all signals are blocked but those of faults: the
    /// application's threads take them.
    static func start(_ engine: consuming sending Engine) throws(UpgradeError) {
        let box = Unmanaged.passRetained(engine)
        // SAFETY: the reference is retained here and released by the thread, or where there is none below, exactly once;
        // nobody else has one.
        let error = tf_start_thread(runEngine, box.toOpaque(), "tableflip")
        guard error == 0 else {
            let error = SystemCallError("pthread_create", error)
            let failure = UpgradeError(
                .system, "the upgrader's thread cannot be started: \(error)", cure: error.cure, serving: .nobody
            )
            box.takeRetainedValue().refuse(failure)
            throw failure
        }
    }
}

/// A thread body must be a function of the file: a closure would inherit the isolation of where it stands.
private func runEngine(_ context: UnsafeMutableRawPointer?) {
    guard let context else { return }
    // SAFETY: the one reference that `start` retained.
    Unmanaged<Engine>.fromOpaque(context).takeRetainedValue().run()
}
