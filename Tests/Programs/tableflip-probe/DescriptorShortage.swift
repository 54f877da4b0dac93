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

/// A table of descriptors that is full, or nearly so. A byte from a named pipe says how many are to be free, in ASCII;
/// any other byte than a digit frees all.
final class DescriptorShortage: Sendable {
    private static let limit = 128
    private let generation: Int
    private let path: String

    private init(_ path: String, _ generation: Int) {
        self.path = path
        self.generation = generation
    }

    static func begin(_ path: String, generation: Int) {
        let box = Unmanaged.passRetained(DescriptorShortage(path, generation))
        // SAFETY: retained here, released by the thread, exactly once.
        if tf_start_thread(runShortage, box.toOpaque(), "shortage") != 0 { fatalError("no thread") }
    }

    fileprivate func run() {
        guard (try? OpenFileLimit.current.with(soft: Self.limit).set()) != nil else { return }
        // For both, it never ends.
        let orders = OwnedDescriptor(takingOwnershipOf: open(self.path, O_RDWR | O_CLOEXEC))
        var held: [OwnedNumber] = []
        var byte: UInt8 = 0
        while read(orders.borrowed, &byte, 1) == 1 {
            held = []
            let free = Int(byte) - Int(UInt8(ascii: "0"))
            if (0...9).contains(free) {
                while case let number = fcntl(orders.borrowed, F_DUPFD_CLOEXEC, 0), number >= 0 {
                    held.append(OwnedNumber(OwnedDescriptor(takingOwnershipOf: number)))
                }
                held.removeLast(min(free, held.count))
                Probe.say(self.generation, "shortage \(free)")
            } else {
                Probe.say(self.generation, "plenty")
            }
        }
    }

    /// For an array, which takes nothing that cannot be copied.
    private final class OwnedNumber {
        let descriptor: OwnedDescriptor
        init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
    }
}

private func runShortage(_ context: UnsafeMutableRawPointer?) {
    guard let context else { return }
    // SAFETY: the one reference that `begin` retained.
    Unmanaged<DescriptorShortage>.fromOpaque(context).takeRetainedValue().run()
}
