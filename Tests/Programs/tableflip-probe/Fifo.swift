// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import TableflipSystem

#if canImport(Glibc)
@preconcurrency import Glibc
#elseif canImport(Musl)
@preconcurrency import Musl
#else
import Darwin
#endif

/// A named pipe by which a test lets the probe go on.
enum Fifo {
    /// Takes one byte out, on a thread of its own: neither Swift's pool nor the engine is held up.
    static func awaitByte(from path: String) async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let wait = Unmanaged.passRetained(Wait(path: path, continuation: continuation))
            // SAFETY: retained here, released by the thread, exactly once.
            if tf_start_thread(runWait, wait.toOpaque(), "fifo") != 0 { fatalError("no thread") }
        }
    }

    /// The same for a program that has nothing else to do.
    static func takeByte(from path: String) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { fatalError("\(path): \(SystemCallError("open"))") }
        let fifo = OwnedDescriptor(takingOwnershipOf: descriptor)
        var byte: UInt8 = 0
        while read(fifo.borrowed, &byte, 1) < 0, errno == EINTR {}
    }
}

private final class Wait: Sendable {
    let path: String
    let continuation: CheckedContinuation<Void, Never>

    init(path: String, continuation: CheckedContinuation<Void, Never>) {
        self.path = path
        self.continuation = continuation
    }
}

private func runWait(_ context: UnsafeMutableRawPointer?) {
    guard let context else { return }
    // SAFETY: the one reference that `awaitByte` retained.
    let wait = Unmanaged<Wait>.fromOpaque(context).takeRetainedValue()
    Fifo.takeByte(from: wait.path)
    wait.continuation.resume()
}
