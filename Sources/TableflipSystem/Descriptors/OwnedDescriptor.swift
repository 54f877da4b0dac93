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

/// A file descriptor with exactly one owner. Whoever holds this value closes the descriptor, at the latest when the
/// value goes out of scope.
///
/// Closing a number that is not open stops the program: the number may by now be somebody else's file, and closing
/// that one next time would be worse (close(2), "Dealing with error returns").
public struct OwnedDescriptor: ~Copyable, Sendable {
    private let number: CInt

    /// Takes ownership of an open descriptor. The caller must neither close nor keep using the number.
    /// - Parameter number: an open descriptor.
    public init(takingOwnershipOf number: CInt) {
        precondition(number >= 0, "\(number) is no descriptor")
        self.number = number
    }

    /// A new descriptor for the file behind a borrowed one; see ``duplicate()``.
    package init(duplicating number: CInt) throws(SystemCallError) {
        self.number = try check("fcntl") { tf_duplicate(number, 3) }
    }

    deinit { Self.close(self.number) }

    /// Lends the number for the duration of a call. It must not be closed or kept.
    /// - Parameter body: what uses it.
    /// - Returns: what `body` returns.
    /// - Throws: what `body` throws.
    public borrowing func withBorrowed<Result, Failure: Error>(
        _ body: (CInt) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(self.number)
    }

    /// The number, for code that outlives no borrow.
    package var borrowed: CInt { self.number }

    /// Closes the descriptor now (close(2)).
    public consuming func close() {}

    /// Gives ownership up. The caller closes the number.
    /// - Returns: the number.
    public consuming func release() -> CInt {
        let number = self.number
        discard self
        return number
    }

    /// Another descriptor for the same open file, close-on-exec, with an owner of its own (fcntl(2), F_DUPFD_CLOEXEC).
    /// - Returns: the duplicate.
    public borrowing func duplicate() throws(SystemCallError) -> OwnedDescriptor {
        try OwnedDescriptor(duplicating: self.number)
    }

    private static func close(_ number: CInt) {
        let result = closeDescriptor(number)
        // EINTR is success on Linux and Darwin alike: the number is free, and closing again could hit another file.
        precondition(result == 0 || errno != EBADF, "descriptor \(number) was closed behind its owner's back")
    }
}

extension OwnedDescriptor? {
    /// The number, for as long as there is an owner; nil where there is none.
    package var borrowed: CInt? {
        switch self {
        case .some(let open): open.borrowed
        case .none: nil
        }
    }
}

/// close(2), out of the reach of methods of that name.
private func closeDescriptor(_ number: CInt) -> CInt { close(number) }
