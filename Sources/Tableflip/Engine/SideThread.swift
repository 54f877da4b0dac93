// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import TableflipSystem

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

    /// The same, and waits for it, but not for long: what a disk holds up goes on by itself. For files that are removed:
    /// nothing hangs on when, and whoever looks does not see them any more, unless the disk is to blame.
    static func runBriefly(_ body: @escaping @Sendable () -> Void) {
        guard let isDone = try? WakeUp() else { return body() }
        self.run {
            body()
            isDone.signal()
        }
        let deadline = Moment.now + .seconds(1)
        var poll = Poll<Void>()
        poll.add((), isDone.descriptor, Poll<Void>.readable)
        while poll.wait(max(.zero, Moment.now.duration(to: deadline))).isEmpty, Moment.now < deadline {}
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
