// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

package import TableflipCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

extension UpgradeError {
    /// Turns a failed system call into an error in the library's words: `what` could not be done, up to the colon
    /// before the call.
    package static func wrapping<Result: ~Copyable>(
        _ what: String, _ code: Code = .system, _ body: () throws(SystemCallError) -> Result
    ) throws(UpgradeError) -> Result {
        do throws(SystemCallError) {
            return try body()
        } catch {
            throw UpgradeError(code, "\(what): \(error)", cure: error.cure)
        }
    }
}

extension SystemCallError {
    package var cure: String {
        switch self.number {
        case EAGAIN where self.call == "pthread_create":
            "Raise the limit on threads (ulimit -u, TasksMax=, pids.max), or find out what starts so many."
        case EMFILE: "Raise the limit on open files (ulimit -n, LimitNOFILE=), or find out what leaves them open."
        case ENFILE: "The whole system has too many files open (fs.file-max)."
        default: ""
        }
    }
}
