// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
package import TableflipCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// What is to be started.
package struct SpawnRequest: Sendable {
    package var executable: ExecutablePath
    package var arguments: CStrings
    package var environment: CStrings
    /// Where it starts.
    package var directory: String

    package init(executable: ExecutablePath, arguments: CStrings, environment: CStrings, directory: String) {
        self.executable = executable
        self.arguments = arguments
        self.environment = environment
        self.directory = directory
    }
}

/// Starts successors. One protocol, because there are two kinds of parenthood: a direct child, and a child of the
/// service manager (`docs/decisions/0003-parenthood.md`). Tests put a fake here.
package protocol ProcessSpawner: Sendable {
    /// Starts a process that holds `channel`, borrowed, as ``ProcessEnvironment/channelNumber``.
    func spawn(_ request: SpawnRequest, channel: CInt) throws(UpgradeError) -> SpawnedProcess
}

/// A direct child, by clone(2) where that saves time, else by posix_spawn(3).
package struct DirectSpawner: ProcessSpawner {
    private let capabilities: Capabilities

    package init(capabilities: Capabilities) { self.capabilities = capabilities }

    package func spawn(_ request: SpawnRequest, channel: CInt) throws(UpgradeError) -> SpawnedProcess {
        let watch = try UpgradeError.wrapping("no successor can be started: it could not be watched", .spawnFailed) {
            () throws(SystemCallError) in try ChildWatch()
        }
        let process = try self.start(request, channel: channel, inNewSession: false)
        do throws(SystemCallError) {
            return try SpawnedProcess(child: process, watch: watch, capabilities: self.capabilities)
        } catch {
            throw UpgradeError(
                .spawnFailed, "\(request.executable.path) was started, could not be watched, and was killed: \(error)",
                cure: "Look at the limits on threads and memory (ulimit -u, pids.max, memory.max)."
            )
        }
    }

    /// A program that is no successor, in a session of its own (setsid(2)). Nobody watches it: the caller reaps every
    /// child that it has.
    package func spawnInNewSession(_ request: SpawnRequest) throws(UpgradeError) -> CInt {
        try self.start(request, channel: nil, inNewSession: true)
    }

    private func start(_ request: SpawnRequest, channel: CInt?, inNewSession: Bool) throws(UpgradeError) -> CInt {
        try request.checkDirectory()
        var process: CInt = 0
        let error = request.withSpawn(channel: channel, inNewSession: inNewSession) { spawn in
            if self.capabilities.sharesTables {
                var started = tf_clone()
                let error = tf_clone_process(spawn, TF_PARENT_SELF, &started)
                process = started.process
                if !started.wasForbidden(error) { return error }
            }
            return tf_spawn_process(spawn, &process)
        }
        guard error == 0 else { throw .spawn(request.executable.path, error) }
        return process
    }
}

extension SpawnRequest {
    /// Whether a process can start in its directory.
    package func checkDirectory() throws(UpgradeError) {
        func refused(_ words: String, cure: String) -> UpgradeError {
            UpgradeError(.directoryMissing, "the directory to start in, \(self.directory), \(words)", cure: cure)
        }
        var status = stat()
        guard stat(self.directory, &status) == 0 else {
            let error = SystemCallError("stat")
            guard error.number == ENOENT else {
                throw refused("cannot be used: \(error)", cure: "Start the service in a directory that it may enter.")
            }
            // What stands in a string for bytes that are none of UTF-8 leads nowhere.
            if self.directory.unicodeScalars.contains("\u{FFFD}") {
                throw refused(
                    "cannot be found again: its name is not UTF-8",
                    cure: "Start the service in a directory whose name is.")
            }
            throw refused("is gone", cure: "Create it again, or restart the service from a directory that stays.")
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw refused("is no directory", cure: "Move away what is there, or start in another one.")
        }
        // Not access(2), which knows neither the effective user nor capabilities.
        guard stat("\(self.directory)/.", &status) == 0 || errno != EACCES else {
            throw refused(
                "may not be entered: \(SystemCallError("stat"))",
                cure: "Give the service's user the right to (chmod +x), or start in another one.")
        }
    }

    /// Lends the request as C takes it.
    func withSpawn(
        channel: CInt?, inNewSession: Bool = false, _ body: (UnsafePointer<tf_spawn>) -> CInt
    ) -> CInt {
        // SAFETY: every pointer in the C request outlives the call; the new process copies what it needs.
        self.arguments.withList { arguments in
            self.environment.withList { environment in
                self.executable.cString.withUnsafeBufferPointer { path in
                    self.directory.withCString { directory in
                        var spawn = tf_spawn(
                            path: path.baseAddress, arguments: arguments, environment: environment,
                            directory: directory, channel: channel ?? -1,
                            channel_number: channel == nil ? 2 : ProcessEnvironment.channelNumber,
                            new_session: inNewSession
                        )
                        return body(&spawn)
                    }
                }
            }
        }
    }
}

extension UpgradeError {
    /// All ways to start one say of the program what execve(2) says.
    static func spawn(_ path: String, _ number: CInt) -> UpgradeError {
        let reason = SystemCallError("posix_spawn", number)
        switch number {
        case ENOENT:
            return UpgradeError(
                .executableMissing, "\(path) cannot be started: \(reason)",
                cure: "The file exists, so the interpreter that its first line or its ELF header names is missing."
            )
        case EACCES, EPERM:
            return UpgradeError(
                .executableNotPermitted, "\(path) may not be executed: \(reason)",
                cure: "Check its mode, and whether its file system is mounted noexec."
            )
        case let number where Platform.badFormat.contains(number):
            return UpgradeError(
                .executableFormat, "\(path) is no program for this machine: \(reason)",
                cure: "It may be built for another architecture, empty, or cut off; install it whole and rename it."
            )
        case ETXTBSY:
            return UpgradeError(
                .executableNotPermitted, "\(path) is open for writing: \(reason)",
                cure: "Write the new version to another name, close it, then rename it."
            )
        case E2BIG:
            return UpgradeError(
                .spawnFailed, "\(path) cannot be started, its arguments and environment are too long: \(reason)",
                cure: "Shorten them; on Linux a single one has at most 128 KiB (execve(2))."
            )
        case EMFILE, ENFILE:
            return UpgradeError(.spawnFailed, "\(path) cannot be started: \(reason)", cure: reason.cure)
        default:
            return UpgradeError(
                .spawnFailed, "\(path) cannot be started: \(reason)",
                cure: "Look at the limits on processes and memory (ulimit -u, pids.max, memory.max)."
            )
        }
    }
}
