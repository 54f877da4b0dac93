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
    /// What is executed.
    package var path: String

    /// `name` is as in argv[0]: with a slash a path, else a name to look for in PATH. A relative path counts from
    /// `directory`.
    package init(finding name: String, from directory: String) throws(UpgradeError) {
        guard !name.isEmpty else {
            throw UpgradeError(
                .executableMissing, "the name of the program (argv[0]) is empty",
                cure: "Set successor.executable in the configuration."
            )
        }
        if name.contains("/") {
            self.path = name.hasPrefix("/") ? name : directory + "/" + name
        } else {
            let folders = (ProcessEnvironment.value(of: "PATH") ?? "/usr/local/bin:/bin:/usr/bin")
                .split(separator: ":", omittingEmptySubsequences: false)
                .map { $0.isEmpty ? directory : $0.hasPrefix("/") ? String($0) : directory + "/" + $0 }
            guard let folder = folders.first(where: { access($0 + "/" + name, X_OK) == 0 }) else {
                throw UpgradeError(
                    .executableMissing, "no program \"\(name)\" is in PATH (\(folders.joined(separator: ":")))",
                    cure: "Install it there, or start the service by its full path."
                )
            }
            self.path = folder + "/" + name
        }
        try self.validate()
    }

    /// The file that the path leads to, with every symbolic link followed; for logs.
    package var resolved: String {
        guard let path = realpath(self.path, nil) else { return self.path }
        defer { free(path) }
        // SAFETY: realpath(NULL) returns a string of its own, freed above.
        return String(cString: path)
    }

    private func validate() throws(UpgradeError) {
        var status = stat()
        guard stat(self.path, &status) == 0 else {
            throw UpgradeError(
                .executableMissing, "\(self.path) cannot be started: \(SystemCallError("stat"))",
                cure: "Put the new version there (write it beside, then rename it)."
            )
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw UpgradeError(.executableNotPermitted, "\(self.path) is not a regular file")
        }
        guard access(self.path, X_OK) == 0 else {
            throw UpgradeError(
                .executableNotPermitted, "\(self.path) may not be executed: \(SystemCallError("access"))",
                cure: "chmod +x \(self.path)"
            )
        }
    }
}
