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

/// What it takes to watch a child, made before there is one: a child that ran unwatched could end without anybody's
/// learning of it, and a table of descriptors that is full (EMFILE) must fail the start and not the service.
///
/// It is a pipe. Where no descriptor stands for a process, or none can be opened any more, a thread waits for the child
/// and writes into the pipe how it ended.
package struct ChildWatch: ~Copyable {
    private let pipe: Pipe

    package init() throws(SystemCallError) { self.pipe = try Pipe() }

    /// Reaps the child as soon as it ends.
    /// - Returns: what polls readable then, and has the bytes of its ``SpawnedProcess/Ending``.
    consuming func waitInThread(for child: CInt) throws(SystemCallError) -> OwnedDescriptor {
        let order = WaitOrder(child: child, report: self.pipe.writing)
        try SystemThread.start("tableflip-wait") { order.carryOut() }
        return self.pipe.reading
    }

    /// Reaps a child whose end is known already, when it can be.
    static func reapInThread(_ child: CInt) {
        // Without a thread it is reaped by whoever adopts it when this process ends.
        let order = WaitOrder(child: child, report: nil)
        try? SystemThread.start("tableflip-wait") { order.carryOut() }
    }
}

private final class WaitOrder: Sendable {
    private let child: CInt
    /// Closed with the order.
    private let report: OwnedDescriptor?

    init(child: CInt, report: consuming OwnedDescriptor?) {
        self.child = child
        self.report = report
    }

    func carryOut() {
        var end = tf_exit()
        var result: CInt
        repeat { result = tf_reap(self.child, true, &end) } while result < 0 && errno == EINTR
        guard result == 0 else { return }
        let bytes = SpawnedProcess.Ending(end).bytes
        if let number = self.report.borrowed { _ = write(number, bytes, bytes.count) }
    }
}
