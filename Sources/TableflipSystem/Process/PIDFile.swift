// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
package import TableflipCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The file that names the process in charge. It is always whole: written beside, then renamed over (rename(2)).
package final class PIDFile: Sendable {
    package let path: String
    private let process: CInt
    /// The file that was written last, held open: a process that has no descriptor left still knows its own.
    private let written = Mutex<OwnedDescriptor?>(nil)

    private var temporaryPath: String { "\(self.path).\(self.process).tmp" }
    private var contents: String { "\(self.process)\n" }

    /// - Parameters:
    ///   - path: absolute.
    ///   - process: whose id it names.
    package init(path: String, process: CInt = ProcessID.current) {
        self.path = path
        self.process = process
    }

    /// Writes everything but the name: what can fail for want of rights or room fails here, before anything is handed
    /// over.
    package func prepare() throws(UpgradeError) {
        var status = stat()
        if lstat(self.path, &status) == 0 {
            switch status.st_mode & S_IFMT {
            case S_IFREG, S_IFLNK: break
            case S_IFDIR: throw self.failure("rename", EISDIR)
            // A device, a socket: rename(2) would replace it all the same.
            default: throw self.taken("no regular file")
            }
        }
        // Its name can be guessed: in a directory like /tmp a link of somebody else's may be there, and must not be followed.
        self.discard()
        let descriptor = open(self.temporaryPath, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw self.failure("open") }
        let file = OwnedDescriptor(takingOwnershipOf: descriptor)
        let bytes = Array(self.contents.utf8)
        let written = write(file.borrowed, bytes, bytes.count)
        guard written == bytes.count else {
            // A short write without an error is a full disk as well (write(2)).
            let failure = self.failure("write", written < 0 ? errno : ENOSPC)
            self.discard()
            throw failure
        }
        self.hold(file)
    }

    /// For a first process, before ``prepare()``: the process that the file names; nil where it names none. Whatever else
    /// is there would be replaced, and removed in the end.
    package func namedProcess() throws(UpgradeError) -> CInt? {
        let descriptor = open(self.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        // What cannot be read is told of by whoever writes.
        guard descriptor >= 0 else { return nil }
        let file = OwnedDescriptor(takingOwnershipOf: descriptor)
        var bytes = [UInt8](repeating: 0, count: 32)
        let count = max(0, pread(file.borrowed, &bytes, bytes.count, 0))
        // Zeros are what a crash of the machine may leave of a file.
        let words = bytes[..<count].split { [0, 9, 10, 13, 32].contains($0) }
        guard let word = words.first else { return nil }
        guard words.count == 1, let process = CInt(String(decoding: word, as: UTF8.self)), process > 0 else {
            throw self.taken("something else than the number of a process")
        }
        return process
    }

    private func taken(_ what: String) -> UpgradeError {
        UpgradeError(
            .pidFile, "the PID file \(self.path) cannot be written: what is there is \(what)",
            cure: "Move it away if nobody needs it, or give the PID file another path."
        )
    }

    private func hold(_ file: consuming OwnedDescriptor) {
        var file: OwnedDescriptor? = file
        self.written.withLock { $0 = file.take() }
    }

    /// Gives the prepared file its name. From here on this process is the one that the file names. What was prepared and
    /// discarded is prepared anew: a successor that had given up may have to stand in after all.
    package func publish() throws(UpgradeError) {
        if rename(self.temporaryPath, self.path) == 0 { return }
        // Also where a thread that a disk had held up has discarded it only now.
        guard errno == ENOENT else { throw self.renameFailed() }
        try self.prepare()
        guard rename(self.temporaryPath, self.path) == 0 else { throw self.renameFailed() }
    }

    private func renameFailed() -> UpgradeError {
        let failure = self.failure("rename")
        self.discard()
        return failure
    }

    package func discard() { unlink(self.temporaryPath) }

    /// Makes sure that the file names this process, whatever another has written.
    package func restore() throws(UpgradeError) {
        guard !self.namesThisProcess else { return }
        try self.prepare()
        try self.publish()
    }

    /// Removes the file if it names this process.
    /// - Returns: why it could not be removed.
    @discardableResult
    package func remove() -> SystemCallError? {
        guard self.namesThisProcess, unlink(self.path) != 0, errno != ENOENT else { return nil }
        return SystemCallError("unlink")
    }

    /// Whether another file is where this process wrote its own last.
    package var wasReplaced: Bool {
        self.written.withLock { file in
            switch file {
            case .some(let file): !self.isThere(file.borrowed)
            case .none: false
            }
        }
    }

    package var namesThisProcess: Bool {
        let isHeld = self.written.withLock { file in
            switch file {
            case .some(let file): self.isThere(file.borrowed) && self.isOurs(file.borrowed)
            case .none: false
            }
        }
        if isHeld { return true }
        // What another has put there may be a FIFO, which would be waited for (fifo(7)).
        let descriptor = open(self.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        let file = OwnedDescriptor(takingOwnershipOf: descriptor)
        return self.isOurs(file.borrowed)
    }

    /// Whether it is what the path leads to. Nobody else can have its inode number for as long as it is open.
    private func isThere(_ number: CInt) -> Bool {
        var (here, there) = (stat(), stat())
        return fstat(number, &here) == 0 && lstat(self.path, &there) == 0 && here.st_dev == there.st_dev
            && here.st_ino == there.st_ino
    }

    private func isOurs(_ number: CInt) -> Bool {
        var bytes = [UInt8](repeating: 0, count: 32)
        let count = pread(number, &bytes, bytes.count, 0)
        return count > 0 && bytes[..<count].elementsEqual(self.contents.utf8)
    }

    private func failure(_ call: String, _ number: CInt = errno) -> UpgradeError {
        let error = SystemCallError(call, number)
        let cure =
            switch number {
            case ENOENT: "Create its directory first."
            case EACCES, EPERM, EROFS: "Make its directory writable for the user that the service runs as."
            case ENOSPC, EDQUOT: "Make room on its file system."
            case ENAMETOOLONG: "Give it a shorter name; while it is written, it has .\(self.process).tmp behind it."
            case EISDIR: "A directory is in its place; give the file another name."
            case EFBIG: "Raise the limit on the size of files (ulimit -f, LimitFSIZE=)."
            default: error.cure
            }
        return UpgradeError(.pidFile, "the PID file \(self.path) cannot be written: \(error)", cure: cure)
    }
}
