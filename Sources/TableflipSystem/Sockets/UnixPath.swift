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
    package let device: UInt64
    package let inode: UInt64

    /// nil: there is no socket at the path.
    package init?(_ path: String) {
        var status = stat()
        guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK else { return nil }
        self.init(path, device: UInt64(bitPattern: Int64(status.st_dev)), inode: UInt64(status.st_ino))
    }

    /// What another process has seen at the path, whatever is there now.
    package init(_ path: String, device: UInt64, inode: UInt64) {
        self.path = path
        self.device = device
        self.inode = inode
    }

    /// Something else is at the path by now. What is out of sight may be the same.
    package var isReplaced: Bool {
        var status = stat()
        return lstat(self.path, &status) == 0 && UnixPath(self.path) != self
    }

    /// Unlinks the file if it is still the one that was seen when this value was made.
    /// - Returns: why it could not be removed.
    @discardableResult
    package func remove() -> SystemCallError? {
        guard UnixPath(self.path) == self, unlink(self.path) != 0, errno != ENOENT else { return nil }
        return SystemCallError("unlink")
    }
}
