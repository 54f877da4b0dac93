// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

package import CTableflip

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A process that this one started. With a descriptor that stands for it, it is not reaped before ``collect()``, and its id
/// stays its own until then; a thread reaps it as soon as it ends.
package final class SpawnedProcess: Sendable {
    /// How it ended.
    package enum Ending: Hashable, Sendable {
        case exited(CInt)
        case signalled(CInt)
        /// Another part of the program reaped it first (waitpid(-1), or SIGCHLD is ignored); or its parent did, which is
        /// another process, and the kernel does not tell.
        case unknown
    }

    /// Who reaps it.
    private enum Collector {
        case thisObject
        case thread
        case anotherProcess
    }

    package let id: CInt
    /// Polls readable once the process has ended.
    private let watch: OwnedDescriptor
    private let collector: Collector

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
                self.collector = .thisObject
                return
            }
        }
        do throws(SystemCallError) {
            self.watch = try watch.waitInThread(for: child)
            self.collector = .thread
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
        self.collector = .thread
    }

    /// Watches a process that another one reaps, by its pidfd.
    package init(id: CInt, descriptor: consuming OwnedDescriptor) {
        self.id = id
        self.watch = descriptor
        self.collector = .anotherProcess
    }

    package var watchDescriptor: CInt { self.watch.borrowed }

    /// Reaps it, once ``watchDescriptor`` is readable. nil: it still lives.
    package func collect() -> Ending? {
        switch self.collector {
        case .thisObject:
            var end = tf_exit()
            guard tf_reap(self.id, false, &end) == 0 else { return .unknown }
            if end.reaped { return Ending(end) }
            guard self.isSeen(Poll<Void>.readable, within: .zero) else { return nil }
            // A debugger holds what is left of it, for as long as it likes (ptrace(2)). How it ended only the debugger knows.
            ChildWatch.reapInThread(self.id)
            return .unknown
        case .thread: return self.readReport()
        case .anotherProcess: return self.isSeen(Poll<Void>.readable, within: .zero) ? self.askForEnding() : nil
        }
    }

    /// What the thread of `ChildWatch` has written.
    private func readReport() -> Ending? {
        var bytes: [UInt8] = [0, 0]
        let count = read(self.watch.borrowed, &bytes, 2)
        if count < 0 { return nil }
        return count == 2 ? Ending(bytes: bytes) : .unknown
    }

    /// The kernel knows how it ended from the moment at which its parent reaps it, which hangs the pidfd up.
    private func askForEnding() -> Ending {
        for patience in [Duration.zero, .milliseconds(100)] {
            var end = tf_exit()
            guard self.isSeen(0, within: patience) || patience == .zero else { break }
            guard tf_ending(self.watch.borrowed, &end) == 0 else { break }
            if end.reaped { return Ending(end) }
        }
        return .unknown
    }

    private func isSeen(_ events: Int16, within time: Duration) -> Bool {
        Poll.isSeen(events, at: self.watch.borrowed, within: time)
    }
}

extension SpawnedProcess.Ending {
    package init(_ end: tf_exit) { self = end.signal != 0 ? .signalled(end.signal) : .exited(end.status) }

    fileprivate init(bytes: [UInt8]) { self = bytes[0] == 1 ? .signalled(CInt(bytes[1])) : .exited(CInt(bytes[1])) }

    package var bytes: [UInt8] {
        switch self {
        case .exited(let status): [0, UInt8(truncatingIfNeeded: status)]
        case .signalled(let signal): [1, UInt8(truncatingIfNeeded: signal)]
        case .unknown: []
        }
    }
}
