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

/// The environment, and the one private variable in it that tells a successor where its channel is.
package enum ProcessEnvironment {
    /// `NUMBER:INODE` of the channel. The inode tells a variable that was inherited by mistake from a true one: no two
    /// sockets that exist at one time share it.
    package static let channelVariable = "TABLEFLIP_CHANNEL"
    /// The number that the channel has in a new process.
    package static let channelNumber: CInt = 3

    package enum Channel: ~Copyable {
        /// The variable is not set: this is the first process.
        case none
        case open(OwnedDescriptor)
        /// The variable is set, and what it says is not so.
        case stale(String)
    }

    /// The current environment without the private variable, and without what names this process.
    package static func inheritable() -> CStrings {
        let prefixes = ([self.channelVariable, Watchdog.processVariable]).map { Array(($0 + "=").utf8) }
        // SAFETY: `environ` is read on the thread that upgrades; programs that change it meanwhile on another thread
        // break getenv(3) as well.
        guard let list = tf_environment() else { return CStrings([]) }
        let all = CStrings(copying: UnsafePointer(list))
        return CStrings(all.strings.filter { string in !prefixes.contains { string.starts(with: $0) } })
    }

    package static func variable(channel: CInt) throws(SystemCallError) -> [UInt8] {
        guard let inode = DescriptorFacts.inode(of: channel) else { throw SystemCallError("fstat") }
        return Array("\(self.channelVariable)=\(self.channelNumber):\(inode)".utf8)
    }

    /// Reads the variable and removes it, so that no program started from here sees it. Called once, at the start.
    package static func takeChannel() -> Channel {
        guard let pointer = getenv(self.channelVariable) else { return .none }
        // SAFETY: getenv returns a string that lives until the variable is changed, which happens below.
        let value = String(cString: pointer)
        unsetenv(self.channelVariable)
        let parts = value.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let number = CInt(parts[0]), number >= 3, let inode = UInt64(parts[1]) else {
            return .stale("\(self.channelVariable) is \"\(value)\", which is not of the form NUMBER:INODE")
        }
        do throws(SystemCallError) {
            let facts = try DescriptorFacts(of: number)
            guard facts.isSocket else {
                return .stale("\(self.channelVariable) names descriptor \(number), which is no socket")
            }
            guard facts.inode == inode else {
                return .stale("\(self.channelVariable) names descriptor \(number), which is another socket by now")
            }
            try check("fcntl") { tf_set_close_on_exec(number, true) }
        } catch {
            return .stale("\(self.channelVariable) names descriptor \(number), which cannot be used (\(error))")
        }
        return .open(OwnedDescriptor(takingOwnershipOf: number))
    }

    /// The directory this process started in: `PWD` where that names it, for it keeps the symbolic links that a deploy
    /// moves; else getcwd(3).
    /// - Throws: `directoryMissing`.
    package static func directory() throws(UpgradeError) -> String {
        do throws(SystemCallError) {
            return try self.current()
        } catch {
            throw UpgradeError(
                .directoryMissing,
                "the current directory \(error.number == ENOENT ? "is gone" : "cannot be used"): \(error)",
                cure: "Start the program in a directory that exists, and that it may enter.", serving: .nobody
            )
        }
    }

    private static func current() throws(SystemCallError) -> String {
        var here = stat()
        try check("stat") { stat(".", &here) }
        if let pointer = getenv("PWD") {
            // SAFETY: as above; copied at once.
            let logical = String(cString: pointer)
            if logical.hasPrefix("/"), FileAccess.isSame(logical, ".") { return logical }
        }
        guard let path = getcwd(nil, 0) else { throw SystemCallError("getcwd") }
        defer { free(path) }
        // SAFETY: getcwd(NULL) returns a string of its own, freed above.
        return String(cString: path)
    }

    package static func value(of name: String) -> String? {
        // SAFETY: copied at once.
        getenv(name).map { String(cString: $0) }
    }
}
