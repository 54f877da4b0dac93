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
    private let reading: OwnedDescriptor
    private let writing: OwnedDescriptor

    package init() throws(SystemCallError) {
        var ends: [CInt] = [-1, -1]
        try check("pipe") { tf_pipe(&ends) }
        self.reading = OwnedDescriptor(takingOwnershipOf: ends[0])
        self.writing = OwnedDescriptor(takingOwnershipOf: ends[1])
    }

    /// Reaps the child as soon as it ends.
    /// - Returns: what polls readable then, and has the bytes of its ``SpawnedProcess/Ending``.
    consuming func waitInThread(for child: CInt) throws(SystemCallError) -> OwnedDescriptor {
        try Self.start(WaitOrder(child: child, report: self.writing))
        return self.reading
    }

    /// Reaps a child whose end is known already, when it can be.
    static func reapInThread(_ child: CInt) {
        // Without a thread it is reaped by whoever adopts it when this process ends.
        try? Self.start(WaitOrder(child: child, report: nil))
    }

    private static func start(_ order: WaitOrder) throws(SystemCallError) {
        let order = Unmanaged.passRetained(order)
        // SAFETY: the reference is retained here and released by the thread, exactly once.
        let error = tf_start_thread(waitForChild, order.toOpaque(), "tableflip-wait")
        guard error == 0 else {
            order.release()
            throw SystemCallError("pthread_create", error)
        }
    }
}

private final class WaitOrder: Sendable {
    let child: CInt
    let report: OwnedDescriptor?

    init(child: CInt, report: consuming OwnedDescriptor?) {
        self.child = child
        self.report = report
    }
}

/// A thread body must be a function of the file: a closure would inherit the isolation of where it stands.
private func waitForChild(_ context: UnsafeMutableRawPointer?) {
    guard let context else { return }
    // SAFETY: the one reference that `waitInThread` retained. Its end closes the pipe.
    let order = Unmanaged<WaitOrder>.fromOpaque(context).takeRetainedValue()
    var end = tf_exit()
    var result: CInt
    repeat { result = tf_reap(order.child, true, &end) } while result < 0 && errno == EINTR
    guard result == 0 else { return }
    let bytes = SpawnedProcess.Ending(end).bytes
    if let number = order.report.borrowed { _ = write(number, bytes, bytes.count) }
}
