// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

package import TableflipCore

extension UpgradeError {
    /// Turns a failed system call into an error in the library's words: `what` could not be done, up to the colon
    /// before the call.
    package static func wrapping<Result: ~Copyable>(
        _ what: String, _ code: Code = .system, _ body: () throws(SystemCallError) -> Result
    ) throws(UpgradeError) -> Result {
        do throws(SystemCallError) {
            return try body()
        } catch {
            throw UpgradeError(code, "\(what): \(error)")
        }
    }
}
