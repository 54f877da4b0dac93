// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// What a program is, by its first bytes: before it is tried.
package enum BinaryFormat: Hashable, Sendable {
    /// For this kind of machine (elf(5), e_machine).
    case elf(machine: UInt16)
    /// `#!`, and what it names.
    case script(interpreter: String)
    /// Darwin's.
    case machO
    case unknown

    package init(of path: [CChar]) throws(SystemCallError) {
        let file = OwnedDescriptor(
            // Non-blocking: a pipe of that name must not stop anybody.
            takingOwnershipOf: try check("open") { open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) }
        )
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = pread(file.borrowed, &bytes, bytes.count, 0)
        guard count >= 0 else { throw SystemCallError("pread") }
        self.init(bytes[..<count])
    }

    package init(_ bytes: ArraySlice<UInt8>) {
        let bytes = Array(bytes)
        if bytes.starts(with: [0x7f, 0x45, 0x4c, 0x46]), bytes.count >= 20 {
            let isBigEndian = bytes[5] == 2
            let (low, high) = isBigEndian ? (bytes[19], bytes[18]) : (bytes[18], bytes[19])
            self = .elf(machine: UInt16(low) | UInt16(high) << 8)
        } else if bytes.starts(with: [0x23, 0x21]) {
            let line = bytes.dropFirst(2).prefix { $0 != UInt8(ascii: "\n") }
            let word = line.split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }.first ?? []
            self = .script(interpreter: String(decoding: word, as: UTF8.self))
        } else if Self.machOMagics.contains(where: { bytes.starts(with: $0) }) {
            self = .machO
        } else {
            self = .unknown
        }
    }

    /// Mach-O of 64 bits, and the file of several architectures (mach-o/loader.h, mach-o/fat.h).
    private static let machOMagics: [[UInt8]] = [[0xcf, 0xfa, 0xed, 0xfe], [0xca, 0xfe, 0xba, 0xbe]]

    /// What elf(5) calls the machine that this was compiled for; nil for one that is not listed here.
    package static var nativeMachine: UInt16? {
        #if arch(x86_64)
        62
        #elseif arch(arm64)
        183
        #elseif arch(arm)
        40
        #elseif arch(riscv64)
        243
        #else
        nil
        #endif
    }

    package static func name(ofMachine machine: UInt16) -> String {
        switch machine {
        case 3: "i386"
        case 40: "ARM"
        case 62: "x86-64"
        case 183: "AArch64"
        case 243: "RISC-V"
        default: "machine \(machine)"
        }
    }
}
