// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import TableflipCore
import TableflipSystem

/// What this process was started with: the next generation is started with the same.
struct ProcessStart: Sendable {
    /// Where it started; relative paths count from here, wherever the application has gone since.
    let directory: String
    let arguments: CStrings

    init() throws(UpgradeError) {
        _ = try UpgradeError.wrapping("closed standard streams cannot be opened on /dev/null") {
            () throws(SystemCallError) in try check("open") { tf_fill_standard_streams() }
        }
        guard let directory = ProcessEnvironment.directory() else {
            throw UpgradeError(
                .directoryMissing, "the current directory is gone: \(SystemCallError("getcwd"))",
                cure: "Start the program in a directory that exists.", serving: .nobody
            )
        }
        self.directory = directory
        // SAFETY: argv lives as long as the process, and ends with a null pointer. It is copied.
        self.arguments = CStrings(copying: UnsafePointer(CommandLine.unsafeArgv))
    }

    func absolute(_ path: String) -> String { path.absolutePath(from: self.directory) }
}

/// There is one upgrader in a process: descriptors, signals and the environment variable are the process's own.
struct ProcessClaim: ~Copyable {
    init() throws(UpgradeError) {
        guard tf_claim_process() else {
            throw UpgradeError(
                .alreadyCreated, "this process has an upgrader already", cure: "Make one, and pass it on.",
                serving: .nobody
            )
        }
    }

    deinit { tf_release_process() }

    /// The upgrader is made: the claim lasts as long as the process.
    consuming func keep() { discard self }
}
