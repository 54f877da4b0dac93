// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Glibc)
@preconcurrency import Glibc
#elseif canImport(Musl)
@preconcurrency import Musl
#else
import Darwin
#endif

/// A program that the service starts without a thought for upgrades, and what it sees of them.
enum ForeignChild {
    /// The names in its environment, the numbers of its open descriptors, and what each of these is, a line each.
    static func run() -> [String] {
        // The shell itself is looked at. No pipes in the second half, they would be descriptors of it; and the colon at
        // the end keeps it from becoming `ls`, which has one more.
        let command =
            "env | cut -d= -f1 | sed 's/^/environment /'; printf 'descriptors '; ls -x /proc/$$/fd; "
            + "for n in /proc/$$/fd/*; do echo \"open $(readlink $n)\"; done; :"
        guard let output = popen(command, "r") else { return [] }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        let count = fread(&bytes, 1, bytes.count, output)
        pclose(output)
        return String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n").map(String.init)
    }
}
