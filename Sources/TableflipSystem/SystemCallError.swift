// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A system call that failed: its name and what `errno` said.
public struct SystemCallError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The call, as its manual page is called.
    public let call: String
    /// The error number (errno(3)).
    public let number: CInt

    package init(_ call: String, _ number: CInt = errno) {
        self.call = call
        self.number = number
    }

    /// `bind: Address already in use`.
    public var description: String {
        // SAFETY: strerror returns a valid string for every number; it is copied before anything else may change it.
        "\(self.call): \(String(cString: strerror(self.number)))"
    }
}

/// Makes a call again for as long as a signal interrupts it, and turns -1 into an error.
@discardableResult
package func check(_ call: String, _ body: () -> CInt) throws(SystemCallError) -> CInt {
    while true {
        let result = body()
        if result >= 0 { return result }
        guard errno == EINTR else { throw SystemCallError(call) }
    }
}
