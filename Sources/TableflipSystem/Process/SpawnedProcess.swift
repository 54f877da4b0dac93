// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip

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

    /// Watches a child that has just been started.
    /// - Throws: when it cannot be watched; then it has been killed and reaped.
    package init(
        child: CInt, watch: consuming ChildWatch, capabilities: Capabilities
    ) throws(SystemCallError) {
        self.id = child
        if capabilities.hasProcessDescriptors {
            let descriptor = tf_process_descriptor(child)
            if descriptor >= 0 {
                self.watch = OwnedDescriptor(takingOwnershipOf: descriptor)
                self.isCollectedByThread = false
                return
            }
        }
        do throws(SystemCallError) {
            self.watch = try watch.waitInThread(for: child)
            self.isCollectedByThread = true
        } catch {
            ProcessID.signal(child, ProcessID.killSignal)
            var end = tf_exit()
            while tf_reap(child, true, &end) < 0, errno == EINTR {}
            throw error
        }
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

}

extension SpawnedProcess.Ending {
    init(_ end: tf_exit) { self = end.signal != 0 ? .signalled(end.signal) : .exited(end.status) }

    fileprivate init(bytes: [UInt8]) { self = bytes[0] == 1 ? .signalled(CInt(bytes[1])) : .exited(CInt(bytes[1])) }

    package var bytes: [UInt8] {
        switch self {
        case .exited(let status): [0, UInt8(truncatingIfNeeded: status)]
        case .signalled(let signal): [1, UInt8(truncatingIfNeeded: signal)]
        case .unknown: []
        }
    }
}
