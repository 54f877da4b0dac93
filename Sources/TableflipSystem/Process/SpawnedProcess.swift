// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import TableflipCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A process that this one started. Ended or not, it is not reaped until ``collect()``, so its id stays its own.
package final class SpawnedProcess: Sendable {
    /// How it ended.
    package enum Ending: Hashable, Sendable {
        case exited(CInt)
        case signalled(CInt)
        /// Another part of the program reaped it first (waitpid(-1), or SIGCHLD is ignored).
        case unknown
    }

    package let id: CInt
    /// Polls readable once the process has ended.
    private let watch: OwnedDescriptor
    private let isCollectedByThread: Bool

    package init(child: CInt, capabilities: Capabilities) {
        self.id = child
        if capabilities.hasProcessDescriptors {
            let descriptor = tf_process_descriptor(child)
            if descriptor >= 0 {
                self.watch = OwnedDescriptor(takingOwnershipOf: descriptor)
                self.isCollectedByThread = false
                return
            }
        }
        self.watch = Self.watchByThread(child)
        self.isCollectedByThread = true
    }

    /// For fakes: a process whose end shows on a descriptor, two bytes that say how.
    package init(id: CInt, watch: consuming OwnedDescriptor) {
        self.id = id
        self.watch = watch
        self.isCollectedByThread = true
    }

    package var watchDescriptor: CInt { self.watch.borrowed }

    /// Reaps it, once ``watchDescriptor`` is readable. nil: it still lives.
    package func collect() -> Ending? {
        guard self.isCollectedByThread else {
            var end = tf_exit()
            guard tf_reap(self.id, false, &end) == 0 else { return .unknown }
            return end.reaped ? Ending(end) : nil
        }
        var bytes: [UInt8] = [0, 0]
        let count = read(self.watch.borrowed, &bytes, 2)
        if count < 0 { return nil }
        return count == 2 ? Ending(bytes: bytes) : .unknown
    }

    /// Where no descriptor stands for a process, a thread waits for it and writes down how it ended.
    private static func watchByThread(_ child: CInt) -> OwnedDescriptor {
        var ends: [CInt] = [-1, -1]
        guard tf_pipe(&ends) == 0 else { preconditionFailure("pipe: \(SystemCallError("pipe"))") }
        let order = Unmanaged.passRetained(WaitOrder(child: child, report: ends[1]))
        // SAFETY: the reference is retained here and released by the thread, exactly once.
        let error = tf_start_thread(waitForChild, order.toOpaque(), "tableflip-wait")
        if error != 0 {
            order.release()
            _ = close(ends[1])  // reads as an end in an unknown way; the channel still tells of the process
        }
        return OwnedDescriptor(takingOwnershipOf: ends[0])
    }
}

private final class WaitOrder: Sendable {
    let child: CInt
    let report: CInt

    init(child: CInt, report: CInt) {
        self.child = child
        self.report = report
    }
}

/// A thread body must be a function of the file: a closure would inherit the isolation of where it stands.
private func waitForChild(_ context: UnsafeMutableRawPointer?) {
    guard let context else { return }
    // SAFETY: the one reference that `watchByThread` retained.
    let order = Unmanaged<WaitOrder>.fromOpaque(context).takeRetainedValue()
    var end = tf_exit()
    var result: CInt
    repeat { result = tf_reap(order.child, true, &end) } while result < 0 && errno == EINTR
    if result == 0 {
        let bytes = SpawnedProcess.Ending(end).bytes
        _ = write(order.report, bytes, bytes.count)
    }
    _ = close(order.report)
}

extension SpawnedProcess.Ending {
    fileprivate init(_ end: tf_exit) { self = end.signal != 0 ? .signalled(end.signal) : .exited(end.status) }

    fileprivate init(bytes: [UInt8]) { self = bytes[0] == 1 ? .signalled(CInt(bytes[1])) : .exited(CInt(bytes[1])) }

    package var bytes: [UInt8] {
        switch self {
        case .exited(let status): [0, UInt8(truncatingIfNeeded: status)]
        case .signalled(let signal): [1, UInt8(truncatingIfNeeded: signal)]
        case .unknown: []
        }
    }
}
