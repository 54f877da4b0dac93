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

    init(_ configuration: Upgrader.Configuration) throws(UpgradeError) {
        try configuration.validate()
        _ = try UpgradeError.wrapping("closed standard streams cannot be opened on /dev/null") {
            () throws(SystemCallError) in try check("open") { tf_fill_standard_streams() }
        }
        self.directory = try ProcessEnvironment.directory()
        // SAFETY: argv lives as long as the process, and ends with a null pointer. It is copied.
        self.arguments = CStrings(copying: UnsafePointer(CommandLine.unsafeArgv))
        do throws(UpgradeError) {
            try self.validate(configuration, with: configuration.successor)
        } catch {
            throw error.whileServing(.nobody)
        }
    }

    /// Where the next generation starts in another directory, its relative paths count from there: what this process finds
    /// once by such a path the next one would not find, and a PID file would name a dead process.
    func validate(_ configuration: Upgrader.Configuration, with successor: Upgrader.Successor) throws(UpgradeError) {
        guard let directory = successor.directory(otherThan: self.directory) else { return }
        var paths: [(String, String?)] = [
            ("pidFile", configuration.pidFile), ("controlSocket.path", configuration.controlSocket?.path),
            ("successor.directory", directory), ("successor.environment.file", successor.environment.file),
        ]
        let program = self.arguments.strings.first.map { String(decoding: $0, as: UTF8.self) }
        if let executable = successor.executable {
            paths.append(("successor.executable", executable.contains("/") ? executable : nil))
        } else if let program = successor.arguments?.first ?? program {
            paths.append(("the path that it is started by", program.contains("/") ? program : nil))
        }
        for case (let name, let path?) in paths where !path.hasPrefix("/") {
            throw .lookedForElsewhere(name, path, directory)
        }
    }

    func absolute(_ path: String) -> String { path.absolutePath(from: self.directory) }
}

extension Upgrader.Successor {
    /// Where it starts; nil if that is where the process before it did, by whatever path.
    func directory(otherThan start: String) -> String? {
        guard let directory, !FileAccess.isSame(directory.absolutePath(from: start), start) else { return nil }
        return directory
    }
}

extension UpgradeError {
    static func lookedForElsewhere(_ name: String, _ path: String, _ directory: String) -> UpgradeError {
        UpgradeError(
            .invalidConfiguration,
            "\(name) is \"\(path)\", and the next generation, which starts in \(directory), would look for it there",
            cure: "Give it an absolute path where successor.directory is another directory."
        )
    }
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
