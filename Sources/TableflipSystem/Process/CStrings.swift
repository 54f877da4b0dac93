// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Strings as execve(2) takes them: bytes that need not be UTF-8, passed on exactly.
package struct CStrings: Hashable, Sendable {
    /// Without the zeros at their ends.
    package var strings: [[UInt8]]

    package init(_ strings: [[UInt8]]) { self.strings = strings }

    /// Copies a list that ends with a null pointer, such as `argv` and `environ`.
    package init(copying list: UnsafePointer<UnsafeMutablePointer<CChar>?>) {
        self.strings = []
        var next = list
        // SAFETY: `argv` and `environ` end with a null pointer, and each string with a zero (execve(2)).
        while let string = next.pointee {
            let length = strlen(string)
            string.withMemoryRebound(to: UInt8.self, capacity: length) {
                self.strings.append(Array(UnsafeBufferPointer(start: $0, count: length)))
            }
            next += 1
        }
    }

    /// Lends them as a list that ends with a null pointer.
    package func withList<Result>(_ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result) -> Result {
        var block: [UInt8] = []
        block.reserveCapacity(self.strings.reduce(0) { $0 + $1.count + 1 })
        for string in self.strings {
            block += string
            block.append(0)
        }
        return block.withUnsafeMutableBytes { block in
            withUnsafeTemporaryAllocation(
                of: UnsafeMutablePointer<CChar>?.self, capacity: self.strings.count + 1
            ) { list in
                // SAFETY: every place of the list is filled, with pointers into the block; both outlive the call.
                var next = block.baseAddress?.assumingMemoryBound(to: CChar.self)
                for (index, string) in self.strings.enumerated() {
                    list.initializeElement(at: index, to: next)
                    next = next.map { $0 + string.count + 1 }
                }
                list.initializeElement(at: self.strings.count, to: nil)
                guard let base = list.baseAddress else {
                    preconditionFailure("a list with a null pointer is not empty")
                }
                return body(base)
            }
        }
    }

    /// For people: undecodable bytes are replaced.
    package var texts: [String] { self.strings.map { String(decoding: $0, as: UTF8.self) } }
}
