// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Tableflip
import TableflipCore
import TableflipSystem

#if canImport(Glibc)
@preconcurrency import Glibc
#elseif canImport(Musl)
@preconcurrency import Musl
#else
import Darwin
#endif

/// Files that are carried under names, so that a test can see which descriptor a name led to: each generation writes a
/// line `GENERATION NAME` into each.
struct Notes {
    var count: Int
    /// Where the first generation finds the files `note-0`, `note-1`, …
    var directory: String

    /// A test takes the directory away once the first generation serves: a successor can only inherit them.
    func carry(with upgrader: Upgrader) throws {
        let generation = upgrader.generation
        // Not in the order in which the predecessor had them.
        let numbers = generation.isMultiple(of: 2) ? Array((0..<self.count).reversed()) : Array(0..<self.count)
        for number in numbers {
            let path = "\(self.directory)/note-\(number)"
            let name = "note \(number)"
            let note = try upgrader.carry(.file, name: name) { () throws(UpgradeError) in
                let descriptor = open(path, O_WRONLY | O_APPEND | O_CLOEXEC)
                guard descriptor >= 0 else { throw UpgradeError(.system, "\(path): \(SystemCallError("open"))") }
                return OwnedDescriptor(takingOwnershipOf: descriptor)
            }
            let file = try note.duplicate()
            let line = Array("\(generation) \(name)\n".utf8)
            guard write(file.borrowed, line, line.count) == line.count else { throw SystemCallError("write") }
        }
    }
}
