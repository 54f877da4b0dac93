// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipSystem

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Which processes are the program's: those of the session that it was started in, and whoever descends from this
/// process.
struct Descent {
    /// The program's first process, whose id is the session's.
    let session: CInt

    /// Also of a process that has ended, until it is reaped.
    func includes(_ process: CInt) -> Bool {
        guard process > 1, process != ProcessID.current else { return false }
        return self.isInSession(process) || self.descends(process)
    }

    /// One system call.
    func isInSession(_ process: CInt) -> Bool { getsid(process) == self.session }

    /// Ends whoever is left. It looks once: who starts another one at this moment may leave it behind.
    func killAll() {
        kill(-self.session, SIGKILL)
        // The children of who has just been killed are this process's own by now.
        for process in self.processes { kill(process, SIGKILL) }
    }

    /// Those that are left.
    var processes: [CInt] {
        guard let list = opendir("/proc") else { return [] }
        defer { closedir(list) }
        var found: [CInt] = []
        while let entry = readdir(list) {
            // SAFETY: the name ends with a zero, and stays until the next call (readdir(3)).
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 1) { String(cString: $0) }
            }
            if let process = CInt(name), self.includes(process) { found.append(process) }
        }
        return found
    }

    private func descends(_ process: CInt) -> Bool {
        var next = process
        // As deep as anybody starts processes; the tree may change while it is climbed.
        for _ in 0..<64 {
            guard let parent = Self.parent(of: next), parent > 0 else { return false }
            if parent == ProcessID.current { return true }
            next = parent
        }
        return false
    }

    /// proc(5); nil where there is none.
    private static func parent(of process: CInt) -> CInt? {
        let descriptor = open("/proc/\(process)/stat", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        let file = OwnedDescriptor(takingOwnershipOf: descriptor)
        var bytes = [UInt8](repeating: 0, count: 512)
        let count = read(file.borrowed, &bytes, bytes.count)
        guard count > 0 else { return nil }
        // PID (name) state parent …; the name may have brackets and spaces in it.
        let words = String(decoding: bytes[..<count], as: UTF8.self).split(separator: ")").last?.split(separator: " ")
        return words.flatMap { $0.count > 1 ? CInt($0[1]) : nil }
    }
}
