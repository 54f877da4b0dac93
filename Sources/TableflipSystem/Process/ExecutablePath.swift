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

/// Where the program is, found anew at each upgrade: a file replaced by rename, or a symbolic link that was moved, is
/// the new version. Never /proc/self/exe, which stays with the old file.
package struct ExecutablePath: Hashable, Sendable {
    /// What is executed: bytes, which need not be UTF-8, without a zero at the end.
    package let bytes: [UInt8]

    /// `name` is as in argv[0]: with a slash a path, else a name to look for in PATH. A relative path counts from
    /// `directory`.
    package init(finding name: [UInt8], from directory: String) throws(UpgradeError) {
        guard !name.isEmpty else {
            throw UpgradeError(
                .executableMissing, "the name of the program (argv[0]) is empty",
                cure: "Set executable in the configuration."
            )
        }
        let slash = UInt8(ascii: "/")
        if name.contains(slash) {
            self.bytes = name.first == slash ? name : Array(directory.utf8) + [slash] + name
            try self.validate()
            return
        }
        let folders = (ProcessEnvironment.value(of: "PATH") ?? "/usr/local/bin:/bin:/usr/bin")
            .split(separator: ":", omittingEmptySubsequences: false)
            .map { $0.isEmpty ? directory : String($0).absolutePath(from: directory) }
        // As execvp(3): what may not be executed, directories among it, is passed over.
        guard let path = folders.lazy.map({ Array($0.utf8) + [slash] + name }).first(where: Self.isProgram) else {
            throw UpgradeError(
                .executableMissing,
                "no program \"\(String(decoding: name, as: UTF8.self))\" is in PATH (\(folders.joined(separator: ":")))",
                cure: "Install it there, or start the service by its full path."
            )
        }
        self.bytes = path
    }

    package init(finding name: String, from directory: String) throws(UpgradeError) {
        try self.init(finding: Array(name.utf8), from: directory)
    }

    /// The path for people: undecodable bytes are replaced.
    package var path: String { String(decoding: self.bytes, as: UTF8.self) }

    /// The path as system calls take it.
    package var cString: [CChar] { Self.cString(self.bytes) }

    private static func cString(_ bytes: [UInt8]) -> [CChar] { bytes.map { CChar(bitPattern: $0) } + [0] }

    private static func isProgram(_ path: [UInt8]) -> Bool {
        let path = self.cString(path)
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && access(path, X_OK) == 0
    }

    /// The file that the path leads to, with every symbolic link followed; for logs.
    package var resolved: String {
        guard let path = realpath(self.cString, nil) else { return self.path }
        defer { free(path) }
        // SAFETY: realpath(NULL) returns a string of its own, freed above.
        return String(cString: path)
    }

    private func validate() throws(UpgradeError) {
        let path = self.cString
        var status = stat()
        guard stat(path, &status) == 0 else {
            let error = SystemCallError("stat")
            let words = "\(self.path) cannot be started: \(error)"
            switch error.number {
            case EACCES:
                throw UpgradeError(
                    .executableNotPermitted, words,
                    cure: "Give the service's user the right to enter the directories that lead there (chmod +x)."
                )
            case ELOOP:
                throw UpgradeError(.executableMissing, words, cure: "A symbolic link there leads back to itself.")
            default:
                throw UpgradeError(
                    .executableMissing, words, cure: "Put the new version there (write it beside, then rename it).")
            }
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw UpgradeError(
                .executableNotPermitted, "\(self.path) is not a regular file",
                cure: "Put the new version there (write it beside, then rename it)."
            )
        }
        guard access(path, X_OK) == 0 else {
            throw UpgradeError(
                .executableNotPermitted, "\(self.path) may not be executed: \(SystemCallError("access"))",
                cure: "chmod +x \(self.path)"
            )
        }
    }
}
