// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The file that a Unix listener is reached by, recognised by device and inode so that only our own is ever removed.
package struct UnixPath: Hashable, Sendable {
    package let path: String
    private let device: UInt64
    private let inode: UInt64

    /// nil: there is no socket at the path.
    package init?(_ path: String) {
        var status = stat()
        guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK else { return nil }
        self.path = path
        self.device = UInt64(bitPattern: Int64(status.st_dev))
        self.inode = UInt64(status.st_ino)
    }

    /// Unlinks the file if it is still the one that was seen when this value was made.
    /// - Returns: why it could not be removed.
    @discardableResult
    package func remove() -> SystemCallError? {
        guard UnixPath(self.path) == self, unlink(self.path) != 0, errno != ENOENT else { return nil }
        return SystemCallError("unlink")
    }
}
